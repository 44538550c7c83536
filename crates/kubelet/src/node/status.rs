//! What is reported about the node (rule: kubelet `nodestatus/setters.go`).

use std::collections::BTreeMap;

use super::Facts;
use crate::{api::*, config::Configuration, pods::status::now};

/// What the node has, in thousandths.
pub fn capacity(config: &Configuration, facts: &Facts) -> BTreeMap<String, i64> {
    let by_cores = config.pods_per_core.checked_mul(facts.cpus).filter(|n| *n > 0).unwrap_or(i64::MAX);
    let mut out = BTreeMap::from([
        ("cpu".to_owned(), facts.cpus * 1000),
        ("memory".to_owned(), facts.memory.saturating_mul(1000)),
        ("ephemeral-storage".to_owned(), facts.disk.saturating_mul(1000)),
        ("pods".to_owned(), config.max_pods.min(by_cores) * 1000),
    ]);
    for (name, bytes) in &facts.huge_pages {
        out.insert(name.clone(), bytes * 1000);
    }
    out
}

/// What is left for pods: less what is reserved and what eviction keeps free.
pub fn allocatable(config: &Configuration, capacity: &BTreeMap<String, i64>) -> BTreeMap<String, i64> {
    let amount = |text: &str, whole: i64| -> i64 {
        match text.strip_suffix('%').and_then(|p| p.parse::<f64>().ok()) {
            Some(percent) => (whole as f64 * percent / 100.0) as i64,
            None => text.parse::<Quantity>().map_or(0, |q| q.milli_value()),
        }
    };
    let mut out = capacity.clone();
    for (name, left) in &mut out {
        let whole = *left;
        for reserved in [&config.system_reserved, &config.kube_reserved] {
            *left -= reserved.get(name).map_or(0, |text| amount(text, whole));
        }
        let signal = match name.as_str() {
            "memory" => "memory.available",
            "ephemeral-storage" => "nodefs.available",
            _ => "",
        };
        *left -= config.eviction_hard.get(signal).map_or(0, |text| amount(text, whole));
        *left = (*left).max(0);
    }
    // Huge pages are no ordinary memory.
    let huge: i64 = capacity.iter().filter(|(n, _)| n.starts_with("hugepages-")).map(|(_, v)| v).sum();
    if let Some(memory) = out.get_mut("memory") {
        *memory = (*memory - huge).max(0);
    }
    out
}

/// An amount as upstream prints it: memory in Ki where that is whole.
pub fn shown(name: &str, milli: i64) -> String {
    let whole = milli / 1000;
    match name {
        "cpu" if milli % 1000 != 0 => format!("{milli}m"),
        "memory" if whole > 0 && whole % 1024 == 0 => format!("{}Ki", whole / 1024),
        "ephemeral-storage" if whole > 0 && whole % 1024 == 0 => format!("{}Ki", whole / 1024),
        _ => whole.to_string(),
    }
}

fn amounts(map: &BTreeMap<String, i64>) -> BTreeMap<String, ApiQuantity> {
    map.iter().map(|(name, milli)| (name.clone(), ApiQuantity(shown(name, *milli)))).collect()
}

/// What the conditions are made of; a text is what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why the node cannot run pods.
    pub not_ready: Option<String>,
    /// Memory is short.
    pub memory_pressure: bool,
    /// Disk is short.
    pub disk_pressure: bool,
    /// Process ids are short.
    pub pid_pressure: bool,
}

fn conditions(old: &[NodeCondition], health: &Health) -> Vec<NodeCondition> {
    let pressure = |kind: &'static str, is: bool, yes: &'static str, no: &'static str, ymsg: &str, nmsg: &str| {
        let (reason, message) = if is { (yes, ymsg.to_owned()) } else { (no, nmsg.to_owned()) };
        (kind, is, reason, message)
    };
    let said = [
        pressure(
            "MemoryPressure",
            health.memory_pressure,
            "KubeletHasInsufficientMemory",
            "KubeletHasSufficientMemory",
            "kubelet has insufficient memory available",
            "kubelet has sufficient memory available",
        ),
        pressure(
            "DiskPressure",
            health.disk_pressure,
            "KubeletHasDiskPressure",
            "KubeletHasNoDiskPressure",
            "kubelet has disk pressure",
            "kubelet has no disk pressure",
        ),
        pressure(
            "PIDPressure",
            health.pid_pressure,
            "KubeletHasInsufficientPID",
            "KubeletHasSufficientPID",
            "kubelet has insufficient PID available",
            "kubelet has sufficient PID available",
        ),
        match &health.not_ready {
            None => ("Ready", true, "KubeletReady", "kubelet is posting ready status".to_owned()),
            Some(why) => ("Ready", false, "KubeletNotReady", why.clone()),
        },
    ];
    let mut out: Vec<NodeCondition> = said
        .into_iter()
        .map(|(kind, status, reason, message)| {
            let status = if status { "True" } else { "False" };
            let before = old.iter().find(|c| c.type_ == kind && c.status == status);
            NodeCondition {
                type_: kind.into(),
                status: status.into(),
                reason: Some(reason.into()),
                message: Some(message),
                last_heartbeat_time: Some(Time(now())),
                last_transition_time: before.and_then(|c| c.last_transition_time.clone()).or_else(|| Some(Time(now()))),
            }
        })
        .collect();
    out.extend(old.iter().filter(|c| !out_has(&c.type_)).cloned());
    out
}

