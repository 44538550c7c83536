//! Deletes what has lost its owners (rule: `pkg/controller/garbagecollector`).
//!
//! A metadata-only watch on every deletable resource feeds a [`graph::Graph`] of owners and dependants. What the graph
//! suspects to be garbage goes to a queue, whose workers ask the apiserver before they delete anything.

mod graph;
mod monitors;
mod worker;

use std::sync::Arc;

use futures::FutureExt;
use parking_lot::Mutex;
use steersman_client::{WorkQueue, run_workers};

use crate::context::{Context, Run};
use graph::Graph;

/// The uid of an object.
pub type Uid = Arc<str>;

/// The object stays until its blocking dependants are gone.
const FOREGROUND: &str = "foregroundDeletion";
/// The object stays until its dependants no longer refer to it.
const ORPHAN: &str = "orphan";

/// What all parts share.
struct Shared {
    graph: Mutex<Graph>,
    /// Objects that may be garbage.
    to_delete: WorkQueue<Uid>,
    /// Owners whose dependants must be set free.
    to_orphan: WorkQueue<Uid>,
    monitors: monitors::Monitors,
}

impl Shared {
    /// Changes the graph and queues what follows from that.
    fn change(&self, change: impl FnOnce(&mut Graph) -> graph::Todo) {
        let todo = change(&mut self.graph.lock());
        todo.check.into_iter().for_each(|uid| self.to_delete.add(uid));
        todo.orphan.into_iter().for_each(|uid| self.to_orphan.add(uid));
    }
}

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    if !context.flags.bool("enable-garbage-collector") {
        return Ok(None);
    }
    let changed = monitors::watch_types(context);
    let shared = Arc::new(Shared {
        graph: Mutex::default(),
        to_delete: WorkQueue::new(),
        to_orphan: WorkQueue::new(),
        monitors: monitors::Monitors::default(),
    });
    let (client, shutdown) = (context.client.clone(), context.shutdown.clone());
    let workers = context.workers("concurrent-gc-syncs");
    Ok(Some(
        async move {
            let follow = monitors::follow(&shared, &client, changed, &shutdown);
            let work = async {
                // Nothing is judged before everything is known, unless some resource cannot be listed.
                tokio::select! {
                    () = shared.monitors.first_sync() => {}
                    () = tokio::time::sleep(monitors::SYNC_LIMIT) => {}
                    () = shutdown.cancelled() => return,
                }
                let delete = {
                    let (shared, client) = (shared.clone(), client.clone());
                    move |uid: Uid| {
                        let (shared, client) = (shared.clone(), client.clone());
                        async move { worker::try_delete(&shared, &client, &uid).await }
                    }
                };
                let orphan = {
                    let (shared, client) = (shared.clone(), client.clone());
                    move |uid: Uid| {
                        let (shared, client) = (shared.clone(), client.clone());
                        async move { worker::orphan(&shared, &client, &uid).await }
                    }
                };
                tokio::join!(
                    run_workers("garbagecollector", &shared.to_delete, workers, &shutdown, delete),
                    run_workers("garbagecollector-orphan", &shared.to_orphan, workers.min(5), &shutdown, orphan),
                );
            };
            tokio::join!(follow, work);
        }
        .boxed(),
    ))
}
