//! Validation of a pod's status (rule: core validation `ValidatePodStatusUpdate`).

use super::status_resources;
use crate::shared::internal::ShowList;
use crate::shared::pod::internal::POD_IP;
use crate::shared::pod::{Rules, annotations, say};
use serde_json::Value;
use std::net::IpAddr;
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// Conditions of the system, whose types need no check.
const SYSTEM_CONDITIONS: &[&str] = &["PodScheduled", "Ready", "Initialized"];

/// A changed status.
pub fn validate(new: &Value, old: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let at = Path::new("status");
    let status = new.get("status").unwrap_or(&Value::Null);
    let was = old.get("status").unwrap_or(&Value::Null);
    let rules = Rules::for_pod(new, Some(old));
    annotations::pod_annotation_updates(&mut e, new, old, &Path::new("metadata").child("annotations"), &rules);
    conditions(&mut e, status, &at.child("conditions"));
    if object::get(new, &["spec", "nodeName"]) != object::get(old, &["spec", "nodeName"]) {
        e.forbidden(&at.child("nodeName"), "may not be changed directly");
    }
    let nominated = object::str(status, &["nominatedNodeName"]);
    if !nominated.is_empty() && nominated != object::str(was, &["nominatedNodeName"]) {
        let at = at.child("nominatedNodeName");
        say(&mut e, || at.clone(), nominated, validation::dns_subdomain(nominated, false));
        if !object::str(old, &["spec", "nodeName"]).is_empty() {
            e.forbidden(&at, "may not be set on pods that are already bound to a node");
        }
    }
    observed_generation(&mut e, status, &at);
    validation::immutable(&mut e, status.get("qosClass"), was.get("qosClass"), &at.child("qosClass"));
    transitions(&mut e, old.get("spec").unwrap_or(&Value::Null), status, was, &at);
    claim_statuses(&mut e, new, &at.child("resourceClaimStatuses"));
    let spec = new.get("spec").unwrap_or(&Value::Null);
    status_resources::extended_claim(&mut e, status, spec, &at.child("extendedResourceClaimStatus"));
    pod_ips(&mut e, status, was, &at.child("podIPs"));
    host_ips(&mut e, status, was, &at.child("hostIPs"));
    status_resources::users(&mut e, status, spec, &at);
    status_resources::devices(&mut e, status, spec, &at);
    e
}

fn observed_generation(e: &mut ErrorList, holder: &Value, at: &Path) {
    if let Some(generation) = object::int(holder, &["observedGeneration"]).filter(|g| *g < 0) {
        e.invalid(&at.child("observedGeneration"), generation, "must be a non-negative integer");
    }
}

fn conditions(e: &mut ErrorList, status: &Value, at: &Path) {
    for (i, c) in object::list(status, &["conditions"]).iter().enumerate() {
        observed_generation(e, c, &at.index(i));
        let kind = object::str(c, &["type"]);
        if !SYSTEM_CONDITIONS.contains(&kind) {
            say(e, || at.index(i).child("Type"), kind, validation::qualified_name(kind));
        }
    }
}

/// Containers that have ended for good do not come back.
fn transitions(e: &mut ErrorList, spec: &Value, status: &Value, was: &Value, at: &Path) {
    for (list, containers) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
        ("ephemeralContainerStatuses", "ephemeralContainers"),
    ] {
        for (i, old) in object::list(was, &[list]).iter().enumerate() {
            let Some(terminated) = object::get(old, &["state", "terminated"]) else { continue };
            let name = object::str(old, &["name"]);
            let container = object::list(spec, &[containers]).iter().find(|c| object::str(c, &["name"]) == name);
            let code = object::int(terminated, &["exitCode"]).unwrap_or(0);
            if list != "ephemeralContainerStatuses" && restarts(spec, container, code) {
                continue;
            }
            let back = object::list(status, &[list])
                .iter()
                .any(|s| object::str(s, &["name"]) == name && object::get(s, &["state", "terminated"]).is_none());
            if back {
                let path = at.child(list).index(i).child("state");
                e.forbidden(&path, "may not be transitioned to non-terminated state");
            }
        }
    }
}

