//! From informers to the kernel: changes mark services as dirty, and one task turns all that are dirty into one
//! transaction. While a transaction runs, further changes gather for the next.

use crate::conntrack;
use crate::health_check::{HealthChecks, Wanted};
use crate::model::{self, NodeView, ServiceModel};
use crate::nftables::{Family, Nft, Table};
use crate::rules::{self, Settings};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use steersman_api::k8s_openapi::api::core::v1::{Node, Service};
use steersman_api::k8s_openapi::api::discovery::v1::EndpointSlice;
use steersman_client::{Informer, Store};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The index of slices by the service they belong to.
const BY_SERVICE: &str = "service";
/// The label of slices that names it.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// How long to wait after a transaction failed.
const RETRY: Duration = Duration::from_secs(1);

/// Figures, under upstream's names.
#[derive(Clone)]
pub struct Metrics {
    sync_duration: Histogram,
    changes: Counter,
    last: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl Metrics {
    /// Registers them.
    pub fn new(metrics: &steersman_component::metrics::Metrics) -> Self {
        let new = Self {
            sync_duration: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            changes: Counter::default(),
            last: Gauge::default(),
        };
        metrics.with(|r| {
            r.register(
                "kubeproxy_sync_proxy_rules_duration_seconds",
                "Time to bring the kernel up to date",
                new.sync_duration.clone(),
            );
            r.register("kubeproxy_sync_proxy_rules_service_changes", "Services that had changed", new.changes.clone());
            r.register(
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                "When the kernel was last brought up to date",
                new.last.clone(),
            );
        });
        new
    }
}

/// Which services must be looked at again.
#[derive(Default)]
struct Dirty {
    keys: Mutex<BTreeSet<String>>,
    wake: Notify,
}

impl Dirty {
    fn mark(&self, key: String) {
        self.keys.lock().insert(key);
        self.wake.notify_one();
    }
    fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.keys.lock())
    }
}

/// The controller.
pub struct Controller {
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    dirty: Arc<Dirty>,
    node: Arc<Mutex<NodeView>>,
    settings: Settings,
    tables: BTreeMap<Family, Table>,
    /// What the tables were made of.
    models: BTreeMap<(String, Family), ServiceModel>,
    health_checks: HealthChecks,
    metrics: Metrics,
    nft: Box<dyn Nft>,
}

impl Controller {
    /// Hooks into the informers. Node ports are served on the node's addresses as they are now.
    pub fn new(
        services: &Informer<Service>,
        slices: &Informer<EndpointSlice>,
        nodes: &Informer<Node>,
        node: NodeView,
        settings: Settings,
        metrics: Metrics,
        nft: Box<dyn Nft>,
    ) -> Self {
        let dirty = Arc::new(Dirty::default());
        let mark = dirty.clone();
        services.add_handler(move |event| {
            let m = &event.object().metadata;
            mark.mark(key(m.namespace.as_deref(), m.name.as_deref()));
        });
        slices.add_index(BY_SERVICE, |slice| service_of(slice).into_iter().collect());
        let mark = dirty.clone();
        slices.add_handler(move |event| {
            for slice in [Some(event.object()), event.old()].into_iter().flatten() {
                if let Some(key) = service_of(slice) {
                    mark.mark(key);
                }
            }
        });
        let view = Arc::new(Mutex::new(node));
        let (mark, shared, all) = (dirty.clone(), view.clone(), services.store().clone());
        nodes.add_handler(move |event| {
            let zone = zone_of(event.object());
            let mut view = shared.lock();
            if view.zone != zone {
                view.zone = zone;
                for k in all.keys() {
                    mark.mark(k.as_str().to_owned());
                }
            }
        });
        let addresses = view.lock().addresses.clone();
        let table = |family, v4: bool| {
            let mine = addresses.iter().filter(|a| a.is_ipv4() == v4).map(ToString::to_string).collect();
            (family, Table::new(family, mine))
        };
        Self {
            services: services.store().clone(),
            slices: slices.store().clone(),
            dirty,
            node: view,
            settings,
            tables: BTreeMap::from([table(Family::V4, true), table(Family::V6, false)]),
            models: BTreeMap::new(),
            health_checks: HealthChecks::default(),
            metrics,
            nft,
        }
    }

