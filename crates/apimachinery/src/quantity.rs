//! Resource quantities such as `100m`, `1.5Gi`, `1e3` (rule: apimachinery `pkg/api/resource`).

use std::fmt;

/// How a quantity prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    DecimalSI,
    BinarySI,
    DecimalExponent,
}

/// An exact amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    // Filled in by the owner of this module.
    text: String,
}

impl fmt::Display for Quantity {
    /// The canonical form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
