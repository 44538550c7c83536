//! Claims, volumes and storage classes, as decisions need them.

use crate::pod::{Labels, NodeTerm, selector};
use ahash::AHashMap;
use std::collections::BTreeMap;
use std::sync::Arc;
use steersman_api::k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use steersman_api::k8s_openapi::api::storage::v1::StorageClass;
use steersman_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use steersman_apimachinery::Quantity;
use steersman_apimachinery::selector::LabelSelector;

/// Set on a claim that has found its volume, or on a volume that has found its claim.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Names the node for whose pod a volume is to be provisioned.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The provisioner of classes whose volumes are made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// All storage objects.
#[derive(Clone, Debug, Default)]
pub struct Volumes {
    /// `<namespace>/<name>` → claim.
    pub claims: AHashMap<String, Arc<Claim>>,
    /// Name → volume.
    pub volumes: AHashMap<String, Arc<Volume>>,
    /// Name → class.
    pub classes: AHashMap<String, Arc<Class>>,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Claim {
    pub uid: String,
    pub class: String,
    pub volume: String,
    pub bound: bool,
    pub lost: bool,
    pub deleting: bool,
    /// Uids of owners: a claim of a pod's template belongs to the pod.
    pub owners: Vec<String>,
    pub bytes: i64,
    pub access_modes: Vec<String>,
    pub block: bool,
    pub selector: Option<LabelSelector>,
}

/// A PersistentVolume.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Volume {
    pub name: String,
    pub labels: Labels,
    pub class: String,
    pub bytes: i64,
    pub access_modes: Vec<String>,
    pub block: bool,
    pub available: bool,
    /// `<namespace>/<name>` of the claim that it is kept for.
    pub claim: Option<String>,
    /// Terms of which one must match a node; `None`: any node does.
    pub affinity: Option<Vec<NodeTerm>>,
}

/// A StorageClass.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Class {
    /// Volumes wait for the first pod's node.
    pub waits: bool,
    pub provisions: bool,
    /// Terms of which one must match a node; empty: any node does.
    pub topologies: Vec<Vec<(String, Vec<String>)>>,
}

fn bytes(list: Option<&BTreeMap<String, ApiQuantity>>) -> i64 {
    let text = list.and_then(|l| l.get("storage"));
    text.and_then(|q| q.0.parse::<Quantity>().ok()).map_or(0, |q| q.value())
}

impl Claim {
    /// From the API.
    pub fn new(claim: &PersistentVolumeClaim) -> Self {
        let meta = &claim.metadata;
        let spec = claim.spec.clone().unwrap_or_default();
        let old_class =
            meta.annotations.iter().flatten().find(|(k, _)| *k == "volume.beta.kubernetes.io/storage-class");
        let done = meta.annotations.as_ref().is_some_and(|a| a.contains_key(BIND_COMPLETED));
        let volume = spec.volume_name.unwrap_or_default();
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            class: old_class.map(|(_, v)| v.clone()).or(spec.storage_class_name).unwrap_or_default(),
            bound: !volume.is_empty() && done,
            volume,
            lost: claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Lost"),
            deleting: meta.deletion_timestamp.is_some(),
            owners: meta.owner_references.iter().flatten().map(|o| o.uid.clone()).collect(),
            bytes: bytes(spec.resources.as_ref().and_then(|r| r.requests.as_ref())),
            access_modes: spec.access_modes.unwrap_or_default(),
            block: spec.volume_mode.as_deref() == Some("Block"),
            selector: spec.selector.as_ref().map(|s| selector(Some(s))),
        }
    }
}

