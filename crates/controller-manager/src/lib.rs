//! The `kube-controller-manager`: the control loops that make a cluster follow its specification.
//!
//! Entry points: [`manager::run`] (flags to shutdown) and [`CONTROLLERS`] (one line for each controller, one module
//! behind each line). A controller is a `start` function: it registers its indexes and handlers on the shared informers
//! and returns the work that begins when the caches are full. Work is level-based: a handler only notes a key, and a
//! sync reads everything from the caches and writes the difference.
//!
//! Invariant: this crate never talks to etcd, never polls the apiserver, and never scans all objects of a kind because
//! one has changed.

mod bootstrap;
mod certificates;
mod clusterrole_aggregation;
pub mod context;
mod credentials;
mod dependants;
mod discovery;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslice_mirroring;
mod expectations;
mod flags;
mod gc;
mod hash;
mod history;
pub mod manager;
mod node_ipam;
mod node_lifecycle;
mod node_ttl;
mod pod_gc;

mod cron_schedule;
mod cronjob;
mod daemonset;
mod deployment;
mod job;
mod namespace;
mod pods;
mod policy_status;
mod replicaset;
mod resourcequota;
mod root_ca_publisher;
mod service_cidr;
mod service_pods;
mod serviceaccount;
mod serviceaccount_token;
mod statefulset;
mod taint_eviction;
mod ttl_after_finished;
mod volume;

pub use flags::FLAGS;

use context::{Context, Run};

/// One controller.
pub struct Controller {
    /// Upstream's name, for `--controllers` and health checks.
    pub name: &'static str,
    /// Upstream's older name, also accepted; may be empty.
    pub alias: &'static str,
    /// The service account in `kube-system` under which it acts, which is also how its events are signed; empty for the
    /// manager's own identity.
    pub account: &'static str,
    /// Whether `*` includes it.
    pub on: bool,
    /// Prepares it; `None` if the flags leave it nothing to do.
    pub start: fn(&Context) -> anyhow::Result<Option<Run>>,
}

impl Controller {
    /// The component in the events that it records.
    pub fn event_source(&self) -> &'static str {
        match self.account {
            "replication-controller" => "replication-controller",
            "daemon-set-controller" => "daemonset-controller",
            account => account,
        }
    }
}

const fn on(
    name: &'static str,
    alias: &'static str,
    account: &'static str,
    start: fn(&Context) -> anyhow::Result<Option<Run>>,
) -> Controller {
    Controller { name, alias, account, on: true, start }
}

const fn off(
    name: &'static str,
    alias: &'static str,
    account: &'static str,
    start: fn(&Context) -> anyhow::Result<Option<Run>>,
) -> Controller {
    Controller { name, alias, account, on: false, start }
}

