//! What the restricted standard demands besides the baseline (rule: pod-security-admission `policy/check_*.go`).

use super::baseline::{in_user_namespace, named, seccomp, seccomp_profile as seccomp_baseline, text};
use super::checks::{Subject, Violation, containers, plural, quoted, setters};
use serde_json::Value;
use std::collections::BTreeSet;

/// Since 1.25, pods that say they are for Windows need not set what Windows does not know.
fn is_windows(pod: Subject<'_>) -> bool {
    text(pod.spec, "/os/name") == "windows"
}

pub(super) fn allow_privilege_escalation(pod: Subject<'_>) -> Option<Violation> {
    let names =
        named(pod, |c| c.pointer("/securityContext/allowPrivilegeEscalation").and_then(Value::as_bool) != Some(false));
    (!names.is_empty()).then(|| Violation {
        reason: "allowPrivilegeEscalation != false",
        detail: format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names)),
    })
}
pub(super) fn allow_privilege_escalation_1_25(pod: Subject<'_>) -> Option<Violation> {
    if is_windows(pod) { None } else { allow_privilege_escalation(pod) }
}

pub(super) fn capabilities(pod: Subject<'_>) -> Option<Violation> {
    let names_at = |c: &'_ Value, which: &str| -> Vec<String> {
        let listed = c.pointer(&format!("/securityContext/capabilities/{which}")).and_then(Value::as_array);
        listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let keeping = named(pod, |c| !names_at(c, "drop").iter().any(|d| d == "ALL"));
    let mut added = BTreeSet::new();
    let adding = named(pod, |c| {
        let bad: Vec<String> = names_at(c, "add").into_iter().filter(|a| a != "NET_BIND_SERVICE").collect();
        let any = !bad.is_empty();
        added.extend(bad);
        any
    });
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeping)));
    }
    if !adding.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&adding),
            quoted(added)
        ));
    }
    (!details.is_empty()).then(|| Violation { reason: "unrestricted capabilities", detail: details.join("; ") })
}
pub(super) fn capabilities_1_25(pod: Subject<'_>) -> Option<Violation> {
    if is_windows(pod) { None } else { capabilities(pod) }
}

pub(super) fn volumes(pod: Subject<'_>) -> Option<Violation> {
    const ALLOWED: &[&str] =
        &["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
    /// Upstream knows these by name; the first that is there is told.
    const TOLD: &[&str] = &[
        "hostPath",
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "gitRepo",
        "nfs",
        "iscsi",
        "glusterfs",
        "rbd",
        "flexVolume",
        "cinder",
        "cephfs",
        "flocker",
        "fc",
        "azureFile",
        "vsphereVolume",
        "quobyte",
        "azureDisk",
        "photonPersistentDisk",
        "portworxVolume",
        "scaleIO",
        "storageos",
    ];
    // Volumes made of images came later, and are allowed.
    let is = |v: &Value, kinds: &[&'static str]| kinds.iter().copied().find(|k| v.get(k).is_some());
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in pod.spec.get("volumes").and_then(Value::as_array).into_iter().flatten() {
        if is(volume, ALLOWED).is_none() && is(volume, &["image"]).is_none() {
            names.push(text(volume, "/name"));
            kinds.insert(is(volume, TOLD).unwrap_or("unknown"));
        }
    }
    (!names.is_empty()).then(|| Violation {
        reason: "restricted volume types",
        detail: format!(
            "{} {} {} {} {}",
            plural(names.len(), "volume", "volumes"),
            quoted(&names),
            plural(names.len(), "uses", "use"),
            plural(kinds.len(), "restricted volume type", "restricted volume types"),
            quoted(kinds)
        ),
    })
}

pub(super) fn run_as_non_root(pod: Subject<'_>) -> Option<Violation> {
    let set = |v: &Value| v.pointer("/securityContext/runAsNonRoot").and_then(Value::as_bool);
    let reason = "runAsNonRoot != true";
    let explicit = named(pod, |c| set(c) == Some(false));
    if let Some(setters) = setters(set(pod.spec) == Some(false), &explicit) {
        return Some(Violation {
            reason,
            detail: format!("{setters} must not set securityContext.runAsNonRoot=false"),
        });
    }
    if set(pod.spec) == Some(true) {
        return None;
    }
    let implicit = named(pod, |c| set(c).is_none());
    (!implicit.is_empty()).then(|| Violation {
        reason,
        detail: format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&implicit)),
    })
}
pub(super) fn run_as_non_root_1_35(pod: Subject<'_>) -> Option<Violation> {
    if in_user_namespace(pod) { None } else { run_as_non_root(pod) }
}

pub(super) fn run_as_user(pod: Subject<'_>) -> Option<Violation> {
    let root = |v: &Value| v.pointer("/securityContext/runAsUser").and_then(Value::as_i64) == Some(0);
    setters(root(pod.spec), &named(pod, root))
        .map(|setters| Violation { reason: "runAsUser=0", detail: format!("{setters} must not set runAsUser=0") })
}
pub(super) fn run_as_user_1_35(pod: Subject<'_>) -> Option<Violation> {
    if in_user_namespace(pod) { None } else { run_as_user(pod) }
}

pub(super) fn seccomp_profile(pod: Subject<'_>) -> Option<Violation> {
    if let Some(explicit) = seccomp_baseline(pod) {
        return Some(explicit);
    }
    if seccomp(pod.spec).is_some() {
        return None;
    }
    let implicit = named(pod, |c| seccomp(c).is_none());
    (!implicit.is_empty()).then(|| Violation {
        reason: "seccompProfile",
        detail: format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            containers(&implicit)
        ),
    })
}
pub(super) fn seccomp_profile_1_25(pod: Subject<'_>) -> Option<Violation> {
    if is_windows(pod) { None } else { seccomp_profile(pod) }
}
