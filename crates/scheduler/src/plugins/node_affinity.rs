//! Node selectors and node affinity.

use super::{Filter, Refusal, Score, scale};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::queue::Event;
use crate::snapshot::Snapshot;

struct NodeAffinity;

pub(super) fn filter(pod: &PodInfo, _: &Snapshot) -> Option<Box<dyn Filter>> {
    let asks = !pod.node_affinity.selector.is_empty() || pod.node_affinity.required.is_some();
    if asks { Some(Box::new(NodeAffinity)) } else { None }
}

/// Terms that name nodes must leave one.
pub(super) fn veto(pod: &PodInfo, _: &Snapshot) -> Option<String> {
    pod.node_affinity.names.as_ref().filter(|n| n.is_empty()).map(|_| "pod affinity terms conflict".to_owned())
}

pub(super) fn score(pod: &PodInfo, _: &Snapshot, _: &[&NodeInfo]) -> Option<Box<dyn Score>> {
    if pod.node_affinity.preferred.is_empty() { None } else { Some(Box::new(NodeAffinity)) }
}

impl Filter for NodeAffinity {
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
        let fits = pod.node_affinity.allows(&node.name, &node.labels);
        (!fits).then(|| Refusal::unresolvable("node(s) didn't match Pod's node affinity/selector"))
    }
}

impl Score for NodeAffinity {
    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: usize) -> i64 {
        let liked = pod.node_affinity.preferred.iter().filter(|(_, t)| t.matches(&node.name, &node.labels));
        liked.map(|(weight, _)| weight).sum()
    }
    fn normalize(&self, _: &[&NodeInfo], scores: &mut [i64]) {
        scale(scores, false);
    }
}

pub(super) fn hint(pod: &PodInfo, event: &Event<'_>, _: &Snapshot) -> bool {
    let fits = |node: &NodeInfo| pod.node_affinity.allows(&node.name, &node.labels);
    match event {
        Event::NodeAdded(node) => fits(node),
        Event::NodeUpdated { old, new } => !fits(old) && fits(new),
        Event::Refreshed => true,
        _ => false,
    }
}
