//! Checks of single values that many kinds need, in upstream's words (rule: `pkg/apis/core/validation`).

use crate::fields::Fields;
use serde_json::Value;
use steersman_apimachinery::field::{ErrorType, FieldError, Shown, go_quote};
use steersman_apimachinery::{ErrorList, Path, validation};

/// What an unchangeable field says.
pub const IMMUTABLE: &str = "field is immutable";

/// One Invalid for each message.
pub fn invalid_each(errors: &mut ErrorList, path: &Path, value: &str, messages: Vec<String>) {
    for m in messages {
        errors.invalid(path, value, m);
    }
}

/// A DNS-1123 subdomain.
pub fn subdomain(errors: &mut ErrorList, path: &Path, value: &str) {
    invalid_each(errors, path, value, validation::dns_subdomain(value, false));
}

/// A DNS-1123 label.
pub fn label(errors: &mut ErrorList, path: &Path, value: &str) {
    invalid_each(errors, path, value, validation::dns_label(value, false));
}

/// A qualified name, such as a label key.
pub fn qualified_name(errors: &mut ErrorList, path: &Path, value: &str) {
    invalid_each(errors, path, value, validation::qualified_name(value));
}

/// The value of a label.
pub fn label_value(errors: &mut ErrorList, path: &Path, value: &str) {
    invalid_each(errors, path, value, validation::label_value(value));
}

/// A map of labels.
pub fn labels(errors: &mut ErrorList, path: &Path, map: &Value) {
    validation::labels(errors, Some(map), path);
}

/// A label selector.
pub fn label_selector(errors: &mut ErrorList, path: &Path, selector: Option<&Value>) {
    validation::label_selector(errors, selector, true, path);
}

/// A selector of nodes by labels and fields (rule: core `ValidateNodeSelector`).
pub fn node_selector(errors: &mut ErrorList, path: &Path, selector: &Value) {
    let terms = path.child("nodeSelectorTerms");
    if selector.items("nodeSelectorTerms").is_empty() {
        errors.required(&terms, "must have at least one node selector term");
        return;
    }
    for (i, term) in selector.items("nodeSelectorTerms").iter().enumerate() {
        node_selector_term(errors, &terms.index(i), term);
    }
}

/// One term of a node selector.
pub fn node_selector_term(errors: &mut ErrorList, path: &Path, term: &Value) {
    for (j, r) in term.items("matchExpressions").iter().enumerate() {
        let p = path.child("matchExpressions").index(j);
        let values = r.strings("values");
        match r.s("operator") {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(&p.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.forbidden(
                    &p.child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            "Gt" | "Lt" if values.len() != 1 => {
                errors.required(&p.child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.invalid(&p.child("operator"), other, "not a valid selector operator"),
        }
        qualified_name(errors, &p.child("key"), r.s("key"));
        for (k, v) in values.iter().enumerate() {
            label_value(errors, &p.child("values").index(k), v);
        }
    }
    for (j, r) in term.items("matchFields").iter().enumerate() {
        let p = path.child("matchFields").index(j);
        let values = r.strings("values");
        match r.s("operator") {
            "In" | "NotIn" => {
                if values.len() != 1 {
                    errors.required(
                        &p.child("values"),
                        "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                    );
                }
            }
            other => errors.invalid(&p.child("operator"), other, "not a valid selector operator"),
        }
        if r.s("key") == "metadata.name" {
            for (k, v) in values.iter().enumerate() {
                subdomain(errors, &p.child("values").index(k), v);
            }
        } else {
            errors.invalid(&p.child("key"), r.s("key"), "not a valid field selector key");
        }
    }
}

/// A port number.
pub fn port_number(errors: &mut ErrorList, path: &Path, port: i64) {
    if !(1..=65535).contains(&port) {
        errors.invalid(path, port, "must be between 1 and 65535, inclusive");
    }
}

/// A port by number or by name.
pub fn port_number_or_name(errors: &mut ErrorList, path: &Path, port: &Value) {
    match port {
        Value::String(name) => invalid_each(errors, path, name, validation::port_name(name)),
        other => port_number(errors, path, other.as_i64().unwrap_or_default()),
    }
}

/// A name that stands in a path.
pub fn path_segment(errors: &mut ErrorList, path: &Path, name: &str) {
    invalid_each(errors, path, name, path_segment_messages(name));
}

/// What is wrong with a name that stands in a path (rule: apimachinery `pkg/api/validation/path`).
pub fn path_segment_messages(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"].iter().filter(|c| name.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// What is wrong with the beginning of such a name.
pub fn path_segment_prefix_messages(name: &str) -> Vec<String> {
    ["/", "%"].iter().filter(|c| name.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// `Unsupported value: <value>: supported values: ...` in the order given.
pub fn not_supported_in_order(errors: &mut ErrorList, path: &Path, value: impl Shown, supported: &[&str]) {
    let list: Vec<String> = supported.iter().map(|v| go_quote(v)).collect();
    errors.0.push(FieldError {
        field: path.clone(),
        kind: ErrorType::NotSupported,
        body: format!("Unsupported value: {}: supported values: {}", value.shown(), list.join(", ")),
    });
}

/// `Duplicate value: <value>: <detail>`.
pub fn duplicate_because(errors: &mut ErrorList, path: &Path, value: impl Shown, detail: &str) {
    errors.0.push(FieldError {
        field: path.clone(),
        kind: ErrorType::Duplicate,
        body: format!("Duplicate value: {}: {detail}", value.shown()),
    });
}

/// One of a fixed set (listed sorted in the message); `required` says whether it may be empty.
pub fn one_of(errors: &mut ErrorList, path: &Path, value: &str, supported: &[&str]) {
    if !supported.contains(&value) {
        errors.not_supported(path, value, supported);
    }
}

/// A field that may not change.
pub fn immutable(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) {
    if !same_or_both_empty(new, old) {
        errors.invalid(path, new, IMMUTABLE);
    }
}

/// A field that may not change, where the message shows a value of another form (Go's internal struct).
pub fn immutable_shown(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value, shown: impl Shown) {
    if !same_or_both_empty(new, old) {
        errors.invalid(path, shown, IMMUTABLE);
    }
}

/// Equal, where absent, null and empty are the same.
pub fn same_or_both_empty(a: &Value, b: &Value) -> bool {
    let empty = |v: &Value| match v {
        Value::Null => true,
        Value::Array(x) => x.is_empty(),
        Value::Object(x) => x.is_empty(),
        Value::String(x) => x.is_empty(),
        _ => false,
    };
    a == b || (empty(a) && empty(b))
}

/// A value that must not be negative.
pub fn not_negative(errors: &mut ErrorList, path: &Path, value: i64) {
    if value < 0 {
        errors.invalid(path, value, "must be greater than or equal to 0");
    }
}

/// JSON text that is written into a message as it is.
pub struct Raw(pub String);

impl Shown for Raw {
    fn shown(&self) -> String {
        self.0.clone()
    }
}
