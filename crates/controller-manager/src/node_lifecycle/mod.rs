//! Notices nodes whose kubelet is silent, and taints nodes by their conditions (rule: `pkg/controller/nodelifecycle`).
//!
//! Each heartbeat (a renewed Lease or a new status) moves the node's deadline; a queue wakes us when one passes. Nothing
//! looks at all nodes.

mod taints;
mod zones;

use std::{sync::Arc, time::Duration};

use ahash::HashMap;
use futures::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use steersman_api::k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition, Pod, Taint},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use steersman_client::{
    Action, Client, Event, EventRecorder, EventType, Informer, Object, ObjectKey, Patch, Result, Store, WorkQueue,
    run_workers,
};
use tokio::time::Instant;

use crate::{
    context::{Context, Run, index},
    pods,
};
use zones::{Verdict, Zones};

const LEASES: &str = "kube-node-lease";
/// Conditions that only the kubelet can know.
const KUBELET_CONDITIONS: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
const WORKERS: usize = 8;

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let nodes = context.informers.get::<Node>();
    let pods = context.pods_by_node();
    let leases = Informer::<Lease>::builder(context.client.clone()).namespace(LEASES).build();
    let queue = WorkQueue::<ObjectKey>::new();
    let flags = &context.flags;
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        nodes: nodes.store().clone(),
        pods: pods.store().clone(),
        seen: Mutex::default(),
        zones: Mutex::new(Zones::new(
            flags.float("node-eviction-rate"),
            flags.float("secondary-node-eviction-rate"),
            flags.float("unhealthy-zone-threshold"),
            usize::try_from(flags.int("large-cluster-size-threshold")).unwrap_or(0),
        )),
        grace: flags.duration("node-monitor-grace-period"),
        startup_grace: flags.duration("node-startup-grace-period"),
    });
    nodes.add_handler({
        let (queue, controller) = (queue.clone(), controller.clone());
        move |event| controller.node_changed(event, &queue)
    });
    leases.add_handler({
        let (queue, controller) = (queue.clone(), controller.clone());
        move |event| {
            let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
            if let Event::Added(_) | Event::Updated { .. } = event
                && event.old().is_none_or(|old| renewed(old) != renewed(event.object()))
            {
                controller.heard(event.object().name(), &queue);
            }
        }
    });
    pods.add_handler({
        let (queue, nodes) = (queue.clone(), nodes.store().clone());
        move |event| {
            // A pod that claims to be ready on a node that is not must be corrected.
            let pod = event.object();
            if !matches!(event, Event::Deleted { .. })
                && !pods::node(pod).is_empty()
                && pods::is_ready(pod)
                && nodes.find("", pods::node(pod)).is_some_and(|node| ready_status(&node) == "Unknown")
            {
                queue.add(ObjectKey::new("", pods::node(pod)));
            }
        }
    });
    let shutdown = context.shutdown.clone();
    Ok(Some(
        async move {
            let following = leases.spawn(&shutdown);
            leases.synced().await;
            run_workers("nodelifecycle", &queue, WORKERS, &shutdown, move |key| {
                let controller = controller.clone();
                async move { controller.sync(&key).await }
            })
            .await;
            // The task ends with the same token.
            let _ = following.await;
        }
        .boxed(),
    ))
}

struct Controller {
    client: Client,
    recorder: EventRecorder,
    nodes: Store<Node>,
    pods: Store<Pod>,
    /// When each node was last heard of, by our own clock.
    seen: Mutex<HashMap<String, Instant>>,
    zones: Mutex<Zones>,
    grace: Duration,
    startup_grace: Duration,
}

fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

/// `True`, `False`, `Unknown`, or empty if the kubelet has not said anything yet.
fn ready_status(node: &Node) -> &str {
    condition(node, "Ready").map_or("", |condition| &condition.status)
}

impl Controller {
    fn heard(&self, node: &str, queue: &WorkQueue<ObjectKey>) {
        let first = self.seen.lock().insert(node.to_owned(), Instant::now()).is_none();
        if first {
            queue.add_after(ObjectKey::new("", node), self.grace);
        }
    }

    fn node_changed(&self, event: &Event<Node>, queue: &WorkQueue<ObjectKey>) {
        let node = event.object();
        let key = node.key();
        if let Event::Deleted { .. } = event {
            self.seen.lock().remove(node.name());
            self.zones.lock().forget(node.name());
            return;
        }
        let beat = |node: &Node| condition(node, "Ready").and_then(|ready| ready.last_heartbeat_time.clone());
        match event.old() {
            Some(old) if beat(old) == beat(node) => {}
            // Found at our start: it has the whole grace period to show itself.
            _ => self.heard(node.name(), queue),
        }
        let recovered = self.zones.lock().observe(node, ready_status(node) == "True");
        if recovered {
            // Nodes were held back while nothing was ready at all.
            self.nodes.keys().into_iter().for_each(|key| queue.add(key));
        }
        queue.add(key);
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(node) = self.nodes.get(key) else { return Ok(Action::Done) };
        let seen = *self.seen.lock().entry(node.name().to_owned()).or_insert_with(Instant::now);
        let never_spoke = condition(&node, "Ready").is_none();
        let grace = if never_spoke { self.startup_grace } else { self.grace };
        let silent = seen.elapsed();
        if silent >= grace && ready_status(&node) != "Unknown" {
            self.mark_unknown(&node).await?;
            // The changed node comes back to us and is tainted then.
            return Ok(Action::Done);
        }
        if ready_status(&node) != "True" && !never_spoke {
            self.mark_pods_not_ready(&node).await?;
        }
        let wait = self.sync_taints(&node).await?;
        let left = grace.checked_sub(silent).filter(|left| !left.is_zero());
        Ok(match wait.into_iter().chain(left).min() {
            Some(delay) => Action::RequeueAfter(delay),
            None => Action::Done,
        })
    }

