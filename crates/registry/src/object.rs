//! What the verbs answer: objects as finished JSON, lists of them, watch events, and what a deletion gave.

use bytes::Bytes;
use steersman_apimachinery::Status;

/// One object as finished JSON. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    bytes: Bytes,
    body: u32,
    revision: u64,
}

impl Object {
    /// From whole JSON that begins with `{"kind":..,"apiVersion":..,"metadata":`; `body` is the offset of `"metadata"`.
    pub fn new(bytes: Bytes, body: u32, revision: u64) -> Self {
        Self { bytes, body, revision }
    }
    /// The whole object, with kind, apiVersion and resourceVersion.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    /// What follows kind and apiVersion, up to and with the closing brace: an item of a list is `{` and this.
    pub fn item(&self) -> Bytes {
        self.bytes.slice(self.body as usize..)
    }
    /// Where [`Object::item`] begins.
    pub fn body_offset(&self) -> usize {
        self.body as usize
    }
    /// Its kind and apiVersion, which stand before everything else and hold nothing that JSON escapes.
    pub fn kind(&self) -> Option<(&str, &str)> {
        let head = std::str::from_utf8(self.bytes.get(..self.body as usize)?).ok()?;
        let mut quoted = head.split('"').skip(3).step_by(4);
        Some((quoted.next()?, quoted.next()?))
    }
    /// The JSON of its metadata.
    pub fn metadata(&self) -> Option<Bytes> {
        let rest = self.bytes.get(self.body as usize..)?.strip_prefix(b"\"metadata\":")?;
        Some(self.bytes.slice_ref(steersman_codec::first_value(rest)?))
    }
    /// The revision the object was last written at: its resourceVersion.
    pub fn revision(&self) -> u64 {
        self.revision
    }
    /// The object as a tree, for whoever has to look inside (tables, protobuf).
    pub fn to_value(&self) -> Result<serde_json::Value, Status> {
        serde_json::from_slice(&self.bytes).map_err(Status::internal)
    }
}

/// The answer to LIST.
pub struct List {
    /// The objects, in key order; made one by one, so a list of any size needs no memory of its own.
    pub items: Items,
    /// `metadata.resourceVersion`.
    pub revision: u64,
    /// `metadata.continue`, empty where the list is complete.
    pub continue_token: String,
    /// `metadata.remainingItemCount`.
    pub remaining_item_count: Option<i64>,
}

/// The objects of a [`List`].
pub struct Items(Box<dyn Iterator<Item = Object> + Send + Sync>);

impl Items {
    /// From anything that yields objects.
    pub fn new(items: impl Iterator<Item = Object> + Send + Sync + 'static) -> Self {
        Self(Box::new(items))
    }
}

impl Iterator for Items {
    type Item = Object;
    fn next(&mut self) -> Option<Object> {
        self.0.next()
    }
}

/// One event of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// The object is new, or began to match.
    Added(Object),
    /// The object changed.
    Modified(Object),
    /// The object is gone, or ceased to match; as it last was, at the revision of the change.
    Deleted(Object),
    /// All events up to `revision` were sent.
    Bookmark {
        /// The object's `metadata.resourceVersion`.
        revision: u64,
        /// Whether it carries the annotation `k8s.io/initial-events-end: "true"`.
        initial_events_end: bool,
    },
    /// The watch ends with this.
    Error(Status),
}

/// What DELETE answers.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// The HTTP status: 200, or 202 where the object is still there and the request said `orphanDependents=false`.
    pub code: u16,
    /// The body.
    pub body: DeletedBody,
}

/// The body of the answer to DELETE.
#[derive(Clone, Debug)]
pub enum DeletedBody {
    /// The object: as it was, or as it is now if it still has to wait for its finalizers or its grace period.
    Object(Object),
    /// `Success`, with the object's name, group, resource and uid.
    Status(Status),
}

/// The four kinds of PATCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// `application/json-patch+json`.
    Json,
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// `application/apply-patch+yaml`.
    Apply,
}
