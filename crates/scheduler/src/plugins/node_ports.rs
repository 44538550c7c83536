//! A port of the host is given once.

use super::{Filter, Refusal};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::queue::Event;
use crate::snapshot::Snapshot;

struct NodePorts;

pub(super) fn filter(pod: &PodInfo, _: &Snapshot) -> Option<Box<dyn Filter>> {
    if pod.ports.is_empty() { None } else { Some(Box::new(NodePorts)) }
}

impl Filter for NodePorts {
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
        let taken = pod.ports.iter().any(|p| node.ports.iter().any(|q| p.conflicts(q)));
        taken.then(|| Refusal::resolvable("node(s) didn't have free ports for the requested pod ports"))
    }
}

pub(super) fn hint(pod: &PodInfo, event: &Event<'_>, _: &Snapshot) -> bool {
    match event {
        Event::NodeAdded(_) => true,
        Event::PodRemoved(other) => pod.ports.iter().any(|p| other.ports.iter().any(|q| p.conflicts(q))),
        _ => false,
    }
}
