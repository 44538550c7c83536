//! Pods that want to be near other pods, or away from them.

use super::{Filter, MAX_SCORE, Refusal, Score};
use crate::node::NodeInfo;
use crate::pod::{AffinityTerm, Labels, PodInfo};
use crate::queue::Event;
use crate::snapshot::Snapshot;
use ahash::AHashMap;

/// Weight of existing pods' required affinity when nodes are rated (upstream's default).
const HARD_WEIGHT: i64 = 1;

/// Topology key → value → number.
type Counts = AHashMap<String, AHashMap<String, i64>>;

fn add(counts: &mut Counts, node: &NodeInfo, key: &str, n: i64) {
    if let Some(value) = node.label(key) {
        let of_key = match counts.get_mut(key) {
            Some(m) => m,
            None => counts.entry(key.to_owned()).or_default(),
        };
        match of_key.get_mut(value) {
            Some(have) => *have += n,
            None => drop(of_key.insert(value.to_owned(), n)),
        }
    }
}

fn get(counts: &Counts, node: &NodeInfo, key: &str) -> Option<i64> {
    let value = node.label(key)?;
    Some(counts.get(key).and_then(|m| m.get(value)).copied().unwrap_or(0))
}

/// Terms of the incoming pod speak of pods in any namespace that its selectors match.
fn matches(term: &AffinityTerm, pod: &PodInfo, cluster: &Snapshot) -> bool {
    term.matches(pod, cluster.namespace_labels(&pod.namespace))
}

struct Required {
    /// Where existing pods do not want the incoming one.
    unwanted: Counts,
    affinity: Counts,
    anti_affinity: Counts,
    /// Whether the pod matches its own terms, so that the first of its kind may go anywhere.
    matches_itself: bool,
}

pub(super) fn filter(pod: &PodInfo, cluster: &Snapshot) -> Option<Box<dyn Filter>> {
    let own: &Labels = cluster.namespace_labels(&pod.namespace);
    let mut unwanted = Counts::default();
    let forbidding = if cluster.with_anti_affinity > 0 { cluster.nodes.as_slice() } else { &[] };
    for node in forbidding.iter().filter(|n| n.with_anti_affinity > 0) {
        for existing in &node.pods {
            for term in existing.required_anti_affinity.iter().filter(|t| t.matches(pod, own)) {
                add(&mut unwanted, node, &term.topology_key, 1);
            }
        }
    }
    let (mut affinity, mut anti_affinity) = (Counts::default(), Counts::default());
    if !pod.required_affinity.is_empty() || !pod.required_anti_affinity.is_empty() {
        for node in &cluster.nodes {
            for existing in &node.pods {
                let all = !pod.required_affinity.is_empty()
                    && pod.required_affinity.iter().all(|t| matches(t, existing, cluster));
                for term in pod.required_affinity.iter().filter(|_| all) {
                    add(&mut affinity, node, &term.topology_key, 1);
                }
                for term in pod.required_anti_affinity.iter().filter(|t| matches(t, existing, cluster)) {
                    add(&mut anti_affinity, node, &term.topology_key, 1);
                }
            }
        }
    }
    if unwanted.is_empty() && pod.required_affinity.is_empty() && pod.required_anti_affinity.is_empty() {
        return None;
    }
    let matches_itself = pod.required_affinity.iter().all(|t| matches(t, pod, cluster));
    Some(Box::new(Required { unwanted, affinity, anti_affinity, matches_itself }))
}

impl Required {
    fn near_enough(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let mut there = true;
        for term in &pod.required_affinity {
            match get(&self.affinity, node, &term.topology_key) {
                // Every label of the terms must be there.
                None => return false,
                Some(n) => there &= n > 0,
            }
        }
        there || (self.affinity.is_empty() && self.matches_itself)
    }
}

