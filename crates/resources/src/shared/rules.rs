//! Rules that workloads, jobs and budgets have in common.

use serde_json::Value;
use steersman_apimachinery::field::{ErrorType, FieldError};
use steersman_apimachinery::selector::LabelSelector;
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// The member `key` of `obj` is not negative, where it is there.
pub fn not_negative(e: &mut ErrorList, obj: &Value, key: &str, at: &Path) {
    if let Some(n) = object::int(obj, &[key]).filter(|n| *n < 0) {
        validation::nonnegative(e, n, &at.child(key));
    }
}

/// None of the members is negative.
pub fn none_negative(e: &mut ErrorList, obj: &Value, keys: &[&str], at: &Path) {
    for key in keys {
        not_negative(e, obj, key, at);
    }
}

/// `Invalid value: <detail>`, of a mistake that no single value shows.
pub fn invalid_as_a_whole(e: &mut ErrorList, at: &Path, detail: &str) {
    e.0.push(FieldError { field: at.clone(), kind: ErrorType::Invalid, body: format!("Invalid value: {detail}") });
}

/// Whether a selector picks the labels of a template; a missing one picks nothing, one that is no good is passed over.
pub fn selects(selector: Option<&Value>, template: &Value) -> bool {
    let labels = object::get(template, &["metadata", "labels"]);
    LabelSelector::from_object(selector).map_or(true, |s| s.matches_map(labels))
}

/// The mistake of a template whose labels the selector does not pick.
pub fn does_not_match(e: &mut ErrorList, template: &Value, at: &Path) {
    let labels = object::get(template, &["metadata", "labels"]).unwrap_or(&Value::Null);
    e.invalid(&at.child("metadata").child("labels"), labels, "`selector` does not match template `labels`");
}

/// A counter that may not go down.
pub fn not_decremented(e: &mut ErrorList, new: &Value, old: &Value, key: &str, at: &Path) {
    let of = |v: &Value| object::int(v, &[key]);
    let (is, was) = (of(new), of(old));
    let decremented = match (is, was) {
        (None, Some(_)) => true,
        (Some(n), Some(o)) => n < o,
        _ => false,
    };
    if decremented {
        e.invalid(&at.child(key), is.unwrap_or(0), "cannot be decremented");
    }
}

/// A number that is not negative, or a percentage.
pub fn int_or_percent(e: &mut ErrorList, v: &Value, at: &Path) {
    match v {
        Value::String(s) => {
            for m in validation::percent(s) {
                e.invalid(at, v, m);
            }
        }
        v => validation::nonnegative(e, v.as_i64().unwrap_or(0), at),
    }
}

fn percentage(v: &Value) -> Option<i64> {
    let s = v.as_str()?;
    if validation::percent(s).is_empty() { s.trim_end_matches('%').parse().ok() } else { None }
}

/// The number, or the number before the percent sign; 0 for anything else.
pub fn int_or_percent_value(v: &Value) -> i64 {
    percentage(v).or_else(|| v.as_i64()).or_else(|| v.as_str()?.parse().ok()).unwrap_or(0)
}

/// A percentage is not more than 100.
pub fn at_most_100_percent(e: &mut ErrorList, v: &Value, at: &Path) {
    if percentage(v).is_some_and(|p| p > 100) {
        e.invalid(at, v, "must not be greater than 100%");
    }
}

/// Two members that count as equal: both absent or empty, or the same.
pub fn unchanged(new: &Value, old: &Value, key: &str) -> bool {
    crate::common::same(new, old, &[key])
}

/// Finalizers without a domain are those of the system.
pub fn known_finalizers(e: &mut ErrorList, obj: &Value) {
    e.extend(validation::known_finalizers(obj));
}
