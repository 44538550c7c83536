//! Recomputes what namespaces use of their quotas (rule: `pkg/controller/resourcequota`).
//!
//! Admission adds to the usage when something is created; this controller finds out what went away. Kinds that are only
//! counted are watched, by their metadata, from the moment some quota counts them.

mod usage;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ahash::HashMap;
use jiff::Timestamp;
use parking_lot::Mutex;
use steersman_api::k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus, Service},
    apimachinery::pkg::api::resource::Quantity as Text,
};
use steersman_apimachinery::{Quantity, quantity::Format};
use steersman_client::{
    Action, Client, Event, Informer, InformerBuilder, Object, ObjectKey, PartialObjectMetadata, Result, Store,
    WorkQueue,
};
use tokio_util::sync::CancellationToken;

use crate::{
    context::{Context, Run, index, namespace_index},
    discovery, pods,
};
use usage::Amounts;

/// Quota names of core resources that are only counted.
const PLAIN_COUNTS: &[&str] = &["configmaps", "secrets", "replicationcontrollers", "resourcequotas"];
/// Deletions that come together are counted together.
const SETTLE: Duration = Duration::from_millis(100);

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let quotas = context.namespaced::<ResourceQuota>();
    let (pods, services) = (context.pods_by_namespace(), context.namespaced::<Service>());
    let claims = context.namespaced::<PersistentVolumeClaim>();
    let queue = WorkQueue::<ObjectKey>::new();
    quotas.add_handler({
        let queue = queue.clone();
        move |event| {
            let spec = |quota: &ResourceQuota| quota.spec.clone();
            let changed = event.old().is_none_or(|old| spec(old) != spec(event.object()));
            let incomplete = event.object().status.as_ref().and_then(|status| status.hard.as_ref())
                != event.object().spec.as_ref().and_then(|spec| spec.hard.as_ref());
            if !matches!(event, Event::Deleted { .. }) && (changed || incomplete) {
                queue.add(event.object().key());
            }
        }
    });
    let notify = Notify { quotas: quotas.store().clone(), queue: queue.clone() };
    pods.add_handler({
        let notify = notify.clone();
        move |event| {
            let ended = |pod: &Pod| pods::is_terminal(pod);
            let freed = match event {
                Event::Added(_) => false,
                Event::Updated { old, new } => !ended(old) && ended(new),
                Event::Deleted { .. } => true,
            };
            if freed {
                notify.namespace(event.object().namespace());
            }
        }
    });
    services.add_handler({
        let notify = notify.clone();
        move |event| {
            let freed = match event {
                Event::Added(_) => false,
                Event::Updated { old, new } => usage::of_service(old) != usage::of_service(new),
                Event::Deleted { .. } => true,
            };
            if freed {
                notify.namespace(event.object().namespace());
            }
        }
    });
    claims.add_handler({
        let notify = notify.clone();
        move |event| {
            let freed = match event {
                Event::Added(_) => false,
                Event::Updated { old, new } => usage::of_claim(old) != usage::of_claim(new),
                Event::Deleted { .. } => true,
            };
            if freed {
                notify.namespace(event.object().namespace());
            }
        }
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        quotas: quotas.store().clone(),
        pods: pods.store().clone(),
        services: services.store().clone(),
        claims: claims.store().clone(),
        counted: Mutex::default(),
        notify,
        resync: context.flags.duration("resource-quota-sync-period"),
        shutdown: context.shutdown.clone(),
    });
    let workers = context.workers("concurrent-resource-quota-syncs");
    Ok(Some(context.work("resourcequota", queue, workers, controller, |controller, key| async move {
        controller.sync(&key).await
    })))
}

/// Queues the quotas of a namespace in which something went away.
#[derive(Clone)]
struct Notify {
    quotas: Store<ResourceQuota>,
    queue: WorkQueue<ObjectKey>,
}

impl Notify {
    fn namespace(&self, namespace: &str) {
        for quota in self.quotas.by_index(index::NAMESPACE, namespace) {
            self.queue.add_after(quota.key(), SETTLE);
        }
    }
}

struct Controller {
    client: Client,
    quotas: Store<ResourceQuota>,
    pods: Store<Pod>,
    services: Store<Service>,
    claims: Store<PersistentVolumeClaim>,
    /// Watches of what is only counted, by quota name.
    counted: Mutex<HashMap<String, Informer<PartialObjectMetadata>>>,
    notify: Notify,
    resync: Duration,
    shutdown: CancellationToken,
}

