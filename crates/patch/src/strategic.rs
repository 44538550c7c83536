//! Strategic merge patch (rule: apimachinery `pkg/util/strategicpatch`).
//!
//! Objects merge; lists are replaced unless the type says that they merge, by a key or as a set of scalars. Directives
//! (`$patch`, `$retainKeys`, `$setElementOrder/<list>`, `$deleteFromPrimitiveList/<list>`) say otherwise.

mod lists;

use crate::go;
use lists::merge_list;
use serde_json::{Map, Value};
use steersman_apimachinery::object::json_type;
use steersman_apimachinery::{Reason, Status};
use steersman_schema::{Field, Kind, Type};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ELEMENT_ORDER: &str = "$setElementOrder";
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList";

type Object = Map<String, Value>;

/// Checks a decoded body: an object, else a 400 in upstream's words.
pub fn check(patch: &Value) -> Result<(), Status> {
    let what = match patch {
        Value::Object(_) | Value::Null => return Ok(()),
        other => json_type(other),
    };
    let message = format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}");
    Err(Status::bad_request(message))
}

/// Merges the patch into the document, an object of type `ty`.
pub fn apply(document: Value, patch: Value, ty: &Type) -> Result<Value, Status> {
    let object = |v| match v {
        Value::Object(m) => m,
        _ => Object::new(),
    };
    Ok(Value::Object(merge_map(object(document), object(patch), Place::Struct(ty))?))
}

/// Where in the type a value stands.
#[derive(Clone, Copy)]
enum Place<'a> {
    Struct(&'a Type),
    /// A map, or something that the type does not describe further.
    Other,
}

impl<'a> Place<'a> {
    fn of(kind: &'a Kind) -> Self {
        kind.object().map_or(Self::Other, |t| Self::Struct(t))
    }
    /// The field a key stands for; as Go does, in any case of its letters where the exact name is not there.
    fn field(self, key: &str, what: &str) -> Result<&'a Field, Status> {
        let Self::Struct(ty) = self else {
            return Err(plain(format!("merging an {what} in json but data type is not struct, instead is: map")));
        };
        let found = ty.field(key).or_else(|| ty.fields.iter().find(|f| f.name.eq_ignore_ascii_case(key)));
        found.ok_or_else(|| {
            plain(format!("unable to find api field in struct {} for the json field \"{key}\"", ty.short_name()))
        })
    }
}

/// An error that upstream answers with as it is: a 500 without a reason.
fn plain(message: impl Into<String>) -> Status {
    Status::failure(500, Reason::Unknown, message)
}
fn bad_primitive_list() -> Status {
    Status::bad_request("invalid patch format of primitive list")
}
fn bad_retain_keys() -> Status {
    Status::bad_request("invalid patch format of retainKeys")
}
fn bad_element_order() -> Status {
    Status::bad_request("invalid patch format of setElementOrder list")
}
fn bad_type(want: &str, got: &Value) -> Status {
    plain(format!("expected a {want}, but received a {}", go::type_name(got)))
}
fn bad_directive(directive: &Value, map: &Object) -> Status {
    let map = go::print(&Value::Object(map.clone()));
    plain(format!("unknown patch type: {} in map: {map}", go::print(directive)))
}

fn merge_map(mut original: Object, mut patch: Object, place: Place) -> Result<Object, Status> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(bad_directive(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    lists::merge_ordered(&mut original, &mut patch, place)?;
    for (key, value) in patch {
        let deletes = key.starts_with(DELETE_FROM_PRIMITIVE_LIST);
        let key = if deletes {
            directive_target(&key, DELETE_FROM_PRIMITIVE_LIST).ok_or_else(bad_primitive_list)?.to_owned()
        } else {
            key
        };
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        match (original.get_mut(&key), value) {
            (Some(Value::Object(o)), Value::Object(p)) => {
                let field = place.field(&key, "object")?;
                let merged =
                    if field.strategy.replace { p } else { merge_map(std::mem::take(o), p, Place::of(&field.kind))? };
                *o = merged;
            }
            (Some(Value::Array(o)), Value::Array(p)) => {
                let field = place.field(&key, "array")?;
                *o = merge_list(std::mem::take(o), p, field, deletes)?;
            }
            (_, _) if deletes => {}
            (_, mut value) => {
                discard_nulls(&mut value);
                match without_directives(value) {
                    Some(v) => drop(original.insert(key, v)),
                    None => drop(original.remove(&key)),
                }
            }
        }
    }
    Ok(original)
}

/// `finalizers` of `$setElementOrder/finalizers`.
fn directive_target<'a>(key: &'a str, directive: &str) -> Option<&'a str> {
    key.strip_prefix(directive)?.strip_prefix('/')
}

/// Takes away what `$retainKeys` does not list; the patch itself may only hold what it lists.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), Status> {
    let Some(list) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(list) = list else { return Err(bad_retain_keys()) };
    let listed = |k: &str| list.iter().any(|v| v.as_str() == Some(k));
    let directive = |k: &str| k.starts_with(DELETE_FROM_PRIMITIVE_LIST) || k.starts_with(SET_ELEMENT_ORDER);
    if patch.iter().any(|(k, v)| !v.is_null() && !directive(k) && !listed(k)) {
        return Err(bad_retain_keys());
    }
    original.retain(|k, _| listed(k));
    Ok(())
}

fn discard_nulls(v: &mut Value) {
    match v {
        Value::Object(m) => {
            m.retain(|_, v| !v.is_null());
            m.values_mut().for_each(discard_nulls);
        }
        Value::Array(a) => a.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// A value that is taken whole, without the directives in it; `None` where it was one itself.
fn without_directives(v: Value) -> Option<Value> {
    match v {
        Value::Object(m) if m.contains_key(DIRECTIVE) => None,
        Value::Object(m) => {
            let kept = m.into_iter().filter_map(|(k, v)| without_directives(v).map(|v| (k, v)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(a) => Some(Value::Array(a.into_iter().filter_map(without_directives).collect())),
        v => Some(v),
    }
}
