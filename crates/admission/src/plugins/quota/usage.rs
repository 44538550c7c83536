//! What an object counts for under each quota name, and which quotas look at it.

use crate::plugins::is;
use crate::pods::{Resources, containers, pod_resources, resources};
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::quantity::Format;
use steersman_apimachinery::{GroupVersionResource, Quantity, object};

/// Whether no quota ever counts the resource: what is not stored, and events (rule: `ignoredResources` of
/// `pkg/quota/v1/install`).
pub(super) fn uncounted(r: &GroupVersionResource) -> bool {
    match r.group.as_ref() {
        "" => matches!(r.resource.as_ref(), "bindings" | "componentstatuses" | "events"),
        "events.k8s.io" => r.resource == "events",
        "authentication.k8s.io" | "authorization.k8s.io" => true,
        _ => false,
    }
}

/// Whether an update of the resource can use more.
pub(super) fn grows(r: &GroupVersionResource) -> bool {
    is(r, "", "services") || is(r, "", "persistentvolumeclaims") || is(r, "resource.k8s.io", "resourceclaims")
}

fn one() -> Quantity {
    Quantity::new(1, Format::DecimalSI)
}

/// The name under which any object is counted: `count/deployments.apps`, `count/pods`.
fn count_name(r: &GroupVersionResource) -> String {
    if r.group.is_empty() { format!("count/{}", r.resource) } else { format!("count/{}.{}", r.resource, r.group) }
}

/// Resources of the core group that have a short name of their own too.
const COUNTED: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];

/// Everything the object counts for.
pub(super) fn of(r: &GroupVersionResource, o: &Value) -> Resources {
    let mut out = Resources::from([(count_name(r), one())]);
    if r.group.is_empty() && r.resource != "pods" && COUNTED.contains(&r.resource.as_ref()) {
        out.insert(r.resource.to_string(), one());
    }
    if is(r, "", "pods") {
        of_pod(o, &mut out);
    } else if is(r, "", "services") {
        of_service(o, &mut out);
    } else if is(r, "", "persistentvolumeclaims") {
        of_claim(o, &mut out);
    }
    out
}

fn is_finished(pod: &Value) -> bool {
    matches!(object::str(pod, &["status", "phase"]), "Failed" | "Succeeded")
}

fn of_pod(pod: &Value, out: &mut Resources) {
    if is_finished(pod) {
        return;
    }
    out.insert("pods".into(), one());
    for (which, prefix) in [("requests", "requests."), ("limits", "limits.")] {
        for (k, q) in pod_resources(&pod["spec"], which) {
            if which == "requests" && matches!(k.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                out.insert(k.clone(), q.clone());
            }
            if which == "requests" || matches!(k.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                out.insert(format!("{prefix}{k}"), q);
            }
        }
    }
}

fn of_service(service: &Value, out: &mut Resources) {
    let ports = object::list(service, &["spec", "ports"]);
    let counted = |n: usize| Quantity::new(n as i64, Format::DecimalSI);
    let (mut node_ports, mut balancers) = (0, 0);
    match object::str(service, &["spec", "type"]) {
        "NodePort" => node_ports = ports.len(),
        "LoadBalancer" => {
            balancers = 1;
            let allocates = service["spec"]["allocateLoadBalancerNodePorts"].as_bool().unwrap_or(true);
            let has_port = |p: &&Value| p["nodePort"].as_i64().unwrap_or(0) != 0;
            node_ports = if allocates { ports.len() } else { ports.iter().filter(has_port).count() };
        }
        _ => {}
    }
    out.insert("services.nodeports".into(), counted(node_ports));
    out.insert("services.loadbalancers".into(), counted(balancers));
}

fn of_claim(claim: &Value, out: &mut Resources) {
    let class = match object::annotation(claim, "volume.beta.kubernetes.io/storage-class") {
        Some(c) => c,
        None => object::str(claim, &["spec", "storageClassName"]),
    };
    let of_class = |what: &str| format!("{class}.storageclass.storage.k8s.io/{what}");
    if !class.is_empty() {
        out.insert(of_class("persistentvolumeclaims"), one());
    }
    if let Some(q) = resources(claim["spec"]["resources"].get("requests")).remove("storage") {
        out.insert("requests.storage".into(), q.clone());
        if !class.is_empty() {
            out.insert(of_class("requests.storage"), q);
        }
    }
}

