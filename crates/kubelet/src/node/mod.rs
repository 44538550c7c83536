//! The node that this kubelet stands for.

pub mod facts;
pub mod heartbeat;
pub mod status;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use parking_lot::RwLock;
use steersman_client::Informer;
use steersman_volumes::fieldref::NodeResources;

use crate::{api::*, config::Configuration};
pub use facts::Facts;

/// What is known about the node itself.
pub struct NodeState {
    name: String,
    /// What does not change while the kubelet runs.
    pub facts: Facts,
    capacity: BTreeMap<String, i64>,
    allocatable: BTreeMap<String, i64>,
    ips: RwLock<Vec<String>>,
    network: RwLock<Option<String>>,
    ready: AtomicBool,
    /// The node as the API has it.
    informer: Option<Informer<Node>>,
    /// The node as this kubelet wrote it last.
    pub written: ArcSwapOption<Node>,
}

impl NodeState {
    /// Measures the node.
    pub fn new(
        name: &str,
        config: &Configuration,
        facts: Facts,
        ips: Vec<String>,
        informer: Option<Informer<Node>>,
    ) -> Self {
        let capacity = status::capacity(config, &facts);
        let allocatable = status::allocatable(config, &capacity);
        NodeState {
            name: name.to_owned(),
            facts,
            capacity,
            allocatable,
            ips: RwLock::new(ips),
            network: RwLock::new(Some("runtime status has not been checked yet".into())),
            ready: AtomicBool::new(false),
            informer,
            written: ArcSwapOption::empty(),
        }
    }

    /// Addresses, the primary one first.
    pub fn ips(&self) -> Vec<String> {
        self.ips.read().clone()
    }

    /// Memory in bytes.
    pub fn memory(&self) -> i64 {
        self.facts.memory
    }

    /// What the node has, in thousandths.
    pub fn capacity(&self) -> &BTreeMap<String, i64> {
        &self.capacity
    }

    /// What the node has for pods, in thousandths.
    pub fn allocatable(&self) -> BTreeMap<String, i64> {
        // Others may have added resources to the node's status.
        let mut all = self.allocatable.clone();
        let node = self.current();
        for (name, amount) in node.iter().filter_map(|n| n.status.as_ref()?.allocatable.as_ref()).flatten() {
            all.entry(name.clone()).or_insert_with(|| quantity(amount).milli_value());
        }
        all
    }

    /// What the node gives to containers without limits.
    pub fn resources(&self) -> NodeResources {
        let whole = |(name, milli): (&String, &i64)| (name.clone(), status::shown(name, *milli));
        NodeResources(self.allocatable.iter().map(whole).collect())
    }

    /// Why containers cannot have a network now.
    pub fn network_error(&self) -> Option<String> {
        self.network.read().clone()
    }

    /// Notes whether the runtime's network works.
    pub fn set_network(&self, error: Option<String>) {
        *self.network.write() = error;
    }

    /// Whether the node was found able to run pods when it was last looked at.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Notes whether the node can run pods.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// The node as the API has it.
    pub fn current(&self) -> Option<Arc<Node>> {
        let cached = self.informer.as_ref().and_then(|i| i.store().find("", &self.name));
        cached.or_else(|| self.written.load_full())
    }

    /// Waits a while until the API has told about the node.
    pub async fn synced(&self) {
        if let Some(informer) = &self.informer {
            // Without it, pods are checked against what is known.
            let _ = tokio::time::timeout(Duration::from_secs(5), informer.synced()).await;
        }
    }
}
