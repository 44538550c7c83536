//! Security contexts: the pod's, overlaid with the container's.

use std::path::Path;

use steersman_cri::v1::{self, NamespaceMode, security_profile::ProfileType};

use crate::{
    api::*,
    pods::spec::{PodExt, spec},
};

/// Files of the kernel that containers do not see (rule: securitycontext `defaultMaskedPaths`).
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Files of the kernel that containers may not write.
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Which namespaces are shared with whom.
pub fn namespaces(pod: &Pod, target: Option<&str>) -> v1::NamespaceOption {
    let spec = spec(pod);
    let node_or =
        |host: Option<bool>, other: NamespaceMode| if host == Some(true) { NamespaceMode::Node } else { other };
    let pid = match (target, spec.share_process_namespace) {
        (Some(_), _) => NamespaceMode::Target,
        (None, Some(true)) => NamespaceMode::Pod,
        (None, _) => node_or(spec.host_pid, NamespaceMode::Container),
    };
    v1::NamespaceOption {
        network: node_or(spec.host_network, NamespaceMode::Pod).into(),
        ipc: node_or(spec.host_ipc, NamespaceMode::Pod).into(),
        pid: pid.into(),
        target_id: target.unwrap_or_default().to_owned(),
        userns_options: None,
    }
}

fn profile(kind: ProfileType, localhost: String) -> v1::SecurityProfile {
    v1::SecurityProfile { profile_type: kind.into(), localhost_ref: localhost }
}

fn seccomp(own: Option<&SeccompProfile>, default: bool, root: &Path) -> v1::SecurityProfile {
    match own {
        Some(p) => match p.type_.as_str() {
            "RuntimeDefault" => profile(ProfileType::RuntimeDefault, String::new()),
            "Localhost" => {
                let file = root.join("seccomp").join(p.localhost_profile.as_deref().unwrap_or_default());
                profile(ProfileType::Localhost, file.to_string_lossy().into_owned())
            }
            _ => profile(ProfileType::Unconfined, String::new()),
        },
        None if default => profile(ProfileType::RuntimeDefault, String::new()),
        None => profile(ProfileType::Unconfined, String::new()),
    }
}

fn apparmor(own: Option<&AppArmorProfile>) -> Option<v1::SecurityProfile> {
    own.map(|p| match p.type_.as_str() {
        "Localhost" => profile(ProfileType::Localhost, p.localhost_profile.clone().unwrap_or_default()),
        "RuntimeDefault" => profile(ProfileType::RuntimeDefault, String::new()),
        _ => profile(ProfileType::Unconfined, String::new()),
    })
}

fn selinux(own: Option<&SELinuxOptions>) -> Option<v1::SeLinuxOption> {
    own.map(|o| v1::SeLinuxOption {
        user: o.user.clone().unwrap_or_default(),
        role: o.role.clone().unwrap_or_default(),
        r#type: o.type_.clone().unwrap_or_default(),
        level: o.level.clone().unwrap_or_default(),
    })
}

fn int(value: Option<i64>) -> Option<v1::Int64Value> {
    value.map(|value| v1::Int64Value { value })
}

fn groups_policy(pod: &PodSecurityContext) -> i32 {
    let strict = pod.supplemental_groups_policy.as_deref() == Some("Strict");
    if strict { v1::SupplementalGroupsPolicy::Strict } else { v1::SupplementalGroupsPolicy::Merge }.into()
}

fn groups(pod: &PodSecurityContext) -> Vec<i64> {
    pod.fs_group.into_iter().chain(pod.supplemental_groups.iter().flatten().copied()).collect()
}

/// The context of the sandbox. It always runs confined, whatever its containers do.
pub fn of_sandbox(pod: &Pod) -> v1::LinuxSandboxSecurityContext {
    let own = spec(pod).security_context.clone().unwrap_or_default();
    let privileged = pod
        .all_containers()
        .iter()
        .any(|(_, c)| c.security_context.as_ref().and_then(|s| s.privileged).unwrap_or(false));
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, None)),
        selinux_options: selinux(own.se_linux_options.as_ref()),
        run_as_user: int(own.run_as_user),
        run_as_group: int(own.run_as_user.and(own.run_as_group)),
        supplemental_groups: groups(&own),
        supplemental_groups_policy: groups_policy(&own),
        privileged,
        seccomp: Some(profile(ProfileType::RuntimeDefault, String::new())),
        ..Default::default()
    }
}

/// The user an image runs as: a number, or a name that only the image knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageUser {
    /// The number, if the image gives one.
    pub uid: Option<i64>,
    /// The name, if the image gives one instead.
    pub name: String,
}

/// Refuses to run as root where that was forbidden (rule: kuberuntime `verifyRunAsNonRoot`).
pub fn check_non_root(pod: &Pod, container: &Container, image: &ImageUser) -> Result<(), String> {
    let of_pod = spec(pod).security_context.as_ref();
    let own = container.security_context.as_ref();
    let wanted = own.and_then(|s| s.run_as_non_root).or_else(|| of_pod.and_then(|s| s.run_as_non_root));
    if wanted != Some(true) {
        return Ok(());
    }
    let user = own.and_then(|s| s.run_as_user).or_else(|| of_pod.and_then(|s| s.run_as_user));
    let about = format!("(pod: \"{}\", container: {})", pod.full(), container.name);
    match (user, image.uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {about}")),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(format!("container has runAsNonRoot and image will run as root {about}")),
        (None, Some(_)) => Ok(()),
        (None, None) if !image.name.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {about}",
            image.name
        )),
        (None, None) => Err(format!("container has runAsNonRoot and image will run as root {about}")),
    }
}

/// The context of a container. `target` is the id of the container whose processes an ephemeral one shall see.
pub fn of_container(
    pod: &Pod,
    container: &Container,
    image: &ImageUser,
    target: Option<&str>,
    seccomp_default: bool,
    root: &Path,
) -> v1::LinuxContainerSecurityContext {
    let of_pod = spec(pod).security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged.unwrap_or(false);
    let user = own.run_as_user.or(of_pod.run_as_user);
    let group = own.run_as_group.or(of_pod.run_as_group);
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|p| (*p).to_owned()).collect() };
    v1::LinuxContainerSecurityContext {
        capabilities: Some(v1::Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(namespaces(pod, target)),
        selinux_options: selinux(own.se_linux_options.as_ref().or(of_pod.se_linux_options.as_ref())),
        run_as_user: int(user.or(image.uid.filter(|_| image.name.is_empty()))),
        run_as_group: int(group),
        run_as_username: if user.is_none() { image.name.clone() } else { String::new() },
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: groups(&of_pod),
        supplemental_groups_policy: groups_policy(&of_pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(MASKED),
        readonly_paths: paths(READ_ONLY),
        seccomp: Some(if privileged {
            profile(ProfileType::Unconfined, String::new())
        } else {
            seccomp(own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref()), seccomp_default, root)
        }),
        apparmor: apparmor(own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref())),
        ..Default::default()
    }
}
