//! Between `v2`, which is stored, and `v1`.

use super::annotations::{self, ALL, BEHAVIOR, CONDITIONS, CURRENT_METRICS, METRICS};
use serde_json::{Map, Value, json};
use steersman_apimachinery::object;

/// A metric for cpu utilization: the only one that `v1` has a field for.
pub fn cpu_metric(utilization: impl Into<Value>) -> Value {
    json!({
        "type": "Resource",
        "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": utilization.into() } },
    })
}

fn is_cpu(metric: &Value) -> bool {
    object::str(metric, &["type"]) == "Resource" && object::str(metric, &["resource", "name"]) == "cpu"
}

fn utilization(metric: &Value) -> Option<&Value> {
    object::get(metric, &["resource", "target", "averageUtilization"])
}

/// From `v2` to `v1`.
pub fn to_v1(obj: &mut Value) {
    object::set(obj, &["apiVersion"], "autoscaling/v1");
    let spec = object::entry(obj, &["spec"]);
    let metrics = spec.remove("metrics");
    let behavior = spec.remove("behavior");
    let metrics = metrics.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if let Some(n) = metrics.iter().find(|m| is_cpu(m)).and_then(utilization) {
        spec.insert("targetCPUUtilizationPercentage".into(), n.clone());
    }
    let status = object::entry(obj, &["status"]);
    let (measured, conditions) = (status.remove("currentMetrics"), status.remove("conditions"));
    let measured = measured.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for n in measured.iter().filter(|m| is_cpu(m)) {
        if let Some(n) = object::get(n, &["resource", "current", "averageUtilization"]) {
            status.insert("currentCPUUtilizationPercentage".into(), n.clone());
        }
    }
    for key in ["currentReplicas", "desiredReplicas"] {
        status.entry(key).or_insert_with(|| json!(0));
    }
    let mut written: Vec<(&str, String)> = Vec::new();
    let others: Vec<&Value> = metrics.iter().filter(|m| !(is_cpu(m) && utilization(m).is_some())).collect();
    if !others.is_empty() {
        written.push((METRICS, annotations::metrics(others.into_iter(), false)));
    }
    if !measured.is_empty() {
        written.push((CURRENT_METRICS, annotations::metrics(measured.iter(), true)));
    }
    if let Some(list) = conditions.as_ref().and_then(Value::as_array).filter(|l| !l.is_empty()) {
        written.push((CONDITIONS, annotations::conditions(list)));
    }
    if let Some(b) = behavior.filter(|b| !b.is_null()) {
        written.push((BEHAVIOR, annotations::behavior(&b)));
    }
    if !written.is_empty() {
        let map = object::entry(obj, &["metadata", "annotations"]);
        map.extend(written.into_iter().map(|(k, v)| (k.to_owned(), v.into())));
    }
}

/// From `v1` to `v2`. The annotations become fields and go; what cannot be read just goes.
pub fn to_v2(obj: &mut Value) {
    object::set(obj, &["apiVersion"], "autoscaling/v2");
    let found = take_annotations(obj);
    let text = |key: &str| found.get(key).and_then(Value::as_str);
    let spec = object::entry(obj, &["spec"]);
    let cpu = spec.remove("targetCPUUtilizationPercentage").filter(|v| !v.is_null());
    let mut metrics = text(METRICS).and_then(|t| annotations::parse_metrics(t, false)).unwrap_or_default();
    metrics.extend(cpu.map(cpu_metric));
    if metrics.is_empty() {
        metrics.push(cpu_metric(80));
    }
    spec.insert("metrics".into(), metrics.into());
    if let Some(behavior) = text(BEHAVIOR).and_then(annotations::parse_behavior) {
        spec.insert("behavior".into(), behavior);
    }
    let status = object::entry(obj, &["status"]);
    let cpu = status.remove("currentCPUUtilizationPercentage").filter(|v| !v.is_null());
    let measured = match text(CURRENT_METRICS).and_then(|t| annotations::parse_metrics(t, true)) {
        Some(list) if !list.is_empty() => Some(list),
        _ => cpu.map(|n| {
            vec![json!({ "type": "Resource", "resource": { "name": "cpu", "current": { "averageUtilization": n } } })]
        }),
    };
    status.insert("currentMetrics".into(), measured.map_or(Value::Null, Value::from));
    if let Some(list) = text(CONDITIONS).and_then(annotations::parse_conditions).filter(|l| !l.is_empty()) {
        status.insert("conditions".into(), list.into());
    }
    if status.get("currentReplicas").and_then(Value::as_i64) == Some(0) {
        status.remove("currentReplicas");
    }
    status.entry("desiredReplicas").or_insert_with(|| json!(0));
}

fn take_annotations(obj: &mut Value) -> Map<String, Value> {
    let mut found = Map::new();
    let Some(map) = obj.get_mut("metadata").and_then(|m| m.get_mut("annotations")).and_then(Value::as_object_mut)
    else {
        return found;
    };
    for key in ALL {
        if let Some(v) = map.remove(key) {
            found.insert(key.to_owned(), v);
        }
    }
    if map.is_empty() {
        object::remove(obj, &["metadata", "annotations"]);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_survives_v1() {
        let v2 = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": "h", "annotations": { "keep": "me" } },
            "spec": {
                "maxReplicas": 5, "minReplicas": 1,
                "behavior": { "scaleUp": { "policies": [{ "type": "Pods", "value": 4, "periodSeconds": 15 }], "selectPolicy": "Max", "tolerance": "50m" } },
                "metrics": [
                    { "type": "Object", "object": { "describedObject": { "apiVersion": "a/v1", "kind": "I", "name": "n" }, "metric": { "name": "hits" }, "target": { "type": "Value", "value": "10k" } } },
                    { "type": "External", "external": { "metric": { "name": "q", "selector": { "matchLabels": { "a": "b" } } }, "target": { "type": "AverageValue", "averageValue": "30" } } },
                    { "type": "ContainerResource", "containerResource": { "container": "app", "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 70 } } },
                    { "type": "Pods", "pods": { "metric": { "name": "rps" }, "target": { "type": "AverageValue", "averageValue": "1k" } } },
                    cpu_metric(60),
                ],
            },
            "status": {
                "conditions": [{ "type": "AbleToScale", "status": "True", "lastTransitionTime": null, "reason": "r", "message": "m" }],
                "currentMetrics": [{ "type": "Resource", "resource": { "name": "cpu", "current": { "averageUtilization": 41, "averageValue": "410m" } } }],
                "currentReplicas": 2, "desiredReplicas": 3,
            },
        });
        let mut v = v2.clone();
        to_v1(&mut v);
        assert_eq!(v["spec"]["targetCPUUtilizationPercentage"], 60);
        assert_eq!(v["status"]["currentCPUUtilizationPercentage"], 41);
        assert!(v["spec"].get("metrics").is_none() && v["status"].get("conditions").is_none());
        to_v2(&mut v);
        assert_eq!(v, v2);
    }
}
