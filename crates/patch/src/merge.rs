//! Merge patch: RFC 7386 as upstream applies it (rule: evanphx/json-patch v4 `MergePatch`).

use serde_json::{Map, Value};
use steersman_apimachinery::Status;
use steersman_apimachinery::object::json_type;

/// Checks a decoded body: an object, else a 400 in upstream's words.
pub fn check(patch: &Value) -> Result<(), Status> {
    let what = match patch {
        Value::Object(_) => return Ok(()),
        Value::Null => return Err(bad_patch()),
        other => json_type(other),
    };
    let message =
        format!("error decoding patch: json: cannot unmarshal {what} into Go value of type map[string]interface {{}}");
    Err(Status::bad_request(message))
}

/// What upstream says of a body that makes no merge patch.
pub fn bad_patch() -> Status {
    Status::bad_request("Invalid JSON Patch")
}

/// The same where fields are not validated: then upstream takes a list too, which replaces the whole document.
pub fn check_loosely(patch: &Value) -> Result<(), Status> {
    if patch.is_object() || patch.is_array() { Ok(()) } else { Err(bad_patch()) }
}

/// Merges the patch into the document: nulls delete, objects merge, everything else replaces.
pub fn apply(document: &mut Value, patch: Value) {
    match (document, patch) {
        (Value::Object(d), Value::Object(p)) => merge(d, p),
        (d, p) => *d = p,
    }
}

fn merge(doc: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, mut value) in patch {
        if value.is_null() {
            doc.remove(&key);
            continue;
        }
        match (doc.get_mut(&key), value) {
            (Some(Value::Object(d)), Value::Object(p)) => merge(d, p),
            // Over an object, anything else is taken as it is, nulls inside and all.
            (Some(d @ Value::Object(_)), v) => *d = v,
            (_, v) => {
                value = v;
                prune_nulls(&mut value);
                doc.insert(key, value);
            }
        }
    }
}

/// Nulls mean "delete", and there is nothing to delete in a value that is new; in lists they stay.
fn prune_nulls(v: &mut Value) {
    match v {
        Value::Object(m) => {
            m.retain(|_, v| !v.is_null());
            m.values_mut().for_each(prune_nulls);
        }
        Value::Array(a) => a.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn applies() {
        let check = |mut doc: Value, patch: Value, want: Value| {
            apply(&mut doc, patch.clone());
            assert_eq!(doc, want, "{patch}");
        };
        check(json!({"a": {"b": 1}}), json!({"a": {"c": 2}}), json!({"a": {"b": 1, "c": 2}}));
        check(json!({"a": {"b": 1}}), json!({"a": {"b": null}}), json!({"a": {}}));
        check(json!({"a": [1]}), json!({"a": [2]}), json!({"a": [2]}));
        check(json!({}), json!({"a": {"b": null, "c": [null, {"d": null}]}}), json!({"a": {"c": [null, {}]}}));
        check(json!({"a": {}}), json!({"a": [{"d": null}]}), json!({"a": [{"d": null}]}));
    }

    #[test]
    fn refuses_what_is_no_object() {
        assert_eq!(check(&Value::Null).unwrap_err().message, "Invalid JSON Patch");
        assert_eq!(check_loosely(&json!("x")).unwrap_err().message, "Invalid JSON Patch");
        assert!(check_loosely(&json!([])).is_ok());
        assert!(
            check(&json!([])).unwrap_err().message.ends_with("array into Go value of type map[string]interface {}")
        );
    }
}
