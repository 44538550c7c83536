//! Requests and limits (rule: core validation `validateResourceRequirements`, `validatePodResources`).

use super::{Rules, claims, say};
use crate::shared::pod_defaults::{aggregate, is_pod_level};
use crate::shared::quantity::amount;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, Quantity, object, validation};

/// Names without domain that mean something anywhere.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];
/// Names that are counted in whole numbers.
const INTEGER: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Whether it is nothing at all.
pub fn is_zero(q: &Quantity) -> bool {
    q.sign() == 0
}

/// `hugepages-<size>`.
pub fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}
/// A name of Kubernetes' own: without domain, or in `kubernetes.io` (rule: `IsNativeResource`).
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}
/// A name of somebody else's device (rule: `IsExtendedResourceName`).
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && validation::qualified_name(&format!("requests.{name}")).is_empty()
}
/// Whether more may be limited than requested (rule: `IsOvercommitAllowed`).
pub fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

/// A resource name of any object (rule: `validateResourceName`).
pub fn resource_name(e: &mut ErrorList, name: &str, at: &Path) {
    let wrong = validation::qualified_name(name);
    if !wrong.is_empty() {
        say(e, || at.clone(), name, wrong);
    } else if !name.contains('/') && !STANDARD.contains(&name) && !is_huge_pages(name) {
        e.invalid(at, name, "must be a standard resource type or fully qualified");
    }
}

