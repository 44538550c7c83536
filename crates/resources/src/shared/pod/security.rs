//! Security contexts of pods and containers.

use super::{Rules, allow_privileged, internal, volumes::descending_path, windows};
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object, validation};

const SYSCTL_REGEX: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// The pod's context (rule: `validatePodSpecSecurityContext`).
pub fn pod_security_context(e: &mut ErrorList, spec: &Value, at: &Path, rules: &Rules<'_>) {
    let Some(context) = spec.get("securityContext") else { return };
    if context.as_object().is_some_and(serde_json::Map::is_empty) && spec.get("shareProcessNamespace").is_none() {
        return;
    }
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(e, context, key, at);
    }
    for (i, group) in object::list(context, &["supplementalGroups"]).iter().filter_map(Value::as_i64).enumerate() {
        for m in validation::user_or_group_id(group) {
            e.invalid(&at.child("supplementalGroups").index(i), group, m);
        }
    }
    if object::bool(spec, &["shareProcessNamespace"]) && object::bool(spec, &["hostPID"]) {
        e.invalid(&at.child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    sysctls(e, spec, &at.child("sysctls"), rules);
    one_of(e, context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], at);
    if let Some(profile) = context.get("seccompProfile") {
        seccomp_profile(e, profile, &at.child("seccompProfile"));
    }
    if let Some(options) = context.get("windowsOptions") {
        windows::options(e, options, &at.child("windowsOptions"));
    }
    if let Some(profile) = context.get("appArmorProfile") {
        apparmor_profile(e, profile, &at.child("appArmorProfile"));
    }
    one_of(e, context, "supplementalGroupsPolicy", &["Merge", "Strict"], at);
    one_of(e, context, "seLinuxChangePolicy", &["MountOption", "Recursive"], at);
}

fn id(e: &mut ErrorList, context: &Value, key: &str, at: &Path) {
    if let Some(id) = object::int(context, &[key]) {
        for m in validation::user_or_group_id(id) {
            e.invalid(&at.child(key), id, m);
        }
    }
}

fn one_of(e: &mut ErrorList, context: &Value, key: &str, allowed: &[&str], at: &Path) {
    if let Some(value) = context.get(key).and_then(Value::as_str)
        && !allowed.contains(&value)
    {
        e.not_supported(&at.child(key), value, allowed);
    }
}

fn sysctls(e: &mut ErrorList, spec: &Value, at: &Path, rules: &Rules<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, sysctl) in object::list(spec, &["securityContext", "sysctls"]).iter().enumerate() {
        let name = object::str(sysctl, &["name"]);
        let path = at.index(i).child("name");
        if name.is_empty() {
            e.required(&path, "");
        } else if !is_sysctl_name(name) {
            e.invalid(&path, name, format_args!("must have at most 253 characters and match regex {SYSCTL_REGEX}"));
        } else if seen.contains(&name) {
            e.duplicate(&path, name);
        }
        if !rules.allow_host_sysctls
            && let Some(why) = shared_with_host(spec, name)
        {
            e.invalid(&path, name, why);
        }
        seen.push(name);
    }
}

fn is_sysctl_name(name: &str) -> bool {
    name.len() <= 253
        && name.split(['.', '/']).all(|segment| {
            let b = segment.as_bytes();
            let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
            !b.is_empty() && edge(b[0]) && edge(b[b.len() - 1]) && b.iter().all(|&c| edge(c) || c == b'-' || c == b'_')
        })
}

/// Why a sysctl may not be set, where its namespace is the host's (rule: `ValidateHostSysctl`).
fn shared_with_host(spec: &Value, name: &str) -> Option<&'static str> {
    let dotted = match name.find(['.', '/']) {
        Some(i) if name.as_bytes()[i] == b'/' => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    };
    let ipc =
        ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| dotted.starts_with(p)) || dotted == "kernel.sem";
    if object::bool(spec, &["hostNetwork"]) && dotted.starts_with("net.") {
        Some("may not be specified when 'hostNetwork' is true")
    } else if object::bool(spec, &["hostIPC"]) && ipc {
        Some("may not be specified when 'hostIPC' is true")
    } else {
        None
    }
}

