//! JSON patch: RFC 6902 as upstream applies it (rule: apiserver `handlers/patch.go`, evanphx/json-patch v4).
//!
//! It differs from the RFC: `replace` and `copy` take a missing member of an object for null, `test` of a missing
//! member against null passes, and negative indices count from the end of a list.

use serde_json::{Map, Value};
use steersman_apimachinery::object::json_type;
use steersman_apimachinery::status::Details;
use steersman_apimachinery::{Reason, Status};

/// The most operations that a patch may have.
pub const MAX_OPERATIONS: usize = 10_000;
/// The most bytes that all copies of a patch may copy.
pub const MAX_COPIED_BYTES: usize = 3 << 20;

/// A patch that was decoded and is of lawful size.
#[derive(Clone, Debug)]
pub struct Patch {
    operations: Vec<Map<String, Value>>,
}

impl Patch {
    /// From the decoded body. A body that is no list of operations is a 400, one of too many operations a 413.
    pub fn from_value(body: Value) -> Result<Self, Status> {
        let bad = |what: &str, go: &str| {
            Status::bad_request(format!("error decoding patch: json: cannot unmarshal {what} into Go {go}"))
        };
        let Value::Array(list) = body else {
            return match body {
                // Go decodes null to an empty list.
                Value::Null => Ok(Self { operations: Vec::new() }),
                other => Err(bad(json_type(&other), "value of type []handlers.jsonPatchOp")),
            };
        };
        let mut operations = Vec::with_capacity(list.len());
        for item in list {
            match item {
                Value::Object(op) => {
                    for key in ["op", "path", "from"] {
                        if let Some(v) = op.get(key).filter(|v| !v.is_string() && !v.is_null()) {
                            let go = format!("struct field jsonPatchOp.{key} of type string");
                            return Err(bad(json_type(v), &go));
                        }
                    }
                    operations.push(op);
                }
                Value::Null => operations.push(Map::new()),
                other => return Err(bad(json_type(&other), "value of type handlers.jsonPatchOp")),
            }
        }
        Self::of_lawful_size(operations)
    }

    /// The same where fields are not validated: a library's own decoder then reads the body, which looks into no
    /// operation and words its errors otherwise.
    pub fn from_unchecked(body: Value) -> Result<Self, Status> {
        let bad = |what: &Value, go: &str| {
            let what = json_type(what);
            Status::bad_request(format!("json: cannot unmarshal {what} into Go value of type jsonpatch.{go}"))
        };
        let operations = match body {
            Value::Null => Vec::new(),
            Value::Array(list) => list
                .into_iter()
                .map(|item| match item {
                    Value::Object(op) => Ok(op),
                    Value::Null => Ok(Map::new()),
                    other => Err(bad(&other, "Operation")),
                })
                .collect::<Result<_, _>>()?,
            other => return Err(bad(&other, "Patch")),
        };
        Self::of_lawful_size(operations)
    }

    fn of_lawful_size(operations: Vec<Map<String, Value>>) -> Result<Self, Status> {
        if operations.len() > MAX_OPERATIONS {
            let (max, got) = (MAX_OPERATIONS, operations.len());
            let message = format!("The allowed maximum operations in a JSON patch is {max}, got {got}");
            return Err(Status::too_large(message));
        }
        Ok(Self { operations })
    }

    /// What strict field validation has against it, each as `json patch unknown field "[0].x"`.
    pub fn unknown_fields(&self) -> Vec<String> {
        let known = |k: &str| matches!(k, "op" | "path" | "from" | "value");
        let ops = self.operations.iter().enumerate();
        ops.flat_map(|(i, op)| op.keys().filter(|k| !known(k)).map(move |k| (i, k)))
            .map(|(i, k)| format!("json patch unknown field \"[{i}].{k}\""))
            .collect()
    }

    /// Applies all operations, or none: any failure is upstream's 422, which names no cause.
    pub fn apply(&self, document: &Value) -> Result<Value, Status> {
        let mut out = document.clone();
        let mut copied = 0;
        for op in &self.operations {
            run(&mut out, op, &mut copied).ok_or_else(rejected)?;
        }
        Ok(out)
    }
}

fn rejected() -> Status {
    let message = "the server rejected our request due to an error in our request";
    Status::failure(422, Reason::Invalid, message).with_details(Details::default())
}

/// `None`: the operation does not apply.
fn run(doc: &mut Value, op: &Map<String, Value>, copied: &mut usize) -> Option<()> {
    let path = op.get("path").and_then(Value::as_str)?;
    let from = || op.get("from").and_then(Value::as_str);
    let value = op.get("value").cloned().unwrap_or(Value::Null);
    match op.get("op").and_then(Value::as_str)? {
        "add" => add(doc, path, value),
        "remove" => remove(doc, path).map(drop),
        "replace" => {
            let (parent, key) = find(doc, path)?;
            match parent {
                Value::Object(m) => drop(m.insert(key, value)),
                Value::Array(a) => {
                    let i = index(&key, a.len(), a.len())?;
                    *a.get_mut(i)? = value;
                }
                _ => return None,
            }
            Some(())
        }
        "move" => {
            let moved = remove(doc, from()?)?;
            add(doc, path, moved)
        }
        "copy" => {
            let source = get(doc, from()?)?;
            if !source.is_null() {
                *copied += serde_json::to_vec(&source).map_or(0, |b| b.len());
            }
            if *copied > MAX_COPIED_BYTES {
                return None;
            }
            add(doc, path, source)
        }
        "test" => (get(doc, path)? == value).then_some(()),
        _ => None,
    }
}

