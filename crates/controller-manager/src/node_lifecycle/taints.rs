//! Taints that follow from a node's conditions (rule: `nodelifecycle`'s `nodeConditionToTaintKeyStatusMap`).

use jiff::Timestamp;
use steersman_api::k8s_openapi::{
    api::core::v1::{Node, Taint},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::condition;

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Condition, its status, and the key of the NoSchedule taint that they cause.
const BY_CONDITION: &[(&str, &str, &str)] = &[
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

pub fn has(taints: &[Taint], key: &str, effect: &str) -> bool {
    taints.iter().any(|taint| taint.key == key && taint.effect == effect)
}

/// The taints with the NoSchedule ones as the conditions and `spec.unschedulable` ask for.
pub fn by_condition(node: &Node, current: &[Taint], now: Timestamp) -> Vec<Taint> {
    let status = |type_: &str| condition(node, type_).map_or("", |condition| &condition.status);
    let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let mut taints = current.to_vec();
    let rules = BY_CONDITION.iter().map(|(type_, value, key)| (*key, status(type_) == *value));
    for (key, wanted) in rules.chain([(UNSCHEDULABLE, unschedulable)]) {
        let present = has(&taints, key, "NoSchedule");
        if wanted && !present {
            taints.push(taint(key, "NoSchedule", now));
        } else if !wanted && present {
            taints.retain(|taint| taint.key != key || taint.effect != "NoSchedule");
        }
    }
    taints
}

/// The key of the NoExecute taint for a status of the condition Ready.
pub fn evicting(ready: &str) -> Option<&'static str> {
    match ready {
        "False" => Some(NOT_READY),
        "Unknown" => Some(UNREACHABLE),
        _ => None,
    }
}

/// The taints with exactly this one of the two that evict, or none of them.
pub fn set_evicting(mut taints: Vec<Taint>, key: Option<&str>, now: Timestamp) -> Vec<Taint> {
    taints.retain(|taint| {
        taint.effect != "NoExecute"
            || ![NOT_READY, UNREACHABLE].contains(&taint.key.as_str())
            || Some(&*taint.key) == key
    });
    if let Some(key) = key
        && !has(&taints, key, "NoExecute")
    {
        taints.push(taint(key, "NoExecute", now));
    }
    taints
}

fn taint(key: &str, effect: &str, now: Timestamp) -> Taint {
    Taint { key: key.to_owned(), effect: effect.to_owned(), time_added: Some(Time(now)), value: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn follow_conditions() {
        let check = |ready: &str, unschedulable: bool, current: &[(&str, &str)], expect: &str| {
            let node: Node = serde_json::from_value(json!({
                "spec": {"unschedulable": unschedulable},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap();
            let now = Timestamp::UNIX_EPOCH;
            let current: Vec<_> = current.iter().map(|(key, effect)| taint(key, effect, now)).collect();
            let taints = set_evicting(by_condition(&node, &current, now), evicting(ready), now);
            let text: Vec<_> = taints
                .iter()
                .map(|t| format!("{}:{}", t.key.trim_start_matches("node.kubernetes.io/"), t.effect))
                .collect();
            assert_eq!(text.join(" "), expect);
        };
        check("True", false, &[], "");
        check("False", false, &[], "not-ready:NoSchedule not-ready:NoExecute");
        let not_ready = [("mine", "NoSchedule"), (NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")];
        check(
            "Unknown",
            true,
            &not_ready,
            "mine:NoSchedule unreachable:NoSchedule unschedulable:NoSchedule unreachable:NoExecute",
        );
        check("True", false, &not_ready, "mine:NoSchedule");
    }
}
