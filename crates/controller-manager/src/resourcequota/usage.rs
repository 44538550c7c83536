//! What pods, claims and services use of a quota (rule: `pkg/quota/v1/evaluator/core`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use steersman_api::k8s_openapi::{
    api::core::v1::{Container, PersistentVolumeClaim, Pod, ResourceQuotaSpec, Service},
    apimachinery::pkg::api::resource::Quantity as Text,
};
use steersman_apimachinery::{Quantity, quantity::Format};
use steersman_client::Object;

use crate::pods;

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

const COMPUTE: &[&str] = &["cpu", "memory", "ephemeral-storage"];
const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";

pub fn parse(amounts: Option<&BTreeMap<String, Text>>) -> Amounts {
    amounts.into_iter().flatten().filter_map(|(name, text)| Some((name.clone(), text.0.parse().ok()?))).collect()
}

pub fn one() -> Quantity {
    Quantity::new(1, Format::DecimalSI)
}

/// Adds what `more` holds, name by name.
pub fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        match total.get_mut(name) {
            Some(known) => known.add(amount),
            None => {
                total.insert(name.clone(), amount.clone());
            }
        }
    }
}

fn raise(total: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        if total.get(name).is_none_or(|known| known < amount) {
            total.insert(name.clone(), amount.clone());
        }
    }
}

/// The sum over containers, at least what initialisation needs (rule: `resourcehelper.PodRequests`).
fn pod_amounts(pod: &Pod, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::new() };
    let mut total = Amounts::new();
    spec.containers.iter().for_each(|container| add(&mut total, &of(container)));
    // Sidecars run on beside later ones; other init containers run one after the other.
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let mut now = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut total, &now);
            add(&mut sidecars, &now);
            now = sidecars.clone();
        } else {
            add(&mut now, &sidecars);
        }
        raise(&mut peak, &now);
    }
    raise(&mut total, &peak);
    total
}

fn requests(container: &Container) -> Amounts {
    parse(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

fn limits(container: &Container) -> Amounts {
    parse(container.resources.as_ref().and_then(|resources| resources.limits.as_ref()))
}

/// Whether a pod counts at all: neither ended, nor long overdue to go.
pub fn counts(pod: &Pod, now: Timestamp) -> bool {
    if pods::is_terminal(pod) {
        return false;
    }
    let meta = &pod.metadata;
    match (&meta.deletion_timestamp, meta.deletion_grace_period_seconds) {
        (Some(since), Some(grace)) => now.as_second() <= since.0.as_second() + grace,
        _ => true,
    }
}

/// What a pod uses.
pub fn of_pod(pod: &Pod, now: Timestamp) -> Amounts {
    let mut used: Amounts = [("count/pods".to_owned(), one())].into();
    if !counts(pod, now) {
        return used;
    }
    used.insert("pods".to_owned(), one());
    let overhead = parse(pod.spec.as_ref().and_then(|spec| spec.overhead.as_ref()));
    let level = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let (mut requested, mut limited) = (pod_amounts(pod, requests), pod_amounts(pod, limits));
    // What is set for the whole pod stands above the sum of its containers.
    requested.extend(parse(level.and_then(|level| level.requests.as_ref())));
    limited.extend(parse(level.and_then(|level| level.limits.as_ref())));
    add(&mut requested, &overhead);
    let bounded: Amounts = overhead.into_iter().filter(|(name, _)| limited.contains_key(name)).collect();
    add(&mut limited, &bounded);
    for (name, amount) in requested {
        let is_compute = COMPUTE.contains(&name.as_str()) || name.starts_with("hugepages-");
        if is_compute || name.contains('/') {
            used.insert(format!("requests.{name}"), amount.clone());
        }
        if is_compute {
            used.insert(name, amount);
        }
    }
    for (name, amount) in limited {
        if COMPUTE.contains(&name.as_str()) {
            used.insert(format!("limits.{name}"), amount);
        }
    }
    used
}

/// What a claim uses.
pub fn of_claim(claim: &PersistentVolumeClaim) -> Amounts {
    let mut used: Amounts =
        [("persistentvolumeclaims".to_owned(), one()), ("count/persistentvolumeclaims".to_owned(), one())].into();
    let spec = claim.spec.as_ref();
    let requested = parse(spec.and_then(|spec| spec.resources.as_ref()?.requests.as_ref())).remove("storage");
    let beta = claim.annotations().get("volume.beta.kubernetes.io/storage-class");
    let class = beta.or_else(|| spec?.storage_class_name.as_ref()).filter(|class| !class.is_empty());
    if let Some(class) = class {
        used.insert(format!("{class}{CLASS_SUFFIX}persistentvolumeclaims"), one());
    }
    if let Some(requested) = requested {
        if let Some(class) = class {
            used.insert(format!("{class}{CLASS_SUFFIX}requests.storage"), requested.clone());
        }
        used.insert("requests.storage".to_owned(), requested);
    }
    used
}

/// What a service uses.
pub fn of_service(service: &Service) -> Amounts {
    let mut used: Amounts = [("services".to_owned(), one()), ("count/services".to_owned(), one())].into();
    let Some(spec) = &service.spec else { return used };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let count = |number: usize| Quantity::new(number as i64, Format::DecimalSI);
    match spec.type_.as_deref() {
        Some("NodePort") => {
            used.insert("services.nodeports".to_owned(), count(ports.len()));
        }
        Some("LoadBalancer") => {
            used.insert("services.loadbalancers".to_owned(), one());
            let allocated = if spec.allocate_load_balancer_node_ports == Some(false) {
                ports.iter().filter(|port| port.node_port.is_some_and(|port| port != 0)).count()
            } else {
                ports.len()
            };
            used.insert("services.nodeports".to_owned(), count(allocated));
        }
        _ => {}
    }
    used
}

/// Whether a pod is in all scopes of a quota.
pub fn in_scopes(spec: &ResourceQuotaSpec, pod: &Pod) -> bool {
    let plain = spec.scopes.iter().flatten().all(|scope| in_scope(scope, pod));
    let selected = spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten());
    plain
        && selected.into_iter().all(|requirement| {
            if requirement.scope_name != "PriorityClass" {
                return in_scope(&requirement.scope_name, pod);
            }
            let class = pod.spec.as_ref().and_then(|spec| spec.priority_class_name.as_ref());
            let class = class.filter(|class| !class.is_empty());
            let values = requirement.values.as_deref().unwrap_or_default();
            match requirement.operator.as_str() {
                "In" => class.is_some_and(|class| values.contains(class)),
                "NotIn" => class.is_none_or(|class| !values.contains(class)),
                "Exists" => class.is_some(),
                _ => class.is_none(),
            }
        })
}

fn in_scope(scope: &str, pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let terminating = spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0);
    let best_effort = || {
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let mut amounts = all.flat_map(|container| [requests(container), limits(container)]);
        let none = |amounts: Amounts| {
            amounts.iter().all(|(name, amount)| !matches!(name.as_str(), "cpu" | "memory") || amount.is_zero())
        };
        amounts.all(none) && spec.resources.is_none()
    };
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        "PriorityClass" => spec.priority_class_name.as_ref().is_some_and(|class| !class.is_empty()),
        _ => false,
    }
}