/// The value at a path: null where an object has no such member.
fn get(doc: &mut Value, path: &str) -> Option<Value> {
    let (parent, key) = find(doc, path)?;
    match parent {
        Value::Object(m) => Some(m.get(&key).cloned().unwrap_or(Value::Null)),
        Value::Array(a) => a.get(index(&key, a.len(), a.len())?).cloned(),
        _ => None,
    }
}

fn add(doc: &mut Value, path: &str, value: Value) -> Option<()> {
    let (parent, key) = find(doc, path)?;
    match parent {
        Value::Object(m) => drop(m.insert(key, value)),
        Value::Array(a) if key == "-" => a.push(value),
        Value::Array(a) => {
            let i = index(&key, a.len() + 1, a.len() + 1)?;
            a.insert(i, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(doc: &mut Value, path: &str) -> Option<Value> {
    let (parent, key) = find(doc, path)?;
    match parent {
        Value::Object(m) => m.remove(&key),
        Value::Array(a) => {
            let i = index(&key, a.len(), a.len())?;
            Some(a.remove(i))
        }
        _ => None,
    }
}

/// The container that the path's last step leads into, and that step. What stands before the first slash is ignored.
fn find<'a>(doc: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (_, steps) = path.split_once('/')?;
    let (parents, last) = steps.rsplit_once('/').map_or((None, steps), |(p, l)| (Some(p), l));
    let mut at = doc;
    for step in parents.into_iter().flat_map(|p| p.split('/')) {
        let step = unescape(step);
        at = match at {
            Value::Object(m) => m.get_mut(&step)?,
            Value::Array(a) => {
                let i = index(&step, a.len(), a.len())?;
                &mut a[i]
            }
            _ => return None,
        };
    }
    Some((at, unescape(last)))
}

fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// A list's index below `limit`; a negative one counts from `len`.
fn index(key: &str, len: usize, limit: usize) -> Option<usize> {
    let i: i64 = key.parse().ok()?;
    let i = if i < 0 { i + i64::try_from(len).ok()? } else { i };
    usize::try_from(i).ok().filter(|i| *i < limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(doc: Value, patch: Value, want: Option<Value>) {
        let got = Patch::from_value(patch.clone()).and_then(|p| p.apply(&doc));
        assert_eq!(got.ok(), want, "{patch}");
    }

    #[test]
    fn applies() {
        let doc = || json!({"data": {"a": "1", "b": "2"}, "l": [1, 2, 3], "x/y": 1});
        let one = |op: Value| json!([op]);
        check(
            doc(),
            one(json!({"op": "add", "path": "/data/c", "value": 3})),
            Some(json!({"data": {"a": "1", "b": "2", "c": 3}, "l": [1, 2, 3], "x/y": 1})),
        );
        check(json!({"l": [1]}), one(json!({"op": "add", "path": "/l/-", "value": 2})), Some(json!({"l": [1, 2]})));
        check(
            json!({"l": [1, 2]}),
            one(json!({"op": "add", "path": "/l/-1", "value": 3})),
            Some(json!({"l": [1, 2, 3]})),
        );
        check(
            json!({"l": [1, 2]}),
            one(json!({"op": "replace", "path": "/l/-1", "value": 3})),
            Some(json!({"l": [1, 3]})),
        );
        check(json!({"l": [1, 2]}), one(json!({"op": "remove", "path": "/l/2"})), None);
        check(json!({"x/y": 1}), one(json!({"op": "remove", "path": "/x~1y"})), Some(json!({})));
        check(json!({"a": 1}), one(json!({"op": "move", "from": "/a", "path": "/b"})), Some(json!({"b": 1})));
        check(json!({}), one(json!({"op": "move", "from": "/a", "path": "/b"})), None);
        check(json!({}), one(json!({"op": "copy", "from": "/a", "path": "/b"})), Some(json!({"b": null})));
        check(json!({}), one(json!({"op": "replace", "path": "data/a", "value": 1})), Some(json!({"a": 1})));
        check(json!({}), one(json!({"op": "test", "path": "/a", "value": "x"})), None);
        check(json!({}), one(json!({"op": "test", "path": "/a", "value": null})), Some(json!({})));
        check(json!({}), one(json!({"op": "add", "path": "/a/b", "value": 1})), None);
        check(json!({}), one(json!({"op": "add", "value": 1})), None);
        check(json!({}), one(json!({"op": "frob", "path": "/a"})), None);
    }

    #[test]
    fn refuses_what_is_no_patch() {
        let err = Patch::from_value(json!({"op": "add"})).unwrap_err();
        assert_eq!(
            err.message,
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        );
        let loose = |body: Value| Patch::from_unchecked(body).unwrap_err().message;
        assert_eq!(loose(json!({})), "json: cannot unmarshal object into Go value of type jsonpatch.Patch");
        assert_eq!(loose(json!([1])), "json: cannot unmarshal number into Go value of type jsonpatch.Operation");
        assert!(Patch::from_unchecked(json!([{"op": 1}])).is_ok());
        assert_eq!(Patch::from_value(Value::Array(vec![json!({}); MAX_OPERATIONS + 1])).unwrap_err().code, 413);
        let big = json!({"a": "x".repeat(1 << 20)});
        let copies = json!([{"op": "copy", "from": "/a", "path": "/b"}, {"op": "copy", "from": "/a", "path": "/c"}, {"op": "copy", "from": "/a", "path": "/d"}]);
        check(big, copies, None);
        let unknown = Patch::from_value(json!([{"op": "test", "frob": 1}])).unwrap().unknown_fields();
        assert_eq!(unknown, ["json patch unknown field \"[0].frob\""]);
    }
}
