//! What only Windows pods may have, and what they may not (rule: core validation `validateWindows`, `validateLinux`,
//! `validateWindowsSecurityContextOptions`, `validateWindowsHostProcessPod`).

use super::{allow_privileged, every_container, say};
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// `windowsOptions` of a pod or container.
pub fn options(e: &mut ErrorList, options: &Value, at: &Path) {
    let text = |k: &str| options.get(k).and_then(Value::as_str);
    if let Some(name) = text("gmsaCredentialSpecName") {
        say(e, || at.child("gmsaCredentialSpecName"), name, validation::dns_subdomain(name, false));
    }
    if let Some(spec) = text("gmsaCredentialSpec") {
        let path = at.child("gmsaCredentialSpec");
        if spec.is_empty() {
            e.invalid(&path, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > 64 * 1024 {
            e.invalid(&path, spec, "gmsaCredentialSpec size must be under 64 KiB");
        }
    }
    if let Some(name) = text("runAsUserName") {
        for why in user_name_errors(name) {
            e.invalid(&at.child("runAsUserName"), name, why);
        }
    }
}

fn user_name_errors(name: &str) -> Vec<&'static str> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string"];
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters"];
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash"],
    };
    let mut wrong = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= 256 {
            wrong.push("runAsUserName's Domain length must be under 256 characters");
        }
        if !is_net_bios(domain) && !is_dns_domain(domain) {
            wrong.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
        }
    }
    if user.is_empty() {
        wrong.push("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        wrong.push("runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        wrong.push("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(|c| r#""/\:;|=,+*?<>@[]"#.contains(c)) {
        wrong.push(r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#);
    }
    wrong
}

fn is_net_bios(domain: &str) -> bool {
    let n = domain.chars().count();
    (1..=15).contains(&n) && !domain.starts_with('.') && !domain.contains(|c| r#"\/:*?"<>|"#.contains(c))
}

fn is_dns_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let b = label.as_bytes();
        (1..=63).contains(&b.len())
            && b[0].is_ascii_alphanumeric()
            && b[b.len() - 1].is_ascii_alphanumeric()
            && b.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
    })
}

/// Host process containers: all or none, on the host's network, where the cluster allows privileged ones.
pub fn host_process(e: &mut ErrorList, spec: &Value, at: &Path) {
    let host_process =
        |v: &Value| object::get(v, &["securityContext", "windowsOptions", "hostProcess"]).and_then(Value::as_bool);
    let of_pod = host_process(spec);
    let mut count = 0;
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    if of_pod.is_none() && !lists.iter().flat_map(|l| object::list(spec, &[l])).any(|c| host_process(c).is_some()) {
        return;
    }
    let all = every_container(spec, at);
    for (path, c) in &all {
        let own = host_process(c);
        if let (Some(pod), Some(own)) = (of_pod, own)
            && pod != own
        {
            let path = path.child("securityContext").child("windowsOptions").child("hostProcess");
            let why = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            e.invalid(&path, own, why);
        }
        count += usize::from(own.or(of_pod) == Some(true));
    }
    if count == 0 {
        return;
    }
    if count != all.len() {
        e.invalid(
            at,
            "",
            "If pod contains any hostProcess containers then all containers must be HostProcess containers",
        );
    }
    if !object::bool(spec, &["hostNetwork"]) {
        e.invalid(
            &at.child("hostNetwork"),
            false,
            "hostNetwork must be true if pod contains any hostProcess containers",
        );
    }
    if !allow_privileged() {
        e.forbidden(at, "hostProcess containers are disallowed by cluster policy");
    }
}

/// For pods that say they are for Linux.
pub fn forbid_windows_options(e: &mut ErrorList, spec: &Value, at: &Path) {
    const WHY: &str = "windows options cannot be set for a linux pod";
    if object::get(spec, &["securityContext", "windowsOptions"]).is_some() {
        e.forbidden(&at.child("securityContext").child("windowsOptions"), WHY);
    }
    for (path, c) in every_container(spec, at) {
        if object::get(c, &["securityContext", "windowsOptions"]).is_some() {
            e.forbidden(&path.child("securityContext").child("windowsOptions"), WHY);
        }
    }
}

/// Fields of the pod that Windows has not, in upstream's order; without a dot: of the spec itself.
const POD_FIELDS: &[(&str, bool)] = &[
    ("appArmorProfile", true),
    ("seLinuxOptions", true),
    ("hostUsers", false),
    ("hostPID", false),
    ("hostIPC", false),
    ("seccompProfile", true),
    ("fsGroup", true),
    ("fsGroupChangePolicy", true),
    ("sysctls", true),
    ("shareProcessNamespace", false),
    ("runAsUser", true),
    ("runAsGroup", true),
    ("supplementalGroups", true),
    ("supplementalGroupsPolicy", true),
    ("seLinuxChangePolicy", true),
];
const CONTAINER_FIELDS: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// For pods that say they are for Windows.
pub fn forbid_linux_options(e: &mut ErrorList, spec: &Value, at: &Path) {
    const WHY: &str = "cannot be set for a windows pod";
    let context = at.child("securityContext");
    for (field, in_context) in POD_FIELDS {
        if *in_context {
            if object::get(spec, &["securityContext", field]).is_some() {
                e.forbidden(&context.child(field), WHY);
            }
        } else if spec
            .get(*field)
            .is_some_and(|v| v != false || !field.starts_with("hostP") && !field.starts_with("hostI"))
        {
            e.forbidden(&at.child(field), WHY);
        }
    }
    for (path, c) in every_container(spec, at) {
        for field in CONTAINER_FIELDS {
            if object::get(c, &["securityContext", field]).is_some() {
                e.forbidden(&path.child("securityContext").child(field), WHY);
            }
        }
    }
}
