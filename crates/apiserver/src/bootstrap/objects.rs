//! Objects that every cluster has: namespaces, priority classes, API services, the service range, config maps.

use super::Placed;
use crate::api::Api;
use crate::config::Config;
use crate::discovery::{Discovery, PRIORITIES};
use jiff::Timestamp;
use serde_json::{Value, json};
use steersman_apimachinery::object;
use steersman_registry::{Cluster, Context};

/// The namespaces.
pub fn namespaces() -> Vec<Placed> {
    let named =
        |n: &&str| ("", "namespaces", json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": n}}));
    ["kube-system", "kube-public", "kube-node-lease", "default"].iter().map(named).collect()
}

/// The ranges that `--service-cluster-ip-range` names.
pub fn service_cidr(cidrs: &[String]) -> Placed {
    let object = json!({
        "kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs},
    });
    ("networking.k8s.io", "servicecidrs", object)
}

/// That the range may be used.
pub fn service_cidr_status(now: Timestamp) -> Value {
    json!({"conditions": [{
        "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": seconds(now),
    }]})
}

/// The two classes of system pods.
pub fn priority_classes() -> Vec<Placed> {
    let class = |name: &str, value: i64, description: &str| {
        let object = json!({
            "kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1",
            "metadata": {"name": name}, "value": value, "description": description,
        });
        ("scheduling.k8s.io", "priorityclasses", object)
    };
    vec![
        class(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ]
}

fn served(discovery: &Discovery) -> impl Iterator<Item = (String, &'static (&'static str, &'static str, i64, i64))> {
    let there = |p: &&(&str, &str, i64, i64)| discovery.resources.contains_key(&(p.0.to_owned(), p.1.to_owned()));
    let served: Vec<_> = PRIORITIES.iter().filter(there).map(|p| (format!("{}.{}", p.1, p.0), p)).collect();
    served.into_iter()
}

/// One for each group and version that is served here, but the aggregator's own.
pub fn api_services(discovery: &Discovery) -> Vec<Placed> {
    let service = |(name, p): (String, &(&str, &str, i64, i64))| {
        let mut spec = json!({"version": p.1, "groupPriorityMinimum": p.2, "versionPriority": p.3});
        if !p.0.is_empty() {
            spec["group"] = p.0.into();
        }
        let labels = json!({"kube-aggregator.kubernetes.io/automanaged": "onstart"});
        let object = json!({
            "kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1",
            "metadata": {"name": name, "labels": labels}, "spec": spec,
        });
        ("apiregistration.k8s.io", "apiservices", object)
    };
    served(discovery).map(service).collect()
}

/// That they are available, by name.
pub fn api_service_statuses(discovery: &Discovery) -> Vec<(String, Value)> {
    let now = seconds(Timestamp::now());
    let status = json!({"conditions": [{
        "type": "Available", "status": "True", "reason": "Local", "message": "Local APIServices are always available",
        "lastTransitionTime": now,
    }]});
    served(discovery).map(|(name, _)| (name, status.clone())).collect()
}

/// Writes a status unless the object has conditions already; a failure is logged only.
pub async fn set_status(api: &Api, ctx: &Context, (group, resource): (&str, &str), name: &str, status: Value) {
    let has = |o: &Value| !object::list(o, &["status", "conditions"]).is_empty();
    if Cluster::get(&*api.registry, group, resource, "", name).is_some_and(|o| has(&o)) {
        return;
    }
    let mut change = |o: &mut Value| {
        if !has(o) {
            o["status"] = status.clone();
        }
        Ok(())
    };
    if let Err(e) =
        Cluster::update(&*api.registry, ctx, (group, resource, "status"), ("", name), false, &mut change).await
    {
        tracing::warn!(resource, name, error = %e, "status not written");
    }
}

/// What aggregated servers have to know of authentication, and since when tokens in Secrets are tracked.
pub fn config_maps(config: &Config) -> Vec<Placed> {
    let map = |name: &str, data: Value| {
        let metadata = json!({"name": name, "namespace": "kube-system"});
        ("", "configmaps", json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data}))
    };
    let mut data = json!({});
    let file = |p: &Option<std::path::PathBuf>| p.as_ref().and_then(|p| std::fs::read_to_string(p).ok());
    if let Some(ca) = file(&config.client_ca) {
        data["client-ca-file"] = ca.into();
    }
    let rh = &config.request_header;
    if let Some(ca) = file(&rh.ca) {
        data["requestheader-client-ca-file"] = ca.into();
        for (key, list) in [
            ("requestheader-allowed-names", &rh.names),
            ("requestheader-extra-headers-prefix", &rh.extra),
            ("requestheader-group-headers", &rh.group),
            ("requestheader-uid-headers", &rh.uid),
            ("requestheader-username-headers", &rh.user),
        ] {
            data[key] = json!(list).to_string().into();
        }
    }
    let today = seconds(Timestamp::now())[..10].to_owned();
    vec![
        map("extension-apiserver-authentication", data),
        map("kube-apiserver-legacy-service-account-token-tracking", json!({"since": today})),
    ]
}

/// RFC 3339 in whole seconds.
pub fn seconds(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