/// The resource and group that a quota name counts; `None` if it is no plain count.
fn counted_resource(name: &str) -> Option<(&str, &str)> {
    match name.strip_prefix("count/") {
        Some("pods" | "services" | "persistentvolumeclaims") => None,
        Some(rest) => Some(rest.split_once('.').unwrap_or((rest, ""))),
        None => PLAIN_COUNTS.contains(&name).then_some((name, "")),
    }
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(quota) = self.quotas.get(key).filter(|quota| !quota.is_deleting()) else { return Ok(Action::Done) };
        let spec = quota.spec.clone().unwrap_or_default();
        let hard = spec.hard.clone().unwrap_or_default();
        let mut used = self.used(quota.namespace(), &spec);
        for name in hard.keys() {
            if let Some((resource, group)) = counted_resource(name) {
                let count = self.count(name, resource, group, quota.namespace()).await?;
                used.insert(name.clone(), Quantity::new(count as i64, Format::DecimalSI));
            }
        }
        let used: BTreeMap<String, Text> = hard
            .keys()
            .map(|name| {
                let amount = used.get(name).cloned().unwrap_or_else(|| Quantity::new(0, Format::DecimalSI));
                (name.clone(), Text(amount.to_string()))
            })
            .collect();
        let status = quota.status.clone().unwrap_or_default();
        let same = usage::parse(status.hard.as_ref()) == usage::parse(Some(&hard))
            && usage::parse(status.used.as_ref()) == usage::parse(Some(&used));
        if !same {
            let status = ResourceQuotaStatus { hard: Some(hard), used: Some(used) };
            let changed = ResourceQuota { status: Some(status), ..(*quota).clone() };
            match self.client.update_status(&changed).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        // Pods beyond their grace period stop counting without an event.
        Ok(Action::RequeueAfter(self.resync.max(Duration::from_secs(1))))
    }

    fn used(&self, namespace: &str, spec: &ResourceQuotaSpec) -> Amounts {
        let now = Timestamp::now();
        let mut total = Amounts::new();
        for pod in self.pods.by_index(index::NAMESPACE, namespace) {
            if usage::in_scopes(spec, &pod) {
                usage::add(&mut total, &usage::of_pod(&pod, now));
            }
        }
        let scoped = spec.scopes.as_ref().is_some_and(|scopes| !scopes.is_empty()) || spec.scope_selector.is_some();
        if scoped {
            return total;
        }
        for service in self.services.by_index(index::NAMESPACE, namespace) {
            usage::add(&mut total, &usage::of_service(&service));
        }
        for claim in self.claims.by_index(index::NAMESPACE, namespace) {
            usage::add(&mut total, &usage::of_claim(&claim));
        }
        total
    }

    async fn count(&self, name: &str, resource: &str, group: &str, namespace: &str) -> Result<usize> {
        let known = self.counted.lock().get(name).cloned();
        let informer = match known {
            Some(informer) => informer,
            None => {
                let found = discovery::namespaced(&self.client, &["list", "watch"]).await?;
                let path = found.resources.into_iter().map(|found| found.path);
                let Some(path) = path.into_iter().find(|path| path.resource == resource && path.group == group) else {
                    return Ok(0);
                };
                let informer = InformerBuilder::metadata(self.client.clone(), &path)
                    .transform(|object| {
                        object.metadata.labels = None;
                        object.metadata.annotations = None;
                        object.metadata.owner_references = None;
                    })
                    .build();
                informer.add_index(index::NAMESPACE, namespace_index);
                let notify = self.notify.clone();
                informer.add_handler(move |event| {
                    if matches!(event, Event::Deleted { .. }) {
                        notify.namespace(event.object().namespace());
                    }
                });
                let mut counted = self.counted.lock();
                if !counted.contains_key(name) {
                    informer.spawn(&self.shutdown);
                    counted.insert(name.to_owned(), informer);
                }
                counted[name].clone()
            }
        };
        tokio::select! {
            () = informer.synced() => {}
            () = self.shutdown.cancelled() => {}
        }
        Ok(informer.store().count_by_index(index::NAMESPACE, namespace))
    }
}

#[cfg(test)]
mod tests {
    use ahash::HashSet;

    use super::*;

    #[test]
    fn names_of_counts() {
        let names = ["count/deployments.apps", "count/secrets", "secrets", "pods", "count/pods", "requests.cpu"];
        let found: HashSet<_> = names.into_iter().filter_map(counted_resource).collect();
        assert_eq!(found, HashSet::from_iter([("deployments", "apps"), ("secrets", "")]));
    }
}
