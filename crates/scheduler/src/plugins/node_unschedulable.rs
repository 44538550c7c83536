//! Nodes that are cordoned take no pods, but those that tolerate it.

use super::{Filter, Refusal, tolerates};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::queue::Event;
use crate::snapshot::Snapshot;
use steersman_api::k8s_openapi::api::core::v1::Taint;

const TAINT: &str = "node.kubernetes.io/unschedulable";

struct NodeUnschedulable {
    tolerated: bool,
}

pub(super) fn filter(pod: &PodInfo, _: &Snapshot) -> Option<Box<dyn Filter>> {
    let taint = Taint { key: TAINT.into(), effect: "NoSchedule".into(), ..Taint::default() };
    Some(Box::new(NodeUnschedulable { tolerated: pod.tolerations.iter().any(|t| tolerates(t, &taint)) }))
}

impl Filter for NodeUnschedulable {
    fn filter(&self, _: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
        (node.unschedulable && !self.tolerated).then(|| Refusal::unresolvable("node(s) were unschedulable"))
    }
}

pub(super) fn hint(pod: &PodInfo, event: &Event<'_>, _: &Snapshot) -> bool {
    let taint = Taint { key: TAINT.into(), effect: "NoSchedule".into(), ..Taint::default() };
    let tolerated = || pod.tolerations.iter().any(|t| tolerates(t, &taint));
    match event {
        Event::NodeAdded(node) => !node.unschedulable || tolerated(),
        Event::NodeUpdated { old, new } => old.unschedulable && !new.unschedulable,
        Event::Refreshed => true,
        _ => false,
    }
}
