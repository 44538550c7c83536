//! The three lists of containers (rule: core validation `validateContainers`, `validateInitContainers`,
//! `validateEphemeralContainers`).

use super::volumes::Volumes;
use super::{Rules, env, is_sidecar, mounts, probes, resources, say, security};
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// What containers need to know of their pod.
pub struct Pod<'a> {
    /// The pod's good volumes.
    pub volumes: &'a Volumes<'a>,
    /// Names of the pod's resource claims.
    pub claims: &'a BTreeSet<&'a str>,
    /// `terminationGracePeriodSeconds`.
    pub grace: Option<i64>,
    /// `restartPolicy`.
    pub restart_policy: &'a str,
    /// Whether the pod shares the host's user namespace.
    pub host_users: bool,
    /// What depends on the old object.
    pub rules: &'a Rules<'a>,
}

/// The list `containers`.
pub fn containers(e: &mut ErrorList, spec: &Value, at: &Path, pod: &Pod<'_>) {
    let at = at.child("containers");
    let list = object::list(spec, &["containers"]);
    if list.is_empty() {
        return e.required(&at, "");
    }
    let mut names: Vec<&str> = Vec::with_capacity(list.len());
    for (i, c) in list.iter().enumerate() {
        let at = at.index(i);
        common(e, c, &at, pod);
        let name = object::str(c, &["name"]);
        if names.contains(&name) {
            e.duplicate(&at.child("name"), name);
        }
        names.push(name);
        if let Some(lifecycle) = c.get("lifecycle") {
            probes::lifecycle(e, lifecycle, pod.grace, &at.child("lifecycle"));
        }
        probes::probes(e, c, pod.grace, &at);
        restart_policy(e, c, &at);
    }
    let mut taken = BTreeSet::new();
    for (i, c) in list.iter().enumerate() {
        unique_host_ports(e, c, &mut taken, || at.index(i));
    }
}

/// The list `initContainers`.
pub fn init_containers(e: &mut ErrorList, spec: &Value, at: &Path, pod: &Pod<'_>) {
    let list = object::list(spec, &["initContainers"]);
    if list.is_empty() {
        return;
    }
    let at = at.child("initContainers");
    let mut names: Vec<&str> = object::list(spec, &["containers"]).iter().map(|c| object::str(c, &["name"])).collect();
    for (i, c) in list.iter().enumerate() {
        let whole = &at;
        let at = at.index(i);
        common(e, c, &at, pod);
        restart_policy(e, c, &at);
        let name = object::str(c, &["name"]);
        if names.contains(&name) {
            e.duplicate(&at.child("name"), name);
        } else if !name.is_empty() {
            names.push(name);
        }
        // Init containers run one by one, so each is alone with its ports.
        unique_host_ports(e, c, &mut BTreeSet::new(), || whole.index(0));
        if is_sidecar(c) {
            if let Some(lifecycle) = c.get("lifecycle") {
                probes::lifecycle(e, lifecycle, pod.grace, &at.child("lifecycle"));
            }
            probes::probes(e, c, pod.grace, &at);
        } else {
            for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if c.get(key).is_some() {
                    e.forbidden(&at.child(key), "may not be set for init containers without restartPolicy=Always");
                }
            }
        }
    }
}

