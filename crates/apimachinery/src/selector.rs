//! Label and field selectors: parsing, printing and matching (rule: apimachinery `pkg/labels`, `pkg/fields`).

/// A parsed label selector; empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    // Filled in by the owner of this module.
}

/// A parsed field selector; empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    // Filled in by the owner of this module.
}
