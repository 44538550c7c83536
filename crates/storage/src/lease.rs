//! Leases for objects that expire, shared by many objects (rule: `storage/etcd3/lease_manager.go`).

use crate::Error;
use crate::etcd::{Etcd, within};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// A lease takes at most this many objects: etcd drops them all at once.
const MOST_OBJECTS: u32 = 1000;

#[derive(Default)]
struct Current {
    id: i64,
    ttl: u64,
    reusable_until: Option<Instant>,
    objects: u32,
}

/// Hands out leases; one serves all objects of a time window.
pub(crate) struct Leases {
    window: Duration,
    current: Mutex<Current>,
}

impl Leases {
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, current: Mutex::default() }
    }

    /// A lease under which an object lives at least `ttl`, and at most the window or a twentieth longer.
    pub(crate) async fn get(&self, etcd: &Etcd, ttl: Duration) -> Result<i64, Error> {
        let ttl = ttl.as_secs().max(1);
        let now = Instant::now();
        let mut current = self.current.lock().await;
        if current.ttl == ttl && current.objects < MOST_OBJECTS && current.reusable_until.is_some_and(|t| now < t) {
            current.objects += 1;
            return Ok(current.id);
        }
        let window = self.window.min(Duration::from_secs(ttl / 20));
        let seconds = i64::try_from(ttl + window.as_secs()).unwrap_or(i64::MAX);
        let mut client = etcd.client().lease_client();
        let granted = within(Duration::from_secs(10), client.grant(seconds, None)).await?;
        *current = Current { id: granted.id(), ttl, reusable_until: Some(now + window), objects: 1 };
        Ok(granted.id())
    }
}
