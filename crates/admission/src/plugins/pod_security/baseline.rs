//! What the baseline standard forbids, check by check (rule: pod-security-admission `policy/check_*.go`).

use super::checks::{Subject, Violation, containers, plural, quoted, setters, visit};
use serde_json::Value;
use std::collections::BTreeSet;

/// The annotations that named AppArmor profiles once, by container.
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// The annotations that named seccomp profiles once.
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// In the order in which they came to be allowed: see the numbers in the functions below.
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Likewise.
const SELINUX_TYPES: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

pub(super) fn text<'a>(v: &'a Value, pointer: &str) -> &'a str {
    v.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}
fn is(v: &Value, pointer: &str) -> bool {
    v.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}
fn list<'a>(v: &'a Value, pointer: &str) -> &'a [Value] {
    v.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The containers that a predicate finds.
pub(super) fn named<'a>(pod: Subject<'a>, mut bad: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
    let mut names = Vec::new();
    visit(pod, |c, name| {
        if bad(c) {
            names.push(name);
        }
    });
    names
}

pub(super) fn app_armor_profile(pod: Subject<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let mut bad = |v: &Value| match text(v, "/securityContext/appArmorProfile/type") {
        "" | "RuntimeDefault" | "Localhost" => false,
        other => {
            values.insert(other.to_owned());
            true
        }
    };
    let own = bad(pod.spec);
    let names = named(pod, bad);
    let allowed = |v: &str| v.is_empty() || v == "runtime/default" || v.starts_with("localhost/");
    let annotations = pod.annotations.as_object().into_iter().flatten();
    let annotations: Vec<String> = annotations
        .filter_map(|(k, v)| Some((k, v.as_str()?)))
        .filter(|(k, v)| k.starts_with(APP_ARMOR) && !allowed(v))
        .map(|(k, v)| format!("{k}=\"{v}\""))
        .collect();
    let noted = (!annotations.is_empty()).then(|| plural(annotations.len(), "annotation", "annotations").to_owned());
    let all: Vec<String> = setters(own, &names).into_iter().chain(noted).collect();
    if all.is_empty() {
        return None;
    }
    let values: Vec<String> = values.into_iter().chain(annotations).collect();
    Some(Violation {
        reason: plural(values.len(), "forbidden AppArmor profile", "forbidden AppArmor profiles"),
        detail: format!("{} must not set AppArmor profile type to {}", all.join(" and "), quoted(values)),
    })
}

pub(super) fn capabilities(pod: Subject<'_>) -> Option<Violation> {
    let mut found = BTreeSet::new();
    let names = named(pod, |c| {
        let added = list(c, "/securityContext/capabilities/add").iter().filter_map(Value::as_str);
        let bad: Vec<&str> = added.filter(|c| !CAPABILITIES.contains(c)).collect();
        found.extend(bad.iter().copied());
        !bad.is_empty()
    });
    (!names.is_empty()).then(|| Violation {
        reason: "non-default capabilities",
        detail: format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&names),
            quoted(found)
        ),
    })
}

pub(super) fn host_namespaces(pod: Subject<'_>) -> Option<Violation> {
    let set = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|n| is(pod.spec, &format!("/{n}")));
    let told: Vec<String> = set.map(|n| format!("{n}=true")).collect();
    (!told.is_empty()).then(|| Violation { reason: "host namespaces", detail: told.join(", ") })
}

pub(super) fn host_path_volumes(pod: Subject<'_>) -> Option<Violation> {
    let volumes = list(pod.spec, "/volumes").iter().filter(|v| v.get("hostPath").is_some());
    let names: Vec<&str> = volumes.map(|v| text(v, "/name")).collect();
    (!names.is_empty()).then(|| Violation {
        reason: "hostPath volumes",
        detail: format!("{} {}", plural(names.len(), "volume", "volumes"), quoted(names)),
    })
}

pub(super) fn host_ports(pod: Subject<'_>) -> Option<Violation> {
    let mut found = BTreeSet::new();
    let names = named(pod, |c| {
        let ports = list(c, "/ports").iter().filter_map(|p| p["hostPort"].as_i64()).filter(|p| *p != 0);
        let ports: Vec<String> = ports.map(|p| p.to_string()).collect();
        let bad = !ports.is_empty();
        found.extend(ports);
        bad
    });
    (!names.is_empty()).then(|| Violation {
        reason: "hostPort",
        detail: format!(
            "{} {} {} {}",
            containers(&names),
            plural(names.len(), "uses", "use"),
            plural(found.len(), "hostPort", "hostPorts"),
            found.into_iter().collect::<Vec<_>>().join(", ")
        ),
    })
}

pub(super) fn host_probes_and_lifecycle(pod: Subject<'_>) -> Option<Violation> {
    const HANDLERS: [&str; 5] =
        ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle/postStart", "lifecycle/preStop"];
    let mut found = BTreeSet::new();
    let mut names = BTreeSet::new();
    visit(pod, |c, name| {
        for handler in HANDLERS {
            for kind in ["httpGet", "tcpSocket"] {
                let host = text(c, &format!("/{handler}/{kind}/host"));
                if !host.is_empty() {
                    found.insert(host);
                    names.insert(name);
                }
            }
        }
    });
    let names: Vec<&str> = names.into_iter().collect();
    (!names.is_empty()).then(|| Violation {
        reason: "probe or lifecycle host",
        detail: format!(
            "{} {} {} {}",
            containers(&names),
            plural(names.len(), "uses", "use"),
            plural(found.len(), "probe or lifecycle host", "probe or lifecycle hosts"),
            quoted(found)
        ),
    })
}