/// Where a quota limits cpu or memory, every container must say how much it wants: `limits.memory for: a,b; ...`.
pub(super) fn missing(r: &GroupVersionResource, pod: &Value, hard: &Resources) -> String {
    if !is(r, "", "pods") {
        return String::new();
    }
    let mut parts = Vec::new();
    for name in hard.keys() {
        let (which, resource) = match name.as_str() {
            "cpu" | "memory" => ("requests", name.as_str()),
            "requests.cpu" | "requests.memory" => ("requests", &name["requests.".len()..]),
            "limits.cpu" | "limits.memory" => ("limits", &name["limits.".len()..]),
            _ => continue,
        };
        if pod["spec"]["resources"][which].get(resource).is_some() {
            continue;
        }
        let lacks = |c: &&Value| c["resources"][which].get(resource).is_none();
        let all = containers(&pod["spec"], "containers").chain(containers(&pod["spec"], "initContainers"));
        let names: BTreeSet<&str> = all.filter(lacks).filter_map(|c| c["name"].as_str()).collect();
        if !names.is_empty() {
            parts.push(format!("{name} for: {}", names.into_iter().collect::<Vec<_>>().join(",")));
        }
    }
    parts.join("; ")
}

/// Whether a quota's scopes and scope selector take the object in.
pub(super) fn scopes_match(quota: &Value, r: &GroupVersionResource, o: &Value) -> bool {
    let scopes =
        object::list(quota, &["spec", "scopes"]).iter().filter_map(Value::as_str).map(|s| (s, "Exists", &[][..]));
    let selector = object::list(quota, &["spec", "scopeSelector", "matchExpressions"]).iter().map(|e| {
        (e["scopeName"].as_str().unwrap_or(""), e["operator"].as_str().unwrap_or(""), object::list(e, &["values"]))
    });
    scopes.chain(selector).all(|(scope, operator, values)| scope_matches(scope, operator, values, r, o))
}

fn scope_matches(scope: &str, operator: &str, values: &[Value], r: &GroupVersionResource, o: &Value) -> bool {
    let named = |value: &str| match operator {
        "Exists" => !value.is_empty(),
        "DoesNotExist" => value.is_empty(),
        "In" => values.iter().any(|v| v == value),
        "NotIn" => !values.iter().any(|v| v == value),
        _ => false,
    };
    if is(r, "", "persistentvolumeclaims") {
        return scope == "VolumeAttributesClass" && named(object::str(o, &["spec", "volumeAttributesClassName"]));
    }
    if !is(r, "", "pods") {
        return false;
    }
    let best_effort = object::str(o, &["status", "qosClass"]) == "BestEffort"
        || (object::str(o, &["status", "qosClass"]).is_empty()
            && pod_resources(&o["spec"], "requests").is_empty()
            && pod_resources(&o["spec"], "limits").is_empty());
    match scope {
        "Terminating" => o["spec"]["activeDeadlineSeconds"].as_i64().is_some(),
        "NotTerminating" => o["spec"]["activeDeadlineSeconds"].as_i64().is_none(),
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "PriorityClass" => named(object::str(o, &["spec", "priorityClassName"])),
        "CrossNamespacePodAffinity" => crosses_namespaces(&o["spec"]["affinity"]),
        _ => false,
    }
}

fn crosses_namespaces(affinity: &Value) -> bool {
    let term = |t: &Value| !object::list(t, &["namespaces"]).is_empty() || t.get("namespaceSelector").is_some();
    ["podAffinity", "podAntiAffinity"].iter().any(|k| {
        let a = &affinity[*k];
        object::list(a, &["requiredDuringSchedulingIgnoredDuringExecution"]).iter().any(term)
            || object::list(a, &["preferredDuringSchedulingIgnoredDuringExecution"])
                .iter()
                .any(|w| term(&w["podAffinityTerm"]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(resource: &str, object: Value, want: &[(&str, &str)]) {
        let got = of(&GroupVersionResource::new("", "v1", resource.to_owned()), &object);
        for (k, v) in want {
            assert_eq!(got.get(*k).map(ToString::to_string).as_deref(), Some(*v), "{resource} {k}");
        }
    }

    #[test]
    fn objects_count_under_every_name() {
        check("configmaps", json!({}), &[("count/configmaps", "1"), ("configmaps", "1")]);
        check(
            "pods",
            json!({ "spec": { "containers": [{ "resources": { "requests": { "cpu": "1", "x.com/gpu": "2" }, "limits": { "memory": "1Gi" } } }] } }),
            &[
                ("pods", "1"),
                ("cpu", "1"),
                ("requests.cpu", "1"),
                ("requests.x.com/gpu", "2"),
                ("limits.memory", "1Gi"),
            ],
        );
        check(
            "persistentvolumeclaims",
            json!({ "spec": { "storageClassName": "gold", "resources": { "requests": { "storage": "2Gi" } } } }),
            &[("requests.storage", "2Gi"), ("gold.storageclass.storage.k8s.io/requests.storage", "2Gi")],
        );
        check(
            "services",
            json!({ "spec": { "type": "LoadBalancer", "ports": [{}, {}] } }),
            &[("services.nodeports", "2"), ("services.loadbalancers", "1")],
        );
    }
}
