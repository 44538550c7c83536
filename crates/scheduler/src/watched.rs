//! What informers keep of objects: their names and a digest of what decisions need. The rest is dropped while decoding,
//! so that memory grows with what is decided on and not with what users write into objects.

use crate::node::NodeInfo;
use crate::pod::{Labels, PodInfo, selector};
use crate::volumes::{Claim, Class, Volume};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;
use steersman_api::k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use steersman_api::k8s_openapi::api::core::v1::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
};
use steersman_api::k8s_openapi::api::policy::v1::PodDisruptionBudget;
use steersman_api::k8s_openapi::api::storage::v1::StorageClass;
use steersman_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use steersman_api::k8s_openapi::{Metadata, Resource};
use steersman_apimachinery::selector::LabelSelector;
use steersman_client::Object;

/// What is kept of objects of one type.
pub trait Digest: Debug + Send + Sync + Sized + 'static {
    /// The type of the API.
    type From: Object;
    /// Takes out what is needed.
    fn digest(from: &Self::From) -> Self;
}

/// An object of which only names and a digest are kept.
#[derive(Debug)]
pub struct Watched<D> {
    metadata: ObjectMeta,
    /// What decisions need.
    pub digest: Arc<D>,
}

impl<D> Clone for Watched<D> {
    fn clone(&self) -> Self {
        Self { metadata: self.metadata.clone(), digest: self.digest.clone() }
    }
}

impl<D: Digest> Resource for Watched<D> {
    const API_VERSION: &'static str = D::From::API_VERSION;
    const GROUP: &'static str = D::From::GROUP;
    const KIND: &'static str = D::From::KIND;
    const VERSION: &'static str = D::From::VERSION;
    const URL_PATH_SEGMENT: &'static str = D::From::URL_PATH_SEGMENT;
    type Scope = <D::From as Resource>::Scope;
}

impl<D: Digest> Metadata for Watched<D> {
    type Ty = ObjectMeta;
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<'de, D: Digest> Deserialize<'de> for Watched<D> {
    fn deserialize<T: Deserializer<'de>>(deserializer: T) -> Result<Self, T::Error> {
        let mut whole = D::From::deserialize(deserializer)?;
        let digest = Arc::new(D::digest(&whole));
        let known = std::mem::take(whole.metadata_mut());
        let metadata = ObjectMeta {
            name: known.name,
            namespace: known.namespace,
            resource_version: known.resource_version,
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, digest })
    }
}

impl<D> Serialize for Watched<D> {
    /// Only the names: a digest never goes back to the apiserver.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.metadata.serialize(serializer)
    }
}

impl Digest for PodInfo {
    type From = Pod;
    fn digest(from: &Pod) -> Self {
        Self::new(from)
    }
}

impl Digest for NodeInfo {
    type From = Node;
    fn digest(from: &Node) -> Self {
        let mut info = Self::default();
        info.set_node(from);
        info
    }
}

/// The labels of a namespace.
#[derive(Debug)]
pub struct NamespaceLabels(pub Labels);

impl Digest for NamespaceLabels {
    type From = Namespace;
    fn digest(from: &Namespace) -> Self {
        Self(from.labels().clone())
    }
}

/// The selector of a service; none for services without one.
#[derive(Debug)]
pub struct ServiceSelector(pub Option<Labels>);

impl Digest for ServiceSelector {
    type From = Service;
    fn digest(from: &Service) -> Self {
        Self(from.spec.as_ref().and_then(|s| s.selector.clone()).filter(|s| !s.is_empty()))
    }
}

/// The selector of an object that owns pods.
#[derive(Debug)]
pub struct OwnerSelector<K> {
    /// What selects its pods.
    pub selector: Arc<LabelSelector>,
    kind: PhantomData<fn() -> K>,
}

impl<K> OwnerSelector<K> {
    fn new(selector: LabelSelector) -> Self {
        Self { selector: Arc::new(selector), kind: PhantomData }
    }
}

impl Digest for OwnerSelector<ReplicaSet> {
    type From = ReplicaSet;
    fn digest(from: &ReplicaSet) -> Self {
        Self::new(from.spec.as_ref().map_or_else(LabelSelector::nothing, |s| selector(Some(&s.selector))))
    }
}

impl Digest for OwnerSelector<StatefulSet> {
    type From = StatefulSet;
    fn digest(from: &StatefulSet) -> Self {
        Self::new(from.spec.as_ref().map_or_else(LabelSelector::nothing, |s| selector(Some(&s.selector))))
    }
}

impl Digest for OwnerSelector<ReplicationController> {
    type From = ReplicationController;
    fn digest(from: &ReplicationController) -> Self {
        let pairs = from.spec.iter().flat_map(|s| s.selector.iter().flatten());
        Self::new(LabelSelector::from_map(pairs.map(|(k, v)| (k.as_str(), v.as_str()))))
    }
}

/// How far pods may be disrupted.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Budget {
    pub namespace: String,
    pub selector: LabelSelector,
    /// How many more may be disrupted now.
    pub allowed: i32,
    /// Names of pods whose disruption is counted already.
    pub disrupted: Vec<String>,
}

impl Digest for Budget {
    type From = PodDisruptionBudget;
    fn digest(from: &PodDisruptionBudget) -> Self {
        let status = from.status.as_ref();
        Self {
            namespace: from.namespace().to_owned(),
            selector: selector(from.spec.as_ref().and_then(|s| s.selector.as_ref())),
            allowed: status.and_then(|s| s.disruptions_allowed).unwrap_or(0),
            disrupted: status.iter().flat_map(|s| s.disrupted_pods.iter().flatten()).map(|(k, _)| k.clone()).collect(),
        }
    }
}

impl Digest for Claim {
    type From = PersistentVolumeClaim;
    fn digest(from: &PersistentVolumeClaim) -> Self {
        Self::new(from)
    }
}

impl Digest for Volume {
    type From = PersistentVolume;
    fn digest(from: &PersistentVolume) -> Self {
        Self::new(from)
    }
}

impl Digest for Class {
    type From = StorageClass;
    fn digest(from: &StorageClass) -> Self {
        Self::new(from)
    }
}
