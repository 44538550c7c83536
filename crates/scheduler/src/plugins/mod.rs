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
mod volume_binding;

pub use volume_binding::waiting_claims;

use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::queue::Event;
use crate::snapshot::Snapshot;
use std::borrow::Cow;

/// The best score of a plug-in before its weight.
pub const MAX_SCORE: i64 = 100;

/// Why a node does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Reasons, as events tell them.
    pub reasons: Vec<Cow<'static, str>>,
    /// Whether evicting pods could help.
    pub resolvable: bool,
}

impl Refusal {
    /// Evicting pods may help.
    pub fn resolvable(reason: &'static str) -> Self {
        Self { reasons: vec![reason.into()], resolvable: true }
    }
    /// Evicting pods cannot help.
    pub fn unresolvable(reason: &'static str) -> Self {
        Self { reasons: vec![reason.into()], resolvable: false }
    }
}

/// Decides whether one node does, from what it found out about the whole cluster before.
pub trait Filter {
    /// `None`: it does.
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Refusal>;
}

/// Rates one node, from what it found out about the whole cluster before.
pub trait Score {
    /// Any number; the plug-in's own scale. `at` is the node's place among the nodes that do.
    fn score(&self, pod: &PodInfo, node: &NodeInfo, at: usize) -> i64;
    /// Brings the scores of all nodes to 0..=100.
    fn normalize(&self, _nodes: &[&NodeInfo], _scores: &mut [i64]) {}
}

/// Makes a filter for one pod; `None`: it has nothing to say about any node.
pub type MakeFilter = fn(&PodInfo, &Snapshot) -> Option<Box<dyn Filter>>;
/// Makes a scorer for one pod and the nodes that do; `None`: it has nothing to say.
pub type MakeScore = fn(&PodInfo, &Snapshot, &[&NodeInfo]) -> Option<Box<dyn Score>>;

/// Whether an event may have made room for a pod that the plug-in refused.
pub type Hint = fn(&PodInfo, &Event<'_>, &Snapshot) -> bool;
/// What keeps the pod from every node, whatever the node is like.
pub type Veto = fn(&PodInfo, &Snapshot) -> Option<String>;

/// One line of the table.
pub struct Plugin {
    /// Upstream's name.
    pub name: &'static str,
    /// Weight of its score.
    pub weight: i64,
    /// Refuses all nodes.
    pub veto: Option<Veto>,
    /// Filters.
    pub filter: Option<MakeFilter>,
    /// Scores.
    pub score: Option<MakeScore>,
    /// Wakes pods that it refused.
    pub hint: Option<Hint>,
}

const fn plugin(
    name: &'static str,
    weight: i64,
    filter: Option<MakeFilter>,
    score: Option<MakeScore>,
    hint: Option<Hint>,
) -> Plugin {
    Plugin { name, weight, veto: None, filter, score, hint }
}

/// The table.
pub const TABLE: &[Plugin] = &[
    plugin("NodeUnschedulable", 0, Some(node_unschedulable::filter), None, Some(node_unschedulable::hint)),
    plugin("NodeName", 0, Some(node_name::filter), None, Some(node_name::hint)),
    plugin(
        "TaintToleration",
        3,
        Some(taint_toleration::filter),
        Some(taint_toleration::score),
        Some(taint_toleration::hint),
    ),
    Plugin {
        veto: Some(node_affinity::veto),
        ..plugin("NodeAffinity", 2, Some(node_affinity::filter), Some(node_affinity::score), Some(node_affinity::hint))
    },
    plugin("NodePorts", 0, Some(node_ports::filter), None, Some(node_ports::hint)),
    plugin(
        "NodeResourcesFit",
        1,
        Some(node_resources_fit::filter),
        Some(node_resources_fit::score),
        Some(node_resources_fit::hint),
    ),
    Plugin {
        veto: Some(volume_binding::veto),
        ..plugin("VolumeBinding", 0, Some(volume_binding::filter), None, Some(volume_binding::hint))
    },
    plugin(
        "PodTopologySpread",
        2,
        Some(pod_topology_spread::filter),
        Some(pod_topology_spread::score),
        Some(pod_topology_spread::hint),
    ),
    plugin(
        "InterPodAffinity",
        2,
        Some(inter_pod_affinity::filter),
        Some(inter_pod_affinity::score),
        Some(inter_pod_affinity::hint),
    ),
    plugin("NodeResourcesBalancedAllocation", 1, None, Some(node_resources_balanced::score), None),
    plugin("ImageLocality", 1, None, Some(image_locality::score), None),
];

/// Whether an event may have made room for a pod that `plugin` refused; unknown plug-ins know no events.
pub fn hint(plugin: &str, pod: &PodInfo, event: &Event<'_>, cluster: &Snapshot) -> bool {
    TABLE.iter().find(|p| p.name == plugin).and_then(|p| p.hint).is_some_and(|hint| hint(pod, event, cluster))
}

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
pub(crate) fn untolerated<'a>(
    pod: &PodInfo,
    node: &'a NodeInfo,
) -> Option<&'a steersman_api::k8s_openapi::api::core::v1::Taint> {
    let keeps_away =
        |t: &&steersman_api::k8s_openapi::api::core::v1::Taint| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute");
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
