//! A node with the pods on it, as decisions need it.

use crate::pod::{HostPort, Labels, PodInfo, hash};
use crate::resources::Resources;
use std::collections::BTreeMap;
use std::sync::Arc;
use steersman_api::k8s_openapi::api::core::v1::{Node, Taint};

/// An image's name, hashed: nodes list many long names, of which only equality matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(u64);

impl ImageId {
    /// Of a name with its tag or digest.
    pub fn of(name: &str) -> Self {
        Self(hash(&name))
    }
}

/// One node.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct NodeInfo {
    pub name: String,
    pub labels: Arc<Labels>,
    pub taints: Arc<Vec<Taint>>,
    pub unschedulable: bool,
    pub allocatable: Arc<Resources>,
    pub max_pods: i64,
    /// Its images and their bytes, sorted.
    pub images: Arc<[(ImageId, i64)]>,
    pub requested: Resources,
    pub non_zero: Resources,
    pub pods: Vec<Arc<PodInfo>>,
    /// Groups of the pods, and how many of each are not on their way out.
    pub groups: Vec<(u64, usize)>,
    pub ports: Vec<HostPort>,
    /// Of the pods, how many say something about other pods' places; and how many forbid some.
    pub with_affinity: usize,
    pub with_anti_affinity: usize,
    /// Whether there is such a node; pods may be bound to one that is gone.
    pub exists: bool,
}

impl NodeInfo {
    /// Takes over what the node says of itself; its pods stay.
    pub fn set_node(&mut self, node: &Node) {
        let (spec, status) = (node.spec.clone().unwrap_or_default(), node.status.clone().unwrap_or_default());
        self.name = node.metadata.name.clone().unwrap_or_default();
        self.labels = Arc::new(node.metadata.labels.clone().unwrap_or_default());
        self.taints = Arc::new(spec.taints.unwrap_or_default());
        self.unschedulable = spec.unschedulable.unwrap_or(false);
        self.allocatable = Arc::new(Resources::from_list(status.allocatable.as_ref()));
        let pods = status.allocatable.as_ref().and_then(|a| a.get("pods"));
        self.max_pods =
            pods.and_then(|q| q.0.parse::<steersman_apimachinery::Quantity>().ok()).map_or(0, |q| q.value());
        let images = status.images.iter().flatten();
        let named = images.flat_map(|i| i.names.iter().flatten().map(|n| (ImageId::of(n), i.size_bytes.unwrap_or(0))));
        let images: BTreeMap<ImageId, i64> = named.collect();
        self.images = images.into_iter().collect();
        self.exists = true;
    }

    /// Takes over what another says of the node; pods stay.
    pub fn take_facts(&mut self, other: &Self) {
        self.name.clone_from(&other.name);
        self.labels = other.labels.clone();
        self.taints = other.taints.clone();
        self.unschedulable = other.unschedulable;
        self.allocatable = other.allocatable.clone();
        self.max_pods = other.max_pods;
        self.images = other.images.clone();
        self.exists = true;
    }

    /// Adds a pod.
    pub fn add(&mut self, pod: Arc<PodInfo>) {
        self.account(&pod, 1);
        self.ports.extend(pod.ports.iter().cloned());
        self.pods.push(pod);
    }

    /// Takes a pod away, by its uid.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|p| p.uid == uid)?;
        let pod = self.pods.swap_remove(at);
        self.account(&pod, -1);
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(at);
            }
        }
        Some(pod)
    }

    fn account(&mut self, pod: &PodInfo, sign: i64) {
        self.requested.add(&pod.requests, sign);
        self.non_zero.add(&pod.non_zero, sign);
        let step = |n: &mut usize, counts: bool| {
            if counts {
                *n = if sign > 0 { *n + 1 } else { n.saturating_sub(1) };
            }
        };
        if !pod.terminating {
            let at = self.groups.iter().position(|(g, _)| *g == pod.group).unwrap_or_else(|| {
                self.groups.push((pod.group, 0));
                self.groups.len() - 1
            });
            step(&mut self.groups[at].1, true);
            if self.groups[at].1 == 0 {
                self.groups.swap_remove(at);
            }
        }
        step(&mut self.with_affinity, pod.has_affinity());
        step(&mut self.with_anti_affinity, !pod.required_anti_affinity.is_empty());
    }

    /// Whether it has an image.
    pub fn has_image(&self, id: ImageId) -> bool {
        self.images.binary_search_by_key(&id, |(i, _)| *i).is_ok()
    }

    /// A label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }
}
