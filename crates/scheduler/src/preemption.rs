//! Making room: which pods of lower priority would have to go so that a pod fits, and on which node the fewest and least
//! important ones (rule: scheduler `framework/preemption` and `plugins/defaultpreemption`).

use crate::cycle::{Decision, Filters, histogram};
use crate::node::NodeInfo;
use crate::plugins::Refusal;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;
use crate::watched::Budget;
use ahash::AHashMap;
use std::cmp::Reverse;
use std::sync::Arc;

/// Of the nodes that may help, at least this share in percent and this many are tried.
const MIN_CANDIDATES_PERCENT: usize = 10;
const MIN_CANDIDATES: usize = 100;

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// A node that fits once some pods are gone.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Place in the snapshot.
    pub index: usize,
    /// The pods that have to go, the most important first.
    pub victims: Vec<Arc<PodInfo>>,
    /// How many of them no disruption budget allows to go.
    pub violations: usize,
}

/// What preemption can do for a pod.
#[derive(Debug)]
pub enum Outcome {
    /// Room can be made.
    Found(Candidate),
    /// It cannot; the text goes to the user after `preemption: `. A node that was chosen earlier is given up if `clear`.
    Nothing {
        /// Why, as upstream says it.
        message: String,
        /// Whether the pod's nominated node is to be cleared.
        clear: bool,
    },
}

/// Looks for room. `offset` is where among the possible nodes to begin.
pub fn preempt(
    pod: &PodInfo,
    cluster: &Snapshot,
    decision: &Decision,
    budgets: &[Arc<Budget>],
    offset: usize,
) -> Outcome {
    if let Some(why) = ineligible(pod, cluster, decision) {
        return Outcome::Nothing { message: why.to_owned(), clear: false };
    }
    let all = cluster.nodes.len();
    let possible: Vec<usize> = decision.refused.iter().filter(|(_, _, r)| r.resolvable).map(|(i, _, _)| *i).collect();
    let wanted = (possible.len() * MIN_CANDIDATES_PERCENT / 100).max(MIN_CANDIDATES);
    let mut scratch = cluster.clone();
    let mut candidates: Vec<Candidate> = Vec::new();
    let (mut without_violations, mut reasons) = (0, vec![]);
    for i in 0..possible.len() {
        let index = possible[(offset + i) % possible.len()];
        match victims(pod, &mut scratch, index, budgets) {
            Ok(candidate) => {
                without_violations += usize::from(candidate.violations == 0);
                candidates.push(candidate);
                if without_violations > 0 && candidates.len() >= wanted {
                    break;
                }
            }
            Err(refusal) => reasons.push(refusal),
        }
    }
    if let Some(best) = best(candidates) {
        return Outcome::Found(best);
    }
    let rest = std::iter::repeat_n(NOT_HELPFUL, all - reasons.len());
    let told = reasons.iter().flat_map(|r| r.reasons.iter().map(|s| &**s));
    let message = format!("0/{all} nodes are available: {}.", histogram(told.chain(rest)));
    Outcome::Nothing { message, clear: true }
}

/// Why a pod must not preempt others (rule: `PodEligibleToPreemptOthers`).
fn ineligible(pod: &PodInfo, cluster: &Snapshot, decision: &Decision) -> Option<&'static str> {
    if pod.never_preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let index = cluster.by_name.get(&pod.nominated).filter(|_| !pod.nominated.is_empty())?;
    // A node that no longer does for other reasons is given up.
    if decision.refused.iter().any(|(i, _, r)| i == index && !r.resolvable) {
        return None;
    }
    let leaving = |p: &Arc<PodInfo>| p.terminating && p.preempted && p.priority < pod.priority;
    let waits = cluster.nodes[*index].pods.iter().any(leaving);
    waits.then_some("not eligible due to a terminating pod on the nominated node.")
}

