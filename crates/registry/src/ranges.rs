//! Pools of numbers that all apiservers of a cluster share, ours and upstream's alike: a RangeAllocation for each, under
//! `ranges/<name>` (rule: `pkg/registry/core/service/allocator/storage`).

use crate::registry::Registry;
use crate::{encode, errors};
use serde_json::{Value, json};
use std::sync::Arc;
use steersman_admission::cluster::Pool;
use steersman_apimachinery::{Status, object};
use steersman_storage::{Cache, Entry, Storage, Written};

/// The pools as etcd has them.
pub(crate) struct Ranges {
    storage: Arc<Storage>,
    cache: Arc<Cache>,
}

impl Ranges {
    /// Begins to follow them, beside the Services.
    pub(crate) async fn attach(registry: &Registry) -> Result<Self, Status> {
        let (storage, cache) = registry.follow("services", "ranges").await?;
        Ok(Self { storage, cache })
    }

    /// A pool as the watch cache shows it, or with `live` as etcd has it.
    pub(crate) async fn read(&self, name: &str, live: bool) -> Result<Option<Pool>, Status> {
        let entry = match self.cache.get(name) {
            Some(entry) if !live => Some(entry),
            _ => self.storage.get(&self.cache, name).await.map_err(errors::storage)?,
        };
        entry.map(|e| pool(&e)).transpose()
    }

    /// Stores a pool, if it is still at the revision it was read at.
    pub(crate) async fn write(&self, name: &str, pool: &Pool) -> Result<bool, Status> {
        let object = json!({
            "kind": "RangeAllocation",
            "apiVersion": "v1",
            "metadata": {},
            "range": pool.range,
            "data": pool.data,
        });
        let put = self.storage.put(&self.cache, name, encode::stored(&object)?, pool.revision, None);
        Ok(matches!(put.await.map_err(errors::storage)?, Written::Done(_)))
    }
}

fn pool(entry: &Entry) -> Result<Pool, Status> {
    let tree: Value = serde_json::from_slice(&entry.bytes).map_err(Status::internal)?;
    let text = |field: &str| object::str(&tree, &[field]).to_owned();
    Ok(Pool { range: text("range"), data: text("data"), revision: entry.revision })
}
