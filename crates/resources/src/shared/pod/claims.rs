//! Resource claims of a pod and of its containers.

use super::{internal, say};
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::field::{ErrorType, FieldError, go_quote};
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// The pod's claims; returns their names, also of those that are wrong (rule: `validatePodResourceClaims`).
pub fn pod_claims<'a>(e: &mut ErrorList, claims: &'a [Value], at: &Path) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let at = at.index(i);
        let name = object::str(claim, &["name"]);
        if name.is_empty() {
            e.required(&at.child("name"), "");
        } else if seen.contains(name) {
            e.duplicate(&at.child("name"), name);
        } else {
            say(e, || at.child("name"), name, validation::dns_label(name, false));
            seen.insert(name);
        }
        let (direct, template) = (claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName"));
        match (direct, template) {
            (Some(_), Some(_)) => e.invalid(
                &at,
                internal::Show(internal::POD_RESOURCE_CLAIM, claim),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (None, None) => e.invalid(
                &at,
                internal::Show(internal::POD_RESOURCE_CLAIM, claim),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            _ => {}
        }
        for key in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = claim.get(key).and_then(Value::as_str) {
                say(e, || at.child(key), name, validation::dns_subdomain(name, false));
            }
        }
    }
    claims.iter().map(|c| object::str(c, &["name"])).filter(|n| !n.is_empty()).collect()
}

/// The claims a container uses (rule: `validateResourceClaimNames`).
pub fn container_claims(e: &mut ErrorList, claims: &[Value], of_pod: &BTreeSet<&str>, at: &Path) {
    let mut used: BTreeSet<String> = BTreeSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let at = at.index(i);
        let (name, request) = (object::str(claim, &["name"]), object::str(claim, &["request"]));
        if name.is_empty() {
            e.required(&at, "");
            continue;
        }
        if used.contains(name) {
            e.duplicate(&at, name);
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                say(e, || at.child("request"), request, validation::dns_label(request, false));
                key = format!("{name}/{request}");
            }
            if used.contains(&key) {
                e.duplicate(&at, key.as_str());
            } else if request.is_empty() {
                for _ in used.iter().filter(|k| k.split_once('/').is_some_and(|(n, _)| n == name)) {
                    e.duplicate(&at, name);
                }
            }
            used.insert(key);
        }
        if !of_pod.contains(name) {
            let known = if of_pod.is_empty() {
                " which is empty".to_owned()
            } else {
                format!(": {}", of_pod.iter().copied().collect::<Vec<_>>().join(", "))
            };
            let body =
                format!("Not found: {}: must be one of the names in pod.spec.resourceClaims{known}", go_quote(name));
            e.0.push(FieldError { field: at, kind: ErrorType::NotFound, body });
        }
    }
}
