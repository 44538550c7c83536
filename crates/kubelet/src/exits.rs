//! Noticing at once that a container has ended, with runtimes that send no events: the kernel tells when its first
//! process is gone. The regular look at the runtime stays the safety net.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::JoinHandle,
};

use crate::{
    kubelet::Kubelet,
    runtime::observed::{Observed, State},
};

/// The runtime learns of an exit a moment after the kernel; it is asked so often, and so far apart.
const ASK: (u32, Duration) = (20, Duration::from_millis(10));

/// Watches the first process of each container that runs.
#[derive(Default)]
pub struct Exits(Mutex<HashMap<String, (String, JoinHandle<()>)>>);

impl Exits {
    /// Begins with containers that have come to run, and forgets those that have ended.
    pub fn reconcile(&self, k: &Arc<Kubelet>, uid: &str, seen: &Observed) {
        let mut watched = self.0.lock();
        watched.retain(|id, (owner, task)| {
            let keep = owner != uid || seen.running().any(|r| r.id() == id);
            if !keep {
                task.abort();
            }
            keep
        });
        for run in seen.running() {
            let (k, id, owner) = (k.clone(), run.id().to_owned(), uid.to_owned());
            watched
                .entry(run.id().to_owned())
                .or_insert_with(|| (uid.to_owned(), tokio::spawn(async move { watch(&k, &id, &owner).await })));
        }
    }
}

async fn watch(k: &Kubelet, id: &str, uid: &str) {
    let Some(pid) = first_process(k, id).await else { return };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::NONBLOCK) else { return };
    // SAFETY: the descriptor is owned by the AsyncFd and nobody else closes or replaces it.
    let Ok(fd) = (unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }) else { return };
    tokio::select! {
        ended = fd.readable() => if ended.is_err() { return },
        () = k.shutdown.cancelled() => return,
    }
    for _ in 0..ASK.0 {
        let status = k.runtime.container_status(id, false).await.ok().and_then(|s| s.status);
        if status.is_none_or(|s| s.state() != State::ContainerRunning) {
            break;
        }
        tokio::time::sleep(ASK.1).await;
    }
    k.workers.poke(uid);
}

/// The process id is among what runtimes tell in their own words.
async fn first_process(k: &Kubelet, id: &str) -> Option<Pid> {
    let answer = k.runtime.container_status(id, true).await.ok()?;
    let info: serde_json::Value = serde_json::from_str(answer.info.get("info")?).ok()?;
    Pid::from_raw(i32::try_from(info["pid"].as_i64()?).ok()?)
}
