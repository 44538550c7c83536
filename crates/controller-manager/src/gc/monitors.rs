//! One metadata-only watch for each deletable resource, following the types that come and go.

use std::{sync::Arc, time::Duration};

use ahash::HashMap;
use parking_lot::Mutex;
use steersman_api::k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use steersman_client::{Client, Event, Informer, InformerBuilder, Object, PartialObjectMetadata, ResourcePath};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    FOREGROUND, ORPHAN, Shared, Uid,
    graph::{Identity, Observed, Todo},
};
use crate::{
    context::Context,
    discovery::{self, Resource},
};

/// The longest wait for all watches to be filled.
pub const SYNC_LIMIT: Duration = Duration::from_secs(30);
/// A changed type is served a moment after its definition says so.
const SETTLE: Duration = Duration::from_millis(500);
/// After a failed discovery, try again.
const RETRY: Duration = Duration::from_secs(5);
/// Not worth a watch (rule: `garbagecollector.DefaultIgnoredResources`).
const IGNORED: &[(&str, &str)] = &[("", "events"), ("events.k8s.io", "events")];

struct Monitor {
    resource: Arc<Resource>,
    informer: Informer<PartialObjectMetadata>,
    stop: CancellationToken,
}

/// The running watches.
#[derive(Default)]
pub struct Monitors {
    /// By group and kind: how owner references name types.
    by_kind: Mutex<HashMap<(String, String), Monitor>>,
    started: watch::Sender<bool>,
}

impl Monitors {
    /// The resource that an owner reference means.
    pub fn resource(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let by_kind = self.by_kind.lock();
        by_kind.get(&(group.to_owned(), kind.to_owned())).map(|monitor| monitor.resource.clone())
    }

    /// Waits until all first watches hold whole lists.
    pub async fn first_sync(&self) {
        // The sender lives as long as we do, so this cannot fail.
        let _ = self.started.subscribe().wait_for(|started| *started).await;
        let informers: Vec<_> = self.by_kind.lock().values().map(|monitor| monitor.informer.clone()).collect();
        for informer in informers {
            informer.synced().await;
        }
    }
}

/// Fires when the set of served types may have changed.
pub fn watch_types(context: &Context) -> watch::Receiver<u64> {
    let (sender, receiver) = watch::channel(0);
    let sender = Arc::new(sender);
    let definitions = context.informers.get_or_build::<CustomResourceDefinition>(|builder| {
        // Schemas are large, and nobody here reads them.
        builder.transform(|definition| {
            definition.spec.versions.iter_mut().for_each(|version| version.schema = None);
            definition.metadata.annotations = None;
        })
    });
    definitions.add_handler({
        let sender = sender.clone();
        move |_| sender.send_modify(|n| *n += 1)
    });
    context.informers.get::<APIService>().add_handler(move |event| {
        // Only aggregated ones come and go.
        if event.object().spec.as_ref().is_some_and(|spec| spec.service.is_some()) {
            sender.send_modify(|n| *n += 1);
        }
    });
    receiver
}

/// Keeps the watches in step with the types that are served, until shutdown.
pub async fn follow(
    shared: &Arc<Shared>,
    client: &Client,
    mut changed: watch::Receiver<u64>,
    shutdown: &CancellationToken,
) {
    let tracker = TaskTracker::new();
    let stop = shutdown.child_token();
    loop {
        changed.mark_unchanged();
        let retry = match discovery::preferred(client, &["list", "watch", "delete"]).await {
            Ok(found) => {
                let complete = found.failures.is_empty();
                update(shared, client, found, &tracker, &stop);
                shared.monitors.started.send_replace(true);
                !complete
            }
            Err(error) => {
                tracing::warn!(%error, "cannot discover resources");
                true
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(RETRY), if retry => {}
            result = changed.changed() => match result {
                Ok(()) => tokio::time::sleep(SETTLE).await,
                // Nobody is left to tell of changes.
                Err(_) => shutdown.cancelled().await,
            },
        }
    }
    tracker.close();
    tracker.wait().await;
}

fn update(
    shared: &Arc<Shared>,
    client: &Client,
    found: discovery::Discovered,
    tracker: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let complete = found.failures.is_empty();
    let mut by_kind = shared.monitors.by_kind.lock();
    let mut wanted = HashMap::default();
    for resource in found.resources {
        if !IGNORED.contains(&(&resource.path.group, &resource.path.resource)) {
            wanted.insert((resource.path.group.clone(), resource.kind.clone()), resource);
        }
    }
    // A group that did not answer keeps its watches.
    if complete {
        by_kind.retain(|key, monitor| {
            let keep = wanted.get(key).is_some_and(|resource| *resource == *monitor.resource);
            if !keep {
                monitor.stop.cancel();
                forget_all(shared, monitor);
            }
            keep
        });
    }
    for (key, resource) in wanted {
        by_kind.entry(key).or_insert_with(|| {
            let resource = Arc::new(resource);
            let informer = build(client, &resource.path);
            informer.add_handler({
                let (shared, resource) = (shared.clone(), resource.clone());
                move |event| observe(&shared, &resource, event)
            });
            let stop = shutdown.child_token();
            tracker.spawn({
                let (informer, stop) = (informer.clone(), stop.clone());
                async move { informer.run(&stop).await }
            });
            Monitor { resource, informer, stop }
        });
    }
}

fn build(client: &Client, path: &ResourcePath) -> Informer<PartialObjectMetadata> {
    InformerBuilder::metadata(client.clone(), path)
        .transform(|object| {
            let meta = &mut object.metadata;
            meta.labels = None;
            meta.annotations = None;
            meta.generate_name = None;
            meta.creation_timestamp = None;
            meta.self_link = None;
        })
        .build()
}

/// The type is no longer served: its objects cannot be reached, so what depends on them must not be judged by them.
fn forget_all(shared: &Shared, monitor: &Monitor) {
    for object in monitor.informer.store().list() {
        shared.change(|graph| graph.forget(&Uid::from(object.uid())));
    }
}

fn observe(shared: &Shared, resource: &Arc<Resource>, event: &Event<PartialObjectMetadata>) {
    let object = event.object();
    let uid = Uid::from(object.uid());
    if matches!(event, Event::Deleted { .. }) {
        return shared.change(|graph| graph.forget(&uid));
    }
    // An object of the same name that was made anew while we did not look.
    if let Event::Updated { old, .. } = event
        && old.uid() != object.uid()
    {
        shared.change(|graph| graph.forget(&Uid::from(old.uid())));
    }
    let has = |finalizer: &str| object.is_deleting() && object.finalizers().iter().any(|f| f == finalizer);
    let observed = Observed {
        identity: Identity {
            resource: Some(resource.clone()),
            api_version: resource.path.api_version().into(),
            kind: resource.kind.as_str().into(),
            namespace: object.namespace().into(),
            name: object.name().into(),
        },
        owners: object.owners().iter().map(Into::into).collect(),
        deleting: object.is_deleting(),
        foreground: has(FOREGROUND),
        orphaning: has(ORPHAN),
    };
    shared.change(|graph| -> Todo { graph.observe(&uid, observed) });
}
