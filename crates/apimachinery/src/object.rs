//! Reading and writing the metadata of a dynamic object (`serde_json::Value`).

use serde_json::{Map, Value};

/// How Go's JSON decoder calls what stands there.
pub fn json_type(v: &Value) -> &'static str {
    match v {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
/// The object at `path` (members only), if every step is there.
pub fn get<'a>(v: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(v, |v, p| v.get(*p))
}
/// The string at `path`, empty where there is none.
pub fn str<'a>(v: &'a Value, path: &[&str]) -> &'a str {
    get(v, path).and_then(Value::as_str).unwrap_or("")
}
/// The integer at `path`.
pub fn int(v: &Value, path: &[&str]) -> Option<i64> {
    get(v, path).and_then(Value::as_i64)
}
/// The boolean at `path`, false where there is none.
pub fn bool(v: &Value, path: &[&str]) -> bool {
    get(v, path).and_then(Value::as_bool).unwrap_or(false)
}
/// The list at `path`, empty where there is none.
pub fn list<'a>(v: &'a Value, path: &[&str]) -> &'a [Value] {
    get(v, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
/// The object `path` leads to, made on the way; a value that is no object is replaced by one.
pub fn entry<'a>(v: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut at = v;
    for p in path {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = match at {
            Value::Object(m) => m.entry(*p).or_insert_with(|| Value::Object(Map::new())),
            _ => unreachable!("made an object above"),
        };
    }
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    match at {
        Value::Object(m) => m,
        _ => unreachable!("made an object above"),
    }
}
/// Sets the value at `path`, making the objects on the way.
pub fn set(v: &mut Value, path: &[&str], value: impl Into<Value>) {
    let Some((last, parents)) = path.split_last() else { return };
    entry(v, parents).insert((*last).to_owned(), value.into());
}
/// Takes the value at `path` away.
pub fn remove(v: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let mut at = v;
    for p in parents {
        at = at.get_mut(*p)?;
    }
    at.as_object_mut()?.remove(*last)
}
macro_rules! meta {
    ($($(#[$doc:meta])* $fn:ident $key:literal),+ $(,)?) => { $($(#[$doc])* pub fn $fn(v: &Value) -> &str { str(v, &["metadata", $key]) })+ };
}
meta! {
    /// `metadata.name`.
    name "name",
    /// `metadata.namespace`.
    namespace "namespace",
    /// `metadata.uid`.
    uid "uid",
    /// `metadata.resourceVersion`.
    resource_version "resourceVersion",
    /// `metadata.generateName`.
    generate_name "generateName",
    /// `metadata.deletionTimestamp`, empty where it is not being deleted.
    deletion_timestamp "deletionTimestamp",
    /// `metadata.creationTimestamp`.
    creation_timestamp "creationTimestamp",
}
/// Whether the object is being deleted.
pub fn is_deleting(v: &Value) -> bool {
    !deletion_timestamp(v).is_empty()
}
/// `metadata.labels[key]`.
pub fn label<'a>(v: &'a Value, key: &str) -> Option<&'a str> {
    get(v, &["metadata", "labels", key]).and_then(Value::as_str)
}
/// `metadata.annotations[key]`.
pub fn annotation<'a>(v: &'a Value, key: &str) -> Option<&'a str> {
    get(v, &["metadata", "annotations", key]).and_then(Value::as_str)
}
/// `metadata.finalizers`.
pub fn finalizers(v: &Value) -> impl Iterator<Item = &str> {
    list(v, &["metadata", "finalizers"]).iter().filter_map(Value::as_str)
}
