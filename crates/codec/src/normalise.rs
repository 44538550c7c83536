//! The same fidelity for a value that is already parsed, e.g. after a patch. Hot path: works in place, moves values.

use crate::path::Path;
use crate::presence::{self, MAX_DEPTH};
use crate::scalar::{self, Misfit, Token};
use crate::strict::Notes;
use serde_json::{Map, Value};
use std::borrow::Cow;
use steersman_apimachinery::object::json_type;
use steersman_schema::{Kind, Type};

/// Makes the value what decoding its JSON text would have made of it. Unknown fields go to `notes`; the error is in
/// Go's words.
pub fn object(value: Value, ty: &Type, notes: &mut Notes) -> Result<Value, String> {
    let value = match value {
        Value::Object(entries) => typed(entries, ty, &Path::Root, 0, notes)?,
        Value::Null => typed(Map::new(), ty, &Path::Root, 0, notes)?,
        other => return Err(Path::Root.type_error(json_type(&other), &ty.go_name)),
    };
    match notes.type_error.take() {
        None => Ok(value),
        Some(message) => Err(message),
    }
}

const TOO_DEEP: &str = "json: exceeded max depth";

fn typed(
    mut entries: Map<String, Value>,
    ty: &Type,
    path: &Path<'_>,
    depth: usize,
    notes: &mut Notes,
) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err(TOO_DEEP.into());
    }
    let mut dropped: Vec<String> = Vec::new();
    for (key, slot) in &mut entries {
        let Some(field) = ty.field(key) else {
            if !ty.preserve_unknown {
                notes.unknown(&Path::Key(path, key));
                dropped.push(key.clone());
            }
            continue;
        };
        let here = Path::Field(path, ty, field);
        match kinded(slot.take(), &field.kind, &here, depth + 1, notes)? {
            Some(mut value) if !presence::is_dropped(field, &value) => {
                if field.typed_items {
                    presence::stamp(field, &mut value);
                }
                *slot = value;
            }
            _ => dropped.push(key.clone()),
        }
    }
    for key in dropped {
        entries.remove(&key);
    }
    presence::complete(ty, &mut entries);
    Ok(Value::Object(entries))
}

fn kinded(
    value: Value,
    kind: &Kind,
    path: &Path<'_>,
    depth: usize,
    notes: &mut Notes,
) -> Result<Option<Value>, String> {
    if depth > MAX_DEPTH {
        return Err(TOO_DEEP.into());
    }
    let token = match (kind, value) {
        (_, Value::Null) => return Ok(None),
        // The most frequent kinds stay as they are.
        (Kind::String | Kind::IntOrString, value @ Value::String(_)) | (Kind::Bool, value @ Value::Bool(_)) => {
            return Ok(Some(value));
        }
        (Kind::Object(ty), Value::Object(entries)) => return typed(entries, ty, path, depth, notes).map(Some),
        (Kind::List(item) | Kind::WrappedList(item), Value::Array(items)) => {
            return list(items, item, path, depth, notes).map(Some);
        }
        (Kind::Map(kind), Value::Object(mut entries)) => {
            for (key, slot) in &mut entries {
                let value = kinded(slot.take(), kind, &Path::Key(path, key), depth + 1, notes)?;
                *slot = value.unwrap_or_else(|| presence::zero(kind));
            }
            return Ok(Some(Value::Object(entries)));
        }
        (Kind::RawExtension | Kind::JsonAny | Kind::FieldsV1, value) => return Ok(Some(value)),
        (Kind::SchemaOrArray(ty) | Kind::SchemaOrBool(ty) | Kind::SchemaOrStrings(ty), Value::Object(entries)) => {
            let strict = std::mem::replace(&mut notes.strict, false);
            let value = typed(entries, ty, path, depth, notes);
            notes.strict = strict;
            return value.map(Some);
        }
        (Kind::SchemaOrArray(ty), Value::Array(items)) => {
            return list(items, &Kind::Object(ty.clone()), path, depth, notes).map(Some);
        }
        (Kind::SchemaOrStrings(_), Value::Array(items)) => {
            return list(items, &Kind::String, path, depth, notes).map(Some);
        }
        (
            Kind::Time | Kind::MicroTime | Kind::Duration | Kind::IntOrString,
            value @ (Value::Array(_) | Value::Object(_)),
        ) => {
            return Err(path.type_error(json_type(&value), &path.go_type(kind)));
        }
        (Kind::Quantity, value @ (Value::Array(_) | Value::Object(_))) => Token::Text(Cow::Owned(value.to_string())),
        (kind, value @ (Value::Array(_) | Value::Object(_))) => {
            notes.misfit(path.type_error(json_type(&value), &path.go_type(kind)));
            return Ok(None);
        }
        (_, Value::Bool(b)) => Token::Bool(b),
        (Kind::Int64, Value::Number(n)) if n.is_i64() => return Ok(Some(Value::Number(n))),
        (_, Value::Number(n)) => Token::Number(Cow::Owned(n.to_string())),
        (_, Value::String(s)) => Token::Text(Cow::Owned(s)),
    };
    match scalar::read(kind, token, path) {
        Ok(value) => Ok(value),
        Err(Misfit::Type(message)) => {
            notes.misfit(message);
            Ok(None)
        }
        Err(Misfit::Fatal(message)) => Err(message),
    }
}

fn list(mut items: Vec<Value>, kind: &Kind, path: &Path<'_>, depth: usize, notes: &mut Notes) -> Result<Value, String> {
    for (at, slot) in items.iter_mut().enumerate() {
        let value = kinded(slot.take(), kind, &Path::Index(path, at), depth + 1, notes)?;
        *slot = value.unwrap_or_else(|| presence::zero(kind));
    }
    Ok(Value::Array(items))
}
