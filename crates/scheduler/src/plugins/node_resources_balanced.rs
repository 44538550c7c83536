//! Nodes on which CPU and memory are used alike are liked, all the more if this pod makes them so.

use super::{MAX_SCORE, Score};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

struct Balanced;

pub(super) fn score(pod: &PodInfo, _: &Snapshot, _: &[&NodeInfo]) -> Option<Box<dyn Score>> {
    // Pods that ask for nothing would all go to the best balanced node.
    if pod.requests.cpu == 0 && pod.requests.memory == 0 { None } else { Some(Box::new(Balanced)) }
}

impl Score for Balanced {
    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: usize) -> i64 {
        let (want, offer, used) = (&pod.requests, &node.allocatable, &node.requested);
        let with = balance(&[(used.cpu + want.cpu, offer.cpu), (used.memory + want.memory, offer.memory)]);
        let without = balance(&[(used.cpu, offer.cpu), (used.memory, offer.memory)]);
        MAX_SCORE / 2 + (MAX_SCORE / 2 + with - without) / 2
    }
}

/// 100 where the fractions are equal, less the further they are apart.
fn balance(parts: &[(i64, i64)]) -> i64 {
    let fractions: Vec<f64> =
        parts.iter().filter(|(_, c)| *c != 0).map(|(r, c)| (*r as f64 / *c as f64).min(1.0)).collect();
    let deviation = match fractions.as_slice() {
        [a, b] => ((a - b) / 2.0).abs(),
        _ => 0.0,
    };
    ((1.0 - deviation) * MAX_SCORE as f64) as i64
}
