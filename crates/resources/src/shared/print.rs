//! What the tables of several resources print alike (rule: `pkg/printers/internalversion`).

use crate::common::wide;
use serde_json::Value;
use steersman_apimachinery::object;
use steersman_registry::Column;

/// Names of the template's containers.
pub const CONTAINERS: Column = wide("Containers", "string", "Names of each container in the template.");
/// Images of the template's containers.
pub const IMAGES: Column = wide("Images", "string", "Images referenced by each container in the template.");

/// The name cell.
pub fn name(obj: &Value) -> Value {
    object::name(obj).into()
}
/// How long ago a time was.
pub fn since(time: &str, now: jiff::Timestamp) -> Value {
    steersman_registry::age(time, now).into()
}
/// The integer at `path`, 0 where there is none.
pub fn number(obj: &Value, path: &[&str]) -> Value {
    object::int(obj, path).unwrap_or(0).into()
}
/// The text, or `<none>` where it is empty.
pub fn or_none(text: &str) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// Names and images of a pod template's containers.
pub fn containers(template: Option<&Value>) -> [Value; 2] {
    let list = template.map_or(&[][..], |t| object::list(t, &["spec", "containers"]));
    let join = |key: &str| list.iter().map(|c| object::str(c, &[key])).collect::<Vec<_>>().join(",");
    [join("name").into(), join("image").into()]
}

/// Labels as `a=b,c=d`, `<none>` where there are none.
pub fn labels(map: Option<&Value>) -> Value {
    let pairs: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    or_none(&pairs.join(","))
}

/// A LabelSelector as upstream prints it: `a=b,c in (d,e),!f`; `<none>` where it selects nothing or everything.
pub fn selector(selector: Option<&Value>) -> Value {
    let Some(selector) = selector else { return "<none>".into() };
    let mut parts: Vec<(String, String)> = object::get(selector, &["matchLabels"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.clone(), format!("{k}={}", v.as_str().unwrap_or_default())))
        .collect();
    for e in object::list(selector, &["matchExpressions"]) {
        let key = object::str(e, &["key"]);
        let mut values: Vec<&str> = object::list(e, &["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        values.dedup();
        let text = match object::str(e, &["operator"]) {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<error>".into(),
        };
        parts.push((key.to_owned(), text));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    or_none(&parts.into_iter().map(|(_, t)| t).collect::<Vec<_>>().join(","))
}

/// An int-or-string, `N/A` where it is absent.
pub fn int_or_string(v: Option<&Value>) -> Value {
    match v {
        Some(Value::String(s)) => s.clone().into(),
        Some(Value::Number(n)) => n.to_string().into(),
        _ => "N/A".into(),
    }
}
