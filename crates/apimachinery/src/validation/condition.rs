//! Conditions and the options that validation of metadata shares (rule: apimachinery `pkg/apis/meta/v1/validation`).

use super::names::{label_key, regex_error};
use crate::field::{ErrorList, Path};
use crate::object;
use serde_json::Value;

/// A list of `metav1.Condition` objects: types once each, known statuses, times, reasons and lengths.
pub fn conditions(errors: &mut ErrorList, list: &[Value], path: &Path) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, c) in list.iter().enumerate() {
        let at = path.index(i);
        let kind = object::str(c, &["type"]);
        if seen.contains(&kind) {
            errors.duplicate(&at.child("type"), kind);
        } else {
            seen.push(kind);
        }
        for m in label_key(kind) {
            errors.invalid(&at.child("type"), kind, m);
        }
        let status = object::str(c, &["status"]);
        if !["True", "False", "Unknown"].contains(&status) {
            errors.not_supported(&at.child("status"), status, &["True", "False", "Unknown"]);
        }
        let generation = object::int(c, &["observedGeneration"]).unwrap_or(0);
        if generation < 0 {
            errors.invalid(&at.child("observedGeneration"), generation, "must be greater than or equal to zero");
        }
        if object::str(c, &["lastTransitionTime"]).is_empty() {
            errors.required(&at.child("lastTransitionTime"), "");
        }
        reason(errors, object::str(c, &["reason"]), &at.child("reason"));
        if object::str(c, &["message"]).len() > 32 * 1024 {
            errors.too_long(&at.child("message"), 32 * 1024);
        }
    }
}

fn reason(errors: &mut ErrorList, reason: &str, path: &Path) {
    if reason.is_empty() {
        return errors.required(path, "");
    }
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let b = reason.as_bytes();
    let fits = b[0].is_ascii_alphabetic()
        && b.last().is_some_and(|&c| word(c))
        && b.iter().all(|&c| word(c) || c == b',' || c == b':');
    if !fits {
        let words = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
        let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
        errors.invalid(path, reason, regex_error(words, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &examples));
    }
    if reason.len() > 1024 {
        errors.too_long(path, 1024);
    }
}

/// `dryRun` may hold nothing but `All` (rule: `ValidateDryRun`).
pub fn dry_run(errors: &mut ErrorList, values: &[&str], path: &Path) {
    if values.iter().any(|v| *v != "All") {
        errors.not_supported(path, Value::from(values.to_vec()), &["All"]);
    }
}
