//! Questions about pods that several controllers ask (rule: `pkg/api/v1/pod`, `pkg/controller/controller_utils.go`).

use std::cmp::Ordering;

use jiff::Timestamp;
use steersman_api::k8s_openapi::{
    api::core::v1::{Pod, PodCondition, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
};
use steersman_client::Object;

/// Pods with a lower value are deleted first.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The phase, empty if there is none yet.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("")
}

/// Whether all containers have ended for good.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Neither ended nor being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !pod.is_deleting()
}

/// The condition of that type.
pub fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition Ready is true.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Whether the pod has been ready for at least `min_ready_seconds`.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    available_in(pod, min_ready_seconds, now).is_some_and(|seconds| seconds <= 0)
}

/// In how many seconds a ready pod will be available (0 or less: it is); `None` if it is not ready.
pub fn available_in(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<i64> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    if min_ready_seconds <= 0 {
        return Some(0);
    }
    let since = ready.last_transition_time.as_ref()?;
    // A partial second still has to pass.
    let passed = now.duration_since(since.0);
    let wanted = jiff::SignedDuration::from_secs(i64::from(min_ready_seconds));
    let left = wanted - passed;
    Some(left.as_secs() + i64::from(left.subsec_nanos() > 0))
}

/// The node that the pod is bound to, empty if none.
pub fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("")
}

/// A pod made from a template for an owner (rule: `controller.GetPodFromTemplate`).
pub fn from_template(template: &PodTemplateSpec, owner_name: &str, owner: OwnerReference) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            generate_name: Some(name_prefix(owner_name)),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// `name-`, unless that is no valid prefix of a pod's name.
fn name_prefix(name: &str) -> String {
    let prefix = format!("{name}-");
    if prefix.len() <= 253 { prefix } else { name.to_owned() }
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|status| status.restart_count).max().unwrap_or(0)
}

fn ready_since(pod: &Pod) -> Option<&Time> {
    condition(pod, "Ready").filter(|ready| ready.status == "True")?.last_transition_time.as_ref()
}

fn deletion_cost(pod: &Pod) -> i32 {
    pod.annotations().get(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

/// Orders pods so that those to be deleted first come first (rule: `controller.ActivePodsWithRanks`). `rank` is the
/// number of related pods on the same node. Ages are compared by powers of two, so that pods of about the same age
/// are chosen between at random.
pub fn deletion_order(a: &Pod, a_rank: usize, b: &Pod, b_rank: usize, now: Timestamp) -> Ordering {
    let phase_order = |pod: &Pod| match phase(pod) {
        "Pending" | "" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let age = |since: Option<&Time>| match since {
        None => -1,
        Some(since) => (now.as_second() - since.0.as_second()).max(0).checked_ilog2().map_or(0, i64::from),
    };
    let by_uid = || a.uid().cmp(b.uid());
    (!node(a).is_empty())
        .cmp(&!node(b).is_empty())
        .then_with(|| phase_order(a).cmp(&phase_order(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| b_rank.cmp(&a_rank))
        .then_with(|| if is_ready(a) { age(ready_since(a)).cmp(&age(ready_since(b))) } else { Ordering::Equal })
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| {
            let (a, b) = (a.metadata.creation_timestamp.as_ref(), b.metadata.creation_timestamp.as_ref());
            age(a).cmp(&age(b))
        })
        .then_with(by_uid)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value, node: &str, meta: Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": meta, "spec": {"nodeName": node, "containers": []}, "status": status}),
        )
        .unwrap()
    }

    #[test]
    fn deletion_prefers_the_less_useful() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let ready = |since: &str| json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]});
        let old = "2020-01-01T00:00:00Z";
        let check = |first: Pod, first_rank, second: Pod, second_rank| {
            assert_eq!(deletion_order(&first, first_rank, &second, second_rank, now), Ordering::Less);
            assert_eq!(deletion_order(&second, second_rank, &first, first_rank, now), Ordering::Greater);
        };
        let running = pod(ready(old), "n", json!({}));
        check(pod(json!({"phase": "Pending"}), "", json!({})), 0, running.clone(), 0);
        check(pod(json!({"phase": "Pending"}), "n", json!({})), 0, running.clone(), 0);
        check(pod(json!({"phase": "Running"}), "n", json!({})), 0, running.clone(), 0);
        check(pod(ready(old), "n", json!({"annotations": {DELETION_COST: "-5"}})), 0, running.clone(), 9);
        check(running.clone(), 2, running.clone(), 1);
        check(pod(ready("2029-12-31T23:59:00Z"), "n", json!({})), 1, running, 1);
    }

    #[test]
    fn availability_waits_for_whole_seconds() {
        let since = "2030-01-01T00:00:00Z";
        let pod = pod(
            json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]}),
            "n",
            json!({}),
        );
        let check = |now: &str, min, expect| {
            assert_eq!(available_in(&pod, min, now.parse().unwrap()), Some(expect), "{now} {min}");
        };
        check("2030-01-01T00:00:00Z", 0, 0);
        check("2030-01-01T00:00:04Z", 10, 6);
        check("2030-01-01T00:00:09.5Z", 10, 1);
        check("2030-01-01T00:00:11Z", 10, -1);
    }
}
