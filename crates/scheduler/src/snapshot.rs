//! The cluster as one cycle sees it. Nodes are shared: a snapshot costs one pointer for each.

use crate::groups::Groups;
use crate::node::{ImageId, NodeInfo};
use crate::pod::{Labels, PodInfo};
use crate::volumes::Volumes;
use ahash::AHashMap;
use std::sync::Arc;
use steersman_apimachinery::selector::LabelSelector;

/// The cluster.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// All nodes there are.
    pub nodes: Vec<Arc<NodeInfo>>,
    /// Place of a node in `nodes`.
    pub by_name: Arc<AHashMap<String, usize>>,
    /// Labels of namespaces.
    pub namespaces: Arc<AHashMap<String, Labels>>,
    /// Image → its bytes, as the first node that lists it says, and how many nodes have it.
    pub images: Arc<AHashMap<ImageId, (i64, usize)>>,
    /// What selects pods in a namespace (services, replica sets, ...), for spreading by default.
    pub selectors: Arc<Selectors>,
    /// Claims, volumes and classes.
    pub volumes: Arc<Volumes>,
    /// Node → pods that preemption has made room for there, and that are not bound yet.
    pub nominated: Arc<AHashMap<String, Vec<Arc<PodInfo>>>>,
    /// How many pods alike there are in each zone.
    pub groups: Arc<Groups>,
    /// How many nodes have pods that say something about other pods' places.
    pub with_affinity: usize,
    /// How many nodes have pods that forbid others near them.
    pub with_anti_affinity: usize,
}

/// What pods are selected by, for the default spreading.
#[derive(Clone, Debug, Default)]
pub struct Selectors {
    /// Namespace → selectors of its services.
    pub services: AHashMap<String, Vec<Labels>>,
    /// `<kind>/<namespace>/<name>` of an owner → its selector.
    pub owners: AHashMap<String, Arc<LabelSelector>>,
}

impl Snapshot {
    /// Of these nodes.
    pub fn new(
        nodes: Vec<Arc<NodeInfo>>,
        namespaces: Arc<AHashMap<String, Labels>>,
        selectors: Arc<Selectors>,
    ) -> Self {
        let by_name = nodes.iter().enumerate().map(|(i, n)| (n.name.clone(), i)).collect();
        let mut images: AHashMap<ImageId, (i64, usize)> = AHashMap::new();
        // The apiserver lists nodes by name, so the first by name is the first that is seen.
        let mut by_turn: Vec<&Arc<NodeInfo>> = nodes.iter().collect();
        by_turn.sort_unstable_by_key(|n| &n.name);
        for (id, bytes) in by_turn.into_iter().flat_map(|n| n.images.iter()) {
            images.entry(*id).or_insert((*bytes, 0)).1 += 1;
        }
        Self {
            with_affinity: nodes.iter().filter(|n| n.with_affinity > 0).count(),
            with_anti_affinity: nodes.iter().filter(|n| n.with_anti_affinity > 0).count(),
            groups: Arc::new(Groups::new(&nodes)),
            nodes,
            by_name: Arc::new(by_name),
            namespaces,
            images: Arc::new(images),
            selectors,
            ..Self::default()
        }
    }

    /// Puts another state of a node in its place and returns the one before. `groups`, which only rating uses, stays.
    pub fn replace(&mut self, index: usize, node: Arc<NodeInfo>) -> Arc<NodeInfo> {
        let old = std::mem::replace(&mut self.nodes[index], node);
        let new = &self.nodes[index];
        let count =
            |at: &mut usize, before: usize, after: usize| *at = *at + usize::from(after > 0) - usize::from(before > 0);
        count(&mut self.with_affinity, old.with_affinity, new.with_affinity);
        count(&mut self.with_anti_affinity, old.with_anti_affinity, new.with_anti_affinity);
        old
    }

    /// The same cluster with another state of one node. Costs a pointer for each node.
    pub fn with_node(&self, index: usize, node: NodeInfo) -> Self {
        let mut out = self.clone();
        out.replace(index, Arc::new(node));
        out
    }

    /// Pods that preemption has made room for on a node, if `pod` must leave that room to them.
    pub fn nominated_before(&self, node: &str, pod: &PodInfo) -> Vec<Arc<PodInfo>> {
        let there = self.nominated.get(node).into_iter().flatten();
        there.filter(|p| p.uid != pod.uid && p.priority >= pod.priority).cloned().collect()
    }

    /// Labels of a namespace; none where it is not known.
    pub fn namespace_labels(&self, namespace: &str) -> &Labels {
        static NONE: Labels = Labels::new();
        self.namespaces.get(namespace).unwrap_or(&NONE)
    }

    /// The node of a name.
    pub fn node(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        self.by_name.get(name).map(|i| &self.nodes[*i])
    }
}
