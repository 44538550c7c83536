//! What clients are warned of in pods and pod templates (rule: `pkg/api/pod` `warningsForPodSpecAndMeta`).

use super::pod::annotations::{APPARMOR, SECCOMP_CONTAINER, SECCOMP_POD};
use super::pod::every_container;
use super::quantity::amount;
use super::volume_warnings;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use steersman_apimachinery::field::go_quote;
use steersman_apimachinery::{Path, object, validation};
use steersman_registry::Context;

/// Node labels of old, since when they are so, and what took their place.
const OLD_NODE_LABELS: &[(&str, &str, &str)] = &[
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];
/// Annotations that do nothing.
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        r#"non-functional in v1.16+; use the "priorityClassName" field instead"#,
    ),
    ("security.alpha.kubernetes.io/sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
    ("security.alpha.kubernetes.io/unsafe-sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
];
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// What is said of a node label that is out of use.
pub fn old_node_label(label: &str) -> Option<String> {
    OLD_NODE_LABELS
        .iter()
        .find(|(old, ..)| *old == label)
        .map(|(_, since, new)| format!("deprecated since {since}; use {} instead", go_quote(new)))
}

/// Warns of what is odd in `{metadata, spec}`: a pod (at the root) or a template.
pub fn warn(ctx: &Context, obj: &Value, at: &Path, is_template: bool) {
    let spec = obj.get("spec").unwrap_or(&Value::Null);
    let at_spec = at.child("spec");
    let at_annotations = at.child("metadata").child("annotations");
    let volumes = object::list(spec, &["volumes"]);
    node_labels(ctx, spec, &at_spec);
    for (key, why) in OLD_ANNOTATIONS {
        if object::annotation(obj, key).is_some() {
            ctx.warn(format!("{}: {why}", at_annotations.key(key)));
        }
    }
    volume_warnings::types(ctx, volumes, &at_spec.child("volumes"));
    volume_warnings::overlapping_files(ctx, volumes);
    volume_warnings::files_at_token_paths(ctx, volumes, &at_spec.child("volumes"));
    repeated(ctx, spec, &at_spec);
    for name in ["memory", "ephemeral-storage"] {
        fraction(ctx, spec, &["overhead", name], || at_spec.child("overhead").key(name));
    }
    let has_profile = |v: &Value, kind: &str| object::get(v, &["securityContext", kind]).is_some();
    if !has_profile(spec, "seccompProfile") && object::annotation(obj, SECCOMP_POD).is_some() {
        ctx.warn(format!(
            r#"{}: non-functional in v1.27+; use the "seccompProfile" field instead"#,
            at_annotations.key(SECCOMP_POD)
        ));
    }
    let containers = every_container(spec, &at_spec);
    for (path, c) in &containers {
        let name = object::str(c, &["name"]);
        let seccomp = format!("{SECCOMP_CONTAINER}{name}");
        if !has_profile(c, "seccompProfile") && object::annotation(obj, &seccomp).is_some() {
            ctx.warn(format!(
                r#"{}: non-functional in v1.27+; use the "seccompProfile" field instead"#,
                at_annotations.key(&seccomp)
            ));
        }
        let apparmor = format!("{APPARMOR}{name}");
        if is_template
            && !has_profile(c, "appArmorProfile")
            && !has_profile(spec, "appArmorProfile")
            && object::annotation(obj, &apparmor).is_some()
        {
            ctx.warn(old_apparmor(&at_annotations, &apparmor));
        }
        for resource in ["memory", "ephemeral-storage"] {
            for kind in ["limits", "requests"] {
                fraction(ctx, c, &["resources", kind, resource], || path.child("resources").child(kind).key(resource));
            }
        }
        repeated_env(ctx, c, path);
    }
    ports(ctx, &containers);
    port_names(ctx, &containers);
    if object::int(spec, &["terminationGracePeriodSeconds"]).is_some_and(|n| n < 0) {
        ctx.warn(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            at_spec.child("terminationGracePeriodSeconds")
        ));
    }
    pod_affinity(ctx, spec, &at_spec.child("affinity"));
    addresses(ctx, spec, &at_spec);
}

