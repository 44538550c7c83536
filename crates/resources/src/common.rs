//! What strategies of many resources do alike: carry fields over, count generations, list a status subresource.

use crate::GET_PATCH_UPDATE;
use serde_json::Value;
use steersman_apimachinery::object;
use steersman_registry::{Column, Strategy, SubBehaviour, Subresource};

/// The category of kinds that extend the API.
pub const API_EXTENSIONS: &[&str] = &["api-extensions"];

/// A subresource that reads and writes its parent under a strategy of its own.
pub const fn object_subresource(name: &'static str, strategy: &'static dyn Strategy) -> Subresource {
    Subresource { name, kind: ("", "", ""), verbs: GET_PATCH_UPDATE, behaviour: SubBehaviour::Object(strategy) }
}

/// Makes the field at `path` of `new` what it is in `old`, absent where it is absent there.
pub fn carry_over(new: &mut Value, old: &Value, path: &[&str]) {
    match object::get(old, path) {
        Some(v) => object::set(new, path, v.clone()),
        None => {
            object::remove(new, path);
        }
    }
}

/// Whether the field at `path` is equal in both; absent, null and empty count as the same.
pub fn same(a: &Value, b: &Value, path: &[&str]) -> bool {
    let (x, y) = (object::get(a, path), object::get(b, path));
    x == y || (x.is_none_or(is_empty) && y.is_none_or(is_empty))
}

fn is_empty(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Array(a) => a.is_empty(),
        Value::Object(m) => m.is_empty(),
        _ => false,
    }
}

/// `metadata.generation = 1`, for new objects.
pub fn first_generation(obj: &mut Value) {
    object::set(obj, &["metadata", "generation"], 1);
}

/// One more than `old`'s generation where `changed`, else the same.
pub fn next_generation(new: &mut Value, old: &Value, changed: bool) {
    let was = object::get(old, &["metadata", "generation"]).and_then(Value::as_i64).unwrap_or(0);
    let is = was + i64::from(changed);
    if is == 0 {
        object::remove(new, &["metadata", "generation"]);
    } else {
        object::set(new, &["metadata", "generation"], is);
    }
}

/// Sets the string at `path` where it is absent or empty.
pub fn default_str(obj: &mut Value, path: &[&str], value: &str) {
    if object::str(obj, path).is_empty() {
        object::set(obj, path, value);
    }
}

/// Sets the value at `path` where it is absent or null.
pub fn default_value(obj: &mut Value, path: &[&str], value: impl Into<Value>) {
    if object::get(obj, path).is_none_or(Value::is_null) {
        object::set(obj, path, value);
    }
}

/// A column that is always shown.
pub const fn column(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, format: "", description, priority: 0 }
}

/// A column of `-o wide` only.
pub const fn wide(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column { name, kind, format: "", description, priority: 1 }
}

/// The first column of all Tables.
pub const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
    priority: 0,
};
const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
/// How long ago the object was made.
pub const AGE: Column = column("Age", "string", CREATED);
/// When the object was made, for kinds without columns of their own.
pub const CREATED_AT: Column = column("Created At", "date", CREATED);

/// The cell of [`AGE`].
pub fn age_cell(obj: &Value, now: jiff::Timestamp) -> Value {
    steersman_registry::age(object::creation_timestamp(obj), now).into()
}

/// The cells of a kind with the columns [`NAME`] and [`CREATED_AT`].
pub fn name_and_created(obj: &Value) -> Vec<Value> {
    vec![object::name(obj).into(), object::creation_timestamp(obj).into()]
}

/// Lets a status update change nothing of the metadata (rule: apimachinery `ResetObjectMetaForStatus`).
pub fn keep_metadata(new: &mut Value, old: &Value) {
    for field in ["labels", "annotations", "finalizers", "ownerReferences", "generation", "deletionTimestamp"] {
        carry_over(new, old, &["metadata", field]);
    }
}
