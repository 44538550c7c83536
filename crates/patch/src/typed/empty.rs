//! The object that Go makes of nothing: what a create is compared with.

use serde_json::{Map, Value};
use steersman_schema::{Kind, Presence, Ref, Type};

/// An empty object of a type as Go writes it: structs are there, lists and maps that are always written are null. A
/// custom resource begins with nothing.
pub(crate) fn empty_object(ty: &Type) -> Value {
    let mut out = Map::new();
    for field in ty.fields.iter() {
        let value = match (field.presence, &field.kind) {
            (Presence::Struct, Kind::Object(Ref::Static(ty))) => empty_object(ty),
            (Presence::Struct, Kind::Object(Ref::Shared(_))) => continue,
            (Presence::Struct, _) => Value::Object(Map::new()),
            (Presence::PointerAlways, _) => Value::Null,
            (Presence::Always, kind) => match kind {
                Kind::String | Kind::Bytes => Value::from(""),
                Kind::Int32 | Kind::Int64 | Kind::IntOrString => Value::from(0),
                Kind::Float64 => Value::from(0),
                Kind::Bool => Value::from(false),
                Kind::Quantity => Value::from("0"),
                Kind::Object(ty) => empty_object(ty),
                _ => Value::Null,
            },
            (Presence::OmitEmpty | Presence::OmitAbsent | Presence::Pointer | Presence::OmitZero, _) => continue,
        };
        out.insert(field.name.to_string(), value);
    }
    Value::Object(out)
}