/// Whether a container is started again after it ended with that code: by its rules, by its policy, by the pod's.
fn restarts(spec: &Value, container: Option<&Value>, code: i64) -> bool {
    let rule_applies = |rule: &Value| {
        let listed = object::list(rule, &["exitCodes", "values"]).iter().any(|v| v.as_i64() == Some(code));
        match object::str(rule, &["exitCodes", "operator"]) {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    };
    if container.is_some_and(|c| object::list(c, &["restartPolicyRules"]).iter().any(rule_applies)) {
        return true;
    }
    let own = container.map_or("", |c| object::str(c, &["restartPolicy"]));
    let policy = if own.is_empty() { object::str(spec, &["restartPolicy"]) } else { own };
    match policy {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

fn claim_statuses(e: &mut ErrorList, new: &Value, at: &Path) {
    let claims = object::list(new, &["spec", "resourceClaims"]);
    let mut seen: Vec<&str> = Vec::new();
    for (i, status) in object::list(new, &["status", "resourceClaimStatuses"]).iter().enumerate() {
        let at = at.index(i);
        let (name, named) = (object::str(status, &["name"]), at.child("name"));
        if !claims.iter().any(|c| object::str(c, &["name"]) == name) {
            e.invalid(&named, name, "must match the name of an entry in `spec.resourceClaims`");
        }
        if seen.contains(&name) {
            e.duplicate(&named, name);
        }
        seen.push(name);
        if let Some(claim) = status.get("resourceClaimName").and_then(Value::as_str) {
            say(e, || at.child("resourceClaimName"), claim, validation::dns_subdomain(claim, false));
        }
    }
}

fn addresses<'a>(status: &'a Value, list: &str) -> Vec<&'a str> {
    object::list(status, &[list]).iter().map(|ip| object::str(ip, &["ip"])).collect()
}

fn pod_ips(e: &mut ErrorList, status: &Value, was: &Value, at: &Path) {
    let (ips, old) = (addresses(status, "podIPs"), addresses(was, "podIPs"));
    for (i, ip) in ips.iter().enumerate() {
        validation::legacy_ip(e, &at.index(i), ip, true, &old);
    }
    dual_stack(e, status.get("podIPs"), &ips, at);
}

fn host_ips(e: &mut ErrorList, status: &Value, was: &Value, at: &Path) {
    let (ips, old) = (addresses(status, "hostIPs"), addresses(was, "hostIPs"));
    let Some(first) = ips.first() else { return };
    if object::str(status, &["hostIP"]) != *first {
        e.invalid(&at.index(0).child("ip"), *first, "must be equal to `hostIP`");
    }
    for (i, ip) in ips.iter().enumerate() {
        validation::legacy_ip(e, &at.index(i), ip, true, &old);
    }
    dual_stack(e, status.get("hostIPs"), &ips, at);
}

/// Several addresses are one of each family.
fn dual_stack(e: &mut ErrorList, shown: Option<&Value>, ips: &[&str], at: &Path) {
    if ips.len() < 2 {
        return;
    }
    let (mut four, mut six, mut bad) = (false, false, false);
    for (i, ip) in ips.iter().enumerate() {
        match validation::parse_ip_sloppy(ip) {
            Some(IpAddr::V4(_)) => four = true,
            Some(IpAddr::V6(_)) => six = true,
            None => {
                e.internal(at, format!("failed to check for dual stack with error:invalid IP[{i}]: {ip}"));
                bad = true;
                break;
            }
        }
    }
    if bad || !(four && six) || ips.len() > 2 {
        let shown = ShowList(POD_IP, shown.unwrap_or(&Value::Null));
        e.invalid(at, shown, "may specify no more than one IP for each IP family");
    }
}
