//! Which daemons to start and to stop (rule: `daemon/daemon_controller.go`, `daemon/update.go`).

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use steersman_api::k8s_openapi::api::{
    apps::v1::{DaemonSet, DaemonSetStatus},
    core::v1::{Node, Pod},
};
use steersman_client::Object;

use super::placement::{self, HASH};
use crate::{deployment::scaled, pods};

/// What to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Nodes that need a daemon.
    pub create: Vec<String>,
    /// Daemons that must go.
    pub delete: Vec<Arc<Pod>>,
    /// Daemons among `delete` that had failed: their nodes need some patience.
    pub failed: Vec<Arc<Pod>>,
    /// The wish that no daemon be created before this many seconds have passed, for its failed predecessor's sake.
    pub wait: Option<u64>,
}

/// The daemons of each node, oldest first.
pub type ByNode<'a> = BTreeMap<&'a str, Vec<Arc<Pod>>>;

/// Sorts a set's daemons by node.
pub fn by_node(daemons: &[Arc<Pod>]) -> ByNode<'_> {
    let mut map = ByNode::new();
    for pod in daemons {
        if let Some(node) = placement::node_of(pod) {
            map.entry(node).or_default().push(pod.clone());
        }
    }
    for daemons in map.values_mut() {
        daemons.sort_by_key(|pod| (pod.metadata.creation_timestamp.clone(), pod.name().to_owned()));
    }
    map
}

fn min_ready(set: &DaemonSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
}

fn is_available(set: &DaemonSet, pod: &Pod, now: Timestamp) -> bool {
    !pod.is_deleting() && pods::is_available(pod, min_ready(set), now)
}

fn is_new(pod: &Pod, hash: &str) -> bool {
    pod.labels().get(HASH).is_some_and(|label| label == hash)
}

pub fn is_rolling(set: &DaemonSet) -> bool {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate") == "RollingUpdate"
}

