//! The cluster as one cycle sees it. Nodes are shared: a snapshot costs one pointer for each.

use crate::node::NodeInfo;
use crate::pod::Labels;
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
    pub images: Arc<AHashMap<String, (i64, usize)>>,
    /// What selects pods in a namespace (services, replica sets, ...), for spreading by default.
    pub selectors: Arc<Selectors>,
}

/// What pods are selected by, for the default spreading.
#[derive(Clone, Debug, Default)]
pub struct Selectors {
    /// Namespace → selectors of its services.
    pub services: AHashMap<String, Vec<Labels>>,
    /// `<kind>/<namespace>/<name>` of an owner → its selector.
    pub owners: AHashMap<String, LabelSelector>,
}

impl Snapshot {
    /// Of these nodes.
    pub fn new(nodes: Vec<Arc<NodeInfo>>, namespaces: Arc<AHashMap<String, Labels>>, selectors: Arc<Selectors>) -> Self {
        let by_name = nodes.iter().enumerate().map(|(i, n)| (n.name.clone(), i)).collect();
        let mut images: AHashMap<String, (i64, usize)> = AHashMap::new();
        for (name, bytes) in nodes.iter().flat_map(|n| n.images.iter()) {
            images.entry(name.clone()).or_insert((*bytes, 0)).1 += 1;
        }
        Self { nodes, by_name: Arc::new(by_name), namespaces, images: Arc::new(images), selectors }
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
