//! The objects that a cluster has from the start, and those that the server keeps up itself, each behind the
//! post-start hook of upstream's name.

mod flowcontrol;
mod identity;
mod kubernetes;
mod objects;

use crate::api::Api;
use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use steersman_apimachinery::status::Reason;
use steersman_apimachinery::{Status, object};
use steersman_component::health::{Endpoint, Gate, Health};
use steersman_registry::{Cluster, Context};
use tokio_util::sync::CancellationToken;

/// Objects written at once.
const PARALLEL: usize = 64;
/// Wait before a failed step is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Time between two repairs of Services' addresses and ports (rule: `ServiceIPRepair` interval, `pkg/registry/core/rest`).
const REPAIR_INTERVAL: Duration = Duration::from_secs(180);

/// Upstream's post-start hooks, in the order in which health lists them; those without work of their own here pass at
/// once (rule: feature list of `pkg/controlplane`, `pkg/server`).
const HOOKS: &[&str] = &[
    "start-apiserver-admission-initializer",
    "generic-apiserver-start-informers",
    "priority-and-fairness-config-consumer",
    "priority-and-fairness-filter",
    "storage-object-count-tracker-hook",
    "start-apiextensions-informers",
    "start-apiextensions-controllers",
    "crd-informer-synced",
    "start-system-namespaces-controller",
    "start-cluster-authentication-info-controller",
    "start-kube-apiserver-identity-lease-controller",
    "start-kube-apiserver-identity-lease-garbage-collector",
    "start-legacy-token-tracking-controller",
    "start-service-ip-repair-controllers",
    "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes",
    "priority-and-fairness-config-producer",
    "bootstrap-controller",
    "start-kubernetes-service-cidr-controller",
    "aggregator-reload-proxy-client-cert",
    "start-kube-aggregator-informers",
    "apiservice-status-local-available-controller",
    "apiservice-status-remote-available-controller",
    "apiservice-registration-controller",
    "apiservice-discovery-controller",
    "kube-apiserver-autoregistration",
    "autoregister-completion",
    "apiservice-openapi-controller",
    "apiservice-openapiv3-controller",
];

/// The checks of the hooks, by name.
pub struct Hooks(Vec<(&'static str, Gate)>);

impl Hooks {
    /// Registers a check for each.
    pub fn register(health: &Health) -> Self {
        let everywhere = [Endpoint::Healthz, Endpoint::Livez, Endpoint::Readyz];
        let named = |name: &str| {
            if name == "autoregister-completion" { name.to_owned() } else { format!("poststarthook/{name}") }
        };
        Self(HOOKS.iter().map(|name| (*name, health.gate(&named(name), &everywhere))).collect())
    }
    fn done(&self, names: &[&str]) {
        for (name, gate) in &self.0 {
            if names.contains(name) {
                gate.open();
            }
        }
    }
    fn done_but(&self, names: &[&str]) {
        for (name, gate) in &self.0 {
            if !names.contains(name) {
                gate.open();
            }
        }
    }
}

/// What waits for objects to be written.
const WITH_WORK: &[&str] = &[
    "start-system-namespaces-controller",
    "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes",
    "priority-and-fairness-config-producer",
    "bootstrap-controller",
    "start-kubernetes-service-cidr-controller",
    "autoregister-completion",
];

/// Writes what is missing, opens the checks, and keeps up what has to be kept up until `stop`.
pub async fn run(api: Arc<Api>, hooks: Hooks, stop: CancellationToken) {
    hooks.done_but(WITH_WORK);
    let ctx = Context::loopback();
    // Others need the namespaces, and the service's address needs its range.
    let mut first = objects::namespaces();
    first.push(objects::service_cidr(&api.config.server.service_cidrs));
    retried("namespaces", || all(&api, &ctx, creations(first.clone()))).await;
    hooks.done(&["start-system-namespaces-controller", "start-kubernetes-service-cidr-controller"]);
    let rbac = async {
        retried("RBAC", || all(&api, &ctx, policy())).await;
        hooks.done(&["rbac/bootstrap-roles"]);
    };
    let classes = async {
        retried("priority classes", || all(&api, &ctx, creations(objects::priority_classes()))).await;
        hooks.done(&["scheduling/bootstrap-system-priority-classes"]);
    };
    let fairness = async {
        retried("flow control", || all(&api, &ctx, creations(flowcontrol::objects()))).await;
        hooks.done(&["priority-and-fairness-config-producer"]);
    };
    let services = async {
        retried("API services", || all(&api, &ctx, creations(objects::api_services(&api.discovery)))).await;
        hooks.done(&["autoregister-completion"]);
        for (name, status) in objects::api_service_statuses(&api.discovery) {
            objects::set_status(&api, &ctx, ("apiregistration.k8s.io", "apiservices"), &name, status).await;
        }
        let ready = objects::service_cidr_status(ctx.now);
        objects::set_status(&api, &ctx, ("networking.k8s.io", "servicecidrs"), "kubernetes", ready).await;
    };
    let maps = retried("config maps", || all(&api, &ctx, creations(objects::config_maps(&api.config))));
    let leases = kubernetes::Leases::new();
    let service = async {
        retried("service kubernetes", || kubernetes::reconcile(&api, &leases, &ctx)).await;
        hooks.done(&["bootstrap-controller"]);
    };
    tokio::join!(rbac, classes, fairness, services, maps, service);
    tracing::info!("the objects of a new cluster are there");
    tokio::join!(
        kubernetes::keep(&api, &leases, stop.clone()),
        identity::keep(&api, stop.clone()),
        repair_services(&api, stop.clone())
    );
}

/// Makes Services agree with the addresses and ports they hold, at once and then every few minutes until `stop`.
async fn repair_services(api: &Api, stop: CancellationToken) {
    let mut repair = steersman_resources::core::services::Repair::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = repair.run(&*api.registry) => {}
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(REPAIR_INTERVAL) => {}
        }
    }
}