    /// Follows until `stop`. `synced` is called after the first transaction. The rules stay when this ends, so that a
    /// restart does not interrupt anybody.
    pub async fn run(mut self, synced: impl FnOnce(), stop: &CancellationToken) {
        let mut synced = Some(synced);
        loop {
            let keys = self.dirty.take();
            let failed = self.sync(keys).await;
            if !failed && let Some(synced) = synced.take() {
                synced();
            }
            let again = async {
                if failed {
                    tokio::time::sleep(RETRY).await;
                } else {
                    self.dirty.wake.notified().await;
                }
            };
            tokio::select! { () = stop.cancelled() => return, () = again => {} }
        }
    }

    /// Brings the kernel up to date for these services; true if that failed and must be tried again.
    async fn sync(&mut self, keys: BTreeSet<String>) -> bool {
        let started = Instant::now();
        let node = self.node.lock().clone();
        let mut changes: BTreeMap<Family, BTreeMap<String, Option<rules::Fragment>>> = BTreeMap::new();
        let mut stale = BTreeSet::new();
        for key in &keys {
            let models = self.models_of(key, &node);
            for family in [Family::V4, Family::V6] {
                let new = models.iter().find(|m| m.cluster_ip.is_ipv4() == (family == Family::V4));
                let id = (key.clone(), family);
                if self.models.get(&id) == new {
                    continue;
                }
                stale.extend(conntrack::stale(self.models.get(&id), new));
                changes.entry(family).or_default().insert(key.clone(), new.map(|m| rules::fragment(m, &self.settings)));
                match new {
                    Some(m) => drop(self.models.insert(id, m.clone())),
                    None => drop(self.models.remove(&id)),
                }
            }
        }
        let mut failed = false;
        for (family, table) in &mut self.tables {
            let changed = changes.remove(family).unwrap_or_default();
            // A node without IPv6 may have no such tables in its kernel.
            if *family == Family::V6 && changed.is_empty() && table.is_empty() {
                continue;
            }
            if let Err(e) = table.sync(self.nft.as_ref(), changed).await {
                tracing::error!(error = %e, ?family, "rules could not be written; trying again");
                failed = true;
            }
        }
        if !stale.is_empty() {
            tokio::spawn(conntrack::delete(stale));
        }
        self.sync_health_checks().await;
        self.metrics.changes.inc_by(keys.len() as u64);
        self.metrics.sync_duration.observe(started.elapsed().as_secs_f64());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.metrics.last.set(now.as_secs_f64());
        tracing::debug!(services = keys.len(), took = ?started.elapsed(), "synced");
        failed
    }

    fn models_of(&self, key: &str, node: &NodeView) -> Vec<ServiceModel> {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let Some(service) = self.services.find(namespace, name) else { return Vec::new() };
        model::models(&service, &self.slices.by_index(BY_SERVICE, key), node)
    }

    async fn sync_health_checks(&mut self) {
        let wanted = self
            .models
            .values()
            .filter_map(|m| {
                let (port, local) = model::health_check(m)?;
                Some((port, Wanted { namespace: m.namespace.clone(), name: m.name.clone(), local }))
            })
            .collect();
        self.health_checks.sync(&wanted).await;
    }
}

fn key(namespace: Option<&str>, name: Option<&str>) -> String {
    format!("{}/{}", namespace.unwrap_or(""), name.unwrap_or(""))
}

fn service_of(slice: &EndpointSlice) -> Option<String> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(key(slice.metadata.namespace.as_deref(), Some(name)))
}

/// The zone that a node says it is in.
pub fn zone_of(node: &Node) -> String {
    let labels = node.metadata.labels.as_ref();
    labels.and_then(|l| l.get("topology.kubernetes.io/zone")).cloned().unwrap_or_default()
}
