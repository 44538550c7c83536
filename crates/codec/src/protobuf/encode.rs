//! Values to messages.

use super::wire::Back;
use crate::{scalar, time};
use serde_json::{Map, Value};
use steersman_schema::{Kind, Type};

/// The message of an object, without its envelope. Fields that the type does not have, or that have no protobuf form,
/// are left out.
pub fn message(value: &Value, ty: &Type) -> Vec<u8> {
    let mut out = Back::with_capacity(1024);
    if let Value::Object(object) = value {
        level(&mut out, object, ty, &[]);
    }
    out.finish()
}

/// The fields that stand in the embedded message to which `prefix` leads.
fn level(out: &mut Back, object: &Map<String, Value>, ty: &Type, prefix: &[u32]) {
    let mut embedded: Vec<u32> = Vec::new();
    for (key, value) in object.iter().rev() {
        let Some(field) = ty.field(key).filter(|f| f.number != 0) else { continue };
        if *field.via == *prefix {
            write(out, field.number, &field.kind, value);
        } else if let Some(next) = field.via.strip_prefix(prefix).and_then(<[u32]>::first)
            && !embedded.contains(next)
        {
            embedded.push(*next);
        }
    }
    for number in embedded {
        let end = out.len();
        level(out, object, ty, &[prefix, &[number]].concat());
        out.close(number, end);
    }
}

fn write(out: &mut Back, number: u32, kind: &Kind, value: &Value) {
    match (kind, value) {
        (_, Value::Null) => {}
        (Kind::List(item), Value::Array(items)) => {
            for value in items.iter().rev() {
                single(out, number, item, value);
            }
        }
        (Kind::Map(kind), Value::Object(entries)) => {
            for (key, value) in entries.iter().rev() {
                let end = out.len();
                single(out, 2, kind, value);
                out.bytes(1, key.as_bytes());
                out.close(number, end);
            }
        }
        _ => single(out, number, kind, value),
    }
}

/// One value; null is the empty value here.
pub(super) fn single(out: &mut Back, number: u32, kind: &Kind, value: &Value) {
    let text = || value.as_str().unwrap_or("");
    let end = out.len();
    match kind {
        Kind::Bool => out.varint(number, u64::from(value.as_bool().unwrap_or(false))),
        // Negative numbers are sign-extended to 64 bits.
        Kind::Int32 | Kind::Int64 => out.varint(number, value.as_i64().unwrap_or(0).cast_unsigned()),
        Kind::Float64 => out.double(number, value.as_f64().unwrap_or(0.0)),
        Kind::String => out.bytes(number, text().as_bytes()),
        Kind::Bytes => out.bytes(number, &scalar::base64_decode(text()).unwrap_or_default()),
        Kind::Time | Kind::MicroTime => {
            let instant = if matches!(kind, Kind::Time) { time::parse(text()) } else { time::parse_micro(text()) };
            if let Ok(instant) = instant {
                out.varint(2, i64::from(instant.nanos).cast_unsigned());
                out.varint(1, instant.seconds.cast_unsigned());
            }
            out.close(number, end);
        }
        Kind::Duration => {
            out.varint(1, time::parse_duration(text()).unwrap_or(0).cast_unsigned());
            out.close(number, end);
        }
        Kind::Quantity => {
            out.bytes(1, text().as_bytes());
            out.close(number, end);
        }
        Kind::IntOrString => {
            out.bytes(3, text().as_bytes());
            out.varint(2, value.as_i64().unwrap_or(0).cast_unsigned());
            out.varint(1, u64::from(value.is_string()));
            out.close(number, end);
        }
        Kind::RawExtension | Kind::JsonAny | Kind::FieldsV1 => {
            if !value.is_null() {
                out.bytes(1, value.to_string().as_bytes());
            }
            out.close(number, end);
        }
        Kind::Object(ty) => {
            if let Value::Object(object) = value {
                level(out, object, ty, &[]);
            }
            out.close(number, end);
        }
        Kind::WrappedList(item) => {
            for value in value.as_array().map_or(&[] as &[Value], Vec::as_slice).iter().rev() {
                single(out, 1, item, value);
            }
            out.close(number, end);
        }
        Kind::SchemaOrArray(ty) => {
            match value {
                Value::Object(object) => nested(out, 1, object, ty),
                Value::Array(items) => {
                    for item in items.iter().rev().filter_map(Value::as_object) {
                        nested(out, 2, item, ty);
                    }
                }
                _ => {}
            }
            out.close(number, end);
        }
        Kind::SchemaOrBool(ty) => {
            if let Value::Object(object) = value {
                nested(out, 2, object, ty);
            }
            // Upstream's rule: a schema allows.
            out.varint(1, u64::from(value.as_bool().unwrap_or(true)));
            out.close(number, end);
        }
        Kind::SchemaOrStrings(ty) => {
            match value {
                Value::Object(object) => nested(out, 1, object, ty),
                Value::Array(items) => {
                    for item in items.iter().rev().filter_map(Value::as_str) {
                        out.bytes(2, item.as_bytes());
                    }
                }
                _ => {}
            }
            out.close(number, end);
        }
        // Lists of lists and lists of maps have no protobuf form.
        Kind::List(_) | Kind::Map(_) => {}
    }
}

fn nested(out: &mut Back, number: u32, object: &Map<String, Value>, ty: &Type) {
    let end = out.len();
    level(out, object, ty, &[]);
    out.close(number, end);
}