/// The fewest pods of a node that must go (rule: `SelectVictimsOnNode`).
/// `cluster` is changed while we look, and afterwards is as before.
fn victims(pod: &PodInfo, cluster: &mut Snapshot, index: usize, budgets: &[Arc<Budget>]) -> Result<Candidate, Refusal> {
    let mut node = NodeInfo::clone(&cluster.nodes[index]);
    let mut lower: Vec<Arc<PodInfo>> = node.pods.iter().filter(|p| p.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err(Refusal::unresolvable(NO_VICTIMS));
    }
    for p in &lower {
        node.remove(&p.uid);
    }
    // Pods that room was made for must find it still.
    for p in cluster.nominated_before(&node.name, pod) {
        node.add(p);
    }
    if let Some(refusal) = refusal(pod, cluster, index, &node) {
        return Err(refusal);
    }
    lower.sort_by_cached_key(importance);
    let (violating, fine) = by_budgets(&lower, budgets);
    let (mut victims, mut violations) = (Vec::new(), 0);
    for (list, counts) in [(violating, 1), (fine, 0)] {
        for p in list {
            node.add(p.clone());
            if refusal(pod, cluster, index, &node).is_some() {
                node.remove(&p.uid);
                victims.push(p);
                violations += counts;
            }
        }
    }
    victims.sort_by_cached_key(importance);
    Ok(Candidate { index, victims, violations })
}

/// Whether the pod fits if the node is in another state.
fn refusal(pod: &PodInfo, scratch: &mut Snapshot, index: usize, node: &NodeInfo) -> Option<Refusal> {
    let real = scratch.replace(index, Arc::new(node.clone()));
    let refusal = Filters::new(pod, scratch).refusal(pod, &scratch.nodes[index]).map(|(_, r)| r);
    scratch.replace(index, real);
    refusal
}

/// The most important pods come first: those of higher priority, then those that began earlier
/// (rule: `util.MoreImportantPod`).
fn importance(pod: &Arc<PodInfo>) -> (Reverse<i32>, jiff::Timestamp) {
    (Reverse(pod.priority), pod.started.unwrap_or(jiff::Timestamp::MAX))
}

/// Parts pods into those that no budget allows to go, and the others (rule: `filterPodsWithPDBViolation`).
fn by_budgets(pods: &[Arc<PodInfo>], budgets: &[Arc<Budget>]) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: Vec<i32> = budgets.iter().map(|b| b.allowed).collect();
    pods.iter().cloned().partition(|pod| {
        let mut violates = false;
        for (budget, left) in budgets.iter().zip(&mut left) {
            let covers = budget.namespace == pod.namespace
                && !pod.labels.is_empty()
                && !budget.selector.is_empty()
                && budget.selector.matches(|k| pod.labels.get(k).map(String::as_str))
                && !budget.disrupted.contains(&pod.name);
            if covers {
                *left -= 1;
                violates |= *left < 0;
            }
        }
        violates
    })
}

/// The node whose victims matter least (rule: `pickOneNodeForPreemption`): fewest violated budgets, then the lowest of
/// the highest priorities, then the lowest sum of priorities, then fewest pods, then those that began last.
fn best(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().min_by_key(|c| {
        let highest = c.victims.first().map_or(i32::MIN, |p| p.priority);
        // Negative priorities must not make more victims look better.
        let sum: i64 = c.victims.iter().map(|p| i64::from(p.priority) + i64::from(i32::MAX) + 1).sum();
        let most_important = c.victims.iter().filter(|p| p.priority == highest);
        let earliest = most_important.map(|p| p.started.unwrap_or(jiff::Timestamp::MAX)).min();
        (c.violations, highest, sum, c.victims.len(), Reverse(earliest))
    })
}

/// Pods of lower priority that wait for room on the same node: it is no longer theirs
/// (rule: `getLowerPriorityNominatedPods`).
pub fn outranked(pod: &PodInfo, node: &str, nominated: &AHashMap<String, Vec<Arc<PodInfo>>>) -> Vec<Arc<PodInfo>> {
    nominated.get(node).into_iter().flatten().filter(|p| p.priority < pod.priority).cloned().collect()
}

#[cfg(test)]
mod tests;
