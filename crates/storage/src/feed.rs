//! Fills the caches: loads everything under the prefix at one revision, then follows one watch of all keys.
//!
//! The watch covers all keys, not just the prefix, so that every revision of etcd is seen: when the feed has brought
//! revision R, every cache is exactly at R, whoever else writes to that etcd.

use crate::cache::{Cache, Incoming};
use crate::etcd::{Etcd, prefix_end, within};
use crate::{Entry, Error};
use etcd_client::{EventType, WatchOptions, WatchResponse};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Keys read at once while loading.
const PAGE: i64 = 1000;

/// A cache to be filled while the feed runs.
pub(crate) struct Attach {
    pub(crate) cache: Arc<Cache>,
    pub(crate) done: oneshot::Sender<Result<(), Error>>,
}

/// What the feed shares with the storage.
pub(crate) struct Shared {
    pub(crate) caches: RwLock<BTreeMap<String, Arc<Cache>>>,
    pub(crate) applied: Arc<AtomicU64>,
    pub(crate) progress: watch::Sender<u64>,
    /// Whether the caches were loaded once.
    pub(crate) loaded: watch::Sender<bool>,
}

impl Shared {
    fn cache_of(&self, key: &str) -> Option<Arc<Cache>> {
        let caches = self.caches.read();
        let (prefix, cache) = caches.range::<str, _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        key.starts_with(prefix.as_str()).then(|| cache.clone())
    }
    fn advance(&self, revision: u64) {
        self.applied.store(revision, Ordering::Release);
        self.progress.send_replace(revision);
    }
}

/// Runs until the storage is dropped.
pub(crate) struct Feed {
    pub(crate) etcd: Etcd,
    /// `/registry/`.
    pub(crate) prefix: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) attach: mpsc::Receiver<Attach>,
}

enum End {
    /// The storage is gone.
    Dropped,
    /// Events were lost: everything has to be loaded anew.
    Reload,
    /// The connection broke: the watch can be resumed.
    Broken(Error),
}

