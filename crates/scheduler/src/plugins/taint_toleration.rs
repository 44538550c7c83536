//! Taints keep pods away that do not tolerate them, or make a node less liked.

use super::{Filter, Refusal, Score, scale, tolerates, untolerated};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::queue::Event;
use crate::snapshot::Snapshot;

struct TaintToleration;

pub(super) fn filter(_: &PodInfo, _: &Snapshot) -> Option<Box<dyn Filter>> {
    Some(Box::new(TaintToleration))
}

pub(super) fn score(_: &PodInfo, _: &Snapshot, _: &[&NodeInfo]) -> Option<Box<dyn Score>> {
    Some(Box::new(TaintToleration))
}

impl Filter for TaintToleration {
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
        untolerated(pod, node).map(|_| Refusal::unresolvable("node(s) had untolerated taint(s)"))
    }
}

impl Score for TaintToleration {
    /// How many taints ask to stay away and are not tolerated.
    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: usize) -> i64 {
        let about =
            pod.tolerations.iter().filter(|t| matches!(t.effect.as_deref(), None | Some("" | "PreferNoSchedule")));
        let soft = node.taints.iter().filter(|t| t.effect == "PreferNoSchedule");
        soft.filter(|taint| !about.clone().any(|t| tolerates(t, taint))).count() as i64
    }
    fn normalize(&self, _: &[&NodeInfo], scores: &mut [i64]) {
        scale(scores, true);
    }
}

pub(super) fn hint(pod: &PodInfo, event: &Event<'_>, _: &Snapshot) -> bool {
    match event {
        Event::NodeAdded(node) => untolerated(pod, node).is_none(),
        Event::NodeUpdated { old, new } => untolerated(pod, old).is_some() && untolerated(pod, new).is_none(),
        Event::Refreshed => true,
        _ => false,
    }
}