/// Whether a spec already sets sysctls of namespaces that it shares with the host.
pub fn has_host_sysctls(spec: &Value) -> bool {
    object::list(spec, &["securityContext", "sysctls"])
        .iter()
        .any(|s| shared_with_host(spec, object::str(s, &["name"])).is_some())
}

fn seccomp_profile(e: &mut ErrorList, profile: &Value, at: &Path) {
    let kind = object::str(profile, &["type"]);
    match kind {
        "Localhost" | "RuntimeDefault" | "Unconfined" => {}
        "" => e.required(&at.child("type"), "type is required when seccompProfile is set"),
        other => e.not_supported_in_order(&at.child("type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
    let path = at.child("localhostProfile");
    match profile.get("localhostProfile").and_then(Value::as_str) {
        None if kind == "Localhost" => e.required(&path, "must be set when seccomp type is Localhost"),
        Some(file) if kind == "Localhost" => descending_path(e, file, &path),
        Some(_) => e.invalid(
            &path,
            internal::Show(internal::SECCOMP_PROFILE, profile),
            "can only be set when seccomp type is Localhost",
        ),
        None => {}
    }
}

/// An AppArmor profile (rule: `ValidateAppArmorProfileField`).
pub fn apparmor_profile(e: &mut ErrorList, profile: &Value, at: &Path) {
    let path = at.child("localhostProfile");
    let local = profile.get("localhostProfile").and_then(Value::as_str);
    match object::str(profile, &["type"]) {
        "Localhost" => {
            let Some(local) = local else {
                return e.required(&path, "must be set when AppArmor type is Localhost");
            };
            if local.trim() != local {
                e.invalid(&path, local, "must not be padded with whitespace");
            } else if local.is_empty() {
                e.required(&path, "must be set when AppArmor type is Localhost");
            }
            if local.len() > 4095 {
                e.too_long(&path, 4095);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if let Some(local) = local {
                e.invalid(&path, local, "can only be set when AppArmor type is Localhost");
            }
        }
        "" => e.required(&at.child("type"), "type is required when appArmorProfile is set"),
        other => {
            e.not_supported_in_order(&at.child("type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]);
        }
    }
}

/// A container's context (rule: `ValidateSecurityContext`).
pub fn container_security_context(e: &mut ErrorList, context: &Value, at: &Path, host_users: bool) {
    let privileged = object::bool(context, &["privileged"]);
    if privileged && !allow_privileged() {
        e.forbidden(&at.child("privileged"), "disallowed by cluster policy");
    }
    for key in ["runAsUser", "runAsGroup"] {
        id(e, context, key, at);
    }
    if let Some(mount) = context.get("procMount").and_then(Value::as_str) {
        let path = at.child("procMount");
        if !["Default", "Unmasked"].contains(&mount) {
            e.not_supported_in_order(&path, mount, &["Default", "Unmasked"]);
        }
        if host_users && mount == "Unmasked" {
            e.invalid(&path, mount, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    if let Some(profile) = context.get("seccompProfile") {
        seccomp_profile(e, profile, &at.child("seccompProfile"));
    }
    if context.get("allowPrivilegeEscalation").and_then(Value::as_bool) == Some(false) {
        let shown = || internal::Show(internal::SECURITY_CONTEXT, context);
        if privileged {
            e.invalid(at, shown(), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        for _ in object::list(context, &["capabilities", "add"]).iter().filter(|c| c.as_str() == Some("CAP_SYS_ADMIN"))
        {
            e.invalid(
                at,
                shown(),
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
    if let Some(options) = context.get("windowsOptions") {
        windows::options(e, options, &at.child("windowsOptions"));
    }
    if let Some(profile) = context.get("appArmorProfile") {
        apparmor_profile(e, profile, &at.child("appArmorProfile"));
    }
}

/// A pod with a user namespace of its own has no other namespace of the host (rule: `validateHostUsers`).
pub fn host_users(e: &mut ErrorList, spec: &Value, at: &Path) {
    if spec.get("hostUsers").and_then(Value::as_bool) != Some(false) {
        return;
    }
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if object::bool(spec, &[field]) {
            e.forbidden(&at.child(shown), "when `hostUsers` is false");
        }
    }
    for (path, c) in super::every_container(spec, at) {
        if !object::list(c, &["volumeDevices"]).is_empty() {
            e.forbidden(&path.child("volumeDevices"), "when `hostUsers` is false");
        }
    }
}
