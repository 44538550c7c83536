//! One object in a cache.

use crate::{Pairs, json};
use bytes::Bytes;
use std::sync::Arc;

/// What selectors look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `metadata.labels`.
    pub labels: Pairs,
    /// The selectable fields, but for those that are in the key.
    pub fields: Pairs,
}

/// One object, as it is answered.
#[derive(Debug)]
pub struct Entry {
    /// The key without the cache's prefix: `namespace/name` or `name`.
    pub key: Arc<str>,
    /// Finished JSON.
    pub bytes: Bytes,
    /// The offset of `"metadata"` in it.
    pub body: u32,
    /// The revision it was written at.
    pub revision: u64,
    /// What selectors look at; shared with the version before, where it did not change.
    pub attributes: Arc<Attributes>,
}

impl Entry {
    /// The name: the last part of the key.
    pub fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }
    /// The namespace, empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        self.key.rsplit_once('/').map_or("", |(ns, _)| ns)
    }
    /// The bytes at another revision, for the event of a deletion.
    pub(crate) fn bytes_at(&self, revision: u64) -> Bytes {
        json::at_revision(&self.bytes, self.body, revision)
    }
    /// Bytes of memory it takes, about.
    pub(crate) fn weight(&self) -> usize {
        200 + self.key.len()
            + self.bytes.len()
            + self.attributes.labels.len_bytes()
            + self.attributes.fields.len_bytes()
    }
}
