//! Amounts of decoded objects.

use steersman_apimachinery::{Quantity, Value};

/// The amount in a decoded object, which is a string or a number.
pub fn amount(v: &Value) -> Option<Quantity> {
    match v {
        Value::String(s) => s.parse().ok(),
        Value::Number(n) => n.to_string().parse().ok(),
        _ => None,
    }
}

/// The canonical form after rounding up to thousandths, where that changes anything.
pub fn rounded_up_to_milli(s: &str) -> Option<String> {
    if s.ends_with(|c: char| c.is_ascii_digit() || c == 'm' || c == 'i') && !s.contains(['e', 'E', '.']) {
        return None;
    }
    let exact: Quantity = s.parse().ok()?;
    let mut rounded = exact.clone();
    rounded.round_up(steersman_apimachinery::quantity::scale::MILLI);
    (rounded != exact).then(|| rounded.to_string())
}
