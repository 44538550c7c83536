//! Pods of a kind are spread over zones, hosts and the like.

use super::{Filter, MAX_SCORE, Refusal, Score, untolerated};
use crate::groups::ZONE;
use crate::node::NodeInfo;
use crate::pod::{PodInfo, SpreadConstraint};
use crate::queue::Event;
use crate::snapshot::Snapshot;
use ahash::{AHashMap, AHashSet};
use std::borrow::Cow;
use steersman_apimachinery::selector::LabelSelector;

const HOSTNAME: &str = "kubernetes.io/hostname";

/// Whether a node's pods are counted (rule: upstream `matchNodeInclusionPolicies`).
fn counts(c: &SpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> bool {
    (!c.honor_affinity || pod.node_affinity.allows(&node.name, &node.labels))
        && (!c.honor_taints || untolerated(pod, node).is_none())
}

/// Counts a node's pods that are alike: of the namespace, matching, and not on their way out. Whether the pods of a group
/// are is found out once.
struct Alike<'a> {
    constraint: &'a SpreadConstraint,
    namespace: &'a str,
    known: AHashMap<u64, bool>,
    last: (u64, bool),
}

impl<'a> Alike<'a> {
    fn new(constraint: &'a SpreadConstraint, namespace: &'a str) -> Self {
        Self { constraint, namespace, known: AHashMap::new(), last: (0, false) }
    }

    fn count(&mut self, node: &NodeInfo) -> i64 {
        if self.constraint.selector.is_empty() {
            return 0;
        }
        let mut sum = 0;
        for (group, live) in &node.groups {
            if self.last.0 != *group {
                self.last = (*group, self.matches(*group, node));
            }
            if self.last.1 {
                sum += *live as i64;
            }
        }
        sum
    }

    fn matches(&mut self, group: u64, node: &NodeInfo) -> bool {
        *self.known.entry(group).or_insert_with(|| {
            let sample = node.pods.iter().find(|p| p.group == group);
            sample.is_some_and(|p| p.namespace == self.namespace && self.constraint.matches(p))
        })
    }
}

fn has_keys(node: &NodeInfo, constraints: &[SpreadConstraint]) -> bool {
    constraints.iter().all(|c| node.labels.contains_key(&c.topology_key))
}

// ---- hard constraints

struct Hard {
    constraints: Vec<SpreadConstraint>,
    /// For each constraint: topology value → pods alike.
    domains: Vec<AHashMap<String, i64>>,
    /// For each constraint: the fewest in any domain.
    fewest: Vec<i64>,
    /// For each constraint: whether the pod counts itself.
    itself: Vec<i64>,
}

pub(super) fn filter(pod: &PodInfo, cluster: &Snapshot) -> Option<Box<dyn Filter>> {
    let constraints: Vec<SpreadConstraint> = pod.spread.iter().filter(|c| c.hard).cloned().collect();
    if constraints.is_empty() {
        return None;
    }
    let mut domains: Vec<AHashMap<String, i64>> = vec![AHashMap::new(); constraints.len()];
    let mut alike: Vec<Alike<'_>> = constraints.iter().map(|c| Alike::new(c, &pod.namespace)).collect();
    for node in cluster.nodes.iter().filter(|n| has_keys(n, &constraints)) {
        for ((c, alike), domain) in constraints.iter().zip(&mut alike).zip(&mut domains) {
            if counts(c, pod, node) {
                let value = &node.labels[&c.topology_key];
                let n = alike.count(node);
                match domain.get_mut(value) {
                    Some(sum) => *sum += n,
                    None => drop(domain.insert(value.clone(), n)),
                }
            }
        }
    }
    let fewest = |(c, d): (&SpreadConstraint, &AHashMap<String, i64>)| {
        if (d.len() as i64) < c.min_domains { 0 } else { d.values().copied().min().unwrap_or(i64::from(i32::MAX)) }
    };
    let fewest = constraints.iter().zip(&domains).map(fewest).collect();
    let itself = constraints.iter().map(|c| i64::from(c.matches(pod))).collect();
    Some(Box::new(Hard { constraints, domains, fewest, itself }))
}

impl Filter for Hard {
    fn filter(&self, _: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
        for (i, c) in self.constraints.iter().enumerate() {
            let Some(value) = node.label(&c.topology_key) else {
                return Some(Refusal::unresolvable(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                ));
            };
            let here = self.domains[i].get(value).copied().unwrap_or(0);
            if here + self.itself[i] - self.fewest[i] > c.max_skew {
                return Some(Refusal::resolvable("node(s) didn't match pod topology spread constraints"));
            }
        }
        None
    }
}

// ---- soft constraints

struct Soft {
    constraints: Vec<SpreadConstraint>,
    /// For each constraint but those of the host name: topology value → pods alike.
    domains: Vec<AHashMap<String, i64>>,
    weights: Vec<f64>,
    ignored: AHashSet<String>,
    /// For each constraint of the host name: pods alike on each node that does.
    on_host: Vec<Vec<i64>>,
}

