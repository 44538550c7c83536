//! The table of checks, and which of them a standard asks for (rule: pod-security-admission `policy/registry.go`).

use super::policy::{Level, Standard};
use super::{baseline, restricted};
use serde_json::Value;
use std::collections::BTreeSet;

/// A pod, or a template of pods: what is looked at.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) annotations: &'a Value,
    pub(super) spec: &'a Value,
}

/// Why a pod is not allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// In few words.
    pub(super) reason: &'static str,
    /// What does it; maybe empty.
    pub(super) detail: String,
}

/// Finds what one rule forbids.
pub(super) type CheckPod = fn(Subject<'_>) -> Option<Violation>;

/// One rule, as it was from which minor version on.
struct Check {
    id: &'static str,
    level: Level,
    versions: &'static [(u32, CheckPod)],
    /// The baseline check that this one makes needless.
    overrides: &'static str,
}

const fn baseline(id: &'static str, versions: &'static [(u32, CheckPod)]) -> Check {
    Check { id, level: Level::Baseline, versions, overrides: "" }
}
const fn restricted(id: &'static str, versions: &'static [(u32, CheckPod)], overrides: &'static str) -> Check {
    Check { id, level: Level::Restricted, versions, overrides }
}

/// In the order in which they are told: those of the baseline first, each part by name.
const TABLE: &[Check] = &[
    baseline("appArmorProfile", &[(0, baseline::app_armor_profile)]),
    baseline("capabilities_baseline", &[(0, baseline::capabilities)]),
    baseline("hostNamespaces", &[(0, baseline::host_namespaces)]),
    baseline("hostPathVolumes", &[(0, baseline::host_path_volumes)]),
    baseline("hostPorts", &[(0, baseline::host_ports)]),
    baseline("hostProbesAndHostLifecycle", &[(34, baseline::host_probes_and_lifecycle)]),
    baseline("privileged", &[(0, baseline::privileged)]),
    baseline("procMount_baseline", &[(0, baseline::proc_mount), (35, baseline::proc_mount_1_35)]),
    baseline("seLinuxOptions", &[(0, baseline::selinux_options), (31, baseline::selinux_options_1_31)]),
    baseline("seccompProfile_baseline", &[(0, baseline::seccomp_annotations), (19, baseline::seccomp_profile)]),
    baseline(
        "sysctls",
        &[
            (0, baseline::sysctls),
            (27, baseline::sysctls_1_27),
            (29, baseline::sysctls_1_29),
            (32, baseline::sysctls_1_32),
        ],
    ),
    baseline("windowsHostProcess", &[(0, baseline::windows_host_process)]),
    restricted(
        "allowPrivilegeEscalation",
        &[(8, restricted::allow_privilege_escalation), (25, restricted::allow_privilege_escalation_1_25)],
        "",
    ),
    restricted(
        "capabilities_restricted",
        &[(22, restricted::capabilities), (25, restricted::capabilities_1_25)],
        "capabilities_baseline",
    ),
    restricted("procMount_restricted", &[(0, baseline::proc_mount)], "procMount_baseline"),
    restricted("restrictedVolumes", &[(0, restricted::volumes)], "hostPathVolumes"),
    restricted("runAsNonRoot", &[(0, restricted::run_as_non_root), (35, restricted::run_as_non_root_1_35)], ""),
    restricted("runAsUser", &[(23, restricted::run_as_user), (35, restricted::run_as_user_1_35)], ""),
    restricted(
        "seccompProfile_restricted",
        &[(19, restricted::seccomp_profile), (25, restricted::seccomp_profile_1_25)],
        "seccompProfile_baseline",
    ),
];

/// All that a standard forbids of a pod.
pub(super) fn evaluate(standard: Standard, pod: Subject<'_>) -> Vec<Violation> {
    let minor = standard.version.0.unwrap_or(u32::MAX);
    let of_version = |c: &Check| c.versions.iter().rev().find(|(from, _)| *from <= minor).map(|(_, check)| *check);
    let wanted = |c: &&Check| c.level <= standard.level;
    let overridden: BTreeSet<&str> =
        TABLE.iter().filter(wanted).filter(|c| of_version(c).is_some()).map(|c| c.overrides).collect();
    let checks = TABLE.iter().filter(wanted).filter(|c| !overridden.contains(c.id)).filter_map(of_version);
    checks.filter_map(|check| check(pod)).collect()
}

/// Reasons with their details, as errors and warnings tell them.
pub(super) fn in_detail(violations: &[Violation]) -> String {
    let told = violations.iter().map(|v| match v.detail.as_str() {
        "" => v.reason.to_owned(),
        detail => format!("{} ({detail})", v.reason),
    });
    told.collect::<Vec<_>>().join(", ")
}

/// Reasons alone, as they are told of many pods.
pub(super) fn in_short(violations: &[Violation]) -> String {
    violations.iter().map(|v| v.reason).collect::<Vec<_>>().join(", ")
}

/// Calls `f` with every container, in the order in which they start, and its name.
pub(super) fn visit<'a>(pod: Subject<'a>, mut f: impl FnMut(&'a Value, &'a str)) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for c in crate::pods::containers(pod.spec, list) {
            f(c, c["name"].as_str().unwrap_or(""));
        }
    }
}

