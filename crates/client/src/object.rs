//! What the client needs to know of an object: its metadata, its key and the path of its resource.

use std::{borrow::Borrow, collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use steersman_api::k8s_openapi::{
    ClusterResourceScope, Metadata, Resource,
    apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta, OwnerReference},
};

static EMPTY: BTreeMap<String, String> = BTreeMap::new();

/// Any typed object with standard metadata; implemented by all of `k8s_openapi`'s.
pub trait Object:
    Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static
{
    /// The name; empty if there is none yet.
    fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or("")
    }

    /// The namespace; empty for cluster-scoped objects.
    fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or("")
    }

    /// The uid; empty if the object was not stored yet.
    fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or("")
    }

    /// The resource version; empty if the object was not stored yet.
    fn resource_version(&self) -> &str {
        self.metadata().resource_version.as_deref().unwrap_or("")
    }

    /// The generation of the specification, 0 if there is none.
    fn generation(&self) -> i64 {
        self.metadata().generation.unwrap_or(0)
    }

    /// The labels.
    fn labels(&self) -> &BTreeMap<String, String> {
        self.metadata().labels.as_ref().unwrap_or(&EMPTY)
    }

    /// The annotations.
    fn annotations(&self) -> &BTreeMap<String, String> {
        self.metadata().annotations.as_ref().unwrap_or(&EMPTY)
    }

    /// The owners.
    fn owners(&self) -> &[OwnerReference] {
        self.metadata().owner_references.as_deref().unwrap_or_default()
    }

    /// The owner that manages this object, if it has one (rule: `metav1.GetControllerOf`).
    fn controller(&self) -> Option<&OwnerReference> {
        self.owners().iter().find(|owner| owner.controller == Some(true))
    }

    /// Whether deletion has begun.
    fn is_deleting(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }

    /// The finalizers.
    fn finalizers(&self) -> &[String] {
        self.metadata().finalizers.as_deref().unwrap_or_default()
    }

    /// Namespace and name as one key.
    fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace(), self.name())
    }

    /// A reference that makes this object the managing owner of another (rule: `metav1.NewControllerRef`).
    fn controller_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: Self::API_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

impl<K> Object for K where
    K: Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static
{
}

/// Namespace and name of an object, printed as `namespace/name`, or `name` for cluster-scoped objects; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// The key of `name` in `namespace`, which is empty for cluster-scoped objects.
    pub fn new(namespace: &str, name: &str) -> Self {
        if namespace.is_empty() { Self(name.into()) } else { Self(format!("{namespace}/{name}").into()) }
    }

    /// The namespace; empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ObjectKey {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Borrow<str> for ObjectKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A page of a list, with items of one type.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "K: DeserializeOwned")]
pub struct List<K> {
    /// The list's resource version and the continue token of the next page.
    #[serde(default)]
    pub metadata: ListMeta,
    /// The objects.
    #[serde(default = "Vec::new", deserialize_with = "null_is_empty")]
    pub items: Vec<K>,
}

fn null_is_empty<'de, D, K>(deserializer: D) -> Result<Vec<K>, D::Error>
where
    D: serde::Deserializer<'de>,
    K: Deserialize<'de>,
{
    Ok(Option::<Vec<K>>::deserialize(deserializer)?.unwrap_or_default())
}

/// The metadata of an object of any kind, as the apiserver sends it when asked for `as=PartialObjectMetadata`.
///
/// Its path is not known from its type: use it with [`crate::InformerBuilder::metadata`] or with a [`ResourcePath`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PartialObjectMetadata {
    /// The metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
}

impl Resource for PartialObjectMetadata {
    const API_VERSION: &'static str = "meta.k8s.io/v1";
    const GROUP: &'static str = "meta.k8s.io";
    const KIND: &'static str = "PartialObjectMetadata";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "";
    type Scope = ClusterResourceScope;
}

impl Metadata for PartialObjectMetadata {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The place of a resource in the API, known only at run time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourcePath {
    /// The group; empty for the core group.
    pub group: String,
    /// The version, such as `v1`.
    pub version: String,
    /// The plural name, such as `pods`.
    pub resource: String,
}

impl ResourcePath {
    /// The place of the type `K`.
    pub fn of<K: Resource>() -> Self {
        Self { group: K::GROUP.to_owned(), version: K::VERSION.to_owned(), resource: K::URL_PATH_SEGMENT.to_owned() }
    }

    /// `group/version`, or just the version for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The URL path of the collection in `namespace` (empty: all namespaces, or a cluster-scoped resource).
    pub fn collection(&self, namespace: &str) -> String {
        collection_path(&self.group, &self.version, &self.resource, namespace)
    }

    /// The URL path of one object.
    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.collection(namespace), escape(name))
    }
}

pub(crate) fn collection_path(group: &str, version: &str, resource: &str, namespace: &str) -> String {
    let root =
        if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{}/{}", escape(group), version) };
    if namespace.is_empty() {
        format!("{root}/{resource}")
    } else {
        format!("{root}/namespaces/{}/{resource}", escape(namespace))
    }
}

/// Object names such as `system:node:x` are nearly always safe; what is not gets percent-encoded.
pub(crate) fn escape(segment: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b':').remove(b'~');
    utf8_percent_encode(segment, SEGMENT).to_string()
}