fn out_has(kind: &str) -> bool {
    matches!(kind, "MemoryPressure" | "DiskPressure" | "PIDPressure" | "Ready")
}

/// What the status is made of.
pub struct Input<'a> {
    /// The node as it is known.
    pub node: &'a Node,
    /// The configuration.
    pub config: &'a Configuration,
    /// The machine.
    pub facts: &'a Facts,
    /// What it has, in thousandths.
    pub capacity: &'a BTreeMap<String, i64>,
    /// Its name.
    pub name: &'a str,
    /// Its addresses.
    pub ips: &'a [String],
    /// Images with their names and size in bytes, largest first.
    pub images: Vec<ContainerImage>,
    /// What the runtime can do.
    pub runtime: &'a steersman_cri::v1::StatusResponse,
    /// How it is.
    pub health: &'a Health,
}

/// Makes the node's status; what others own is kept.
pub fn generate(input: Input<'_>) -> NodeStatus {
    let mut status = input.node.status.clone().unwrap_or_default();
    let mut capacity = amounts(input.capacity);
    let mut allocatable_now = amounts(&allocatable(input.config, input.capacity));
    // Extended resources stay until somebody takes them back.
    for (name, amount) in status.capacity.iter().flatten() {
        capacity.entry(name.clone()).or_insert_with(|| amount.clone());
        allocatable_now.entry(name.clone()).or_insert_with(|| amount.clone());
    }
    status.capacity = Some(capacity);
    status.allocatable = Some(allocatable_now);
    let mut addresses: Vec<NodeAddress> =
        input.ips.iter().map(|ip| NodeAddress { type_: "InternalIP".into(), address: ip.clone() }).collect();
    addresses.push(NodeAddress { type_: "Hostname".into(), address: input.name.to_owned() });
    status.addresses = Some(addresses);
    let old = status.conditions.take().unwrap_or_default();
    status.conditions = Some(conditions(&old, input.health));
    status.daemon_endpoints =
        Some(NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(input.config.port) }) });
    let version = steersman_component::version::GIT_VERSION.to_owned();
    status.node_info = Some(NodeSystemInfo {
        architecture: input.facts.architecture.into(),
        boot_id: input.facts.boot_id.clone(),
        container_runtime_version: input.facts.runtime.clone(),
        kernel_version: input.facts.kernel.clone(),
        kube_proxy_version: String::new(),
        kubelet_version: version,
        machine_id: input.facts.machine_id.clone(),
        operating_system: "linux".into(),
        os_image: input.facts.os_image.clone(),
        system_uuid: input.facts.system_uuid.clone(),
        swap: Some(NodeSwapStatus { capacity: Some(input.facts.swap) }).filter(|s| s.capacity != Some(0)),
    });
    status.images = Some(input.images).filter(|i| !i.is_empty());
    status.runtime_handlers = Some(
        input
            .runtime
            .runtime_handlers
            .iter()
            .map(|h| NodeRuntimeHandler {
                name: Some(h.name.clone()),
                features: h.features.map(|f| NodeRuntimeHandlerFeatures {
                    recursive_read_only_mounts: Some(f.recursive_read_only_mounts),
                    user_namespaces: Some(f.user_namespaces),
                }),
            })
            .collect::<Vec<_>>(),
    )
    .filter(|h| !h.is_empty());
    status.features =
        input.runtime.features.map(|f| NodeFeatures { supplemental_groups_policy: Some(f.supplemental_groups_policy) });
    status
}

/// Labels that every node has.
pub fn labels(name: &str, facts: &Facts) -> BTreeMap<String, String> {
    let arch = facts.architecture;
    [
        ("beta.kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_get_what_is_not_reserved() {
        let facts = Facts { cpus: 4, memory: 8 << 30, disk: 100_000, ..Facts::default() };
        let config = Configuration {
            kube_reserved: [("cpu".to_owned(), "250m".to_owned()), ("memory".to_owned(), "1Gi".to_owned())].into(),
            ..Configuration::default()
        };
        let capacity = capacity(&config, &facts);
        let left = allocatable(&config, &capacity);
        assert_eq!(shown("cpu", left["cpu"]), "3750m");
        assert_eq!(left["memory"] / 1000, (8 << 30) - (1 << 30) - (100 << 20));
        assert_eq!((shown("pods", left["pods"]), left["ephemeral-storage"]), ("110".into(), 90_000_000));
        assert_eq!(shown("memory", capacity["memory"]), "8388608Ki");
    }

    #[test]
    fn conditions_keep_their_time_while_nothing_changes() {
        let first = conditions(&[], &Health::default());
        let foreign =
            NodeCondition { type_: "NetworkUnavailable".into(), status: "False".into(), ..Default::default() };
        let mut old = first.clone();
        old.iter_mut().for_each(|c| c.last_transition_time = Some(Time(jiff::Timestamp::UNIX_EPOCH)));
        old.push(foreign);
        let next = conditions(&old, &Health { not_ready: Some("broken".into()), ..Health::default() });
        let times: Vec<bool> =
            next.iter().map(|c| c.last_transition_time == Some(Time(jiff::Timestamp::UNIX_EPOCH))).collect();
        assert_eq!(times, [true, true, true, false, false]);
        assert_eq!(next.len(), 5);
        assert_eq!(next[3].message.as_deref(), Some("broken"));
    }
}