/// All controllers, in the order in which they start.
pub const CONTROLLERS: &[Controller] = &[
    on("serviceaccount-token-controller", "serviceaccount-token", "", serviceaccount_token::start),
    on("endpoints-controller", "endpoint", "endpoint-controller", endpoints::start),
    on("endpointslice-controller", "endpointslice", "endpointslice-controller", endpointslice::start),
    on(
        "endpointslice-mirroring-controller",
        "endpointslicemirroring",
        "endpointslicemirroring-controller",
        endpointslice_mirroring::start,
    ),
    on("resourcequota-controller", "resourcequota", "resourcequota-controller", resourcequota::start),
    on("namespace-controller", "namespace", "namespace-controller", namespace::start),
    on("serviceaccount-controller", "serviceaccount", "service-account-controller", serviceaccount::start),
    on(
        "root-ca-certificate-publisher-controller",
        "root-ca-cert-publisher",
        "root-ca-cert-publisher",
        root_ca_publisher::start,
    ),
    on("replicaset-controller", "replicaset", "replicaset-controller", replicaset::start_replica_sets),
    on(
        "replicationcontroller-controller",
        "replicationcontroller",
        "replication-controller",
        replicaset::start_replication_controllers,
    ),
    on("garbage-collector-controller", "garbagecollector", "generic-garbage-collector", gc::start),
    on("deployment-controller", "deployment", "deployment-controller", deployment::start),
    on("job-controller", "job", "job-controller", job::start),
    on("cronjob-controller", "cronjob", "cronjob-controller", cronjob::start),
    on("disruption-controller", "disruption", "disruption-controller", disruption::start),
    on("daemonset-controller", "daemonset", "daemon-set-controller", daemonset::start),
    on("statefulset-controller", "statefulset", "statefulset-controller", statefulset::start),
    on(
        "certificatesigningrequest-signing-controller",
        "csrsigning",
        "certificate-controller",
        certificates::signing::start,
    ),
    on(
        "certificatesigningrequest-approving-controller",
        "csrapproving",
        "certificate-controller",
        certificates::approving::start,
    ),
    on(
        "certificatesigningrequest-cleaner-controller",
        "csrcleaner",
        "certificate-controller",
        certificates::cleaner::start,
    ),
    on("ttl-controller", "ttl", "ttl-controller", node_ttl::start),
    off("bootstrap-signer-controller", "bootstrapsigner", "bootstrap-signer", bootstrap::start_signer),
    off("token-cleaner-controller", "tokencleaner", "token-cleaner", bootstrap::start_cleaner),
    on("node-ipam-controller", "nodeipam", "node-controller", node_ipam::start),
    on("node-lifecycle-controller", "nodelifecycle", "node-controller", node_lifecycle::start),
    on("taint-eviction-controller", "", "node-controller", taint_eviction::start),
    on("pod-garbage-collector-controller", "podgc", "pod-garbage-collector", pod_gc::start),
    on(
        "persistentvolume-binder-controller",
        "persistentvolume-binder",
        "persistent-volume-binder",
        volume::binder::start,
    ),
    on(
        "clusterrole-aggregation-controller",
        "clusterrole-aggregation",
        "clusterrole-aggregation-controller",
        clusterrole_aggregation::start,
    ),
    on(
        "persistentvolumeclaim-protection-controller",
        "pvc-protection",
        "pvc-protection-controller",
        volume::claim_protection::start,
    ),
    on(
        "persistentvolume-protection-controller",
        "pv-protection",
        "pv-protection-controller",
        volume::volume_protection::start,
    ),
    on(
        "ttl-after-finished-controller",
        "ttl-after-finished",
        "ttl-after-finished-controller",
        ttl_after_finished::start,
    ),
    on("ephemeral-volume-controller", "ephemeral-volume", "ephemeral-volume-controller", volume::ephemeral::start),
    on(
        "validatingadmissionpolicy-status-controller",
        "",
        "validatingadmissionpolicy-status-controller",
        policy_status::start,
    ),
    on("service-cidr-controller", "", "service-cidrs-controller", service_cidr::start),
];

/// Names that upstream knows and that do nothing here: accepted, so that the same flags start both.
pub const KNOWN_ELSEWHERE: &[&str] = &[
    "service-lb-controller",
    "service",
    "node-route-controller",
    "route",
    "cloud-node-lifecycle-controller",
    "cloud-node-lifecycle",
    "horizontal-pod-autoscaler-controller",
    "horizontalpodautoscaling",
    "persistentvolume-attach-detach-controller",
    "attachdetach",
    "persistentvolume-expander-controller",
    "persistentvolume-expander",
    "volumeattributesclass-protection-controller",
    "resourceclaim-controller",
    "resource-claim-controller",
    "device-taint-eviction-controller",
    "podgroup-protection-controller",
    "podcertificaterequest-cleaner-controller",
    "kube-apiserver-serving-clustertrustbundle-publisher-controller",
    "storageversion-garbage-collector-controller",
    "storage-version-gc",
    "storage-version-migrator-controller",
    "svm",
    "resourcepoolstatusrequest-controller",
    "legacy-serviceaccount-token-cleaner-controller",
    "legacy-service-account-token-cleaner",
    "selinux-warning-controller",
];
