//! The messages that create a sandbox and its containers. Pure: everything that needs IO is handed in.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use steersman_cri::v1;

use super::{
    dns,
    expand::expand,
    resources,
    security::{self, ImageUser},
};
use crate::{
    api::*,
    config::Configuration,
    names::{Folders, annotation, label, log_path},
    pods::spec::{PodExt, spec},
};

/// Hash of what restarts a container when it changes: its name and image (rule: kubecontainer `HashContainer`, which is
/// 32-bit FNV-1a over JSON).
pub fn hash(container: &Container) -> String {
    let picked =
        BTreeMap::from([("image", container.image.as_deref().unwrap_or_default()), ("name", container.name.as_str())]);
    let json = serde_json::to_vec(&picked).unwrap_or_default();
    let hash = json.iter().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    format!("{hash:x}")
}

fn pod_labels(pod: &Pod) -> HashMap<String, String> {
    let own = pod.metadata.labels.iter().flatten().map(|(k, v)| (k.clone(), v.clone()));
    let mut labels: HashMap<String, String> = own.collect();
    labels.insert(label::POD_NAME.into(), pod.name().into());
    labels.insert(label::POD_NAMESPACE.into(), pod.ns().into());
    labels.insert(label::POD_UID.into(), pod.uid().into());
    labels
}

/// The configuration of a pod's n-th sandbox.
pub fn sandbox(
    pod: &Pod,
    attempt: u32,
    config: &Configuration,
    folders: &Folders,
    cgroup_parent: &str,
    host_resolv: &str,
) -> v1::PodSandboxConfig {
    let spec = spec(pod);
    let (name, _) = dns::hostname(pod, config.cluster_domain.trim_matches('.'));
    let hostname = if pod.host_network() { String::new() } else { name };
    let mut annotations: HashMap<String, String> =
        pod.metadata.annotations.iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    let port_mappings = pod
        .all_containers()
        .iter()
        .flat_map(|(_, c)| c.ports.iter().flatten())
        .filter(|p| p.host_port.unwrap_or(0) > 0 && !pod.host_network())
        .map(|p| v1::PortMapping {
            protocol: match p.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp,
                Some("SCTP") => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            }
            .into(),
            container_port: p.container_port,
            host_port: p.host_port.unwrap_or(0),
            host_ip: p.host_ip.clone().unwrap_or_default(),
        })
        .collect();
    let sysctls = spec.security_context.iter().flat_map(|s| s.sysctls.iter().flatten());
    let limits = resources::of_pod(pod, config);
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: pod.name().into(),
            uid: pod.uid().into(),
            namespace: pod.ns().into(),
            attempt,
        }),
        hostname,
        log_directory: folders.logs(pod.ns(), pod.name(), pod.uid()).to_string_lossy().into_owned(),
        dns_config: Some(dns::of_pod(pod, config, host_resolv)),
        port_mappings,
        labels: pod_labels(pod),
        annotations,
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent.to_owned(),
            security_context: Some(security::of_sandbox(pod)),
            sysctls: sysctls.map(|s| (s.name.clone(), s.value.clone())).collect(),
            overhead: None,
            resources: Some(v1::LinuxContainerResources {
                cpu_shares: limits.shares,
                cpu_quota: limits.quota.unwrap_or(0),
                cpu_period: limits.period,
                memory_limit_in_bytes: limits.memory.unwrap_or(0),
                ..Default::default()
            }),
        }),
    }
}

/// What a container needs beyond its specification.
pub struct ContainerInput<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// How often it was restarted before.
    pub restarts: u32,
    /// The image as the runtime knows it.
    pub image_ref: &'a str,
    /// Who the image runs as.
    pub user: &'a ImageUser,
    /// The environment, in order.
    pub env: Vec<(String, String)>,
    /// What is mounted.
    pub mounts: Vec<v1::Mount>,
    /// Id of the container whose processes are shared, for ephemeral containers.
    pub target: Option<&'a str>,
    /// Memory of the node in bytes.
    pub node_memory: i64,
    /// Whether cgroup v2 is in use.
    pub unified: bool,
}

