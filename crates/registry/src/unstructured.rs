//! Whether a tree fits a type, in the words of Go's reflection: what upstream says after a strategic merge patch, which
//! alone is not decoded from text (rule: apimachinery `pkg/runtime/converter.go`).

use serde_json::Value;
use steersman_schema::{Kind, Type};

/// The first misfit.
pub(crate) fn check(value: &Value, ty: &Type) -> Result<(), String> {
    let Some(members) = value.as_object() else {
        return if value.is_null() { Ok(()) } else { Err(format!("cannot restore struct from: {}", go_kind(value))) };
    };
    for (name, value) in members {
        if let Some(field) = ty.field(name) {
            fits(value, &field.kind)?;
        }
    }
    Ok(())
}

fn fits(value: &Value, kind: &Kind) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let scalar = |ok: bool, go: &str| if ok { Ok(()) } else { Err(format!("unrecognized type: {go}")) };
    match kind {
        Kind::Bool => scalar(value.is_boolean(), "bool"),
        Kind::Int32 => scalar(value.is_number(), "int32"),
        Kind::Int64 => scalar(value.is_number(), "int64"),
        Kind::Float64 => scalar(value.is_number(), "float64"),
        Kind::String => scalar(value.is_string(), "string"),
        Kind::Object(ty) => check(value, ty),
        Kind::List(item) | Kind::WrappedList(item) => match value {
            Value::Array(items) => items.iter().try_for_each(|v| fits(v, item)),
            _ => Err(format!("cannot restore slice from {}", go_kind(value))),
        },
        Kind::Map(item) => match value {
            Value::Object(members) => members.values().try_for_each(|v| fits(v, item)),
            _ => Err(format!("cannot restore map from {}", go_kind(value))),
        },
        // These read themselves: the decoder that comes next tells what is wrong.
        _ => Ok(()),
    }
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}