/// Surge and unavailability as numbers.
fn limits(set: &DaemonSet, desired: i32) -> (usize, usize) {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = scaled(rolling.and_then(|r| r.max_surge.as_ref()), desired, true).max(0) as usize;
    let unavailable = match rolling.and_then(|r| r.max_unavailable.as_ref()) {
        Some(value) => scaled(Some(value), desired, true).max(0) as usize,
        None => 1,
    };
    // Both zero would never move.
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// One daemon on each node that should have one, none elsewhere. `patience` says for how many seconds a node whose
/// daemon failed must wait for the next.
pub fn manage(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    map: &ByNode<'_>,
    hash: &str,
    now: Timestamp,
    patience: impl Fn(&str) -> u64,
) -> Plan {
    let mut plan = Plan::default();
    let surges = is_rolling(set) && limits(set, nodes.len() as i32).0 > 0;
    let empty = Vec::new();
    for node in nodes {
        let placement = placement::of(set, node);
        let daemons = map.get(node.name()).unwrap_or(&empty);
        if !placement.stay {
            plan.delete.extend(daemons.iter().filter(|pod| !pod.is_deleting()).cloned());
            continue;
        }
        if daemons.is_empty() {
            if placement.run {
                plan.create.push(node.name().to_owned());
            }
            continue;
        }
        let mut running = Vec::new();
        for pod in daemons.iter().filter(|pod| !pod.is_deleting()) {
            match pods::phase(pod) {
                "Failed" => {
                    let wait = patience(node.name());
                    if wait > 0 {
                        plan.wait = Some(plan.wait.map_or(wait, |known| known.min(wait)));
                    } else {
                        plan.delete.push(pod.clone());
                        plan.failed.push(pod.clone());
                    }
                }
                "Succeeded" => plan.delete.push(pod.clone()),
                _ => running.push(pod.clone()),
            }
        }
        if !surges {
            plan.delete.extend(running.into_iter().skip(1));
            continue;
        }
        // While surging, the oldest daemon of each of the two revisions may stay.
        let (mut new, mut old) = (None, None);
        for pod in running {
            let slot = if is_new(&pod, hash) { &mut new } else { &mut old };
            match slot {
                None => *slot = Some(pod),
                Some(_) => plan.delete.push(pod),
            }
        }
        if let (Some(new), Some(old)) = (new, old)
            && (!is_available(set, &old, now) || is_available(set, &new, now))
        {
            plan.delete.push(old);
        }
    }
    // Daemons whose node is gone are the garbage collector's.
    plan
}

/// Which daemons the rolling update replaces next.
pub fn roll(set: &DaemonSet, nodes: &[Arc<Node>], map: &ByNode<'_>, hash: &str, now: Timestamp) -> Plan {
    let wanted: Vec<_> = nodes.iter().filter(|node| placement::of(set, node).run).collect();
    let (surge, unavailable) = limits(set, wanted.len() as i32);
    let mut plan = Plan::default();
    let (mut missing, mut surging) = (0, 0);
    let mut candidates = Vec::new();
    for node in wanted {
        let daemons = map.get(node.name()).map(Vec::as_slice).unwrap_or_default();
        let new: Vec<_> = daemons.iter().filter(|pod| is_new(pod, hash)).collect();
        let old: Vec<_> = daemons.iter().filter(|pod| !is_new(pod, hash)).collect();
        match (&new[..], &old[..]) {
            ([new], []) => missing += usize::from(!is_available(set, new, now)),
            ([], [old]) => {
                if old.is_deleting() {
                    missing += 1;
                } else if is_available(set, old, now) {
                    candidates.push((node.name(), (*old).clone()));
                } else if surge == 0 {
                    // It is of no use as it is: replacing it costs nothing.
                    plan.delete.push((*old).clone());
                    missing += 1;
                } else {
                    plan.create.push(node.name().to_owned());
                    surging += 1;
                }
            }
            ([new], [_]) if surge > 0 => surging += usize::from(!is_available(set, new, now)),
            // Otherwise the node is being taken care of.
            _ => missing += 1,
        }
    }
    if surge == 0 {
        let room = unavailable.saturating_sub(missing);
        plan.delete.extend(candidates.into_iter().take(room).map(|(_, pod)| pod));
    } else {
        let room = surge.saturating_sub(surging);
        plan.create.extend(candidates.into_iter().take(room).map(|(node, _)| node.to_owned()));
    }
    plan
}

/// The counts of the status.
pub fn status(
    set: &DaemonSet,
    nodes: &[Arc<Node>],
    map: &ByNode<'_>,
    hash: &str,
    collisions: Option<i32>,
    now: Timestamp,
) -> DaemonSetStatus {
    let old = set.status.clone().unwrap_or_default();
    let mut status = DaemonSetStatus {
        collision_count: collisions,
        conditions: old.conditions,
        observed_generation: Some(set.generation()),
        ..DaemonSetStatus::default()
    };
    let (mut available, mut updated) = (0, 0);
    for node in nodes {
        let daemons = map.get(node.name()).map(Vec::as_slice).unwrap_or_default();
        if !placement::of(set, node).run {
            status.number_misscheduled += i32::from(!daemons.is_empty());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(first) = daemons.first() else { continue };
        status.current_number_scheduled += 1;
        // While surging, a node counts as ready if either of its daemons is.
        let ready = daemons.iter().find(|pod| pods::is_ready(pod)).unwrap_or(first);
        status.number_ready += i32::from(pods::is_ready(ready));
        available += i32::from(daemons.iter().any(|pod| pods::is_available(pod, min_ready(set), now)));
        updated += i32::from(daemons.iter().any(|pod| is_new(pod, hash)));
    }
    let nonzero = |number: i32| (number != 0).then_some(number);
    status.number_available = nonzero(available);
    status.number_unavailable = nonzero(status.desired_number_scheduled - available);
    status.updated_number_scheduled = nonzero(updated);
    status
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(rolling: Value) -> DaemonSet {
        serde_json::from_value(json!({"metadata": {"name": "ds"}, "spec": {
            "selector": {}, "template": {"spec": {"containers": []}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
        }}))
        .unwrap()
    }

    fn nodes(count: usize) -> Vec<Arc<Node>> {
        let node = |n| Arc::new(serde_json::from_value(json!({"metadata": {"name": format!("n{n}")}})).unwrap());
        (0..count).map(node).collect()
    }

    /// A daemon as `node revision state`.
    fn pod(text: &str) -> Arc<Pod> {
        let [node, revision, state] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let ready = if state == "ready" { "True" } else { "False" };
        let phase = if state == "failed" { "Failed" } else { "Running" };
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": format!("{node}{revision}"), "labels": {HASH: revision}},
                "spec": {"nodeName": node, "containers": []},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap(),
        )
    }

    fn show(plan: &Plan) -> String {
        let created = plan.create.iter().map(|node| format!("+{node}"));
        let deleted = plan.delete.iter().map(|pod| format!("-{}", pod.name()));
        created.chain(deleted).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_node_gets_one() {
        let check = |daemons: &[&str], expect: &str| {
            let daemons: Vec<_> = daemons.iter().map(|text| pod(text)).collect();
            let plan = manage(&set(json!({})), &nodes(2), &by_node(&daemons), "v1", Timestamp::UNIX_EPOCH, |_| 0);
            assert_eq!(show(&plan), expect);
        };
        check(&[], "+n0 +n1");
        check(&["n0 v1 ready"], "+n1");
        check(&["n0 v1 failed", "n1 v1 ready"], "-n0v1");
        check(&["n0 v0 ready", "n0 v1 ready", "n1 v1 ready"], "-n0v1");
    }

    #[test]
    fn rolls_within_the_limits() {
        let check = |rolling: Value, daemons: &[&str], expect: &str| {
            let daemons: Vec<_> = daemons.iter().map(|text| pod(text)).collect();
            let plan = roll(&set(rolling), &nodes(3), &by_node(&daemons), "v2", Timestamp::UNIX_EPOCH);
            assert_eq!(show(&plan), expect);
        };
        let one = json!({"maxUnavailable": 1});
        check(one.clone(), &["n0 v1 ready", "n1 v1 ready", "n2 v1 ready"], "-n0v1");
        check(one.clone(), &["n0 v2 no", "n1 v1 ready", "n2 v1 ready"], "");
        check(one.clone(), &["n0 v2 ready", "n1 v1 ready", "n2 v1 ready"], "-n1v1");
        check(one, &["n0 v1 no", "n1 v1 ready", "n2 v1 ready"], "-n0v1");
        let surge = json!({"maxSurge": 1, "maxUnavailable": 0});
        check(surge.clone(), &["n0 v1 ready", "n1 v1 ready", "n2 v1 ready"], "+n0");
        check(surge, &["n0 v1 ready", "n0 v2 no", "n1 v1 ready", "n2 v1 ready"], "");
    }
}