pub(super) fn score(pod: &PodInfo, cluster: &Snapshot, nodes: &[&NodeInfo]) -> Option<Box<dyn Score>> {
    let own = !pod.spread.is_empty();
    let constraints: Cow<'_, [SpreadConstraint]> =
        if own { pod.spread.iter().filter(|c| !c.hard).cloned().collect() } else { defaults(pod, cluster).into() };
    if constraints.is_empty() {
        return None;
    }
    let mut domains: Vec<AHashMap<String, i64>> = vec![AHashMap::new(); constraints.len()];
    let mut ignored = AHashSet::new();
    for node in nodes {
        // Constraints of the pod itself ask for every label; the defaults do with what there is.
        if own && !has_keys(node, &constraints) {
            ignored.insert(node.name.clone());
            continue;
        }
        for (c, domain) in constraints.iter().zip(&mut domains).filter(|(c, _)| c.topology_key != HOSTNAME) {
            domain.entry(node.label(&c.topology_key).unwrap_or("").to_owned()).or_default();
        }
    }
    let size = |(c, d): (&SpreadConstraint, &AHashMap<String, i64>)| {
        let n = if c.topology_key == HOSTNAME { nodes.len() - ignored.len() } else { d.len() };
        ((n + 2) as f64).ln()
    };
    let weights = constraints.iter().zip(&domains).map(size).collect();
    let mut alike: Vec<Alike<'_>> = constraints.iter().map(|c| Alike::new(c, &pod.namespace)).collect();
    for ((c, alike), domain) in
        constraints.iter().zip(&mut alike).zip(&mut domains).filter(|((c, _), _)| c.topology_key != HOSTNAME)
    {
        // What every node is asked for need not be asked: the sums are known.
        let everywhere = pod.node_affinity.selector.is_empty() && pod.node_affinity.required.is_none();
        if !own && everywhere && !c.honor_taints && c.topology_key == ZONE {
            for group in cluster.groups.of(&pod.namespace).filter(|g| c.matches(&g.sample)) {
                for (zone, n) in &group.zones {
                    if let Some(sum) = domain.get_mut(zone) {
                        *sum += *n as i64;
                    }
                }
            }
            continue;
        }
        for node in &cluster.nodes {
            // Most nodes have no such pod: that is seen without looking at labels.
            let here = alike.count(node);
            if here > 0
                && (!own || has_keys(node, &constraints))
                && counts(c, pod, node)
                && let Some(n) = domain.get_mut(node.label(&c.topology_key).unwrap_or(""))
            {
                *n += here;
            }
        }
    }
    // On its own host each pod that is alike counts, wherever the pod may be.
    let mut on_host: Vec<Vec<i64>> = Vec::new();
    for (c, alike) in constraints.iter().zip(&mut alike) {
        on_host.push(if c.topology_key == HOSTNAME {
            nodes.iter().map(|n| alike.count(n)).collect()
        } else {
            Vec::new()
        });
    }
    Some(Box::new(Soft { constraints: constraints.into_owned(), domains, weights, ignored, on_host }))
}

impl Score for Soft {
    fn score(&self, _: &PodInfo, node: &NodeInfo, at: usize) -> i64 {
        if self.ignored.contains(&node.name) {
            return 0;
        }
        let mut score = 0.0;
        for (i, c) in self.constraints.iter().enumerate() {
            let Some(value) = node.label(&c.topology_key) else { continue };
            let count = if c.topology_key == HOSTNAME {
                self.on_host[i][at]
            } else {
                self.domains[i].get(value).copied().unwrap_or(0)
            };
            score += count as f64 * self.weights[i] + (c.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalize(&self, nodes: &[&NodeInfo], scores: &mut [i64]) {
        let counted = |i: usize| !self.ignored.contains(&nodes[i].name);
        let real: Vec<i64> = scores.iter().enumerate().filter(|(i, _)| counted(*i)).map(|(_, s)| *s).collect();
        let (min, max) = (real.iter().copied().min().unwrap_or(i64::MAX), real.iter().copied().max().unwrap_or(0));
        for (i, s) in scores.iter_mut().enumerate() {
            *s = if !counted(i) {
                0
            } else if max == 0 {
                MAX_SCORE
            } else {
                MAX_SCORE * (max + min - *s) / max
            };
        }
    }
}

/// Pods of a service or a workload are spread over hosts and zones even if they do not ask
/// (rule: upstream's system defaults and `helper.DefaultSelector`).
fn defaults(pod: &PodInfo, cluster: &Snapshot) -> Vec<SpreadConstraint> {
    let mut labels = Vec::new();
    for selector in cluster.selectors.services.get(&pod.namespace).into_iter().flatten() {
        if selector.iter().all(|(k, v)| pod.labels.get(k) == Some(v)) {
            labels.extend(selector.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        }
    }
    labels.sort_unstable();
    labels.dedup();
    let mut selector = LabelSelector::from_map(labels);
    if let Some(o) = &pod.owner {
        let key = format!("{}/{}/{}", o.kind, pod.namespace, o.name);
        for r in cluster.selectors.owners.get(&key).into_iter().flat_map(|s| s.requirements()) {
            selector = selector.and(r.clone());
        }
    }
    if selector.is_empty() {
        return Vec::new();
    }
    let constraint = |key: &str, max_skew| SpreadConstraint {
        max_skew,
        topology_key: key.to_owned(),
        hard: false,
        selector: selector.clone(),
        min_domains: 1,
        honor_affinity: true,
        honor_taints: false,
    };
    vec![constraint(HOSTNAME, 3), constraint(ZONE, 5)]
}

pub(super) fn hint(pod: &PodInfo, event: &Event<'_>, _: &Snapshot) -> bool {
    let hard = || pod.spread.iter().filter(|c| c.hard);
    let counted = |other: &PodInfo| other.namespace == pod.namespace && hard().any(|c| c.matches(other));
    let has_keys = |node: &NodeInfo| hard().all(|c| node.labels.contains_key(&c.topology_key));
    match event {
        Event::PodAdded(other) | Event::PodRemoved(other) => counted(other),
        Event::PodUpdated { old, new } => old.labels != new.labels && (counted(old) != counted(new)),
        Event::NodeAdded(node) | Event::NodeRemoved(node) => has_keys(node),
        Event::NodeUpdated { old, new } => old.labels != new.labels && (has_keys(old) || has_keys(new)),
        Event::Refreshed => true,
        _ => false,
    }
}
