//! The leases by which apiservers of one cluster know of each other, ours and upstream's alike: an Endpoints object for
//! each, under `masterleases/<address>`, that expires (rule: `pkg/controlplane/reconcilers/lease.go`).

use crate::read::CATCH_UP;
use crate::registry::Registry;
use crate::{encode, errors};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use steersman_apimachinery::{Status, object};
use steersman_storage::{Cache, Scope, Storage, Written};

/// How long a server counts as alive after it last said so.
const TTL: Duration = Duration::from_secs(15);

/// The leases, as etcd has them.
pub struct MasterLeases {
    storage: Arc<Storage>,
    cache: Arc<Cache>,
}

impl MasterLeases {
    /// Begins to follow them.
    pub async fn attach(registry: &Registry) -> Result<Self, Status> {
        let (storage, cache) = registry.follow("endpoints", "masterleases").await?;
        Ok(Self { storage, cache })
    }

    /// Says that the server at `address` is alive.
    pub async fn renew(&self, address: &str) -> Result<(), Status> {
        loop {
            let there = self.storage.get(&self.cache, address).await.map_err(errors::storage)?;
            let old: Option<Value> = there.as_ref().and_then(|e| serde_json::from_slice(&e.bytes).ok());
            // Each renewal has to change something, or nothing would be written.
            let generation = old.and_then(|o| object::int(&o, &["metadata", "generation"])).unwrap_or(0) + 1;
            let lease = json!({
                "kind": "Endpoints",
                "apiVersion": "v1",
                "metadata": {"generation": generation},
                "subsets": [{"addresses": [{"ip": address}]}],
            });
            let expected = there.map_or(0, |e| e.revision);
            let put = self.storage.put(&self.cache, address, encode::stored(&lease)?, expected, Some(TTL));
            if let Written::Done(_) = put.await.map_err(errors::storage)? {
                return Ok(());
            }
        }
    }

    /// The addresses of the servers that are alive, sorted.
    pub async fn alive(&self) -> Result<Vec<String>, Status> {
        self.storage.catch_up(CATCH_UP).await.map_err(errors::storage)?;
        let listed = self.cache.list(&Scope::All, "", 0, None, None, None);
        let mut all: Vec<String> = listed
            .into_iter()
            .flat_map(|l| l.entries)
            .filter_map(|e| serde_json::from_slice::<Value>(&e.bytes).ok())
            .filter_map(|o| o.pointer("/subsets/0/addresses/0/ip")?.as_str().map(str::to_owned))
            .collect();
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Takes the server at `address` out.
    pub async fn remove(&self, address: &str) -> Result<(), Status> {
        while let Some(there) = self.storage.get(&self.cache, address).await.map_err(errors::storage)? {
            let gone = self.storage.delete(&self.cache, address, there.revision).await.map_err(errors::storage)?;
            if let Written::Done(_) = gone {
                break;
            }
        }
        Ok(())
    }
}
