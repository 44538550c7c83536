//! Metrics as `autoscaling/v1` keeps them in annotations: an older form of what `v2` has as fields
//! (rule: `pkg/apis/autoscaling/v1` conversion).

use crate::checks::Raw;
use crate::shared::internal::Type::{Int, List, Plain, Pointer, Text};
use crate::shared::internal::{Field, Show};
use crate::shared::quantity::amount;
use serde_json::{Map, Value, json};
use steersman_apimachinery::field::Shown;
use steersman_apimachinery::object;

/// Metrics other than cpu utilization.
pub const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
/// `spec.behavior`.
pub const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// `status.conditions`.
pub const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
/// `status.currentMetrics`.
pub const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
/// All of them.
pub const ALL: [&str; 4] = [METRICS, BEHAVIOR, CONDITIONS, CURRENT_METRICS];

const POLICY: &[Field] = &[Field("type", Text), Field("value", Int), Field("periodSeconds", Int)];
const RULES: &[Field] = &[
    Field("stabilizationWindowSeconds", Plain),
    Field("selectPolicy", Plain),
    Field("policies", List(POLICY)),
    Field("tolerance", Plain),
];
const BEHAVIOR_FIELDS: &[Field] = &[Field("scaleUp", Pointer(RULES)), Field("scaleDown", Pointer(RULES))];

/// JSON text with its members in the order that Go's structs have.
struct Writer(String);

impl Writer {
    fn new() -> Self {
        Self(String::from("{"))
    }
    fn raw(&mut self, key: &str, text: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&format!("\"{key}\":{text}"));
    }
    fn member(&mut self, key: &str, value: Option<&Value>) {
        if let Some(v) = value.filter(|v| !v.is_null()) {
            self.raw(key, &v.to_string());
        }
    }
    fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn selector(v: Option<&Value>) -> Option<String> {
    const SELECTOR: &[&str] = &["matchLabels", "matchExpressions"];
    let v = v?;
    let mut text = Writer::new();
    for key in SELECTOR {
        text.member(key, v.get(*key));
    }
    Some(text.finish())
}

fn target_reference(v: Option<&Value>) -> String {
    let mut text = Writer::new();
    let empty = Value::Null;
    let v = v.unwrap_or(&empty);
    for key in ["kind", "name"] {
        text.member(key, Some(&object::str(v, &[key]).into()));
    }
    text.member("apiVersion", v.get("apiVersion"));
    text.finish()
}

/// Metrics (or, with `current`, what was measured) in the older form.
pub fn metrics<'a>(list: impl Iterator<Item = &'a Value>, current: bool) -> String {
    let items: Vec<String> = list.map(|m| metric(m, current)).collect();
    format!("[{}]", items.join(","))
}

fn metric(m: &Value, current: bool) -> String {
    let (amounts, prefix) = if current { ("current", "current") } else { ("target", "target") };
    let mut text = Writer::new();
    text.member("type", Some(&object::str(m, &["type"]).into()));
    let value = |source: &Value, key: &str| object::get(source, &[amounts, key]).cloned();
    let name = |source: &Value| object::get(source, &["metric", "name"]).cloned().unwrap_or_else(|| json!(""));
    let amount_or_zero = |v: Option<Value>| v.unwrap_or_else(|| json!("0"));
    if let Some(o) = m.get("object") {
        let mut t = Writer::new();
        t.raw("target", &target_reference(o.get("describedObject")));
        t.member("metricName", Some(&name(o)));
        t.member(&format!("{prefix}Value"), Some(&amount_or_zero(value(o, "value"))));
        if let Some(s) = selector(object::get(o, &["metric", "selector"])) {
            t.raw("selector", &s);
        }
        t.member("averageValue", value(o, "averageValue").as_ref());
        text.raw("object", &t.finish());
    }
    if let Some(p) = m.get("pods") {
        let mut t = Writer::new();
        t.member("metricName", Some(&name(p)));
        t.member(&format!("{prefix}AverageValue"), Some(&amount_or_zero(value(p, "averageValue"))));
        if let Some(s) = selector(object::get(p, &["metric", "selector"])) {
            t.raw("selector", &s);
        }
        text.raw("pods", &t.finish());
    }
    if let Some(r) = m.get("resource") {
        text.raw("resource", &resource(r, amounts, None));
    }
    if let Some(c) = m.get("containerResource") {
        text.raw("containerResource", &resource(c, amounts, c.get("container")));
    }
    if let Some(x) = m.get("external") {
        let mut t = Writer::new();
        t.member("metricName", Some(&name(x)));
        if let Some(s) = selector(object::get(x, &["metric", "selector"])) {
            t.raw("metricSelector", &s);
        }
        if current {
            t.member("currentValue", Some(&amount_or_zero(value(x, "value"))));
        } else {
            t.member("targetValue", value(x, "value").as_ref());
        }
        t.member(&format!("{prefix}AverageValue"), value(x, "averageValue").as_ref());
        text.raw("external", &t.finish());
    }
    text.finish()
}

fn resource(r: &Value, amounts: &str, container: Option<&Value>) -> String {
    let mut t = Writer::new();
    t.member("name", Some(&object::str(r, &["name"]).into()));
    t.member(&format!("{amounts}AverageUtilization"), object::get(r, &[amounts, "averageUtilization"]));
    let average = object::get(r, &[amounts, "averageValue"]).cloned();
    // What was measured is always told.
    let average = if amounts == "current" { Some(average.unwrap_or_else(|| json!("0"))) } else { average };
    t.member(&format!("{amounts}AverageValue"), average.as_ref());
    t.member("container", container);
    t.finish()
}