fn crosses_namespaces(pod: &Pod) -> bool {
    let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) else { return false };
    let mut terms = Vec::new();
    if let Some(affinity) = &affinity.pod_affinity {
        terms.extend(affinity.required_during_scheduling_ignored_during_execution.iter().flatten());
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        terms.extend(preferred.map(|term| &term.pod_affinity_term));
    }
    if let Some(affinity) = &affinity.pod_anti_affinity {
        terms.extend(affinity.required_during_scheduling_ignored_during_execution.iter().flatten());
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        terms.extend(preferred.map(|term| &term.pod_affinity_term));
    }
    terms.iter().any(|term| {
        term.namespaces.as_ref().is_some_and(|names| !names.is_empty()) || term.namespace_selector.is_some()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn pods_use_what_they_need_at_their_peak() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m", "example.com/gpu": "1"}, "limits": {"memory": "1Gi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "200m"}}}],
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
                {"name": "i", "resources": {"requests": {"cpu": "500m"}}}],
        }}))
        .unwrap();
        let used = of_pod(&pod, Timestamp::UNIX_EPOCH);
        let text: Vec<_> = used.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        assert_eq!(
            text,
            [
                "count/pods=1",
                "cpu=550m",
                "limits.memory=1Gi",
                "pods=1",
                "requests.cpu=550m",
                "requests.example.com/gpu=1"
            ]
        );
    }

    #[test]
    fn scopes() {
        let check = |spec: Value, scopes: &[&str]| {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            let all = ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort"];
            let found: Vec<_> = all.into_iter().filter(|scope| in_scope(scope, &pod)).collect();
            assert_eq!(found, scopes);
        };
        check(json!({"containers": [{"name": "c"}]}), &["NotTerminating", "BestEffort"]);
        let busy =
            json!({"activeDeadlineSeconds": 5, "containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]});
        check(busy, &["Terminating", "NotBestEffort"]);
    }
}