/// What is said of an AppArmor annotation.
pub fn old_apparmor(at_annotations: &Path, key: &str) -> String {
    format!(r#"{}: deprecated since v1.30; use the "appArmorProfile" field instead"#, at_annotations.key(key))
}

fn node_labels(ctx: &Context, spec: &Value, at: &Path) {
    for key in object::get(spec, &["nodeSelector"]).and_then(Value::as_object).into_iter().flat_map(|m| m.keys()) {
        if let Some(why) = old_node_label(key) {
            ctx.warn(format!("{}: {why}", at.child("nodeSelector").key(key)));
        }
    }
    let node = object::get(spec, &["affinity", "nodeAffinity"]).unwrap_or(&Value::Null);
    let at_node = at.child("affinity").child("nodeAffinity");
    for (i, term) in object::list(node, &[REQUIRED, "nodeSelectorTerms"]).iter().enumerate() {
        node_selector_term(ctx, term, &at_node.child(REQUIRED).child("nodeSelectorTerms").index(i));
    }
    for (i, term) in object::list(node, &[PREFERRED]).iter().enumerate() {
        if let Some(preference) = term.get("preference") {
            let at = at_node.child(PREFERRED).index(i).child("preference");
            node_selector_term(ctx, preference, &at);
            values_that_no_label_has(ctx, preference, &at);
        }
    }
    for (i, c) in object::list(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let at = at.child("topologySpreadConstraints").index(i);
        let key = object::str(c, &["topologyKey"]);
        if let Some(why) = old_node_label(key) {
            ctx.warn(format!("{}: {key} is {why}", at.child("topologyKey")));
        }
        if c.get("labelSelector").is_none() {
            ctx.warn(format!("{}: {NO_SELECTOR}", at.child("labelSelector")));
        }
    }
}

/// Warns of node labels that are out of use (rule: `pkg/api/node` `GetWarningsForNodeSelectorTerm`).
pub fn node_selector_term(ctx: &Context, term: &Value, at: &Path) {
    for (i, e) in object::list(term, &["matchExpressions"]).iter().enumerate() {
        let key = object::str(e, &["key"]);
        if let Some(why) = old_node_label(key) {
            ctx.warn(format!("{}: {key} is {why}", at.child("matchExpressions").index(i).child("key")));
        }
    }
}

/// Preferences may name values that no label can have, since they are no more than preferences.
fn values_that_no_label_has(ctx: &Context, term: &Value, at: &Path) {
    for (i, e) in object::list(term, &["matchExpressions"]).iter().enumerate() {
        let at = at.child("matchExpressions").index(i).child("values");
        for (j, value) in object::list(e, &["values"]).iter().filter_map(Value::as_str).enumerate() {
            for why in validation::label_value(value) {
                ctx.warn(format!("{}: {value} is invalid, {why}", at.index(j)));
            }
        }
    }
}

fn repeated(ctx: &Context, spec: &Value, at: &Path) {
    for (list, key) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let mut seen = BTreeSet::new();
        for (i, item) in object::list(spec, &[list]).iter().enumerate() {
            let value = object::str(item, &[key]);
            if !seen.insert(value) {
                ctx.warn(format!("{}: duplicate {key} {}", at.child(list).index(i).child(key), go_quote(value)));
            }
        }
    }
    for (i, secret) in object::list(spec, &["imagePullSecrets"]).iter().enumerate() {
        if object::str(secret, &["name"]).is_empty() {
            ctx.warn(format!("{}: invalid empty name \"\"", at.child("imagePullSecrets").index(i).child("name")));
        }
    }
}

fn fraction(ctx: &Context, holder: &Value, steps: &[&str], at: impl FnOnce() -> Path) {
    let Some(text) = object::get(holder, steps) else { return };
    if text.as_str().is_some_and(|s| !s.ends_with(['m', 'n', 'u'])) {
        return;
    }
    if let Some(q) = amount(text).filter(|q| q.milli_value() % 1000 != 0) {
        ctx.warn(format!(
            "{}: fractional byte value {} is invalid, must be an integer",
            at(),
            go_quote(&q.to_string())
        ));
    }
}