/// One object that should be there.
#[derive(Clone)]
struct Bootstrap {
    group: &'static str,
    resource: &'static str,
    object: Value,
    rbac: bool,
}

/// Group, resource and object.
type Placed = (&'static str, &'static str, Value);

fn creations(placed: Vec<Placed>) -> Vec<Bootstrap> {
    let mut out = Vec::with_capacity(placed.len());
    for (group, resource, object) in placed {
        out.push(Bootstrap { group, resource, object, rbac: false });
    }
    out
}

fn policy() -> Vec<Bootstrap> {
    let wanted = steersman_auth::policy::objects().into_iter();
    wanted
        .map(|w| Bootstrap { group: "rbac.authorization.k8s.io", resource: w.resource, object: w.object, rbac: true })
        .collect()
}

impl Bootstrap {
    async fn ensure(self, cluster: &dyn Cluster, ctx: &Context) -> Result<(), Status> {
        let (namespace, name) = (object::namespace(&self.object).to_owned(), object::name(&self.object).to_owned());
        let stored = cluster.get(self.group, self.resource, &namespace, &name);
        if stored.is_none() {
            match cluster.create(ctx, self.group, self.resource, self.object.clone(), false).await {
                Ok(_) => return Ok(()),
                Err(e) if e.reason == Reason::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        if !self.rbac {
            return Ok(());
        }
        let stored = match stored {
            Some(s) => Value::clone(&s),
            None => cluster.get_live(self.group, self.resource, &namespace, &name).await?,
        };
        if steersman_auth::policy::reconcile(&stored, &self.object).is_none() {
            return Ok(());
        }
        let wanted = &self.object;
        let mut mend = |o: &mut Value| {
            if let Some(new) = steersman_auth::policy::reconcile(o, wanted) {
                *o = new;
            }
            Ok(())
        };
        cluster.update(ctx, (self.group, self.resource, ""), (&namespace, &name), false, &mut mend).await.map(drop)
    }
}

/// Writes all of them, many at once; the error is the first one's.
async fn all(api: &Arc<Api>, ctx: &Context, objects: Vec<Bootstrap>) -> Result<(), Status> {
    let mut writes = FuturesUnordered::new();
    let mut left = objects.into_iter();
    let mut outcome = Ok(());
    loop {
        while writes.len() < PARALLEL
            && let Some(o) = left.next()
        {
            writes.push(o.ensure(&*api.registry, ctx));
        }
        match writes.next().await {
            None => return outcome,
            Some(Ok(())) => {}
            Some(Err(e)) => outcome = outcome.and(Err(e)),
        }
    }
}

/// Tries until it works: etcd may come later than the server.
async fn retried<F: Future<Output = Result<(), Status>>>(what: &str, mut step: impl FnMut() -> F) {
    while let Err(e) = step().await {
        tracing::warn!(what, error = %e, "not written, trying again");
        tokio::time::sleep(RETRY).await;
    }
}
