//! One decision: filter the nodes, rate those that do, choose.

use crate::node::NodeInfo;
use crate::plugins::{Filter, Refusal, TABLE};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;
use std::collections::BTreeMap;

/// Below this many nodes all are looked at (upstream's `minFeasibleNodesToFind`).
const MIN_FEASIBLE: usize = 100;

/// A node that does, with what each plug-in gives it after normalising and weighting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rated {
    /// Place in the snapshot.
    pub index: usize,
    /// Points of each plug-in, in the order of the table.
    pub scores: [i64; TABLE.len()],
    /// Sum of the points.
    pub total: i64,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Decision {
    /// Nodes that do.
    pub feasible: Vec<Rated>,
    /// Place of a node in the snapshot, the plug-in that refused it, and why.
    pub refused: Vec<(usize, &'static str, Refusal)>,
    /// What keeps the pod from every node: the plug-in, and why. Then no node was looked at.
    pub veto: Option<(&'static str, String)>,
    /// How many nodes were not looked at because the pod names others.
    pub left_out: usize,
    /// How many nodes were looked at.
    pub looked_at: usize,
}

impl Decision {
    /// What the event says when no node does: `0/3 nodes are available: 2 Insufficient cpu, 1 Too many pods.`
    pub fn message(&self, nodes: usize) -> String {
        if nodes == 0 {
            return "no nodes available to schedule pods".into();
        }
        if let Some((_, why)) = &self.veto {
            return format!("0/{nodes} nodes are available: {why}.");
        }
        let told = self.refused.iter().flat_map(|(_, _, r)| r.reasons.iter().map(|s| &**s));
        let left_out = std::iter::repeat_n("node(s) didn't satisfy plugin(s) [NodeAffinity]", self.left_out);
        format!("0/{nodes} nodes are available: {}.", histogram(told.chain(left_out)))
    }

    /// The plug-ins that refused nodes, each once.
    pub fn refusing(&self) -> Vec<&'static str> {
        let mut out: Vec<&'static str> = self.veto.iter().map(|(p, _)| *p).collect();
        out.extend(Some("NodeAffinity").filter(|_| self.left_out > 0));
        for (_, plugin, _) in &self.refused {
            if !out.contains(plugin) {
                out.push(plugin);
            }
        }
        out
    }

    /// The best node; among equals the one that `pick` (given how many there are) chooses.
    pub fn best(&self, pick: impl FnOnce(usize) -> usize) -> Option<&Rated> {
        let top = self.feasible.iter().map(|r| r.total).max()?;
        let equals: Vec<&Rated> = self.feasible.iter().filter(|r| r.total == top).collect();
        let at = pick(equals.len()).min(equals.len() - 1);
        Some(equals[at])
    }
}

/// `2 Insufficient cpu, 1 Too many pods`, sorted as upstream sorts it.
pub fn histogram<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for r in reasons {
        *counts.entry(r).or_default() += 1;
    }
    let mut parts: Vec<String> = counts.into_iter().map(|(r, n)| format!("{n} {r}")).collect();
    parts.sort();
    parts.join(", ")
}