impl Feed {
    pub(crate) async fn run(mut self) {
        let mut failures = 0u32;
        loop {
            let revision = match self.load().await {
                Ok(r) => r,
                Err(e) => {
                    failures += 1;
                    tracing::warn!(error = %e, "objects cannot be read from etcd yet");
                    if !self.pause(failures).await {
                        return;
                    }
                    continue;
                }
            };
            failures = 0;
            tracing::info!(revision, "the watch cache is loaded");
            self.shared.advance(revision);
            self.shared.loaded.send_replace(true);
            loop {
                let before = self.shared.applied.load(Ordering::Acquire);
                match self.follow().await {
                    End::Dropped => return,
                    End::Reload => break,
                    End::Broken(e) => {
                        let moved = self.shared.applied.load(Ordering::Acquire) > before;
                        failures = if moved { 1 } else { failures + 1 };
                        tracing::warn!(error = %e, "the watch of etcd broke off; it will be resumed");
                        if !self.pause(failures).await {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Waits before the next try, at most 2 s. False: the storage is gone.
    async fn pause(&self, failures: u32) -> bool {
        let wait = Duration::from_millis(50).saturating_mul(1 << failures.min(6)).min(Duration::from_secs(2));
        tokio::time::sleep(wait).await;
        !self.attach.is_closed()
    }

    /// Reads everything under the prefix at one revision.
    async fn load(&self) -> Result<u64, Error> {
        let caches: Vec<Arc<Cache>> = self.shared.caches.read().values().cloned().collect();
        let mut entries: BTreeMap<String, Vec<Arc<Entry>>> =
            caches.iter().map(|c| (c.prefix().to_owned(), Vec::new())).collect();
        let revision = self
            .read_range(&self.prefix, 0, |key, value, revision| {
                let Some(cache) = self.shared.cache_of(key) else { return };
                let Some(list) = entries.get_mut(cache.prefix()) else { return };
                push_entry(&cache, key, value, revision, list);
            })
            .await?;
        for cache in caches {
            cache.load(entries.remove(cache.prefix()).unwrap_or_default(), revision);
        }
        Ok(revision)
    }

    /// Reads all keys of a prefix, page by page, at `revision` (0: the newest), and returns the revision.
    async fn read_range(
        &self,
        prefix: &str,
        revision: u64,
        mut each: impl FnMut(&str, &[u8], u64),
    ) -> Result<u64, Error> {
        let (mut start, end, mut at) = (prefix.to_owned(), prefix_end(prefix), revision);
        loop {
            let page = self.etcd.range(&start, &end, PAGE, at).await?;
            if at == 0 {
                at = page.revision;
            }
            for kv in &page.kvs {
                if let Ok(key) = kv.key_str() {
                    each(key, kv.value(), kv.mod_revision().unsigned_abs());
                }
            }
            match page.kvs.last().and_then(|kv| kv.key_str().ok()) {
                Some(last) if page.more => start = format!("{last}\0"),
                _ => return Ok(at),
            }
        }
    }

    /// Follows the watch from the revision reached.
    async fn follow(&mut self) -> End {
        let applied = self.shared.applied.load(Ordering::Acquire);
        let start = i64::try_from(applied + 1).unwrap_or(i64::MAX);
        let options = WatchOptions::new().with_all_keys().with_start_revision(start);
        let mut client = self.etcd.client().watch_client().max_decoding_message_size(i32::MAX as usize);
        let mut stream = match within(Duration::from_secs(10), client.watch("", Some(options))).await {
            Ok(s) => s,
            Err(e) => return End::Broken(e),
        };
        loop {
            tokio::select! {
                attach = self.attach.recv() => {
                    let Some(Attach { cache, done }) = attach else { return End::Dropped };
                    let result = self.fill(&cache).await;
                    let lost = matches!(result, Err(Error::Compacted));
                    let _ = done.send(result);
                    if lost {
                        return End::Reload;
                    }
                }
                message = stream.message() => match message {
                    Ok(Some(response)) => {
                        if response.compact_revision() > 0 {
                            return End::Reload;
                        }
                        if response.canceled() {
                            return End::Broken(Error::Unavailable(response.cancel_reason().to_owned()));
                        }
                        let now = response.header().map_or(0, |h| h.revision().unsigned_abs());
                        if response.created() && now < applied {
                            tracing::warn!(applied, now, "etcd has gone back in time; everything is loaded anew");
                            return End::Reload;
                        }
                        self.apply(&response);
                    }
                    Ok(None) => return End::Broken(Error::Unavailable("etcd closed the watch".into())),
                    Err(e) => return End::Broken(e.into()),
                },
            }
        }
    }

    /// Fills one cache as of the revision reached; events wait meanwhile.
    async fn fill(&self, cache: &Arc<Cache>) -> Result<(), Error> {
        let applied = self.shared.applied.load(Ordering::Acquire);
        let mut entries = Vec::new();
        self.read_range(cache.prefix(), applied, |key, value, revision| {
            push_entry(cache, key, value, revision, &mut entries)
        })
        .await?;
        cache.load(entries, applied);
        self.shared.caches.write().insert(cache.prefix().to_owned(), cache.clone());
        Ok(())
    }

    fn apply(&self, response: &WatchResponse) {
        let mut run: Vec<Incoming<'_>> = Vec::new();
        let mut current: Option<Arc<Cache>> = None;
        let mut revision = 0;
        for event in response.events() {
            let Some(kv) = event.kv() else { continue };
            revision = revision.max(kv.mod_revision().unsigned_abs());
            let Ok(key) = kv.key_str() else { continue };
            let Some(cache) = self.shared.cache_of(key) else { continue };
            if current.as_ref().is_none_or(|c| !Arc::ptr_eq(c, &cache))
                && let Some(before) = current.replace(cache.clone())
            {
                before.apply(&run);
                run.clear();
            }
            let key = &key[cache.prefix().len()..];
            let at = kv.mod_revision().unsigned_abs();
            run.push(match event.event_type() {
                EventType::Put => Incoming::Put { key, value: kv.value(), revision: at },
                EventType::Delete => Incoming::Delete { key, revision: at },
            });
        }
        if let Some(cache) = current {
            cache.apply(&run);
        }
        if revision > 0 {
            self.shared.advance(revision);
        }
    }
}

fn push_entry(cache: &Cache, key: &str, value: &[u8], revision: u64, out: &mut Vec<Arc<Entry>>) {
    match cache.entry(&key[cache.prefix().len()..], value, revision) {
        Ok(entry) => out.push(entry),
        Err(e) => tracing::error!(key, revision, error = %e, "cannot read a stored object; it is left out"),
    }
}
