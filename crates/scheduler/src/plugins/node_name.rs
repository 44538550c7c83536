//! A pod that names its node goes there.

use super::{Filter, Refusal};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::queue::Event;
use crate::snapshot::Snapshot;

struct NodeName;

pub(super) fn filter(pod: &PodInfo, _: &Snapshot) -> Option<Box<dyn Filter>> {
    if pod.node_name.is_empty() { None } else { Some(Box::new(NodeName)) }
}

impl Filter for NodeName {
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
        (pod.node_name != node.name).then(|| Refusal::unresolvable("node(s) didn't match the requested node name"))
    }
}

pub(super) fn hint(pod: &PodInfo, event: &Event<'_>, _: &Snapshot) -> bool {
    matches!(event, Event::NodeAdded(node) if node.name == pod.node_name)
}