/// The filters of one pod, made once and asked for every node.
pub struct Filters(Vec<(&'static str, Box<dyn Filter>)>);

/// The first refusal of one node, where room is left to pods that preemption has made it for
/// (rule: upstream `RunFilterPluginsWithNominatedPods`).
fn refusal(pod: &PodInfo, cluster: &Snapshot, filters: &Filters, index: usize) -> Option<(&'static str, Refusal)> {
    let node = &cluster.nodes[index];
    if !cluster.nominated.is_empty() {
        let before = cluster.nominated_before(&node.name, pod);
        if !before.is_empty() {
            let mut full = NodeInfo::clone(node);
            before.into_iter().for_each(|p| full.add(p));
            let cluster = cluster.with_node(index, full);
            let refusal = Filters::new(pod, &cluster).refusal(pod, &cluster.nodes[index]);
            if refusal.is_some() {
                return refusal;
            }
        }
    }
    // Pods that are not there yet may also be what makes a node do, so it must do without them.
    filters.refusal(pod, node)
}

impl Filters {
    /// Lets every plug-in look at the cluster.
    pub fn new(pod: &PodInfo, cluster: &Snapshot) -> Self {
        Self(TABLE.iter().filter_map(|p| Some((p.name, p.filter?(pod, cluster)?))).collect())
    }
    /// The first refusal.
    pub fn refusal(&self, pod: &PodInfo, node: &NodeInfo) -> Option<(&'static str, Refusal)> {
        self.0.iter().find_map(|(name, f)| Some((*name, f.filter(pod, node)?)))
    }
}

/// Filters and rates. `start` is where to begin looking and `enough` how many nodes that do are enough: in large clusters
/// not all need be looked at.
pub fn evaluate(pod: &PodInfo, cluster: &Snapshot, start: usize, enough: usize) -> Decision {
    let mut out =
        Decision { veto: TABLE.iter().find_map(|p| Some((p.name, p.veto?(pod, cluster)?))), ..Decision::default() };
    if out.veto.is_some() {
        return out;
    }
    let filters = Filters::new(pod, cluster);
    // The node that was made free for the pod is taken if it does.
    let nominated = cluster.by_name.get(&pod.nominated).filter(|_| !pod.nominated.is_empty());
    let mut found: Vec<usize> =
        nominated.copied().filter(|i| refusal(pod, cluster, &filters, *i).is_none()).into_iter().collect();
    if found.is_empty() {
        // Where the pod names nodes, only those are looked at.
        let named: Option<Vec<usize>> = pod
            .node_affinity
            .names
            .as_ref()
            .map(|n| n.iter().filter_map(|n| cluster.by_name.get(n).copied()).collect());
        let all = named.as_ref().map_or(cluster.nodes.len(), Vec::len);
        out.left_out = cluster.nodes.len() - all;
        for i in (0..all).map(|i| (start + i) % all) {
            let i = named.as_ref().map_or(i, |n| n[i]);
            out.looked_at += 1;
            match refusal(pod, cluster, &filters, i) {
                None => found.push(i),
                Some((plugin, why)) => out.refused.push((i, plugin, why)),
            }
            if found.len() >= enough {
                break;
            }
        }
    }
    out.feasible = rate(pod, cluster, &found);
    out
}

/// Rates the nodes that do.
fn rate(pod: &PodInfo, cluster: &Snapshot, found: &[usize]) -> Vec<Rated> {
    let nodes: Vec<&NodeInfo> = found.iter().map(|i| cluster.nodes[*i].as_ref()).collect();
    let mut out: Vec<Rated> = found.iter().map(|i| Rated { index: *i, scores: [0; TABLE.len()], total: 0 }).collect();
    if nodes.is_empty() {
        return out;
    }
    for (at, plugin) in TABLE.iter().enumerate() {
        let Some(scorer) = plugin.score.and_then(|make| make(pod, cluster, &nodes)) else { continue };
        let mut scores: Vec<i64> = nodes.iter().enumerate().map(|(at, n)| scorer.score(pod, n, at)).collect();
        scorer.normalize(&nodes, &mut scores);
        for (rated, s) in out.iter_mut().zip(scores) {
            rated.scores[at] = s * plugin.weight;
            rated.total += s * plugin.weight;
        }
    }
    out
}

/// How many nodes that do are enough, in a cluster of `all` (rule: upstream `numFeasibleNodesToFind`; `percentage` 0 means
/// by the size of the cluster).
pub fn enough(all: usize, percentage: usize) -> usize {
    if all < MIN_FEASIBLE || percentage >= 100 {
        return all.max(1);
    }
    let percentage = if percentage == 0 { 50usize.saturating_sub(all / 125).max(5) } else { percentage };
    (all * percentage / 100).max(MIN_FEASIBLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_clusters_are_looked_at_in_part() {
        let check = |all, percentage, want| assert_eq!(enough(all, percentage), want, "{all} {percentage}");
        check(10, 0, 10);
        check(1000, 0, 420);
        check(5000, 0, 500);
        check(6000, 0, 300);
        check(1000, 100, 1000);
        check(200, 10, 100);
    }
}
