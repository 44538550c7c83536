//! The plug-ins of the default profile, in the order they run, with their weights (rule: upstream
//! `apis/config/v1/default_plugins.go`).

mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced;
mod node_resources_fit;
mod node_unschedulable;
mod pod_topology_spread;
mod taint_toleration;

use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

/// The best score of a plug-in before its weight.
pub const MAX_SCORE: i64 = 100;

/// Why a node does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Reasons, as events tell them.
    pub reasons: Vec<String>,
    /// Whether evicting pods could help.
    pub resolvable: bool,
}

impl Refusal {
    /// Evicting pods may help.
    pub fn resolvable(reason: &str) -> Self {
        Self { reasons: vec![reason.to_owned()], resolvable: true }
    }
    /// Evicting pods cannot help.
    pub fn unresolvable(reason: &str) -> Self {
        Self { reasons: vec![reason.to_owned()], resolvable: false }
    }
}

/// Decides whether one node does, from what it found out about the whole cluster before.
pub trait Filter {
    /// `None`: it does.
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Refusal>;
}

/// Rates one node, from what it found out about the whole cluster before.
pub trait Score {
    /// Any number; the plug-in's own scale.
    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64;
    /// Brings the scores of all nodes to 0..=100.
    fn normalize(&self, _nodes: &[&NodeInfo], _scores: &mut [i64]) {}
}

/// Makes a filter for one pod; `None`: it has nothing to say about any node.
pub type MakeFilter = fn(&PodInfo, &Snapshot) -> Option<Box<dyn Filter>>;
/// Makes a scorer for one pod and the nodes that do; `None`: it has nothing to say.
pub type MakeScore = fn(&PodInfo, &Snapshot, &[&NodeInfo]) -> Option<Box<dyn Score>>;

/// One line of the table.
pub struct Plugin {
    /// Upstream's name.
    pub name: &'static str,
    /// Weight of its score.
    pub weight: i64,
    /// Filters.
    pub filter: Option<MakeFilter>,
    /// Scores.
    pub score: Option<MakeScore>,
}

const fn plugin(name: &'static str, weight: i64, filter: Option<MakeFilter>, score: Option<MakeScore>) -> Plugin {
    Plugin { name, weight, filter, score }
}

/// The table.
pub const TABLE: &[Plugin] = &[
    plugin("NodeUnschedulable", 0, Some(node_unschedulable::filter), None),
    plugin("NodeName", 0, Some(node_name::filter), None),
    plugin("TaintToleration", 3, Some(taint_toleration::filter), Some(taint_toleration::score)),
    plugin("NodeAffinity", 2, Some(node_affinity::filter), Some(node_affinity::score)),
    plugin("NodePorts", 0, Some(node_ports::filter), None),
    plugin("NodeResourcesFit", 1, Some(node_resources_fit::filter), Some(node_resources_fit::score)),
    plugin("PodTopologySpread", 2, Some(pod_topology_spread::filter), Some(pod_topology_spread::score)),
    plugin("InterPodAffinity", 2, Some(inter_pod_affinity::filter), Some(inter_pod_affinity::score)),
    plugin("NodeResourcesBalancedAllocation", 1, None, Some(node_resources_balanced::score)),
    plugin("ImageLocality", 1, None, Some(image_locality::score)),
];

/// Scales scores so that the highest becomes 100; with `reverse` the lowest does
/// (rule: upstream `helper.DefaultNormalizeScore`).
fn scale(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for s in scores {
        if max == 0 {
            if reverse {
                *s = MAX_SCORE;
            }
            continue;
        }
        *s = MAX_SCORE * *s / max;
        if reverse {
            *s = MAX_SCORE - *s;
        }
    }
}

/// Whether a toleration tolerates a taint (rule: `Toleration.ToleratesTaint`).
pub(crate) fn tolerates(
    t: &steersman_api::k8s_openapi::api::core::v1::Toleration,
    taint: &steersman_api::k8s_openapi::api::core::v1::Taint,
) -> bool {
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    let (effect, key) = (text(&t.effect), text(&t.key));
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match text(&t.operator).as_str() {
        "" | "Equal" => text(&t.value) == text(&taint.value),
        "Exists" => true,
        _ => false,
    }
}

/// The first taint that keeps the pod away.
pub(crate) fn untolerated<'a>(pod: &PodInfo, node: &'a NodeInfo) -> Option<&'a steersman_api::k8s_openapi::api::core::v1::Taint> {
    let keeps_away = |t: &&steersman_api::k8s_openapi::api::core::v1::Taint| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute");
    node.taints.iter().filter(keeps_away).find(|t| !pod.tolerations.iter().any(|x| tolerates(x, t)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_file_stands_in_the_table() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plugins");
        let text = std::fs::read_to_string(dir.join("mod.rs")).expect("reads");
        for entry in std::fs::read_dir(dir).expect("lists") {
            let name = entry.expect("entry").path().file_stem().expect("stem").to_string_lossy().into_owned();
            assert!(name == "mod" || text.contains(&format!("Some({name}::")), "{name} is in no line of the table");
        }
    }
}
