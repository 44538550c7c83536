//! Asking etcd for its newest revision, once for all requests that wait.
//!
//! A request is served by a probe that started after the request arrived, so the answer covers every write that was
//! acknowledged before.

use crate::Error;
use crate::etcd::Etcd;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

type Answer = Result<u64, String>;

#[derive(Default)]
struct Waiting {
    requests: Mutex<Vec<oneshot::Sender<Answer>>>,
    arrived: Notify,
}

/// Shared probes of the newest revision.
pub(crate) struct Probe {
    waiting: Arc<Waiting>,
}

impl Probe {
    /// Starts the prober; it ends with the runtime, or when the probe is dropped.
    pub(crate) fn start(etcd: &Etcd, limit: Duration) -> Self {
        let waiting = Arc::new(Waiting::default());
        // Just one: while it waits for etcd, the requests that come gather for the next round, so a busy server asks
        // once for many. A second one would save little waiting and ask nearly twice as often.
        let (etcd, weak) = (etcd.clone(), Arc::downgrade(&waiting));
        tokio::spawn(async move {
            while let Some(w) = weak.upgrade() {
                let requests = std::mem::take(&mut *w.requests.lock());
                if requests.is_empty() {
                    // Wakes now and then to see whether the probe is still wanted.
                    let _ = tokio::time::timeout(Duration::from_secs(60), w.arrived.notified()).await;
                    continue;
                }
                let answer = etcd.current_revision(limit).await.map_err(|e| e.to_string());
                for r in requests {
                    let _ = r.send(answer.clone());
                }
            }
        });
        Self { waiting }
    }

    /// The newest revision.
    pub(crate) async fn revision(&self) -> Result<u64, Error> {
        let (tx, rx) = oneshot::channel();
        self.waiting.requests.lock().push(tx);
        self.waiting.arrived.notify_one();
        match rx.await {
            Ok(answer) => answer.map_err(Error::Unavailable),
            Err(_) => Err(Error::Unavailable("the probe of etcd has ended".into())),
        }
    }
}