/// A resource name of a container (rule: `validateContainerResourceName`).
pub fn container_resource_name(e: &mut ErrorList, name: &str, at: &Path) {
    if matches!(name, "cpu" | "memory" | "ephemeral-storage") {
        return;
    }
    resource_name(e, name, at);
    if !name.contains('/') {
        if !is_huge_pages(name) {
            e.invalid(at, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        e.invalid(at, name, "doesn't follow extended resource name standard");
    }
}

fn pod_resource_name(e: &mut ErrorList, name: &str, at: &Path) {
    let before = e.0.len();
    resource_name(e, name, at);
    if e.0.len() == before && !is_pod_level(name) {
        e.not_supported_in_order(at, name, &["cpu", "hugepages-", "memory"]);
    }
}

/// An amount of a resource: not negative, whole where only whole ones make sense
/// (rule: `ValidateResourceQuantityValue`).
pub fn quantity_value(e: &mut ErrorList, name: &str, q: &Quantity, at: &Path) {
    if q.sign() < 0 {
        e.invalid(at, q.to_string(), "must be greater than or equal to 0");
    }
    if (INTEGER.contains(&name) || is_extended(name)) && q.milli_value() % 1000 != 0 {
        e.invalid(at, q.to_string(), "must be an integer");
    }
}

/// Requests and limits of a container.
pub fn container(e: &mut ErrorList, r: &Value, claims: &BTreeSet<&str>, at: &Path, rules: &Rules<'_>) {
    requirements(e, r, container_resource_name, at, rules);
    let used = object::list(r, &["claims"]);
    if !used.is_empty() {
        claims::container_claims(e, used, claims, &at.child("claims"));
    }
}

/// A list of amounts that is checked as limits are, for `overhead` (rule: `validateOverhead`).
pub fn limits_only(e: &mut ErrorList, list: &Value, at: &Path, rules: &Rules<'_>) {
    requirements(e, &serde_json::json!({ "limits": list }), container_resource_name, at, rules);
}

fn requirements(
    e: &mut ErrorList,
    r: &Value,
    name_rule: fn(&mut ErrorList, &str, &Path),
    at: &Path,
    rules: &Rules<'_>,
) {
    let empty = Map::new();
    let map = |kind: &str| r.get(kind).and_then(Value::as_object).unwrap_or(&empty);
    let (limits, requests) = (map("limits"), map("requests"));
    let (mut compute, mut huge) = (false, false);
    let limit_path = at.child("limits");
    for (name, v) in limits {
        let path = limit_path.key(name);
        one(e, name, v, name_rule, &path, rules);
        compute |= matches!(name.as_str(), "cpu" | "memory");
        huge |= is_huge_pages(name);
    }
    let request_path = at.child("requests");
    for (name, v) in requests {
        let path = request_path.key(name);
        name_rule(e, name, &path);
        let Some(q) = amount(v) else { continue };
        quantity_value(e, name, &q, &path);
        match limits.get(name).and_then(amount) {
            Some(limit) if q != limit && !may_overcommit(name) => {
                e.invalid(&request_path, q.to_string(), format_args!("must be equal to {name} limit of {limit}"));
            }
            Some(limit) if q > limit => e.invalid(
                &request_path,
                q.to_string(),
                format_args!("must be less than or equal to {name} limit of {limit}"),
            ),
            None if !may_overcommit(name) => {
                e.required(&limit_path, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
        divisible(e, name, &q, &path, rules);
        compute |= matches!(name.as_str(), "cpu" | "memory");
        huge |= is_huge_pages(name);
    }
    if huge && !compute {
        e.forbidden(at, "HugePages require cpu or memory");
    }
}

fn one(
    e: &mut ErrorList,
    name: &str,
    v: &Value,
    name_rule: fn(&mut ErrorList, &str, &Path),
    at: &Path,
    rules: &Rules<'_>,
) {
    name_rule(e, name, at);
    if let Some(q) = amount(v) {
        quantity_value(e, name, &q, at);
        divisible(e, name, &q, at, rules);
    }
}

fn divisible(e: &mut ErrorList, name: &str, q: &Quantity, at: &Path, rules: &Rules<'_>) {
    if !rules.allow_indivisible_huge_pages && is_huge_pages(name) && !is_divisible(name, q) {
        e.invalid(at, q.to_string(), format_args!("{q} is not positive integer multiple of {name}"));
    }
}

/// Whether the amount is a multiple of the page in the name (rule: `IsHugePageResourceValueDivisible`).
fn is_divisible(name: &str, q: &Quantity) -> bool {
    let Some(page) = name.strip_prefix("hugepages-").and_then(|s| s.parse::<Quantity>().ok()) else { return false };
    page.sign() > 0 && page.milli_value() % 1000 == 0 && page.value() != 0 && q.value() % page.value() == 0
}

/// Whether a spec already has amounts of huge pages that are no multiple of the page.
pub fn has_indivisible_huge_pages(spec: &Value) -> bool {
    let bad = |list: Option<&Value>| {
        list.and_then(Value::as_object)
            .into_iter()
            .flatten()
            .any(|(n, v)| is_huge_pages(n) && amount(v).is_some_and(|q| !is_divisible(n, &q)))
    };
    super::every_container(spec, &Path::root())
        .iter()
        .any(|(_, c)| bad(object::get(c, &["resources", "limits"])) || bad(object::get(c, &["resources", "requests"])))
        || bad(spec.get("overhead"))
}

/// Requests and limits of the pod as a whole.
pub fn pod_resources(e: &mut ErrorList, spec: &Value, at: &Path, rules: &Rules<'_>) {
    let Some(r) = spec.get("resources") else { return };
    if r.get("claims").is_some() {
        e.forbidden(&at.child("claims"), "claims cannot be set for Resources at pod-level");
    }
    requirements(e, r, pod_resource_name, at, rules);
    let Some(map) = spec.as_object() else { return };
    for (name, sum) in aggregate(map, "requests").iter().filter(|(n, _)| is_pod_level(n)) {
        let own = object::get(r, &["requests", name]).and_then(amount).unwrap_or_default();
        if *sum > own {
            e.invalid(
                &at.child("requests").key(name),
                own.to_string(),
                format_args!("must be greater than or equal to aggregate container requests of {sum}"),
            );
        }
    }
    for (i, c) in object::list(spec, &["containers"]).iter().enumerate() {
        for (name, v) in object::get(c, &["resources", "limits"]).and_then(Value::as_object).into_iter().flatten() {
            let (Some(limit), Some(pod)) = (amount(v), object::get(r, &["limits", name]).and_then(amount)) else {
                continue;
            };
            if limit > pod {
                e.invalid(
                    &at.child("containers").index(i).key(name).child("limits"),
                    limit.to_string(),
                    format_args!("must be less than or equal to pod limits of {pod}"),
                );
            }
        }
    }
}
