//! How many pods of each group there are in each zone, kept up to date with each pod: spreading by default needs it for
//! every pod, and visiting all nodes would be most of a cycle's time.

use crate::node::NodeInfo;
use crate::pod::PodInfo;
use ahash::AHashMap;
use std::sync::Arc;

/// The label of a node's zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// Namespace → group → its pods. Pods on their way out are left out.
#[derive(Clone, Debug, Default)]
pub struct Groups(AHashMap<String, AHashMap<u64, Group>>);

/// Pods of one namespace with the same labels.
#[derive(Clone, Debug)]
pub struct Group {
    /// One of them.
    pub sample: Arc<PodInfo>,
    /// Zone (empty for nodes without one) and number.
    pub zones: Vec<(String, usize)>,
}

impl Groups {
    /// Of all pods on these nodes.
    pub fn new<'a>(nodes: impl IntoIterator<Item = &'a Arc<NodeInfo>>) -> Self {
        let mut out = Self::default();
        for node in nodes {
            node.pods.iter().for_each(|p| out.add(p, node.label(ZONE).unwrap_or("")));
        }
        out
    }

    /// The groups of a namespace.
    pub fn of(&self, namespace: &str) -> impl Iterator<Item = &Group> {
        self.0.get(namespace).into_iter().flat_map(|groups| groups.values())
    }

    /// A pod is on a node of the zone.
    pub fn add(&mut self, pod: &Arc<PodInfo>, zone: &str) {
        if pod.terminating {
            return;
        }
        let of_namespace = match self.0.get_mut(&pod.namespace) {
            Some(known) => known,
            None => self.0.entry(pod.namespace.clone()).or_default(),
        };
        let group = of_namespace.entry(pod.group).or_insert_with(|| Group { sample: pod.clone(), zones: Vec::new() });
        match group.zones.iter_mut().find(|(z, _)| z == zone) {
            Some((_, n)) => *n += 1,
            None => group.zones.push((zone.to_owned(), 1)),
        }
    }

    /// A pod that was added is no longer there.
    pub fn remove(&mut self, pod: &PodInfo, zone: &str) {
        if pod.terminating {
            return;
        }
        let Some(of_namespace) = self.0.get_mut(&pod.namespace) else { return };
        let Some(group) = of_namespace.get_mut(&pod.group) else { return };
        if let Some(at) = group.zones.iter().position(|(z, _)| z == zone) {
            group.zones[at].1 -= 1;
            if group.zones[at].1 == 0 {
                group.zones.swap_remove(at);
            }
        }
        if group.zones.is_empty() {
            of_namespace.remove(&pod.group);
        }
        if of_namespace.is_empty() {
            self.0.remove(&pod.namespace);
        }
    }

    /// Everything, sorted, for comparing.
    #[cfg(test)]
    pub fn all(&self) -> Vec<(String, u64, Vec<(String, usize)>)> {
        let mut out = Vec::new();
        for (namespace, groups) in &self.0 {
            for (id, group) in groups {
                let mut zones = group.zones.clone();
                zones.sort();
                out.push((namespace.clone(), *id, zones));
            }
        }
        out.sort();
        out
    }
}
