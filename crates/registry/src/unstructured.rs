//! Whether a tree fits a type, in the words of Go's reflection: what upstream says after a strategic merge patch and
//! after server-side apply, which alone are not decoded from text (rule: apimachinery `pkg/runtime/converter.go`).

use serde_json::Value;
use steersman_apimachinery::object;
use steersman_schema::{Field, Kind, Type};

/// Makes numbers what their fields hold; the error is the first misfit in the order of the Go struct.
pub(crate) fn fit(value: &mut Value, ty: &Type) -> Result<(), String> {
    let Some(members) = value.as_object_mut() else {
        return if value.is_null() { Ok(()) } else { Err(format!("cannot restore struct from: {}", go_kind(value))) };
    };
    let mut first: Option<(u32, String)> = None;
    for (name, value) in members {
        if let Some(field) = ty.field(name)
            && let Err(why) = fits(value, &field.kind, field)
            && first.as_ref().is_none_or(|f| field.number < f.0)
        {
            first = Some((field.number, why));
        }
    }
    first.map_or(Ok(()), |f| Err(f.1))
}

fn fits(value: &mut Value, kind: &Kind, field: &Field) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let scalar = |ok: bool, go: &str| if ok { Ok(()) } else { Err(format!("unrecognized type: {go}")) };
    match kind {
        Kind::Bool => scalar(value.is_boolean(), "bool"),
        Kind::Int32 => integer(value, "int32", |n| Value::from(n as i32)),
        Kind::Int64 => integer(value, "int64", Value::from),
        Kind::Float64 => scalar(value.is_number(), "float64"),
        // Go could make a string of an integer, so it words this otherwise.
        Kind::String if value.is_i64() => {
            let named = if field.go_type.is_empty() { "string" } else { &field.go_type };
            Err(format!("cannot convert int64 to {named}"))
        }
        Kind::String => scalar(value.is_string(), "string"),
        Kind::Object(ty) => fit(value, ty),
        Kind::List(item) | Kind::WrappedList(item) => match value {
            Value::Array(items) => items.iter_mut().try_for_each(|v| fits(v, item, field)),
            _ => Err(format!("cannot restore slice from {}", go_kind(value))),
        },
        Kind::Map(item) => match value {
            Value::Object(members) => members.values_mut().try_for_each(|v| fits(v, item, field)),
            _ => Err(format!("cannot restore map from {}", go_kind(value))),
        },
        Kind::Bytes if !value.is_string() && !value.is_array() => {
            Err(format!("cannot restore slice from {}", go_kind(value)))
        }
        // These read their own JSON, and know nothing of where they stand.
        Kind::Time | Kind::MicroTime | Kind::Duration if !value.is_string() => Err(unread(value, "string")),
        Kind::IntOrString if !value.is_string() && value.as_i64().is_none_or(|n| i32::try_from(n).is_err()) => {
            Err(unread(value, "int32"))
        }
        // The decoder that comes next tells what is wrong.
        _ => Ok(()),
    }
}

/// Whole numbers are cut to the size of the field, as Go's conversions do.
fn integer(value: &mut Value, go: &str, cut: impl Fn(i64) -> Value) -> Result<(), String> {
    let whole = match (value.as_i64(), value.as_f64()) {
        (Some(n), _) => n,
        (None, Some(f)) if f.fract() == 0.0 => f as i64,
        (None, Some(_)) => return Err(format!("cannot convert float64 to {go}")),
        (None, None) => return Err(format!("unrecognized type: {go}")),
    };
    *value = cut(whole);
    Ok(())
}

fn unread(value: &Value, go: &str) -> String {
    let got = match value {
        Value::Number(n) if go == "int32" => format!("number {n}"),
        other => object::json_type(other).to_owned(),
    };
    format!("json: cannot unmarshal {got} into Go value of type {go}")
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn misfits_are_told_in_gos_words() {
        let ty = steersman_schema::lookup("", "v1", "Pod").expect("a built-in kind");
        let check = |spec: Value, want: Result<Value, &str>| {
            let mut pod = json!({"spec": spec});
            let got = fit(&mut pod, &ty).map(|()| pod["spec"].take());
            assert_eq!(got, want.map_err(str::to_owned));
        };
        check(json!({"priority": "x"}), Err("unrecognized type: int32"));
        check(json!({"priority": 1.5}), Err("cannot convert float64 to int32"));
        check(json!({"priority": 2.0}), Ok(json!({"priority": 2})));
        check(json!({"priority": 4294967297i64}), Ok(json!({"priority": 1})));
        check(json!({"nodeName": 1}), Err("cannot convert int64 to string"));
        check(json!({"restartPolicy": 1}), Err("cannot convert int64 to v1.RestartPolicy"));
        check(json!({"nodeName": true}), Err("unrecognized type: string"));
        check(json!({"containers": {}}), Err("cannot restore slice from map"));
        check(json!({"containers": 1, "volumes": 1.5}), Err("cannot restore slice from float64"));
        check(json!({"nodeSelector": []}), Err("cannot restore map from slice"));
        check(json!({"securityContext": 1}), Err("cannot restore struct from: int64"));
        let mut meta = json!({"metadata": {"creationTimestamp": 5}});
        let want = "json: cannot unmarshal number into Go value of type string";
        assert_eq!(fit(&mut meta, &ty).as_ref().map_err(String::as_str), Err(want));
    }
}
