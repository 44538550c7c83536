//! What a pod asks for must be free; nodes with more left are liked better (LeastAllocated).

use super::{Filter, MAX_SCORE, Refusal, Score};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::queue::Event;
use crate::snapshot::Snapshot;

struct NodeResourcesFit;

pub(super) fn filter(_: &PodInfo, _: &Snapshot) -> Option<Box<dyn Filter>> {
    Some(Box::new(NodeResourcesFit))
}

pub(super) fn score(_: &PodInfo, _: &Snapshot, _: &[&NodeInfo]) -> Option<Box<dyn Score>> {
    Some(Box::new(NodeResourcesFit))
}

impl Filter for NodeResourcesFit {
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
        let (want, offer, used) = (&pod.requests, &node.allocatable, &node.requested);
        let mut reasons: Vec<std::borrow::Cow<'static, str>> = Vec::new();
        // Whether the node could take the pod if nothing else ran there.
        let mut resolvable = true;
        if node.pods.len() as i64 + 1 > node.max_pods {
            reasons.push("Too many pods".into());
        }
        let mut check = |name: &str, want: i64, offer: i64, used: i64| {
            if want > 0 && want > offer - used {
                reasons.push(match name {
                    "cpu" => "Insufficient cpu".into(),
                    "memory" => "Insufficient memory".into(),
                    _ => format!("Insufficient {name}").into(),
                });
                resolvable &= want <= offer;
            }
        };
        check("cpu", want.cpu, offer.cpu, used.cpu);
        check("memory", want.memory, offer.memory, used.memory);
        check("ephemeral-storage", want.ephemeral_storage, offer.ephemeral_storage, used.ephemeral_storage);
        for (name, amount) in &want.scalar {
            let of = |m: &crate::resources::Resources| m.scalar.get(name).copied().unwrap_or(0);
            check(name, *amount, of(offer), of(used));
        }
        if reasons.is_empty() { None } else { Some(Refusal { reasons, resolvable }) }
    }
}

impl Score for NodeResourcesFit {
    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: usize) -> i64 {
        let (want, offer, used) = (&pod.non_zero, &node.allocatable, &node.non_zero);
        let parts = [(used.cpu + want.cpu, offer.cpu), (used.memory + want.memory, offer.memory)];
        let (mut sum, mut count) = (0, 0);
        for (requested, capacity) in parts.into_iter().filter(|(_, c)| *c != 0) {
            sum += if requested > capacity { 0 } else { (capacity - requested) * MAX_SCORE / capacity };
            count += 1;
        }
        if count == 0 { 0 } else { sum / count }
    }
}

pub(super) fn hint(pod: &PodInfo, event: &Event<'_>, _: &Snapshot) -> bool {
    let fits = |node: &NodeInfo| node.max_pods > 0 && pod.requests.fits(&node.allocatable);
    match event {
        Event::NodeAdded(node) => fits(node),
        Event::NodeUpdated { old, new } => {
            (old.allocatable != new.allocatable || old.max_pods != new.max_pods) && fits(new)
        }
        Event::PodRemoved(_) | Event::Refreshed => true,
        Event::PodUpdated { old, new } => new.requests.less_somewhere(&old.requests),
        _ => false,
    }
}