/// Fields that ephemeral containers may have.
const EPHEMERAL_FIELDS: &[&str] = &[
    "name",
    "image",
    "command",
    "args",
    "workingDir",
    "envFrom",
    "env",
    "volumeMounts",
    "volumeDevices",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
    "securityContext",
    "stdin",
    "stdinOnce",
    "tty",
    "targetContainerName",
];
/// Fields that ephemeral containers may not have, in the order of upstream's struct.
const NOT_EPHEMERAL_FIELDS: &[&str] = &[
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// The list `ephemeralContainers`.
pub fn ephemeral_containers(e: &mut ErrorList, spec: &Value, at: &Path, pod: &Pod<'_>) {
    let list = object::list(spec, &["ephemeralContainers"]);
    if list.is_empty() {
        return;
    }
    let at = at.child("ephemeralContainers");
    let others: Vec<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|l| object::list(spec, &[l]))
        .map(|c| object::str(c, &["name"]))
        .collect();
    let mut names = others.clone();
    for (i, c) in list.iter().enumerate() {
        let at = at.index(i);
        common(e, c, &at, pod);
        image_is_trimmed(e, c, &at);
        let name = object::str(c, &["name"]);
        if names.contains(&name) {
            e.duplicate(&at.child("name"), name);
        } else {
            names.push(name);
        }
        let target = object::str(c, &["targetContainerName"]);
        if !target.is_empty() && !others.contains(&target) {
            e.not_found(&at.child("targetContainerName"), target);
        }
        for key in NOT_EPHEMERAL_FIELDS.iter().filter(|k| !EPHEMERAL_FIELDS.contains(k)) {
            let set = c
                .get(*key)
                .is_some_and(|v| !v.as_object().is_some_and(serde_json::Map::is_empty) || *key != "resources");
            if set {
                e.forbidden(&at.child(key), "cannot be set for an Ephemeral Container");
            }
        }
        for (j, mount) in object::list(c, &["volumeMounts"]).iter().enumerate() {
            for key in ["subPath", "subPathExpr"] {
                if !object::str(mount, &[key]).is_empty() {
                    let path = at.child("volumeMounts").index(j).child(key);
                    e.forbidden(&path, "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

/// What holds for containers of all three lists (rule: `validateContainerCommon`).
fn common(e: &mut ErrorList, c: &Value, at: &Path, pod: &Pod<'_>) {
    let str = |k: &str| object::str(c, &[k]);
    let name = str("name");
    if name.is_empty() {
        e.required(&at.child("name"), "");
    } else {
        say(e, || at.child("name"), name, validation::dns_label(name, false));
    }
    if str("image").is_empty() {
        e.required(&at.child("image"), "");
    }
    match str("terminationMessagePolicy") {
        "File" | "FallbackToLogsOnError" => {}
        "" => e.required(&at.child("terminationMessagePolicy"), ""),
        other => {
            e.not_supported_in_order(&at.child("terminationMessagePolicy"), other, &["File", "FallbackToLogsOnError"])
        }
    }
    if c.get("ports").is_some() {
        ports(e, object::list(c, &["ports"]), &at.child("ports"));
    }
    if c.get("env").is_some() {
        env::env(e, object::list(c, &["env"]), &at.child("env"));
    }
    if c.get("envFrom").is_some() {
        env::env_from(e, object::list(c, &["envFrom"]), &at.child("envFrom"));
    }
    if c.get("volumeMounts").is_some() {
        mounts::mounts(e, c, pod.volumes, &at.child("volumeMounts"));
    }
    if c.get("volumeDevices").is_some() {
        mounts::devices(e, c, pod.volumes, &at.child("volumeDevices"));
    }
    pull_policy(e, str("imagePullPolicy"), || at.child("imagePullPolicy"));
    if let Some(r) = c.get("resources") {
        resources::container(e, r, pod.claims, &at.child("resources"), pod.rules);
    }
    resize_policy(e, c, &at.child("resizePolicy"), pod.restart_policy);
    if let Some(context) = c.get("securityContext") {
        security::container_security_context(e, context, &at.child("securityContext"), pod.host_users);
    }
}

/// Of containers and image volumes.
pub fn pull_policy(e: &mut ErrorList, policy: &str, at: impl FnOnce() -> Path) {
    match policy {
        "Always" | "IfNotPresent" | "Never" => {}
        "" => e.required(&at(), ""),
        other => e.not_supported(&at(), other, &["Always", "IfNotPresent", "Never"]),
    }
}

/// Images of pods, unlike those of templates, have no blanks around them.
pub fn image_is_trimmed(e: &mut ErrorList, c: &Value, at: &Path) {
    let image = object::str(c, &["image"]);
    if image.trim() != image {
        e.invalid(&at.child("image"), image, "must not have leading or trailing whitespace");
    }
}

fn ports(e: &mut ErrorList, ports: &[Value], at: &Path) {
    let mut names: Vec<&str> = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let field = |k: &str| at.index(i).child(k);
        let name = object::str(port, &["name"]);
        if !name.is_empty() {
            let wrong = validation::port_name(name);
            if !wrong.is_empty() {
                say(e, || field("name"), name, wrong);
            } else if names.contains(&name) {
                e.duplicate(&field("name"), name);
            } else {
                names.push(name);
            }
        }
        let number = object::int(port, &["containerPort"]).unwrap_or(0);
        if number == 0 {
            e.required(&field("containerPort"), "");
        } else {
            for m in validation::port_number(number) {
                e.invalid(&field("containerPort"), number, m);
            }
        }
        let host = object::int(port, &["hostPort"]).unwrap_or(0);
        if host != 0 {
            for m in validation::port_number(host) {
                e.invalid(&field("hostPort"), host, m);
            }
        }
        protocol(e, object::str(port, &["protocol"]), || field("protocol"));
    }
}

/// Of ports of all kinds.
pub fn protocol(e: &mut ErrorList, protocol: &str, at: impl FnOnce() -> Path) {
    match protocol {
        "TCP" | "UDP" | "SCTP" => {}
        "" => e.required(&at(), ""),
        other => e.not_supported(&at(), other, &["TCP", "UDP", "SCTP"]),
    }
}

fn unique_host_ports(e: &mut ErrorList, c: &Value, taken: &mut BTreeSet<String>, at: impl Fn() -> Path) {
    for (i, port) in object::list(c, &["ports"]).iter().enumerate() {
        let number = object::int(port, &["hostPort"]).unwrap_or(0);
        if number == 0 {
            continue;
        }
        let key = format!("{}/{}/{number}", object::str(port, &["protocol"]), object::str(port, &["hostIP"]));
        if taken.contains(&key) {
            e.duplicate(&at().child("ports").index(i).child("hostPort"), key.as_str());
        } else {
            taken.insert(key);
        }
    }
}

fn resize_policy(e: &mut ErrorList, c: &Value, at: &Path, pod_restart_policy: &str) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, p) in object::list(c, &["resizePolicy"]).iter().enumerate() {
        let (resource, policy) = (object::str(p, &["resourceName"]), object::str(p, &["restartPolicy"]));
        if seen.contains(&resource) {
            e.duplicate(&at.index(i), resource);
        }
        seen.push(resource);
        match resource {
            "cpu" | "memory" => {}
            "" => e.required(at, ""),
            other => e.not_supported(at, other, &["cpu", "memory"]),
        }
        match policy {
            "NotRequired" | "RestartContainer" => {}
            "" => e.required(at, ""),
            other => e.not_supported(at, other, &["NotRequired", "RestartContainer"]),
        }
        if pod_restart_policy == "Never" && policy != "NotRequired" {
            e.invalid(at, policy, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}

/// A container's own restart policy and its rules by exit code (KEP-5307).
fn restart_policy(e: &mut ErrorList, c: &Value, at: &Path) {
    const POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
    let rules = object::list(c, &["restartPolicyRules"]);
    match c.get("restartPolicy").and_then(Value::as_str) {
        None if !rules.is_empty() => {
            e.required(&at.child("restartPolicy"), "must specify restartPolicy when restart rules are used");
        }
        Some(policy) if !POLICIES.contains(&policy) => {
            e.not_supported(&at.child("restartPolicy"), policy, POLICIES);
        }
        _ => {}
    }
    let at = at.child("restartPolicyRules");
    if rules.len() > 20 {
        e.too_many(&at, rules.len(), 20);
    }
    for (i, rule) in rules.iter().enumerate() {
        let action = object::str(rule, &["action"]);
        if !["Restart", "RestartAllContainers"].contains(&action) {
            e.not_supported(&at.index(i).child("action"), action, &["Restart", "RestartAllContainers"]);
        }
        let path = at.index(i).child("exitCodes");
        let Some(codes) = rule.get("exitCodes") else {
            e.required(&path, "must be specified");
            continue;
        };
        let operator = object::str(codes, &["operator"]);
        if !["In", "NotIn"].contains(&operator) {
            e.not_supported(&path.child("operator"), operator, &["In", "NotIn"]);
        }
        let values = object::list(codes, &["values"]).len();
        if values > 255 {
            e.too_many(&path.child("values"), values, 255);
        }
    }
}
