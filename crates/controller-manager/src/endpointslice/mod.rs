//! Keeps EndpointSlices for services with selectors (rule: `pkg/controller/endpointslice`,
//! `staging/src/k8s.io/endpointslice`).

mod desired;

pub mod reconcile;

pub use desired::family;

use std::sync::Arc;

use ahash::HashMap;
use futures::FutureExt;
use parking_lot::Mutex;
use steersman_api::k8s_openapi::{
    api::{
        core::v1::{Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use steersman_client::{
    Action, Client, DeleteOptions, Event, EventRecorder, EventType, Object, ObjectKey, Result, Store, WorkQueue,
    run_workers,
};

use crate::{
    context::{Context, Run, index, namespace_index},
    service_pods,
};
use reconcile::{Changes, Group};

/// The service of a slice.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Who writes a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const OURS: &str = "endpointslice-controller.k8s.io";
/// Index of slices: `manager/namespace/service`.
const BY_SERVICE: &str = "service";

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let services = context.informers.get::<Service>();
    services.add_index(index::NAMESPACE, namespace_index);
    let pods = context.pods_by_label();
    let nodes = context.informers.get::<Node>();
    let slices = Slices::new(context, OURS);
    let queue = WorkQueue::<ObjectKey>::new();
    services.add_handler({
        let queue = queue.clone();
        move |event| queue.add(event.object().key())
    });
    pods.add_handler({
        let (queue, services) = (queue.clone(), services.store().clone());
        move |event| service_pods::affected(event, &services).into_iter().for_each(|key| queue.add(key))
    });
    slices.notify(context, &queue);
    let controller = Arc::new(Controller {
        recorder: context.recorder.clone(),
        services: services.store().clone(),
        pods: pods.store().clone(),
        nodes: nodes.store().clone(),
        slices,
        max: context.flags.int("max-endpoints-per-slice").clamp(1, 1000) as usize,
    });
    let batch = context.flags.duration("endpointslice-updates-batch-period");
    let (shutdown, workers) = (context.shutdown.clone(), context.workers("concurrent-service-endpoint-syncs"));
    Ok(Some(
        async move {
            run_workers("endpointslice", &queue, workers, &shutdown, move |key| {
                let controller = controller.clone();
                async move {
                    tokio::time::sleep(batch).await;
                    controller.sync(&key).await
                }
            })
            .await;
        }
        .boxed(),
    ))
}

struct Controller {
    recorder: EventRecorder,
    services: Store<Service>,
    pods: Store<Pod>,
    nodes: Store<Node>,
    slices: Slices,
    max: usize,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(service) = self.services.get(key) else {
            // The garbage collector deletes the slices.
            self.slices.forget(key);
            return Ok(Action::Done);
        };
        let is_external = service.spec.as_ref().and_then(|s| s.type_.as_deref()) == Some("ExternalName");
        let Some(selector) = service_pods::selector(&service).filter(|_| !is_external) else { return Ok(Action::Done) };
        let Some(existing) = self.slices.current(key) else { return Ok(Action::Requeue) };
        let pods = service_pods::select(&self.pods, service.namespace(), selector);
        let zone =
            |node: &str| self.nodes.find("", node).and_then(|n| n.labels().get("topology.kubernetes.io/zone").cloned());
        let groups = desired::groups(&service, &pods, zone);
        let labels = desired::labels(&service);
        let changes = reconcile::plan(&groups, &existing, &labels, self.max);
        if let Err(error) = self.slices.carry_out(key, &*service, &groups, labels, changes).await {
            if error.is_namespace_terminating() || error.is_not_found() && service.is_deleting() {
                return Ok(Action::Done);
            }
            let message = format!("Error updating Endpoint Slices for Service {key}: {error}");
            self.recorder.event(&*service, EventType::Warning, "FailedToUpdateEndpointSlices", message);
            return Err(error);
        }
        Ok(Action::Done)
    }
}

/// The slices that one controller writes, and what it wrote last: a cache that has not caught up with our own writes
/// must not be acted on (rule: `EndpointSliceTracker`).
pub struct Slices {
    client: Client,
    store: Store<EndpointSlice>,
    manager: &'static str,
    /// By service, then by slice: the resource version written; `None` for a slice that was deleted.
    written: Arc<Mutex<Written>>,
}

type Written = HashMap<ObjectKey, HashMap<String, Option<u64>>>;

fn version<K: Object>(object: &K) -> u64 {
    object.resource_version().parse().unwrap_or(0)
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    Some(ObjectKey::new(slice.namespace(), slice.labels().get(SERVICE_NAME)?))
}

impl Slices {
    pub fn new(context: &Context, manager: &'static str) -> Self {
        let informer = context.informers.get::<EndpointSlice>();
        informer.add_index(BY_SERVICE, |slice| match (service_of(slice), slice.labels().get(MANAGED_BY)) {
            (Some(service), Some(manager)) => vec![format!("{manager}/{service}")],
            _ => Vec::new(),
        });
        let (client, store) = (context.client.clone(), informer.store().clone());
        Self { client, store, manager, written: Arc::default() }
    }

    /// Queues the service of a slice that somebody else has changed.
    pub fn notify(&self, context: &Context, queue: &WorkQueue<ObjectKey>) {
        let (queue, written, manager) = (queue.clone(), self.written.clone(), self.manager);
        context.informers.get::<EndpointSlice>().add_handler(move |event| {
            let slice = event.object();
            let is_managed = |slice: &EndpointSlice| slice.labels().get(MANAGED_BY).is_some_and(|m| m == manager);
            if let Event::Updated { old, .. } = event
                && is_managed(old)
                && service_of(old) != service_of(slice)
                && let Some(former) = service_of(old)
            {
                queue.add(former);
            }
            let Some(service) = service_of(slice).filter(|_| is_managed(slice)) else { return };
            let known = {
                let mut written = written.lock();
                let entry = written.get_mut(&service).and_then(|slices| slices.get_mut(slice.uid()));
                match (event, entry) {
                    (Event::Deleted { .. }, Some(None)) => {
                        written.entry(service.clone()).or_default().remove(slice.uid());
                        true
                    }
                    (Event::Deleted { .. }, entry) => {
                        if entry.is_some() {
                            written.entry(service.clone()).or_default().remove(slice.uid());
                        }
                        false
                    }
                    (_, Some(Some(ours))) => *ours >= version(&**slice),
                    (_, _) => false,
                }
            };
            if !known {
                queue.add(service);
            }
        });
    }

    /// The slices of a service as cached; `None` while the cache lags behind our own writes.
    pub fn current(&self, service: &ObjectKey) -> Option<Vec<Arc<EndpointSlice>>> {
        let slices = self.store.by_index(BY_SERVICE, &format!("{}/{service}", self.manager));
        if let Some(written) = self.written.lock().get(service) {
            for (uid, expected) in written {
                let cached = slices.iter().find(|slice| slice.uid() == uid).map(|slice| version(&**slice));
                match (expected, cached) {
                    (Some(expected), Some(cached)) if cached >= *expected => {}
                    (None, None) => {}
                    _ => return None,
                }
            }
        }
        Some(slices)
    }

    /// The service is gone.
    pub fn forget(&self, service: &ObjectKey) {
        self.written.lock().remove(service);
    }

    fn note(&self, service: &ObjectKey, slice: &EndpointSlice, deleted: bool) {
        let version = (!deleted).then(|| version(slice));
        self.written.lock().entry(service.clone()).or_default().insert(slice.uid().to_owned(), version);
    }

    /// Writes the planned changes. `owner` is the Service or the Endpoints that the slices are made for.
    pub async fn carry_out<O: Object>(
        &self,
        key: &ObjectKey,
        owner: &O,
        groups: &[Group],
        mut labels: std::collections::BTreeMap<String, String>,
        changes: Changes,
    ) -> Result<()> {
        labels.insert(SERVICE_NAME.to_owned(), key.name().to_owned());
        labels.insert(MANAGED_BY.to_owned(), self.manager.to_owned());
        for (group, endpoints) in changes.create {
            let slice = EndpointSlice {
                metadata: ObjectMeta {
                    generate_name: Some(format!("{}-", key.name())),
                    namespace: Some(key.namespace().to_owned()),
                    labels: Some(labels.clone()),
                    owner_references: Some(vec![owner.controller_reference()]),
                    ..ObjectMeta::default()
                },
                address_type: groups[group].address_type.to_owned(),
                ports: Some(groups[group].ports.clone()),
                endpoints: Some(endpoints),
            };
            let created = self.client.create(key.namespace(), &slice).await?;
            self.note(key, &created, false);
        }
        for (slice, group, endpoints) in changes.update {
            let mut slice = (*slice).clone();
            slice.endpoints = Some(endpoints);
            slice.ports = Some(groups[group].ports.clone());
            slice.metadata.labels = Some(labels.clone());
            let updated = self.client.update(&slice).await?;
            self.note(key, &updated, false);
        }
        for slice in changes.delete {
            let options = DeleteOptions::default();
            match self.client.delete::<EndpointSlice>(slice.namespace(), slice.name(), &options).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => self.note(key, &slice, true),
            }
        }
        Ok(())
    }
}
