//! What tells the elements of a list apart.

use super::shape::Relation;
use serde_json::{Map, Value};
use steersman_schema::{Kind, Presence, Type};

/// Defaults of key fields that objects may leave out; besides these, a field that Go always writes counts as empty.
const KEY_DEFAULTS: &[(&str, &str, &str)] = &[
    ("io.k8s.api.core.v1.ContainerPort", "protocol", "TCP"),
    ("io.k8s.api.core.v1.ServicePort", "protocol", "TCP"),
    ("io.k8s.api.core.v1.LocalObjectReference", "name", ""),
];

/// The step that leads to an element (`k:{"name":"a"}`, `v:"a"`), or why there is none.
pub(super) fn step(item: &Kind, relation: Relation<'_>, element: &Value) -> Result<String, String> {
    match relation {
        Relation::Atomic => Err("invalid indexing of non-associative list".to_owned()),
        Relation::Set => match element {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
            scalar => Ok(format!("v:{scalar}")),
        },
        Relation::Keyed(keys) => {
            let object = match element {
                Value::Object(m) => m,
                Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
                _ => return Err("associative list with keys may not have non-map elements".to_owned()),
            };
            let mut found = Map::new();
            for key in keys {
                let value = match object.get(&**key) {
                    Some(v) => v.clone(),
                    None => item.object().and_then(|ty| default_of(ty, key)).ok_or_else(|| {
                        format!(
                            "associative list with keys has an element that omits key field \"{key}\" (and doesn't have default value)"
                        )
                    })?,
                };
                found.insert(key.to_string(), value);
            }
            Ok(format!("k:{}", Value::Object(found)))
        }
    }
}

fn default_of(ty: &Type, key: &str) -> Option<Value> {
    if let Some((_, _, default)) = KEY_DEFAULTS.iter().find(|(t, k, _)| *t == ty.name && *k == key) {
        return Some(Value::from(*default));
    }
    let field = ty.field(key).filter(|f| f.presence == Presence::Always)?;
    match field.kind {
        Kind::String => Some(Value::from("")),
        Kind::Int32 | Kind::Int64 => Some(Value::from(0)),
        Kind::Bool => Some(Value::from(false)),
        _ => None,
    }
}
