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

/// How long a busy prober waits for its next round to fill. A lone request never waits.
const GATHER: Duration = Duration::from_millis(1);

type Answer = Result<u64, String>;

#[derive(Default)]
struct Queue {
    requests: Vec<oneshot::Sender<Answer>>,
    /// With how many requests the next round begins.
    enough: usize,
}

#[derive(Default)]
struct Waiting {
    queue: Mutex<Queue>,
    arrived: Notify,
}

impl Waiting {
    /// Says with how many requests the next round begins, and whether they are there.
    fn want(&self, enough: usize) -> bool {
        let mut queue = self.queue.lock();
        queue.enough = enough;
        queue.requests.len() >= enough
    }
    /// Takes the requests of a round; those that come from now on wake nobody.
    fn take(&self) -> Vec<oneshot::Sender<Answer>> {
        let mut queue = self.queue.lock();
        queue.enough = usize::MAX;
        std::mem::take(&mut queue.requests)
    }
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
            let mut last = 0;
            while let Some(w) = weak.upgrade() {
                // Whoever was answered just now is about to ask again: the first of them shall not set off a round of
                // its own that the others have to sit out.
                if last > 3 && !w.want(last / 2) {
                    let _ = tokio::time::timeout(GATHER, w.arrived.notified()).await;
                }
                if !w.want(1) {
                    // Wakes now and then to see whether the probe is still wanted.
                    let _ = tokio::time::timeout(Duration::from_secs(60), w.arrived.notified()).await;
                }
                let requests = w.take();
                last = requests.len();
                if requests.is_empty() {
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
        let enough = {
            let mut queue = self.waiting.queue.lock();
            queue.requests.push(tx);
            queue.requests.len() >= queue.enough
        };
        if enough {
            self.waiting.arrived.notify_one();
        }
        match rx.await {
            Ok(answer) => answer.map_err(Error::Unavailable),
            Err(_) => Err(Error::Unavailable("the probe of etcd has ended".into())),
        }
    }
}