impl Volume {
    /// From the API.
    pub fn new(volume: &PersistentVolume) -> Self {
        let spec = volume.spec.clone().unwrap_or_default();
        let required = spec.node_affinity.as_ref().and_then(|a| a.required.as_ref());
        let claim = spec.claim_ref.as_ref();
        let text = |s: Option<&String>| s.cloned().unwrap_or_default();
        Self {
            name: volume.metadata.name.clone().unwrap_or_default(),
            labels: volume.metadata.labels.clone().unwrap_or_default(),
            class: spec.storage_class_name.clone().unwrap_or_default(),
            bytes: bytes(spec.capacity.as_ref()),
            access_modes: spec.access_modes.clone().unwrap_or_default(),
            block: spec.volume_mode.as_deref() == Some("Block"),
            available: volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Available")
                && volume.metadata.deletion_timestamp.is_none(),
            claim: claim.map(|c| format!("{}/{}", text(c.namespace.as_ref()), text(c.name.as_ref()))),
            affinity: required.map(|r| r.node_selector_terms.iter().map(NodeTerm::parse).collect()),
        }
    }

    /// Whether pods of a node can use it.
    pub fn reaches(&self, name: &str, labels: &Labels) -> bool {
        self.affinity.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(name, labels)))
    }

    /// Whether it can serve a claim that waits for a node (rule: component-helpers `volume.FindMatchingVolume`).
    fn serves(&self, key: &str, claim: &Claim, name: &str, labels: &Labels) -> bool {
        let kept = self.claim.as_deref();
        self.class == claim.class
            && self.block == claim.block
            && self.bytes >= claim.bytes
            && claim.access_modes.iter().all(|m| self.access_modes.contains(m))
            && kept.is_none_or(|k| k == key)
            && (kept.is_some() || self.available)
            && claim.selector.as_ref().is_none_or(|s| s.matches(|k| self.labels.get(k).map(String::as_str)))
            && self.reaches(name, labels)
    }
}

impl Class {
    /// From the API.
    pub fn new(class: &StorageClass) -> Self {
        let terms = class.allowed_topologies.iter().flatten();
        let pairs = terms
            .map(|t| t.match_label_expressions.iter().flatten().map(|e| (e.key.clone(), e.values.clone())).collect());
        Self {
            waits: class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            provisions: class.provisioner != NO_PROVISIONER,
            topologies: pairs.collect(),
        }
    }

    /// Whether volumes can be provisioned for a node.
    fn allows(&self, labels: &Labels) -> bool {
        let fits = |term: &Vec<(String, Vec<String>)>| {
            term.iter().all(|(k, vs)| labels.get(k).is_some_and(|v| vs.contains(v)))
        };
        self.topologies.is_empty() || self.topologies.iter().any(fits)
    }
}

/// Where the storage of a claim will come from, once its pod has a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A volume that is there.
    Existing {
        /// The claim's name.
        claim: String,
        /// The volume's name.
        volume: String,
    },
    /// One that is provisioned for the node.
    Provisioned {
        /// The claim's name.
        claim: String,
    },
}

impl Volumes {
    /// Where the storage of claims that wait for a node would come from on this one; `None`: it cannot
    /// (rule: scheduler `volumebinding` `FindPodVolumes`). Small volumes are taken first.
    pub fn sources(&self, namespace: &str, claims: &[String], node: &str, labels: &Labels) -> Option<Vec<Source>> {
        let mut taken: Vec<&str> = Vec::new();
        let mut out = Vec::new();
        for name in claims {
            let key = format!("{namespace}/{name}");
            let claim = self.claims.get(&key)?;
            let fits = |v: &&Arc<Volume>| !taken.contains(&v.name.as_str()) && v.serves(&key, claim, node, labels);
            let best = self.volumes.values().filter(fits).min_by_key(|v| (v.claim.is_none(), v.bytes, &v.name));
            if let Some(volume) = best {
                taken.push(&volume.name);
                out.push(Source::Existing { claim: name.clone(), volume: volume.name.clone() });
                continue;
            }
            let class = self.classes.get(&claim.class)?;
            if !class.provisions || !class.allows(labels) {
                return None;
            }
            out.push(Source::Provisioned { claim: name.clone() });
        }
        Some(out)
    }
}
