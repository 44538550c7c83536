//! Nodes that are cordoned take no pods, but those that tolerate it.

use super::{Filter, Refusal, tolerates};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;
use steersman_api::k8s_openapi::api::core::v1::Taint;

struct NodeUnschedulable {
    tolerated: bool,
}

pub(super) fn filter(pod: &PodInfo, _: &Snapshot) -> Option<Box<dyn Filter>> {
    let taint = Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() };
    Some(Box::new(NodeUnschedulable { tolerated: pod.tolerations.iter().any(|t| tolerates(t, &taint)) }))
}

impl Filter for NodeUnschedulable {
    fn filter(&self, _: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
        (node.unschedulable && !self.tolerated).then(|| Refusal::unresolvable("node(s) were unschedulable"))
    }
}
