//! Validation of autoscalers in the form of `v2` (rule: `pkg/apis/autoscaling/validation`).

use crate::shared::pod::say;
use crate::shared::quantity::amount;
use crate::shared::rules::none_negative;
use serde_json::Value;
use steersman_apimachinery::gvk::GroupVersion;
use steersman_apimachinery::{ErrorList, Path, object, validation};

const MAX_PERIOD: i64 = 1800;
const MAX_WINDOW: i64 = 3600;
const METRIC_TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
/// Sources in the order that upstream looks at them, with the type that each belongs to.
const SOURCES: &[(&str, &str)] = &[
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];

/// The spec.
pub fn spec(obj: &Value, old: Option<&Value>) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, at) = (obj.get("spec").unwrap_or(&Value::Null), Path::new("spec"));
    let min = object::int(spec, &["minReplicas"]);
    let max = object::int(spec, &["maxReplicas"]).unwrap_or(0);
    let lowest = if old.and_then(|o| object::int(o, &["spec", "minReplicas"])) == Some(0) { 0 } else { 1 };
    if let Some(n) = min.filter(|n| *n < lowest) {
        e.invalid(&at.child("minReplicas"), n, format!("must be greater than or equal to {lowest}"));
    }
    let at_max = at.child("maxReplicas");
    if max == 0 {
        e.required(&at_max, "must be set and greater than 0");
    } else if max < 0 {
        e.invalid(&at_max, max, "must be greater than or equal to 1");
    }
    if min.is_some_and(|n| max < n) {
        e.invalid(&at_max, max, "must be greater than or equal to `minReplicas`");
    }
    let reference = spec.get("scaleTargetRef").unwrap_or(&Value::Null);
    let was = old.and_then(|o| object::get(o, &["spec", "scaleTargetRef"]));
    target_reference(&mut e, reference, was, &at.child("scaleTargetRef"));
    metrics(&mut e, object::list(spec, &["metrics"]), min, &at.child("metrics"));
    if let Some(behavior) = spec.get("behavior") {
        for key in ["scaleUp", "scaleDown"] {
            if let Some(rules) = behavior.get(key) {
                scaling_rules(&mut e, rules, &at.child("behavior").child(key));
            }
        }
    }
    e
}

/// The status.
pub fn status(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let status = obj.get("status").unwrap_or(&Value::Null);
    none_negative(&mut e, status, &["currentReplicas", "desiredReplicas"], &Path::new("status"));
    e
}

fn segment(e: &mut ErrorList, value: &str, missing: &str, at: Path) {
    if value.is_empty() {
        e.required(&at, missing);
    } else {
        say(e, || at, value, validation::path_segment_name(value, false));
    }
}

/// A kind and a name, and the version to ask for them in; what was wrong with the version may stay so.
fn target_reference(e: &mut ErrorList, reference: &Value, old: Option<&Value>, at: &Path) {
    segment(e, object::str(reference, &["kind"]), "", at.child("kind"));
    segment(e, object::str(reference, &["name"]), "", at.child("name"));
    if let Some(why) = wrong_version(reference).filter(|_| old.and_then(wrong_version).is_none()) {
        e.invalid(&at.child("apiVersion"), object::str(reference, &["apiVersion"]), why);
    }
}

/// What is wrong with the version of what is scaled. Of the core group only replication controllers can be.
fn wrong_version(reference: &Value) -> Option<String> {
    let version = object::str(reference, &["apiVersion"]);
    match GroupVersion::parse(version) {
        None => Some(format!("unexpected GroupVersion string: {version}")),
        Some(gv) if gv.group.is_empty() && object::str(reference, &["kind"]) != "ReplicationController" => {
            Some("apiVersion must specify API group".into())
        }
        Some(_) => None,
    }
}

fn metrics(e: &mut ErrorList, list: &[Value], min: Option<i64>, at: &Path) {
    for (i, m) in list.iter().enumerate() {
        metric(e, m, &at.index(i));
    }
    let wakes_up = list.iter().any(|m| ["Object", "External"].contains(&object::str(m, &["type"])));
    if min == Some(0) && !wakes_up {
        e.forbidden(at, "must specify at least one Object or External metric to support scaling to zero replicas");
    }
}

fn metric(e: &mut ErrorList, m: &Value, at: &Path) {
    let kind = object::str(m, &["type"]);
    if kind.is_empty() {
        e.required(&at.child("type"), "must specify a metric source type");
    }
    if !METRIC_TYPES.contains(&kind) {
        e.not_supported(&at.child("type"), kind, METRIC_TYPES);
    }
    let present: Vec<&str> = SOURCES.iter().map(|(s, _)| *s).filter(|s| m.get(*s).is_some()).collect();
    if let Some(first) = present.first() {
        source(e, first, &m[*first], &at.child(first));
    }
    match SOURCES.iter().find(|(_, k)| *k == kind) {
        Some((expected, _)) => {
            if m.get(*expected).is_none() {
                e.required(&at.child(expected), "must populate information for the given metric source");
            }
            if present.len() != 1 {
                for other in present.iter().filter(|s| *s != expected) {
                    e.forbidden(&at.child(other), "must populate the given metric source only");
                }
            }
        }
        None => e.not_supported(&at.child("type"), kind, METRIC_TYPES),
    }
}

