//! Defaults of pods that templates do not get (rule: core v1 `SetDefaults_Pod`).

use super::defaults::{fill_absent, member, members, pod_spec};
use super::quantity::amount;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use steersman_apimachinery::{Quantity, object};

type Object = Map<String, Value>;
type Amounts = BTreeMap<String, Quantity>;

/// Sets the defaults of a whole pod.
pub fn pod(obj: &mut Value) {
    let spec = object::entry(obj, &["spec"]);
    pod_spec(spec);
    for list in ["containers", "initContainers"] {
        for c in members(spec, list) {
            if let Some(r) = member(c, "resources") {
                requests_from_limits(r);
            }
        }
    }
    pod_level_resources(spec);
    fill_absent(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or(false) {
        host_ports(spec);
    }
}

fn requests_from_limits(resources: &mut Object) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).filter(|l| !l.is_empty()).cloned() else {
        return;
    };
    let requests = resources.entry("requests").or_insert_with(|| json!({}));
    if !requests.is_object() {
        *requests = json!({});
    }
    if let Some(requests) = requests.as_object_mut() {
        for (name, amount) in limits {
            requests.entry(name).or_insert(amount);
        }
    }
}

fn host_ports(spec: &mut Object) {
    for list in ["containers", "initContainers"] {
        for c in members(spec, list) {
            for p in members(c, "ports") {
                if let Some(port) = p.get("containerPort").cloned() {
                    super::defaults::fill(p, "hostPort", port);
                }
            }
        }
    }
}

/// Whether a resource may be set for a pod as a whole.
pub fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Requests and limits of the whole pod that follow from what is set for the pod and for its containers
/// (rule: core v1 `defaultHugePagePodLimits`, `defaultPodRequests`, `defaultPodLimits`; KEP-2837).
fn pod_level_resources(spec: &mut Object) {
    let set = |spec: &Object, kind: &str| {
        spec.get("resources").and_then(|r| r.get(kind)).and_then(Value::as_object).is_some_and(|m| !m.is_empty())
    };
    let (has_limits, has_requests) = (set(spec, "limits"), set(spec, "requests"));
    if !has_limits && !has_requests {
        return;
    }
    let limits_of_containers = aggregate(spec, "limits");
    let huge: Vec<(&String, &Quantity)> =
        limits_of_containers.iter().filter(|(n, _)| n.starts_with("hugepages-")).collect();
    for (name, amount) in huge {
        if !has(spec, "requests", name) {
            put(spec, "limits", name, &amount.to_string());
        }
    }
    if set(spec, "limits") {
        for (name, amount) in aggregate(spec, "requests") {
            if matches!(name.as_str(), "cpu" | "memory") {
                put(spec, "requests", &name, &amount.to_string());
            }
        }
        let limits =
            spec.get("resources").and_then(|r| r.get("limits")).and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, amount) in limits.iter().filter(|(n, _)| is_pod_level(n)) {
            put(spec, "requests", name, amount.as_str().unwrap_or_default());
        }
    } else if ["cpu", "memory"].iter().any(|n| has(spec, "requests", n)) {
        for (name, amount) in limits_of_containers {
            if matches!(name.as_str(), "cpu" | "memory") && every_container_limits(spec, &name) {
                put(spec, "limits", &name, &amount.to_string());
            }
        }
    }
}

fn has(spec: &Object, kind: &str, name: &str) -> bool {
    spec.get("resources").and_then(|r| r.get(kind)).and_then(|l| l.get(name)).is_some()
}

fn put(spec: &mut Object, kind: &str, name: &str, amount: &str) {
    if has(spec, kind, name) {
        return;
    }
    if let Some(resources) = member(spec, "resources") {
        let list = resources.entry(kind).or_insert_with(|| json!({}));
        if let Some(list) = list.as_object_mut() {
            list.insert(name.to_owned(), amount.into());
        }
    }
}

fn every_container_limits(spec: &Object, name: &str) -> bool {
    let limited = |c: &Value| object::get(c, &["resources", "limits", name]).is_some();
    let all = |list: &str| spec.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    all("containers").iter().all(limited) && all("initContainers").iter().all(limited)
}

/// What all containers need together: the containers and sidecars at once, or any init container with the sidecars that
/// started before it, whichever is more (rule: component-helpers `AggregateContainerRequests`).
pub fn aggregate(spec: &Object, kind: &str) -> Amounts {
    let list = |name: &str| spec.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut total = Amounts::new();
    for c in list("containers") {
        add(&mut total, &amounts(c, kind));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for c in list("initContainers") {
        let mut need = amounts(c, kind);
        if object::str(c, &["restartPolicy"]) == "Always" {
            add(&mut total, &need);
            add(&mut sidecars, &need);
            need = sidecars.clone();
        } else {
            add(&mut need, &sidecars);
        }
        raise(&mut peak, &need);
    }
    raise(&mut total, &peak);
    total
}

fn amounts(container: &Value, kind: &str) -> Amounts {
    object::get(container, &["resources", kind])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(n, v)| Some((n.clone(), amount(v)?)))
        .collect()
}

fn add(to: &mut Amounts, what: &Amounts) {
    for (name, amount) in what {
        to.entry(name.clone()).and_modify(|a| a.add(amount)).or_insert_with(|| amount.clone());
    }
}

fn raise(to: &mut Amounts, what: &Amounts) {
    for (name, amount) in what {
        let now = to.entry(name.clone()).or_insert_with(|| amount.clone());
        if amount > now {
            *now = amount.clone();
        }
    }
}
