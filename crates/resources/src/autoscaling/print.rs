//! The table of autoscalers (rule: printers `printHorizontalPodAutoscaler`).

use crate::common::{AGE, NAME, age_cell, column};
use crate::shared::print;
use serde_json::Value;
use steersman_apimachinery::object;
use steersman_registry::Column;

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    column(
        "Reference",
        "string",
        "scaleTargetRef points to the target resource to scale, and is used to the pods for which metrics should be collected, as well as to actually change the replica count.",
    ),
    column(
        "Targets",
        "string",
        "metrics contains the specifications for which to use to calculate the desired replica count (the maximum replica count across all metrics will be used).  The desired replica count is calculated multiplying the ratio between the target value and the current value by the current number of pods.  Ergo, metrics used must decrease as the pod count is increased, and vice-versa.  See the individual metric source types for more information about how each type of metric must respond. If not set, the default metric will be set to 80% average CPU utilization.",
    ),
    column(
        "MinPods",
        "string",
        "minReplicas is the lower limit for the number of replicas to which the autoscaler can scale down.  It defaults to 1 pod.  minReplicas is allowed to be 0 if the alpha feature gate HPAScaleToZero is enabled and at least one Object or External metric is configured.  Scaling is active as long as at least one metric value is available.",
    ),
    column(
        "MaxPods",
        "string",
        "maxReplicas is the upper limit for the number of replicas to which the autoscaler can scale up. It cannot be less that minReplicas.",
    ),
    column(
        "Replicas",
        "string",
        "currentReplicas is current number of replicas of pods managed by this autoscaler, as last seen by the autoscaler.",
    ),
    AGE,
];

/// How many metrics are shown.
const SHOWN: usize = 2;
const UNKNOWN: &str = "<unknown>";

/// The cells of an autoscaler in the form of `v2`.
pub fn cells(obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let text = |path: &[&str]| object::str(obj, path);
    let kind = text(&["spec", "scaleTargetRef", "kind"]);
    let name = text(&["spec", "scaleTargetRef", "name"]);
    let min = object::int(obj, &["spec", "minReplicas"]).map_or_else(|| "<unset>".to_owned(), |n| n.to_string());
    vec![
        print::name(obj),
        format!("{kind}/{name}").into(),
        targets(obj).into(),
        min.into(),
        print::number(obj, &["spec", "maxReplicas"]),
        print::number(obj, &["status", "currentReplicas"]),
        age_cell(obj, now),
    ]
}

fn targets(obj: &Value) -> String {
    let metrics = object::list(obj, &["spec", "metrics"]);
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let measured = object::list(obj, &["status", "currentMetrics"]);
    let all: Vec<String> = metrics.iter().enumerate().map(|(i, m)| target(m, measured.get(i))).collect();
    match all.len() {
        n if n > SHOWN => format!("{} + {} more...", all[..SHOWN].join(", "), n - SHOWN),
        _ => all.join(", "),
    }
}

fn target(metric: &Value, measured: Option<&Value>) -> String {
    let source = match object::str(metric, &["type"]) {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let wanted = |key: &str| object::get(metric, &[source, "target", key]);
    let found = |key: &str| measured.and_then(|m| object::get(m, &[source, "current", key]));
    let shown = |v: Option<&Value>, or: &str| match v {
        Some(Value::String(s)) => s.clone(),
        Some(v) => v.to_string(),
        None => or.to_owned(),
    };
    let percent = |v: Option<&Value>, or: &str| v.map_or_else(|| or.to_owned(), |n| format!("{n}%"));
    let average = wanted("averageValue");
    let name = object::str(metric, &[source, "name"]);
    match source {
        "resource" | "containerResource" if average.is_some() => {
            format!("{name}: {}/{}", shown(found("averageValue"), UNKNOWN), shown(average, "0"))
        }
        "resource" | "containerResource" => {
            let wanted = percent(wanted("averageUtilization"), "<auto>");
            format!("{name}: {}/{wanted}", percent(found("averageUtilization"), UNKNOWN))
        }
        "pods" => format!("{}/{}", shown(found("averageValue"), UNKNOWN), shown(average, "0")),
        _ if average.is_some() => {
            format!("{}/{} (avg)", shown(found("averageValue"), UNKNOWN), shown(average, "0"))
        }
        _ => format!("{}/{}", shown(found("value"), UNKNOWN), shown(wanted("value"), "0")),
    }
}