fn repeated_env(ctx: &Context, container: &Value, at: &Path) {
    let env = object::list(container, &["env"]);
    if env.len() < 2 {
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, variable) in env.iter().enumerate() {
        let name = object::str(variable, &["name"]);
        if seen.insert(name) {
            continue;
        }
        let (value, reference) = (object::str(variable, &["value"]), format!("$({name})"));
        if variable.get("valueFrom").is_some() || value == reference || !value.contains(&reference) {
            ctx.warn(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                at.child("env").index(i),
                go_quote(name)
            ));
        }
    }
}

fn ports(ctx: &Context, containers: &[(Path, &Value)]) {
    let mut seen: Vec<(Path, &Value)> = Vec::new();
    for (path, c) in containers {
        for (i, port) in object::list(c, &["ports"]).iter().enumerate() {
            let at = path.child("ports").index(i);
            let text = |p: &Value, k: &str| object::str(p, &[k]).to_owned();
            let number = |p: &Value, k: &str| object::int(p, &[k]).unwrap_or(0);
            let (host, host_port) = (text(port, "hostIP"), number(port, "hostPort"));
            if !host.is_empty() && host_port == 0 {
                ctx.warn(format!(
                    "{at}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{host}}}",
                    text(port, "name"),
                    number(port, "containerPort"),
                    text(port, "protocol"),
                ));
            }
            for (other_at, other) in &seen {
                if number(other, "containerPort") != number(port, "containerPort")
                    || text(other, "protocol") != text(port, "protocol")
                {
                    continue;
                }
                let (other_host, other_port) = (text(other, "hostIP"), number(other, "hostPort"));
                if host == other_host && host_port == other_port {
                    ctx.warn(format!("{at}: duplicate port definition with {other_at}"));
                } else if host_port == 0 || other_port == 0 {
                    ctx.warn(format!("{at}: overlapping port definition with {other_at}"));
                } else if host_port == other_port && host.is_empty() != other_host.is_empty() {
                    ctx.warn(format!("{at}: dangerously ambiguous port definition with {other_at}"));
                }
            }
            seen.push((at, port));
        }
    }
}

/// Services and probes that go by name find the first port of that name.
fn port_names(ctx: &Context, containers: &[(Path, &Value)]) {
    let mut seen: BTreeMap<&str, Path> = BTreeMap::new();
    for (path, c) in containers {
        for (i, port) in object::list(c, &["ports"]).iter().enumerate() {
            let (name, at) = (object::str(port, &["name"]), path.child("ports").index(i));
            if name.is_empty() {
                continue;
            }
            if let Some(first) = seen.get(name) {
                ctx.warn(format!(
                    "{at}: duplicate port name {} with {first}, services and probes that select ports by name will use {first}",
                    go_quote(name)
                ));
            } else {
                seen.insert(name, at);
            }
        }
    }
}

/// Warns of addresses in forms that are on their way out.
fn addresses(ctx: &Context, spec: &Value, at: &Path) {
    let servers = object::list(spec, &["dnsConfig", "nameservers"]).iter().filter_map(Value::as_str);
    for (i, ip) in servers.enumerate() {
        let at = at.child("dnsConfig").child("nameservers").index(i);
        validation::ip_warnings(&at, ip).into_iter().for_each(|w| ctx.warn(w));
    }
    for (i, alias) in object::list(spec, &["hostAliases"]).iter().enumerate() {
        let at = at.child("hostAliases").index(i).child("ip");
        validation::ip_warnings(&at, object::str(alias, &["ip"])).into_iter().for_each(|w| ctx.warn(w));
    }
}

fn pod_affinity(ctx: &Context, spec: &Value, at: &Path) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let at = at.child(kind);
        for (i, term) in object::list(spec, &["affinity", kind, REQUIRED]).iter().enumerate() {
            if term.get("labelSelector").is_none() {
                ctx.warn(format!("{}: {NO_SELECTOR}", at.child(REQUIRED).index(i).child("labelSelector")));
            }
        }
        for (i, term) in object::list(spec, &["affinity", kind, PREFERRED]).iter().enumerate() {
            if object::get(term, &["podAffinityTerm", "labelSelector"]).is_none() {
                let at = at.child(PREFERRED).index(i).child("podAffinityTerm").child("labelSelector");
                ctx.warn(format!("{at}: {NO_SELECTOR}"));
            }
        }
    }
}