impl Filter for Required {
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
        if !self.near_enough(pod, node) {
            return Some(Refusal::unresolvable("node(s) didn't match pod affinity rules"));
        }
        let near = |t: &AffinityTerm| get(&self.anti_affinity, node, &t.topology_key).is_some_and(|n| n > 0);
        if pod.required_anti_affinity.iter().any(near) {
            return Some(Refusal::resolvable("node(s) didn't match pod anti-affinity rules"));
        }
        let refused = self.unwanted.keys().any(|key| get(&self.unwanted, node, key).is_some_and(|n| n > 0));
        refused.then(|| Refusal::resolvable("node(s) didn't satisfy existing pods anti-affinity rules"))
    }
}

struct Preferred {
    weights: Counts,
}

pub(super) fn score(pod: &PodInfo, cluster: &Snapshot, _: &[&NodeInfo]) -> Option<Box<dyn Score>> {
    let own = cluster.namespace_labels(&pod.namespace);
    let asks = !pod.preferred_affinity.is_empty() || !pod.preferred_anti_affinity.is_empty();
    if !asks && cluster.with_affinity == 0 {
        return None;
    }
    let mut weights = Counts::default();
    // Where the pod asks for nothing, only pods that say something themselves matter.
    for node in cluster.nodes.iter().filter(|n| !n.labels.is_empty() && (asks || n.with_affinity > 0)) {
        for existing in node.pods.iter().filter(|p| asks || p.has_affinity()) {
            let mut rate = |weight: i64, term: &AffinityTerm, fits: bool| {
                if fits {
                    add(&mut weights, node, &term.topology_key, weight);
                }
            };
            for (w, t) in &pod.preferred_affinity {
                rate(*w, t, matches(t, existing, cluster));
            }
            for (w, t) in &pod.preferred_anti_affinity {
                rate(-w, t, matches(t, existing, cluster));
            }
            for t in &existing.required_affinity {
                rate(HARD_WEIGHT, t, t.matches(pod, own));
            }
            for (w, t) in &existing.preferred_affinity {
                rate(*w, t, t.matches(pod, own));
            }
            for (w, t) in &existing.preferred_anti_affinity {
                rate(-w, t, t.matches(pod, own));
            }
        }
    }
    if weights.is_empty() { None } else { Some(Box::new(Preferred { weights })) }
}

impl Score for Preferred {
    fn score(&self, _: &PodInfo, node: &NodeInfo, _: usize) -> i64 {
        self.weights.keys().filter_map(|key| get(&self.weights, node, key)).sum()
    }
    fn normalize(&self, _: &[&NodeInfo], scores: &mut [i64]) {
        let (min, max) = (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0));
        for s in scores {
            *s = if max > min { (MAX_SCORE as f64 * ((*s - min) as f64 / (max - min) as f64)) as i64 } else { 0 };
        }
    }
}

pub(super) fn hint(pod: &PodInfo, event: &Event<'_>, cluster: &Snapshot) -> bool {
    let wanted = |other: &PodInfo| pod.required_affinity.iter().any(|t| matches(t, other, cluster));
    let unwanted = |other: &PodInfo| {
        pod.required_anti_affinity.iter().any(|t| matches(t, other, cluster))
            || other.required_anti_affinity.iter().any(|t| matches(t, pod, cluster))
    };
    let mut keys = pod.required_affinity.iter().chain(&pod.required_anti_affinity).map(|t| &t.topology_key);
    match event {
        Event::PodAdded(other) => wanted(other),
        Event::PodRemoved(other) => unwanted(other),
        Event::PodUpdated { old, new } if old.labels != new.labels => {
            (!wanted(old) && wanted(new)) || (unwanted(old) && !unwanted(new))
        }
        Event::NodeAdded(node) => keys.any(|k| node.labels.contains_key(k)) || pod.required_affinity.is_empty(),
        Event::NodeUpdated { old, new } if old.labels != new.labels => {
            keys.any(|k| old.labels.get(k) != new.labels.get(k)) || pod.required_affinity.is_empty()
        }
        Event::Refreshed => true,
        _ => false,
    }
}