/// `spec.behavior` as the annotation has it: upstream's internal struct.
pub fn behavior(v: &Value) -> String {
    Show(BEHAVIOR_FIELDS, v).shown()
}

/// Conditions as the annotation has them.
pub fn conditions(list: &[Value]) -> String {
    let one = |c: &Value| {
        let mut t = Writer::new();
        for key in ["type", "status"] {
            t.member(key, Some(&object::str(c, &[key]).into()));
        }
        t.raw("lastTransitionTime", &c.get("lastTransitionTime").unwrap_or(&Value::Null).to_string());
        for key in ["reason", "message"] {
            t.member(key, c.get(key));
        }
        t.finish()
    };
    Raw(format!("[{}]", list.iter().map(one).collect::<Vec<_>>().join(","))).0
}

/// A quantity in its canonical form.
fn canonical(v: Option<&Value>) -> Option<Value> {
    amount(v?).map(|q| q.to_string().into())
}

/// The metrics of an annotation, if it can be read at all.
pub fn parse_metrics(text: &str, current: bool) -> Option<Vec<Value>> {
    let list: Vec<Value> = serde_json::from_str(text).ok()?;
    list.iter().map(|m| m.is_object().then(|| parse_metric(m, current))).collect()
}

fn parse_metric(m: &Value, current: bool) -> Value {
    let amounts = if current { "current" } else { "target" };
    let mut out = Map::new();
    out.insert("type".into(), object::str(m, &["type"]).into());
    let identifier = |s: &Value, selector: &str| {
        let mut metric = json!({ "name": object::str(s, &["metricName"]) });
        if let Some(v) = s.get(selector).filter(|v| !v.is_null()) {
            metric["selector"] = v.clone();
        }
        metric
    };
    if let Some(o) = m.get("object") {
        let (value, average) = (canonical(o.get(format!("{amounts}Value"))), canonical(o.get("averageValue")));
        let mut described = json!({});
        for key in ["apiVersion", "kind", "name"] {
            if let Some(v) = object::get(o, &["target", key]) {
                described[key] = v.clone();
            }
        }
        let amount = amounts_of(current, value, average, None);
        out.insert(
            "object".into(),
            json!({ "describedObject": described, "metric": identifier(o, "selector"), amounts: amount }),
        );
    }
    if let Some(p) = m.get("pods") {
        let average = canonical(p.get(format!("{amounts}AverageValue")));
        let amount = amounts_of(current, None, average, None);
        out.insert("pods".into(), json!({ "metric": identifier(p, "selector"), amounts: amount }));
    }
    for kind in ["resource", "containerResource"] {
        let Some(r) = m.get(kind) else { continue };
        let utilization = r.get(format!("{amounts}AverageUtilization")).filter(|v| v.is_i64()).cloned();
        let average = canonical(r.get(format!("{amounts}AverageValue")));
        let mut source =
            json!({ "name": object::str(r, &["name"]), amounts: amounts_of(current, None, average, utilization) });
        if kind == "containerResource" {
            source["container"] = object::str(r, &["container"]).into();
        }
        out.insert(kind.into(), source);
    }
    if let Some(x) = m.get("external") {
        let (value, average) =
            (canonical(x.get(format!("{amounts}Value"))), canonical(x.get(format!("{amounts}AverageValue"))));
        let amount = amounts_of(current, value, average, None);
        out.insert("external".into(), json!({ "metric": identifier(x, "metricSelector"), amounts: amount }));
    }
    Value::Object(out)
}

/// A target or a measurement. A target has a type: what it is given in.
fn amounts_of(current: bool, value: Option<Value>, average: Option<Value>, utilization: Option<Value>) -> Value {
    let kind = if utilization.is_some() {
        "Utilization"
    } else if average.is_some() {
        "AverageValue"
    } else {
        "Value"
    };
    let mut out = Map::new();
    if !current {
        out.insert("type".into(), kind.into());
    }
    let value = value.filter(|v| average.is_none() || v != "0");
    for (key, v) in [("value", value), ("averageValue", average), ("averageUtilization", utilization)] {
        if let Some(v) = v {
            out.insert(key.into(), v);
        }
    }
    Value::Object(out)
}

/// The behavior of an annotation, if it can be read.
pub fn parse_behavior(text: &str) -> Option<Value> {
    let v: Value = serde_json::from_str(text).ok()?;
    let lower = lower_members(v.as_object()?);
    (!lower.is_empty()).then_some(Value::Object(lower))
}

fn lower_members(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(_, v)| !v.is_null())
        .map(|(k, v)| {
            let mut chars = k.chars();
            let key = chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default();
            (key, lower(v))
        })
        .collect()
}

fn lower(v: &Value) -> Value {
    match v {
        Value::Object(m) => Value::Object(lower_members(m)),
        Value::Array(a) => a.iter().map(lower).collect(),
        v => v.clone(),
    }
}

/// The conditions of an annotation, if they can be read.
pub fn parse_conditions(text: &str) -> Option<Vec<Value>> {
    serde_json::from_str(text).ok()
}