    async fn mark_unknown(&self, node: &Node) -> Result<()> {
        tracing::info!(node = node.name(), "node was not heard of for too long");
        let was_ready = ready_status(node) == "True";
        let mut changed = node.clone();
        let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
        make_unknown(conditions, node.metadata.creation_timestamp.as_ref(), Timestamp::now());
        self.client.update_status(&changed).await?;
        if was_ready {
            self.not_ready_event(node);
        }
        Ok(())
    }

    fn not_ready_event(&self, node: &Node) {
        // Events about nodes carry the name as uid (rule: `controllerutil.RecordNodeEvent`).
        let mut about = steersman_client::object_reference(node);
        about.uid = Some(node.name().to_owned());
        let message = format!("Node {} status is now: NodeNotReady", node.name());
        self.recorder.event_ref(about, EventType::Normal, "NodeNotReady", message);
    }

    /// Pods on a node that is not ready are not, either (rule: `MarkPodsNotReady`).
    async fn mark_pods_not_ready(&self, node: &Node) -> Result<()> {
        // A kubelet that still speaks knows better.
        if ready_status(node) != "Unknown" {
            return Ok(());
        }
        let now = Time(Timestamp::now());
        for pod in self.pods.by_index(index::NODE, node.name()).iter().filter(|pod| pods::is_ready(pod)) {
            let patch = Patch::Strategic(json!({
                "metadata": {"uid": pod.uid()},
                "status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": now}]},
            }));
            match self.client.patch_status::<Pod>(pod.namespace(), pod.name(), &patch).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                Err(_) => {}
                Ok(_) => {
                    let message = "Node is not ready";
                    self.recorder.event(&**pod, EventType::Warning, "NodeNotReady", message);
                }
            }
        }
        Ok(())
    }

    /// Writes the taints that follow from the conditions; how long a taint that evicts must still wait.
    async fn sync_taints(&self, node: &Node) -> Result<Option<Duration>> {
        let current: &[Taint] = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        let mut wanted = taints::by_condition(node, current, Timestamp::now());
        let evicting = taints::evicting(ready_status(node));
        let mut wait = None;
        match evicting {
            Some(key) if !taints::has(current, key, "NoExecute") => {
                let verdict = self.zones.lock().ask(node.name(), Instant::now());
                match verdict {
                    Verdict::Evict => wanted = taints::set_evicting(wanted, Some(key), Timestamp::now()),
                    Verdict::Wait(delay) => wait = Some(delay),
                    Verdict::Hold => wanted = taints::set_evicting(wanted, None, Timestamp::now()),
                }
            }
            // When nothing is ready any more, the fault is rather ours: nobody shall be evicted.
            Some(_) if self.zones.lock().all_are_down() => {
                wanted = taints::set_evicting(wanted, None, Timestamp::now());
            }
            Some(_) => {}
            None => wanted = taints::set_evicting(wanted, None, Timestamp::now()),
        }
        if wanted != current {
            let patch = Patch::Merge(json!({
                "metadata": {"resourceVersion": node.resource_version()},
                "spec": {"taints": wanted},
            }));
            self.client.patch::<Node>("", node.name(), &patch).await?;
        }
        Ok(wait)
    }
}

/// Sets what only the kubelet can know to Unknown.
fn make_unknown(conditions: &mut Vec<NodeCondition>, created: Option<&Time>, now: Timestamp) {
    for type_ in KUBELET_CONDITIONS {
        match conditions.iter_mut().find(|condition| condition.type_ == *type_) {
            None => conditions.push(NodeCondition {
                type_: (*type_).to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: created.cloned(),
                last_transition_time: Some(Time(now)),
            }),
            Some(known) if known.status != "Unknown" => {
                known.status = "Unknown".to_owned();
                known.reason = Some("NodeStatusUnknown".to_owned());
                known.message = Some("Kubelet stopped posting node status.".to_owned());
                known.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_makes_all_unknown() {
        let condition = |type_: &str, status: &str| NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            ..NodeCondition::default()
        };
        let mut conditions = vec![condition("Ready", "True"), condition("NetworkUnavailable", "False")];
        make_unknown(&mut conditions, None, Timestamp::UNIX_EPOCH);
        let text: Vec<_> = conditions
            .iter()
            .map(|c| format!("{} {} {}", c.type_, c.status, c.reason.as_deref().unwrap_or("-")))
            .collect();
        assert_eq!(
            text,
            [
                "Ready Unknown NodeStatusUnknown",
                "NetworkUnavailable False -",
                "MemoryPressure Unknown NodeStatusNeverUpdated",
                "DiskPressure Unknown NodeStatusNeverUpdated",
                "PIDPressure Unknown NodeStatusNeverUpdated",
            ]
        );
    }
}