pub(super) fn privileged(pod: Subject<'_>) -> Option<Violation> {
    let names = named(pod, |c| is(c, "/securityContext/privileged"));
    (!names.is_empty()).then(|| Violation {
        reason: "privileged",
        detail: format!("{} must not set securityContext.privileged=true", containers(&names)),
    })
}

pub(super) fn proc_mount(pod: Subject<'_>) -> Option<Violation> {
    let mut found = BTreeSet::new();
    let names = named(pod, |c| match text(c, "/securityContext/procMount") {
        "" | "Default" => false,
        other => {
            found.insert(other);
            true
        }
    });
    (!names.is_empty()).then(|| Violation {
        reason: "procMount",
        detail: format!("{} must not set securityContext.procMount to {}", containers(&names), quoted(found)),
    })
}

/// Root in a user namespace of its own is nobody on the node.
pub(super) fn in_user_namespace(pod: Subject<'_>) -> bool {
    pod.spec.get("hostUsers").and_then(Value::as_bool) == Some(false)
}

pub(super) fn proc_mount_1_35(pod: Subject<'_>) -> Option<Violation> {
    if in_user_namespace(pod) { None } else { proc_mount(pod) }
}

pub(super) fn selinux_options(pod: Subject<'_>) -> Option<Violation> {
    selinux(pod, &SELINUX_TYPES[..4])
}
pub(super) fn selinux_options_1_31(pod: Subject<'_>) -> Option<Violation> {
    selinux(pod, SELINUX_TYPES)
}

fn selinux(pod: Subject<'_>, allowed: &[&str]) -> Option<Violation> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut bad = |v: &Value| {
        let of = |name: &str| text(v, &format!("/securityContext/seLinuxOptions/{name}"));
        let wrong = [!allowed.contains(&of("type")), !of("user").is_empty(), !of("role").is_empty()];
        if wrong[0] {
            types.insert(of("type").to_owned());
        }
        user |= wrong[1];
        role |= wrong[2];
        wrong.contains(&true)
    };
    let own = bad(pod.spec);
    let names = named(pod, bad);
    let setters = setters(own, &names)?;
    let kinds = (!types.is_empty()).then(|| format!("{} {}", plural(types.len(), "type", "types"), quoted(types)));
    let user = user.then(|| "user may not be set".to_owned());
    let role = role.then(|| "role may not be set".to_owned());
    let found: Vec<String> = [kinds, user, role].into_iter().flatten().collect();
    Some(Violation {
        reason: "seLinuxOptions",
        detail: format!("{setters} set forbidden securityContext.seLinuxOptions: {}", found.join("; ")),
    })
}

/// Up to 1.18 seccomp profiles stood in annotations.
pub(super) fn seccomp_annotations(pod: Subject<'_>) -> Option<Violation> {
    let allowed = |v: &str| v == "runtime/default" || v == "docker/default" || v.starts_with("localhost/");
    let mut keys = vec![SECCOMP_POD.to_owned()];
    visit(pod, |_, name| keys.push(format!("{SECCOMP_CONTAINER}{name}")));
    let set = keys.into_iter().filter_map(|k| pod.annotations.get(&k).and_then(Value::as_str).map(|v| (k, v)));
    let bad: BTreeSet<String> = set.filter(|(_, v)| !allowed(v)).map(|(k, v)| format!("{k}=\"{v}\"")).collect();
    (!bad.is_empty()).then(|| Violation {
        reason: "seccompProfile",
        detail: format!(
            "forbidden {} {}",
            plural(bad.len(), "annotation", "annotations"),
            bad.into_iter().collect::<Vec<_>>().join(", ")
        ),
    })
}

/// The type of the seccomp profile at a pod's spec or a container.
pub(super) fn seccomp(v: &Value) -> Option<&str> {
    v.pointer("/securityContext/seccompProfile").map(|p| text(p, "/type"))
}

pub(super) fn seccomp_profile(pod: Subject<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let mut bad = |v: &Value| match seccomp(v) {
        None | Some("RuntimeDefault" | "Localhost") => false,
        Some(other) => {
            values.insert(other.to_owned());
            true
        }
    };
    let own = bad(pod.spec);
    let names = named(pod, bad);
    setters(own, &names).map(|setters| Violation {
        reason: "seccompProfile",
        detail: format!("{setters} must not set securityContext.seccompProfile.type to {}", quoted(values)),
    })
}

pub(super) fn sysctls(pod: Subject<'_>) -> Option<Violation> {
    sysctls_but(pod, &SYSCTLS[..5])
}
pub(super) fn sysctls_1_27(pod: Subject<'_>) -> Option<Violation> {
    sysctls_but(pod, &SYSCTLS[..6])
}
pub(super) fn sysctls_1_29(pod: Subject<'_>) -> Option<Violation> {
    sysctls_but(pod, &SYSCTLS[..10])
}
pub(super) fn sysctls_1_32(pod: Subject<'_>) -> Option<Violation> {
    sysctls_but(pod, SYSCTLS)
}

fn sysctls_but(pod: Subject<'_>, allowed: &[&str]) -> Option<Violation> {
    let names = list(pod.spec, "/securityContext/sysctls").iter().map(|s| text(s, "/name"));
    let bad: Vec<&str> = names.filter(|n| !allowed.contains(n)).collect();
    (!bad.is_empty()).then(|| Violation { reason: "forbidden sysctls", detail: bad.join(", ") })
}

pub(super) fn windows_host_process(pod: Subject<'_>) -> Option<Violation> {
    let bad = |v: &Value| is(v, "/securityContext/windowsOptions/hostProcess");
    setters(bad(pod.spec), &named(pod, bad)).map(|setters| Violation {
        reason: "hostProcess",
        detail: format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"),
    })
}
