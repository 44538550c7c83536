//! The pod spec as a whole.

use super::{Rules, annotations, claims, containers, network, resources, say, scheduling, security, volumes, windows};
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// A template: labels, annotations and spec (rule: `ValidatePodTemplateSpec`).
pub fn template(e: &mut ErrorList, template: &Value, at: &Path, rules: &Rules<'_>) {
    let spec = template.get("spec").unwrap_or(&Value::Null);
    let spec_path = at.child("spec");
    template_metadata(e, template, at, rules);
    pod_spec(e, spec, &spec_path, rules);
    annotations::seccomp_matches(e, template, spec, &spec_path);
    annotations::apparmor_matches(e, template, spec, &spec_path);
    if !object::list(spec, &["ephemeralContainers"]).is_empty() {
        e.forbidden(&spec_path.child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// Labels and annotations of a template.
pub fn template_metadata(e: &mut ErrorList, template: &Value, at: &Path, rules: &Rules<'_>) {
    let spec = template.get("spec").unwrap_or(&Value::Null);
    validation::labels(e, object::get(template, &["metadata", "labels"]), &at.child("labels"));
    let path = at.child("annotations");
    validation::annotations(e, object::get(template, &["metadata", "annotations"]), &path);
    annotations::pod_annotations(e, template, spec, &path, rules);
}

/// The spec.
pub fn pod_spec(e: &mut ErrorList, spec: &Value, at: &Path, rules: &Rules<'_>) {
    let str = |key: &str| object::str(spec, &[key]);
    let grace = object::int(spec, &["terminationGracePeriodSeconds"]);
    if grace.is_none() {
        e.required(&at.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volumes::volumes(e, object::list(spec, &["volumes"]), &at.child("volumes"), rules);
    let claims = claims::pod_claims(e, object::list(spec, &["resourceClaims"]), &at.child("resourceClaims"));
    let whole = containers::Pod {
        volumes: &volumes,
        claims: &claims,
        grace,
        restart_policy: str("restartPolicy"),
        host_users: object::get(spec, &["hostUsers"]).and_then(Value::as_bool).unwrap_or(true),
        rules,
    };
    containers::containers(e, spec, at, &whole);
    containers::init_containers(e, spec, at, &whole);
    containers::ephemeral_containers(e, spec, at, &whole);
    resources::pod_resources(e, spec, &at.child("resources"), rules);
    network::host_ports(e, spec, at, rules);
    match str("restartPolicy") {
        "Always" | "OnFailure" | "Never" => {}
        "" => e.required(&at.child("restartPolicy"), ""),
        other => e.not_supported_in_order(&at.child("restartPolicy"), other, &["Always", "OnFailure", "Never"]),
    }
    match str("dnsPolicy") {
        "ClusterFirstWithHostNet" | "ClusterFirst" | "Default" | "None" => {}
        "" => e.required(&at.child("dnsPolicy"), ""),
        other => e.not_supported_in_order(
            &at.child("dnsPolicy"),
            other,
            &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        ),
    }
    if let Some(selector) = spec.get("nodeSelector") {
        validation::labels(e, Some(selector), &at.child("nodeSelector"));
    }
    security::pod_security_context(e, spec, &at.child("securityContext"), rules);
    if let Some(affinity) = spec.get("affinity") {
        scheduling::affinity(e, affinity, &at.child("affinity"), rules);
    }
    network::dns_config(e, spec, &at.child("dnsConfig"));
    for (i, gate) in object::list(spec, &["readinessGates"]).iter().enumerate() {
        let kind = object::str(gate, &["conditionType"]);
        say(e, || at.child("readinessGates").index(i).child("conditionType"), kind, validation::qualified_name(kind));
    }
    scheduling::scheduling_gates(e, object::list(spec, &["schedulingGates"]), &at.child("schedulingGates"));
    scheduling::topology_spread(e, spec, &at.child("topologySpreadConstraints"), rules);
    windows::host_process(e, spec, at);
    security::host_users(e, spec, at);
    names(e, spec, at);
    network::host_name_override(e, spec, at);
    if let Some(deadline) = object::int(spec, &["activeDeadlineSeconds"])
        && !(1..=i64::from(i32::MAX)).contains(&deadline)
    {
        e.invalid(&at.child("activeDeadlineSeconds"), deadline, validation::range_error(1, i64::from(i32::MAX)));
    }
    for key in ["hostname", "subdomain"] {
        let name = str(key);
        if !name.is_empty() {
            say(e, || at.child(key), name, validation::dns_label(name, false));
        }
    }
    scheduling::tolerations(e, object::list(spec, &["tolerations"]), &at.child("tolerations"));
    network::host_aliases(e, object::list(spec, &["hostAliases"]), &at.child("hostAliases"));
    classes(e, spec, at);
    if let Some(overhead) = spec.get("overhead") {
        resources::limits_only(e, overhead, &at.child("overhead"), rules);
    }
    os(e, spec, at);
}

fn names(e: &mut ErrorList, spec: &Value, at: &Path) {
    for key in ["serviceAccountName", "nodeName"] {
        let name = object::str(spec, &[key]);
        if !name.is_empty() {
            say(e, || at.child(key), name, validation::dns_subdomain(name, false));
        }
    }
}

fn classes(e: &mut ErrorList, spec: &Value, at: &Path) {
    let priority = object::str(spec, &["priorityClassName"]);
    if !priority.is_empty() {
        say(e, || at.child("priorityClassName"), priority, validation::dns_subdomain(priority, false));
    }
    if let Some(runtime) = spec.get("runtimeClassName").and_then(Value::as_str) {
        say(e, || at.child("runtimeClassName"), runtime, validation::dns_subdomain(runtime, false));
    }
    if let Some(policy) = spec.get("preemptionPolicy").and_then(Value::as_str) {
        preemption_policy(e, policy, &at.child("preemptionPolicy"));
    }
}

/// Of pods and priority classes (rule: `ValidatePreemptionPolicy`).
pub fn preemption_policy(e: &mut ErrorList, policy: &str, at: &Path) {
    match policy {
        "PreemptLowerPriority" | "Never" => {}
        "" => e.required(at, ""),
        other => e.not_supported_in_order(at, other, &["PreemptLowerPriority", "Never"]),
    }
}

fn os(e: &mut ErrorList, spec: &Value, at: &Path) {
    if spec.get("os").is_none() {
        return;
    }
    match object::str(spec, &["os", "name"]) {
        "" => e.required(&at.child("os").child("name"), "cannot be empty"),
        "linux" => windows::forbid_windows_options(e, spec, at),
        "windows" => windows::forbid_linux_options(e, spec, at),
        other => e.not_supported(&at.child("os"), other, &["linux", "windows"]),
    }
}