fn source(e: &mut ErrorList, kind: &str, s: &Value, at: &Path) {
    let target = s.get("target").unwrap_or(&Value::Null);
    let at_target = at.child("target");
    let has = |key: &str| target.get(key).is_some_and(|v| !v.is_null());
    if kind == "object" {
        let reference = s.get("describedObject").unwrap_or(&Value::Null);
        let at = at.child("describedObject");
        segment(e, object::str(reference, &["kind"]), "", at.child("kind"));
        segment(e, object::str(reference, &["name"]), "", at.child("name"));
        let version = object::str(reference, &["apiVersion"]);
        if GroupVersion::parse(version).is_none() {
            e.invalid(&at.child("apiVersion"), version, format!("unexpected GroupVersion string: {version}"));
        }
    }
    match kind {
        "object" | "external" | "pods" => {
            let name = object::str(s, &["metric", "name"]);
            segment(e, name, "must specify a metric name", at.child("metric").child("name"));
        }
        _ => {
            if object::str(s, &["name"]).is_empty() {
                e.required(&at.child("name"), "must specify a resource name");
            }
            if kind == "containerResource" && object::str(s, &["container"]).is_empty() {
                e.required(&at.child("container"), "must specify a container");
            }
        }
    }
    metric_target(e, target, &at_target);
    match kind {
        "object" if !has("value") && !has("averageValue") => {
            e.required(&at_target.child("averageValue"), "must set either a target value or averageValue");
        }
        "external" => {
            if !has("value") && !has("averageValue") {
                let why = "must set either a target value for metric or a per-pod target";
                e.required(&at_target.child("averageValue"), why);
            }
            if has("value") && has("averageValue") {
                let why = "may not set both a target value for metric and a per-pod target";
                e.forbidden(&at_target.child("value"), why);
            }
        }
        "pods" if !has("averageValue") => {
            e.required(&at_target.child("averageValue"), "must specify a positive target averageValue");
        }
        "resource" | "containerResource" => {
            if !has("averageUtilization") && !has("averageValue") {
                let why = "must set either a target raw value or a target utilization";
                e.required(&at_target.child("averageUtilization"), why);
            }
            if has("averageUtilization") && has("averageValue") {
                let why = "may not set both a target raw value and a target utilization";
                e.forbidden(&at_target.child("averageValue"), why);
            }
        }
        _ => {}
    }
}

fn metric_target(e: &mut ErrorList, target: &Value, at: &Path) {
    let kind = object::str(target, &["type"]);
    if kind.is_empty() {
        e.required(&at.child("type"), "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        e.invalid(&at.child("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for key in ["value", "averageValue"] {
        if let Some(v) = target.get(key)
            && amount(v).is_some_and(|q| q.sign() != 1)
        {
            e.invalid(&at.child(key), v, "must be positive");
        }
    }
    if let Some(n) = object::int(target, &["averageUtilization"]).filter(|n| *n < 1) {
        e.invalid(&at.child("averageUtilization"), n, "must be greater than 0");
    }
}

fn scaling_rules(e: &mut ErrorList, rules: &Value, at: &Path) {
    if let Some(n) = object::int(rules, &["stabilizationWindowSeconds"]) {
        let at = at.child("stabilizationWindowSeconds");
        if n < 0 {
            e.invalid(&at, n, "must be greater than or equal to zero");
        }
        if n > MAX_WINDOW {
            e.invalid(&at, n, format!("must be less than or equal to {MAX_WINDOW}"));
        }
    }
    if let Some(v) = rules.get("tolerance")
        && amount(v).is_some_and(|q| q.sign() < 0)
    {
        e.invalid(&at.child("tolerance"), v, "must be greater or equal to zero");
    }
    if let Some(policy) = rules.get("selectPolicy").and_then(Value::as_str)
        && !["Disabled", "Max", "Min"].contains(&policy)
    {
        e.not_supported(&at.child("selectPolicy"), policy, &["Disabled", "Max", "Min"]);
    }
    let policies = object::list(rules, &["policies"]);
    let at = at.child("policies");
    if policies.is_empty() {
        e.required(&at, "must specify at least one Policy");
    }
    for (i, policy) in policies.iter().enumerate() {
        scaling_policy(e, policy, &at.index(i));
    }
}

fn scaling_policy(e: &mut ErrorList, policy: &Value, at: &Path) {
    let kind = object::str(policy, &["type"]);
    if !["Percent", "Pods"].contains(&kind) {
        e.not_supported(&at.child("type"), kind, &["Percent", "Pods"]);
    }
    let int = |key: &str| object::int(policy, &[key]).unwrap_or(0);
    if int("value") <= 0 {
        e.invalid(&at.child("value"), int("value"), "must be greater than zero");
    }
    let at = at.child("periodSeconds");
    if int("periodSeconds") <= 0 {
        e.invalid(&at, int("periodSeconds"), "must be greater than zero");
    }
    if int("periodSeconds") > MAX_PERIOD {
        e.invalid(&at, int("periodSeconds"), format!("must be less than or equal to {MAX_PERIOD}"));
    }
}
