//! What a controller gets when it starts.

use std::{fmt::Debug, hash::Hash, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use steersman_api::k8s_openapi::{
    api::core::v1::{ConfigMap, Container, Pod, Secret},
    apimachinery::pkg::apis::meta::v1::Time,
};
use steersman_client::{Action, Client, EventRecorder, Informer, Informers, Object, Result, WorkQueue, run_workers};
use steersman_component::{features::Gates, flags::Flags};
use tokio_util::sync::CancellationToken;

/// A controller's work: ends after shutdown.
pub type Run = BoxFuture<'static, ()>;

/// What a controller gets when it starts. Handlers and indexes are added while starting; the returned work begins when
/// all informers hold a whole list.
#[derive(Clone)]
pub struct Context {
    /// For this controller's own requests, under its own identity.
    pub client: Client,
    /// Shared by all controllers.
    pub informers: Informers,
    /// The command line.
    pub flags: Arc<Flags>,
    /// The feature gates.
    pub gates: Gates,
    /// Records events under the controller's name.
    pub recorder: EventRecorder,
    /// Cancelled at shutdown and when leadership is lost.
    pub shutdown: CancellationToken,
}

/// Names of the indexes that several controllers share.
pub mod index {
    /// The uid of the controlling owner; objects without one are under [`super::orphans`] of their namespace.
    pub const CONTROLLER: &str = "controller";
    /// The namespace.
    pub const NAMESPACE: &str = "namespace";
    /// Pods: the node's name, empty for pods that have none.
    pub const NODE: &str = "node";
    /// Pods: `namespace/key=value` for each label.
    pub const LABEL: &str = "label";
    /// Pods: `namespace/claim` for each persistent volume claim that a volume names.
    pub const CLAIM: &str = "claim";
}

/// Names of the ConfigMaps whose content some controller reads.
pub const READ_CONFIG_MAPS: &[&str] = &["kube-root-ca.crt", "cluster-info"];
/// Types of the Secrets whose content some controller reads.
pub const READ_SECRETS: &[&str] = &["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];

/// Where [`index::CONTROLLER`] keeps the objects of a namespace that nobody controls.
pub fn orphans(namespace: &str) -> String {
    format!("orphans/{namespace}")
}

/// The value of [`index::CONTROLLER`].
pub fn controller_index<K: Object>(object: &K) -> Vec<String> {
    vec![match object.controller() {
        Some(owner) => owner.uid.clone(),
        None => orphans(object.namespace()),
    }]
}

/// The value of [`index::NAMESPACE`].
pub fn namespace_index<K: Object>(object: &K) -> Vec<String> {
    vec![object.namespace().to_owned()]
}

/// Now, as objects carry it.
pub fn now() -> Time {
    Time(Timestamp::now())
}

impl Context {
    /// The number of workers that a flag `--concurrent-*-syncs` asks for.
    pub fn workers(&self, flag: &str) -> usize {
        self.flags.int(flag).clamp(1, 1000) as usize
    }

    /// The work of a controller: `sync` for each key of the queue, with so many workers, until shutdown.
    pub fn work<C, T, F, R>(
        &self,
        name: &'static str,
        queue: WorkQueue<T>,
        workers: usize,
        controller: Arc<C>,
        sync: F,
    ) -> Run
    where
        C: Send + Sync + 'static,
        T: Clone + Eq + Hash + Debug + Send + Sync + 'static,
        F: Fn(Arc<C>, T) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<Action>> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        async move {
            run_workers(name, &queue, workers, &shutdown, move |key| sync(controller.clone(), key)).await;
        }
        .boxed()
    }

    /// All pods, without the parts of their specification that no controller reads.
    pub fn pods(&self) -> Informer<Pod> {
        let pods = self.informers.get_or_build::<Pod>(|builder| builder.transform(trim_pod));
        pods.add_index(index::CONTROLLER, controller_index);
        pods
    }

    /// All pods, with an index by node.
    pub fn pods_by_node(&self) -> Informer<Pod> {
        let pods = self.pods();
        pods.add_index(index::NODE, |pod| {
            vec![pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default()]
        });
        pods
    }

    /// All pods, with an index by label.
    pub fn pods_by_label(&self) -> Informer<Pod> {
        let pods = self.pods();
        pods.add_index(index::LABEL, |pod| {
            pod.labels().iter().map(|(key, value)| format!("{}/{key}={value}", pod.namespace())).collect()
        });
        pods
    }

    /// All pods, with an index by namespace.
    pub fn pods_by_namespace(&self) -> Informer<Pod> {
        let pods = self.pods();
        pods.add_index(index::NAMESPACE, namespace_index);
        pods
    }

    /// All ConfigMaps; only those in [`READ_CONFIG_MAPS`] have their content.
    pub fn config_maps(&self) -> Informer<ConfigMap> {
        self.informers.get_or_build::<ConfigMap>(|builder| {
            builder.transform(|map| {
                if !READ_CONFIG_MAPS.contains(&map.name()) {
                    map.data = None;
                    map.binary_data = None;
                }
            })
        })
    }

    /// All Secrets; only those of the types in [`READ_SECRETS`] have their content.
    pub fn secrets(&self) -> Informer<Secret> {
        self.informers.get_or_build::<Secret>(|builder| {
            builder.transform(|secret| {
                if !READ_SECRETS.contains(&secret.type_.as_deref().unwrap_or("")) {
                    secret.data = None;
                }
            })
        })
    }

    /// The shared informer of `K` with an index by controlling owner.
    pub fn controlled<K: Object>(&self) -> Informer<K> {
        let informer = self.informers.get::<K>();
        informer.add_index(index::CONTROLLER, controller_index);
        informer
    }

    /// The shared informer of `K` with an index by namespace.
    pub fn namespaced<K: Object>(&self) -> Informer<K> {
        let informer = self.informers.get::<K>();
        informer.add_index(index::NAMESPACE, namespace_index);
        informer
    }
}

fn trim_pod(pod: &mut Pod) {
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    let Some(spec) = &mut pod.spec else { return };
    spec.containers.iter_mut().for_each(trim_container);
    spec.init_containers.iter_mut().flatten().for_each(trim_container);
    spec.ephemeral_containers = None;
    spec.dns_config = None;
    spec.image_pull_secrets = None;
    spec.topology_spread_constraints = None;
}

fn trim_container(container: &mut Container) {
    container.args = None;
    container.command = None;
    container.env = None;
    container.env_from = None;
    container.lifecycle = None;
    container.liveness_probe = None;
    container.readiness_probe = None;
    container.startup_probe = None;
    container.security_context = None;
    container.termination_message_path = None;
    container.termination_message_policy = None;
    container.volume_mounts = None;
}
