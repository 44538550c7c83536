//! The quality of service that a pod's requests and limits stand for (rule: `pkg/apis/core/v1/helper/qos` ComputePodQOS).

use crate::shared::quantity::amount;
use serde_json::Value;
use std::collections::BTreeMap;
use steersman_apimachinery::{Quantity, object};

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn class(pod: &Value) -> &'static str {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let whole = spec.get("resources").filter(|r| r.get("limits").is_some() || r.get("requests").is_some());
    let holders: Vec<&Value> = match whole {
        Some(_) => vec![spec],
        None => ["containers", "initContainers"].iter().flat_map(|list| object::list(spec, &[list])).collect(),
    };
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    let mut every_limit = true;
    for holder in holders {
        add(&mut requests, holder, "requests");
        let names = add(&mut limits, holder, "limits");
        every_limit &= names == 2;
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if every_limit && requests.len() == limits.len() && requests.iter().all(|(n, q)| limits.get(n) == Some(q)) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Adds what a container asks of cpu and memory; returns how many of them it names.
fn add(total: &mut BTreeMap<&'static str, Quantity>, holder: &Value, kind: &str) -> usize {
    let mut names = 0;
    for name in ["cpu", "memory"] {
        let Some(q) = object::get(holder, &["resources", kind, name]).and_then(amount) else { continue };
        if q.sign() > 0 {
            names += 1;
            total.entry(name).and_modify(|t| t.add(&q)).or_insert(q);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes() {
        let check = |containers: Value, expect: &str| {
            assert_eq!(class(&json!({ "spec": { "containers": containers } })), expect, "{containers}");
        };
        let full =
            json!({ "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": "1000m", "memory": "1Gi" } });
        check(json!([{ "resources": full }]), "Guaranteed");
        check(json!([{ "resources": full }, {}]), "Burstable");
        check(json!([{ "resources": { "requests": { "cpu": "1" } } }]), "Burstable");
        check(json!([{ "resources": { "requests": { "cpu": "0" } } }]), "BestEffort");
        check(json!([{ "resources": { "limits": { "example.com/gpu": "1" } } }]), "BestEffort");
        check(json!([{}]), "BestEffort");
    }
}
