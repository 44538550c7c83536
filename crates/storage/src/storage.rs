//! One etcd cluster: guarded writes, consistent reads, and the feed of the caches.

use crate::cache::{Cache, CacheSpec, Scope};
use crate::etcd::{Etcd, Raw, Written, prefix_end};
use crate::feed::{Attach, Feed, Shared};
use crate::lease::Leases;
use crate::probe::Probe;
use crate::{Entry, Error, StorageConfig, compact};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How often caches let go of old events.
const TRIM: Duration = Duration::from_secs(15);

/// One etcd cluster. Dropping it ends its tasks.
pub struct Storage {
    etcd: Etcd,
    shared: Arc<Shared>,
    probe: Probe,
    leases: Leases,
    attach: mpsc::Sender<Attach>,
    health_timeout: Duration,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Storage {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Storage {
    /// Connects, and fills the caches in the background; retries for as long as etcd does not answer. Fails only on a
    /// configuration that cannot work.
    pub async fn start(config: &StorageConfig, specs: Vec<CacheSpec>) -> Result<(Arc<Self>, Vec<Arc<Cache>>), Error> {
        let etcd = Etcd::connect(config).await?;
        let applied = Arc::new(AtomicU64::new(0));
        let caches: Vec<Arc<Cache>> = specs.into_iter().map(|s| Cache::new(s, applied.clone())).collect();
        let shared = Arc::new(Shared {
            caches: caches
                .iter()
                .map(|c| (c.prefix().to_owned(), c.clone()))
                .collect::<std::collections::BTreeMap<_, _>>()
                .into(),
            applied,
            progress: watch::Sender::new(0),
            loaded: watch::Sender::new(false),
        });
        let (attach, requests) = mpsc::channel(16);
        let prefix = format!("{}/", config.normalised_prefix());
        let feed = Feed { etcd: etcd.clone(), prefix, shared: shared.clone(), attach: requests };
        let mut tasks = vec![tokio::spawn(feed.run()), tokio::spawn(trim(shared.clone()))];
        if !config.compaction_interval.is_zero() {
            tasks.push(tokio::spawn(compact::run(etcd.clone(), config.compaction_interval)));
        }
        let storage = Self {
            probe: Probe::start(&etcd, Duration::from_secs(5)),
            etcd,
            shared,
            leases: Leases::new(config.lease_reuse),
            attach,
            health_timeout: config.health_timeout,
            tasks,
        };
        Ok((Arc::new(storage), caches))
    }

    /// Adds a cache while running and waits until it is filled.
    pub async fn attach(&self, spec: CacheSpec) -> Result<Arc<Cache>, Error> {
        let cache = Cache::new(spec, self.shared.applied.clone());
        let (done, filled) = oneshot::channel();
        let gone = || Error::Unavailable("the storage is shutting down".into());
        self.attach.send(Attach { cache: cache.clone(), done }).await.map_err(|_| gone())?;
        filled.await.map_err(|_| gone())??;
        Ok(cache)
    }

    /// Takes a cache out again.
    pub fn detach(&self, cache: &Cache) {
        self.shared.caches.write().remove(cache.prefix());
    }

    /// Whether the caches were loaded.
    pub fn loaded(&self) -> bool {
        *self.shared.loaded.borrow()
    }
    /// Waits until the caches were loaded; false: they were not in time.
    pub async fn wait_loaded(&self, limit: Duration) -> bool {
        if self.loaded() {
            return true;
        }
        let mut loaded = self.shared.loaded.subscribe();
        tokio::time::timeout(limit, loaded.wait_for(|l| *l)).await.is_ok_and(|r| r.is_ok())
    }
    /// The revision up to which all caches are exact.
    pub fn applied(&self) -> u64 {
        self.shared.applied.load(Ordering::Acquire)
    }
    /// Waits until the caches have reached a revision; false: they have not in time.
    pub async fn wait_for(&self, revision: u64, limit: Duration) -> bool {
        if self.applied() >= revision {
            return true;
        }
        let mut progress = self.shared.progress.subscribe();
        tokio::time::timeout(limit, progress.wait_for(|r| *r >= revision)).await.is_ok_and(|r| r.is_ok())
    }
    /// etcd's newest revision; the answer covers all writes acknowledged before the call.
    pub async fn current_revision(&self) -> Result<u64, Error> {
        self.probe.revision().await
    }
    /// Makes a read from the caches consistent: returns when they hold all writes that were acknowledged before the call.
    /// False: the caches do not follow (`limit` is over); etcd itself has to be read.
    pub async fn catch_up(&self, limit: Duration) -> Result<bool, Error> {
        let revision = self.current_revision().await?;
        Ok(self.loaded() && self.wait_for(revision, limit).await)
    }

    /// Reads one object past the cache.
    pub async fn get(&self, cache: &Cache, key: &str) -> Result<Option<Arc<Entry>>, Error> {
        match self.etcd.get(&full(cache, key)).await? {
            None => Ok(None),
            Some(raw) => decode(cache, key, &raw).map(Some),
        }
    }

    /// Reads objects of a scope past the cache, from the key `start` on, at revision `at` (0: the newest), at most
    /// `limit` (0: all). Also answers the revision and how many keys follow after the last.
    pub async fn range(
        &self,
        cache: &Cache,
        scope: &Scope,
        start: &str,
        limit: i64,
        at: u64,
    ) -> Result<(Vec<Arc<Entry>>, u64, u64), Error> {
        let prefix = scope.prefix();
        let end = match scope {
            Scope::Key(key) => format!("{}\0", full(cache, key)),
            _ => prefix_end(&full(cache, &prefix)),
        };
        let (mut from, mut at, mut out) = (full(cache, start.max(prefix.as_str())), at, Vec::new());
        loop {
            let want = if limit == 0 { 500 } else { limit };
            let page = self.etcd.range(&from, &end, want, at).await?;
            if at == 0 {
                at = page.revision;
            }
            for kv in &page.kvs {
                let Ok(key) = kv.key_str() else { continue };
                let raw = Raw { value: kv.value().to_vec(), revision: kv.mod_revision().unsigned_abs() };
                match decode(cache, &key[cache.prefix().len()..], &raw) {
                    Ok(entry) => out.push(entry),
                    Err(e) => tracing::error!(key, error = %e, "cannot read a stored object; it is left out"),
                }
            }
            match page.kvs.last().and_then(|kv| kv.key_str().ok()) {
                Some(last) if page.more => from = format!("{last}\0"),
                _ => return Ok((out, at, 0)),
            }
            if limit > 0 {
                let rest = self.etcd.count(&from, &end, at).await?;
                return Ok((out, at, rest));
            }
        }
    }

    /// Writes a value if the key was last written at `expected` (0: is not there). With `ttl` it expires.
    pub async fn put(
        &self,
        cache: &Cache,
        key: &str,
        value: Vec<u8>,
        expected: u64,
        ttl: Option<Duration>,
    ) -> Result<Written, Error> {
        let lease = match ttl {
            None => None,
            Some(ttl) => Some(self.leases.get(&self.etcd, ttl).await?),
        };
        self.etcd.put(&full(cache, key), value, expected, lease).await
    }
    /// Deletes a key if it was last written at `expected`.
    pub async fn delete(&self, cache: &Cache, key: &str, expected: u64) -> Result<Written, Error> {
        self.etcd.delete(&full(cache, key), expected).await
    }

    /// Whether etcd answers.
    pub async fn healthy(&self) -> Result<(), Error> {
        self.etcd.current_revision(self.health_timeout).await.map(|_| ())
    }
    /// Size of etcd's database in bytes.
    pub async fn database_size(&self) -> Result<u64, Error> {
        self.etcd.database_size().await
    }
}

fn full(cache: &Cache, key: &str) -> String {
    [cache.prefix(), key].concat()
}

fn decode(cache: &Cache, key: &str, raw: &Raw) -> Result<Arc<Entry>, Error> {
    cache
        .entry(key, &raw.value, raw.revision)
        .map_err(|e| Error::Etcd(format!("unable to decode {}: {e}", full(cache, key))))
}

async fn trim(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(TRIM).await;
        let caches: Vec<_> = shared.caches.read().values().cloned().collect();
        for cache in caches {
            cache.trim();
        }
    }
}
