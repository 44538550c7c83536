//! Which fields Go writes: the rules of `omitempty`, `omitzero`, pointers and struct values.

use serde_json::{Map, Value};
use steersman_schema::{Field, Kind, Presence, Type};

/// Deeper objects are refused: no type nests so far, and custom values have no use for it.
pub const MAX_DEPTH: usize = 256;

/// Whether Go leaves out this value of this field. Lists and maps without `omitempty` that are empty are left out here
/// too: [`complete`] writes them as `null`, which is what protobuf storage makes of them upstream.
pub fn is_dropped(field: &Field, value: &Value) -> bool {
    match field.presence {
        Presence::OmitEmpty | Presence::OmitZero => is_empty(value),
        Presence::Always => match value {
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty() && matches!(field.kind, Kind::Map(_)),
            Value::Null => true,
            _ => false,
        },
        Presence::Pointer | Presence::PointerAlways | Presence::Struct | Presence::OmitAbsent => value.is_null(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_i64() == Some(0) || n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}

/// Adds the fields that Go always writes.
pub fn complete(ty: &Type, object: &mut Map<String, Value>) {
    for at in ty.mandatory.iter() {
        let field = &ty.fields[usize::from(*at)];
        if !object.contains_key(&*field.name) {
            object.insert(field.name.clone().into_owned(), absent(field));
        }
    }
}

/// What Go writes for a field that it always writes and that was not given.
fn absent(field: &Field) -> Value {
    match (field.presence, &field.kind) {
        (Presence::PointerAlways, _) => Value::Null,
        (_, Kind::List(_) | Kind::WrappedList(_) | Kind::Map(_) | Kind::Bytes) => Value::Null,
        (_, kind) => zero(kind),
    }
}

/// Sets kind and version of the items that carry them (rule: `Convert_apps_StatefulSetSpec_To_v1_StatefulSetSpec`).
pub fn stamp(field: &Field, value: &mut Value) {
    let (Kind::List(item), Value::Array(items)) = (&field.kind, value) else { return };
    let Some(gvk) = item.object().and_then(|ty| ty.gvks.first()) else { return };
    for item in items.iter_mut().filter_map(Value::as_object_mut) {
        item.insert("kind".into(), Value::from(gvk.kind.as_ref()));
        item.insert("apiVersion".into(), Value::from(gvk.api_version()));
    }
}

/// Go's zero value of a kind, as it is written.
pub fn zero(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => Value::Bool(false),
        Kind::Int32 | Kind::Int64 | Kind::Float64 | Kind::IntOrString => Value::from(0),
        Kind::String | Kind::Bytes => Value::String(String::new()),
        Kind::Quantity => Value::from("0"),
        Kind::Duration => Value::from("0s"),
        Kind::Object(ty) => {
            let mut object = Map::new();
            complete(ty, &mut object);
            Value::Object(object)
        }
        Kind::Time
        | Kind::MicroTime
        | Kind::RawExtension
        | Kind::JsonAny
        | Kind::FieldsV1
        | Kind::List(_)
        | Kind::WrappedList(_)
        | Kind::Map(_)
        | Kind::SchemaOrArray(_)
        | Kind::SchemaOrBool(_)
        | Kind::SchemaOrStrings(_) => Value::Null,
    }
}

/// Merges a later value of a field that was given twice into the earlier one: Go decodes both into the same place, so
/// objects unite and everything else is replaced.
pub fn unite(earlier: Value, later: Value) -> Value {
    match (earlier, later) {
        (Value::Object(mut a), Value::Object(b)) => {
            for (key, value) in b {
                let value = match a.remove(&key) {
                    Some(old) => unite(old, value),
                    None => value,
                };
                a.insert(key, value);
            }
            Value::Object(a)
        }
        (_, later) => later,
    }
}