/// `"a", "b"`.
pub(super) fn quoted<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    items.into_iter().map(|i| format!("\"{}\"", i.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The word for one or for several.
pub(super) fn plural<'w>(count: usize, one: &'w str, several: &'w str) -> &'w str {
    if count == 1 { one } else { several }
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural(names.len(), "container", "containers"), quoted(names))
}

/// The pod, its containers, or both, that set something.
pub(super) fn setters(pod: bool, names: &[&str]) -> Option<String> {
    let own = pod.then(|| "pod".to_owned());
    let all: Vec<String> = own.into_iter().chain((!names.is_empty()).then(|| containers(names))).collect();
    (!all.is_empty()).then(|| all.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::pod_security::policy::Version;
    use serde_json::json;

    fn check(level: Level, minor: Option<u32>, annotations: Value, spec: Value, want: &str) {
        let standard = Standard { level, version: Version(minor) };
        let violations = evaluate(standard, Subject { annotations: &annotations, spec: &spec });
        assert_eq!(in_detail(&violations), want, "{standard} {annotations} {spec}");
    }

    fn baseline(spec: Value, want: &str) {
        check(Level::Baseline, None, json!({}), spec, want);
    }

    /// A pod that the strictest standard allows, with something added to its only container and to its spec.
    fn hardened(container: Value, spec: Value) -> Value {
        let mut c = json!({"name": "a", "securityContext": {
            "allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }});
        for (k, v) in container.as_object().expect("is an object") {
            if k == "securityContext" {
                for (k, v) in v.as_object().expect("is an object") {
                    c["securityContext"][k] = v.clone();
                }
            } else {
                c[k] = v.clone();
            }
        }
        let mut whole = json!({"containers": [c]});
        for (k, v) in spec.as_object().expect("is an object") {
            whole[k] = v.clone();
        }
        whole
    }

    #[test]
    fn baseline_forbids() {
        baseline(json!({"containers": [{"name": "a"}]}), "");
        baseline(
            json!({"hostNetwork": true, "hostIPC": true, "volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}]}),
            "host namespaces (hostNetwork=true, hostIPC=true), hostPath volumes (volume \"v\")",
        );
        baseline(
            json!({"containers": [
                {"name": "a", "ports": [{"hostPort": 9090}, {"hostPort": 80}, {"containerPort": 1}]},
                {"name": "b", "ports": [{"hostPort": 80}]},
            ]}),
            "hostPort (containers \"a\", \"b\" use hostPorts 80, 9090)",
        );
        baseline(
            json!({"initContainers": [{"name": "i", "securityContext": {"privileged": true, "capabilities": {"add": ["CHOWN", "SYS_TIME", "NET_ADMIN"]}}}]}),
            "non-default capabilities (container \"i\" must not include \"NET_ADMIN\", \"SYS_TIME\" in securityContext.capabilities.add), privileged (container \"i\" must not set securityContext.privileged=true)",
        );
        baseline(
            json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}, "seccompProfile": {"type": "Unconfined"}, "windowsOptions": {"hostProcess": true}},
                "containers": [{"name": "a", "securityContext": {"seccompProfile": {"type": "Unconfined"}, "windowsOptions": {"hostProcess": true}}}]}),
            "forbidden AppArmor profile (pod must not set AppArmor profile type to \"Unconfined\"), seccompProfile (pod and container \"a\" must not set securityContext.seccompProfile.type to \"Unconfined\"), hostProcess (pod and container \"a\" must not set securityContext.windowsOptions.hostProcess=true)",
        );
        baseline(
            json!({"securityContext": {"seLinuxOptions": {"type": "x_t", "user": "u"}, "sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]},
                "containers": [{"name": "a", "securityContext": {"seLinuxOptions": {"role": "r", "type": "container_engine_t"}}}]}),
            "seLinuxOptions (pod and container \"a\" set forbidden securityContext.seLinuxOptions: type \"x_t\"; user may not be set; role may not be set), forbidden sysctls (kernel.msgmax)",
        );
        baseline(
            json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "h"}}, "lifecycle": {"preStop": {"tcpSocket": {"host": "g"}}}}]}),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle hosts \"g\", \"h\")",
        );
        let unmasked = json!([{"name": "a", "securityContext": {"procMount": "Unmasked"}}]);
        baseline(
            json!({"containers": unmasked}),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        );
        baseline(json!({"hostUsers": false, "containers": unmasked}), "");
    }

    #[test]
    fn older_versions_have_their_own_rules() {
        let annotated = json!({
            "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
            "container.apparmor.security.beta.kubernetes.io/a": "unconfined",
        });
        let pod = json!({"containers": [{"name": "a", "securityContext": {"seccompProfile": {"type": "Unconfined"}}}]});
        check(
            Level::Baseline,
            Some(18),
            annotated,
            pod,
            "forbidden AppArmor profile (annotation must not set AppArmor profile type to \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\"), seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")",
        );
        let sysctl = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_keepalive_time"}]}});
        check(Level::Baseline, Some(28), json!({}), sysctl.clone(), "forbidden sysctls (net.ipv4.tcp_keepalive_time)");
        check(Level::Baseline, Some(29), json!({}), sysctl, "");
        let probed = json!({"containers": [{"name": "a", "startupProbe": {"tcpSocket": {"host": "h"}}}]});
        check(Level::Baseline, Some(33), json!({}), probed, "");
        check(
            Level::Restricted,
            Some(1),
            json!({}),
            json!({"securityContext": {"runAsNonRoot": true}, "containers": [{"name": "a"}]}),
            "",
        );
    }

    #[test]
    fn restricted_demands() {
        let restricted = |spec: Value, want: &str| check(Level::Restricted, None, json!({}), spec, want);
        restricted(hardened(json!({}), json!({})), "");
        restricted(
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers \"a\", \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
        );
        restricted(
            json!({"os": {"name": "windows"}, "containers": [{"name": "a"}]}),
            "runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true)",
        );
        restricted(
            hardened(
                json!({"securityContext": {"runAsUser": 0, "runAsNonRoot": false, "capabilities": {"add": ["SYS_TIME", "NET_BIND_SERVICE"]}}}),
                json!({"volumes": [{"name": "v", "nfs": {}}, {"name": "w", "hostPath": {}}, {"name": "x", "csi": {}}, {"name": "y", "image": {}}]}),
            ),
            "unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]; container \"a\" must not include \"SYS_TIME\" in securityContext.capabilities.add), restricted volume types (volumes \"v\", \"w\" use restricted volume types \"hostPath\", \"nfs\"), runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false), runAsUser=0 (container \"a\" must not set runAsUser=0)",
        );
        let root = json!({"securityContext": {"runAsUser": 0, "runAsNonRoot": false}});
        restricted(hardened(root.clone(), json!({"hostUsers": false})), "");
        check(
            Level::Restricted,
            Some(34),
            json!({}),
            hardened(root, json!({"hostUsers": false})),
            "runAsNonRoot != true (container \"a\" must not set securityContext.runAsNonRoot=false), runAsUser=0 (container \"a\" must not set runAsUser=0)",
        );
        restricted(
            hardened(json!({"securityContext": {"procMount": "Unmasked"}}), json!({"hostUsers": false})),
            "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")",
        );
    }
}