/// The configuration of a container.
pub fn container(input: ContainerInput<'_>, config: &Configuration, root: &Path) -> v1::ContainerConfig {
    let (pod, c) = (input.pod, input.container);
    let values: BTreeMap<String, String> = input.env.iter().cloned().collect();
    let expanded = |list: &Option<Vec<String>>| list.iter().flatten().map(|t| expand(t, &values)).collect();
    let grace = spec(pod).termination_grace_period_seconds.unwrap_or(30);
    let mut annotations = HashMap::from([
        (annotation::HASH.to_owned(), hash(c)),
        (annotation::RESTART_COUNT.to_owned(), input.restarts.to_string()),
        (
            annotation::TERMINATION_PATH.to_owned(),
            c.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".into()),
        ),
        (
            annotation::TERMINATION_POLICY.to_owned(),
            c.termination_message_policy.clone().unwrap_or_else(|| "File".into()),
        ),
        (annotation::GRACE.to_owned(), grace.to_string()),
    ]);
    if let Some(hook) = c.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) {
        annotations.insert(annotation::PRE_STOP.to_owned(), serde_json::to_string(hook).unwrap_or_default());
    }
    let mut labels = HashMap::from([
        (label::POD_NAME.to_owned(), pod.name().to_owned()),
        (label::POD_NAMESPACE.to_owned(), pod.ns().to_owned()),
        (label::POD_UID.to_owned(), pod.uid().to_owned()),
    ]);
    labels.insert(label::CONTAINER_NAME.to_owned(), c.name.clone());
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: c.name.clone(), attempt: input.restarts }),
        image: Some(v1::ImageSpec {
            image: input.image_ref.to_owned(),
            user_specified_image: c.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expanded(&c.command),
        args: expanded(&c.args),
        working_dir: c.working_dir.clone().unwrap_or_default(),
        envs: input.env.into_iter().map(|(key, value)| v1::KeyValue { key, value }).collect(),
        mounts: input.mounts,
        labels,
        annotations,
        log_path: log_path(&c.name, input.restarts),
        stdin: c.stdin.unwrap_or(false),
        stdin_once: c.stdin_once.unwrap_or(false),
        tty: c.tty.unwrap_or(false),
        stop_signal: c
            .lifecycle
            .as_ref()
            .and_then(|l| l.stop_signal.as_deref())
            .and_then(v1::Signal::from_str_name)
            .unwrap_or(v1::Signal::RuntimeDefault)
            .into(),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources::of_container(pod, c, config, input.node_memory, input.unified)),
            security_context: Some(security::of_container(
                pod,
                c,
                input.user,
                input.target,
                config.seccomp_default,
                root,
            )),
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [{
                "name": "c", "image": "img:1", "command": ["$(GREETING)", "$(NONE)"],
                "ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}],
                "securityContext": {"runAsUser": 7, "allowPrivilegeEscalation": false,
                    "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}},
                "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}}]}
        }))
        .unwrap()
    }

    #[test]
    fn a_container_carries_what_its_specification_says() {
        let pod = pod();
        let (_, c) = pod.find_container("c").unwrap();
        let input = ContainerInput {
            pod: &pod,
            container: &c,
            restarts: 2,
            image_ref: "sha256:1",
            user: &ImageUser::default(),
            env: vec![("GREETING".into(), "hello".into())],
            mounts: Vec::new(),
            target: None,
            node_memory: 1 << 30,
            unified: false,
        };
        let config = container(input, &Configuration::default(), Path::new("/r"));
        assert_eq!(config.command, ["hello", "$(NONE)"]);
        assert_eq!(config.log_path, "c/2.log");
        assert_eq!(config.annotations[annotation::RESTART_COUNT], "2");
        let linux = config.linux.unwrap();
        let resources = linux.resources.unwrap();
        assert_eq!(
            (resources.cpu_quota, resources.cpu_shares, resources.memory_limit_in_bytes),
            (50_000, 512, 64 << 20)
        );
        assert_eq!(resources.oom_score_adj, -997);
        let security = linux.security_context.unwrap();
        assert!(security.no_new_privs);
        assert_eq!(security.run_as_user.unwrap().value, 7);
        assert_eq!(security.capabilities.unwrap().drop_capabilities, ["ALL"]);
    }

    #[test]
    fn a_sandbox_maps_host_ports() {
        let folders = Folders::new(Path::new("/r"), Path::new("/l/pods"));
        let config = sandbox(&pod(), 1, &Configuration::default(), &folders, "/kubepods/podu", "");
        assert_eq!(config.log_directory, "/l/pods/n_p_u");
        assert_eq!(config.hostname, "p");
        assert_eq!(config.port_mappings.iter().map(|p| p.host_port).collect::<Vec<_>>(), [8080]);
        assert_eq!(config.linux.unwrap().cgroup_parent, "/kubepods/podu");
    }
}
