//! The flags of the kubelet, in upstream's order of importance: those that stay, then those whose place is the file.

use steersman_component::flags::{Flag, Kind, flag};

/// Flags that have no field in the configuration file.
pub const CURRENT: &[Flag] = &[
    flag(
        "Kubelet",
        "bootstrap-kubeconfig",
        Kind::Text,
        "",
        "File whose credentials are used to ask for a client certificate while --kubeconfig does not exist.",
    ),
    flag(
        "Kubelet",
        "cert-dir",
        Kind::Text,
        "/var/lib/kubelet/pki",
        "Folder of the certificates this node makes or is given.",
    ),
    flag("Kubelet", "cloud-provider", Kind::Text, "", "The cloud provider; empty or \"external\"."),
    flag("Kubelet", "config", Kind::Text, "", "File with the KubeletConfiguration; flags win over it."),
    flag(
        "Kubelet",
        "config-dir",
        Kind::Text,
        "",
        "Folder of drop-in files (*.conf) that are merged over --config in the order of their names.",
    ),
    flag("Kubelet", "exit-on-lock-contention", Kind::Bool, "false", "Exit when somebody else wants the lock file."),
    flag(
        "Kubelet",
        "fail-cgroupv1",
        Kind::Bool,
        "true",
        "Refuse to run on cgroup v1 (accepted; both versions are served).",
    ),
    flag("Kubelet", "hostname-override", Kind::Text, "", "The name of the node, instead of the host name."),
    flag("Kubelet", "image-credential-provider-bin-dir", Kind::Text, "", "Folder of credential provider plug-ins."),
    flag(
        "Kubelet",
        "image-credential-provider-config",
        Kind::Text,
        "",
        "File or folder that configures credential provider plug-ins.",
    ),
    flag(
        "Kubelet",
        "housekeeping-interval",
        Kind::Duration,
        "10s",
        "Interval between housekeepings of container statistics.",
    ),
    flag(
        "Kubelet",
        "kubeconfig",
        Kind::Text,
        "",
        "File with address and credentials of the API server; without it the kubelet runs on its own.",
    ),
    flag("Kubelet", "lock-file", Kind::Text, "", "File that is locked while the kubelet runs."),
    flag(
        "Kubelet",
        "max-housekeeping-interval",
        Kind::Duration,
        "15s",
        "Longest interval between housekeepings of container statistics.",
    ),
    flag("Kubelet", "node-ip", Kind::Text, "", "The address of the node (or two, comma-separated, for dual-stack)."),
    flag("Kubelet", "node-labels", Kind::Map, "", "Labels that the node is registered with."),
    flag("Kubelet", "provider-id", Kind::Text, "", "How a cloud provider identifies the node."),
    flag(
        "Kubelet",
        "root-dir",
        Kind::Text,
        "/var/lib/kubelet",
        "Folder of the kubelet's files: volumes, plug-ins, checkpoints.",
    ),
    flag("Kubelet", "runtime-cgroups", Kind::Text, "", "Cgroup that the container runtime runs in."),
    flag(
        "Kubelet",
        "seccomp-default",
        Kind::Bool,
        "false",
        "Use RuntimeDefault as the seccomp profile of all workloads.",
    ),
];

/// A flag that the configuration file replaces; `field` is its path there, or empty if the flag has no effect.
pub struct Deprecated {
    /// The flag.
    pub flag: Flag,
    /// Where the value belongs in the KubeletConfiguration.
    pub field: &'static str,
}

const fn old(name: &'static str, kind: Kind, default: &'static str, field: &'static str) -> Deprecated {
    let help = "DEPRECATED: set it in the file given by --config.";
    Deprecated { flag: flag("Deprecated", name, kind, default, help), field }
}

/// Flags that the configuration file replaces.
pub const DEPRECATED: &[Deprecated] = &[
    old("address", Kind::Text, "0.0.0.0", "address"),
    old("allowed-unsafe-sysctls", Kind::List, "", "allowedUnsafeSysctls"),
    old("anonymous-auth", Kind::Bool, "true", "authentication.anonymous.enabled"),
    old("application-metrics-count-limit", Kind::Int, "100", ""),
    old("authentication-token-webhook", Kind::Bool, "false", "authentication.webhook.enabled"),
    old("authentication-token-webhook-cache-ttl", Kind::Duration, "2m0s", "authentication.webhook.cacheTTL"),
    old("authorization-mode", Kind::Text, "AlwaysAllow", "authorization.mode"),
    old(
        "authorization-webhook-cache-authorized-ttl",
        Kind::Duration,
        "5m0s",
        "authorization.webhook.cacheAuthorizedTTL",
    ),
    old(
        "authorization-webhook-cache-unauthorized-ttl",
        Kind::Duration,
        "30s",
        "authorization.webhook.cacheUnauthorizedTTL",
    ),
    old("boot-id-file", Kind::Text, "/proc/sys/kernel/random/boot_id", ""),
    old("cgroup-driver", Kind::Text, "cgroupfs", "cgroupDriver"),
    old("cgroup-root", Kind::Text, "", "cgroupRoot"),
    old("cgroups-per-qos", Kind::Bool, "true", "cgroupsPerQOS"),
    old("client-ca-file", Kind::Text, "", "authentication.x509.clientCAFile"),
    old("cluster-dns", Kind::List, "", "clusterDNS"),
    old("cluster-domain", Kind::Text, "", "clusterDomain"),
    old("container-hints", Kind::Text, "/etc/cadvisor/container_hints.json", ""),
    old("container-log-max-files", Kind::Int, "5", "containerLogMaxFiles"),
    old("container-log-max-size", Kind::Text, "10Mi", "containerLogMaxSize"),
    old("container-runtime-endpoint", Kind::Text, "unix:///run/containerd/containerd.sock", "containerRuntimeEndpoint"),
    old("containerd", Kind::Text, "/run/containerd/containerd.sock", ""),
    old("containerd-namespace", Kind::Text, "k8s.io", ""),
    old("contention-profiling", Kind::Bool, "false", "enableContentionProfiling"),
    old("cpu-cfs-quota", Kind::Bool, "true", "cpuCFSQuota"),
    old("cpu-cfs-quota-period", Kind::Duration, "100ms", "cpuCFSQuotaPeriod"),
    old("cpu-manager-policy", Kind::Text, "none", "cpuManagerPolicy"),
    old("cpu-manager-policy-options", Kind::Map, "", "cpuManagerPolicyOptions"),
    old("cpu-manager-reconcile-period", Kind::Duration, "10s", "cpuManagerReconcilePeriod"),
    old("enable-controller-attach-detach", Kind::Bool, "true", "enableControllerAttachDetach"),
    old("enable-debugging-handlers", Kind::Bool, "true", "enableDebuggingHandlers"),
    old("enable-load-reader", Kind::Bool, "false", ""),
    old("enable-server", Kind::Bool, "true", "enableServer"),
    old("enforce-node-allocatable", Kind::List, "pods", "enforceNodeAllocatable"),
    old("event-burst", Kind::Int, "100", "eventBurst"),
    old("event-qps", Kind::Int, "50", "eventRecordQPS"),
    old("event-storage-age-limit", Kind::Text, "default=0", ""),
    old("event-storage-event-limit", Kind::Text, "default=0", ""),
    old("eviction-hard", Kind::Map, "", "evictionHard"),
    old("eviction-max-pod-grace-period", Kind::Int, "0", "evictionMaxPodGracePeriod"),
    old("eviction-minimum-reclaim", Kind::Map, "", "evictionMinimumReclaim"),
    old("eviction-pressure-transition-period", Kind::Duration, "5m0s", "evictionPressureTransitionPeriod"),
    old("eviction-soft", Kind::Map, "", "evictionSoft"),
    old("eviction-soft-grace-period", Kind::Map, "", "evictionSoftGracePeriod"),
    old("experimental-allocatable-ignore-eviction", Kind::Bool, "false", ""),
    old("experimental-mounter-path", Kind::Text, "", ""),
    old("fail-swap-on", Kind::Bool, "true", "failSwapOn"),
    old("file-check-frequency", Kind::Duration, "20s", "fileCheckFrequency"),
    old("global-housekeeping-interval", Kind::Duration, "1m0s", ""),
    old("hairpin-mode", Kind::Text, "promiscuous-bridge", "hairpinMode"),
    old("healthz-bind-address", Kind::Text, "127.0.0.1", "healthzBindAddress"),
    old("healthz-port", Kind::Int, "10248", "healthzPort"),
    old("http-check-frequency", Kind::Duration, "20s", "httpCheckFrequency"),
    old("image-gc-high-threshold", Kind::Int, "85", "imageGCHighThresholdPercent"),
    old("image-gc-low-threshold", Kind::Int, "80", "imageGCLowThresholdPercent"),
    old("image-service-endpoint", Kind::Text, "", "imageServiceEndpoint"),
    old("kernel-memcg-notification", Kind::Bool, "false", "kernelMemcgNotification"),
    old("kube-api-burst", Kind::Int, "100", "kubeAPIBurst"),
    old("kube-api-content-type", Kind::Text, "application/vnd.kubernetes.protobuf", "contentType"),
    old("kube-api-qps", Kind::Int, "50", "kubeAPIQPS"),
    old("kube-reserved", Kind::Map, "", "kubeReserved"),
    old("kube-reserved-cgroup", Kind::Text, "", "kubeReservedCgroup"),
    old("kubelet-cgroups", Kind::Text, "", "kubeletCgroups"),
    old("local-storage-capacity-isolation", Kind::Bool, "true", "localStorageCapacityIsolation"),
    old("log-cadvisor-usage", Kind::Bool, "false", ""),
    old("machine-id-file", Kind::Text, "/etc/machine-id,/var/lib/dbus/machine-id", ""),
    old("make-iptables-util-chains", Kind::Bool, "true", "makeIPTablesUtilChains"),
    old("manifest-url", Kind::Text, "", "staticPodURL"),
    old("manifest-url-header", Kind::Map, "", "staticPodURLHeader"),
    old("max-open-files", Kind::Int, "1000000", "maxOpenFiles"),
    old("max-pods", Kind::Int, "110", "maxPods"),
    old("maximum-dead-containers", Kind::Int, "-1", ""),
    old("maximum-dead-containers-per-container", Kind::Int, "1", ""),
    old("memory-manager-policy", Kind::Text, "None", "memoryManagerPolicy"),
    old("minimum-container-ttl-duration", Kind::Duration, "0s", ""),
    old("minimum-image-ttl-duration", Kind::Duration, "2m0s", "imageMinimumGCAge"),
    old("node-status-max-images", Kind::Int, "50", "nodeStatusMaxImages"),
    old("node-status-update-frequency", Kind::Duration, "10s", "nodeStatusUpdateFrequency"),
    old("oom-score-adj", Kind::Int, "-999", "oomScoreAdj"),
    old("pod-cidr", Kind::Text, "", "podCIDR"),
    old("pod-manifest-path", Kind::Text, "", "staticPodPath"),
    old("pod-max-pids", Kind::Int, "-1", "podPidsLimit"),
    old("pods-per-core", Kind::Int, "0", "podsPerCore"),
    old("port", Kind::Int, "10250", "port"),
    old("protect-kernel-defaults", Kind::Bool, "false", "protectKernelDefaults"),
    old("qos-reserved", Kind::Map, "", "qosReserved"),
    old("read-only-port", Kind::Int, "10255", "readOnlyPort"),
    old("register-node", Kind::Bool, "true", "registerNode"),
    old("register-with-taints", Kind::List, "", "registerWithTaints"),
    old("registry-burst", Kind::Int, "10", "registryBurst"),
    old("registry-qps", Kind::Int, "5", "registryPullQPS"),
    old("reserved-cpus", Kind::Text, "", "reservedSystemCPUs"),
    old("reserved-memory", Kind::Text, "", "reservedMemory"),
    old("resolv-conf", Kind::Text, "/etc/resolv.conf", "resolvConf"),
    old("rotate-certificates", Kind::Bool, "false", "rotateCertificates"),
    old("rotate-server-certificates", Kind::Bool, "false", "serverTLSBootstrap"),
    old("runonce", Kind::Bool, "false", "runOnce"),
    old("runtime-request-timeout", Kind::Duration, "2m0s", "runtimeRequestTimeout"),
    old("serialize-image-pulls", Kind::Bool, "true", "serializeImagePulls"),
    old("storage-driver-buffer-duration", Kind::Duration, "1m0s", ""),
    old("storage-driver-db", Kind::Text, "cadvisor", ""),
    old("storage-driver-host", Kind::Text, "localhost:8086", ""),
    old("storage-driver-password", Kind::Text, "root", ""),
    old("storage-driver-secure", Kind::Bool, "false", ""),
    old("storage-driver-table", Kind::Text, "stats", ""),
    old("storage-driver-user", Kind::Text, "root", ""),
    old("streaming-connection-idle-timeout", Kind::Duration, "4h0m0s", "streamingConnectionIdleTimeout"),
    old("sync-frequency", Kind::Duration, "1m0s", "syncFrequency"),
    old("system-cgroups", Kind::Text, "", "systemCgroups"),
    old("system-reserved", Kind::Map, "", "systemReserved"),
    old("system-reserved-cgroup", Kind::Text, "", "systemReservedCgroup"),
    old("tls-cert-file", Kind::Text, "", "tlsCertFile"),
    old("tls-cipher-suites", Kind::List, "", "tlsCipherSuites"),
    old("tls-min-version", Kind::Text, "", "tlsMinVersion"),
    old("tls-private-key-file", Kind::Text, "", "tlsPrivateKeyFile"),
    old("topology-manager-policy", Kind::Text, "none", "topologyManagerPolicy"),
    old("topology-manager-policy-options", Kind::Map, "", "topologyManagerPolicyOptions"),
    old("topology-manager-scope", Kind::Text, "container", "topologyManagerScope"),
    old("volume-plugin-dir", Kind::Text, "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/", "volumePluginDir"),
    old("volume-stats-agg-period", Kind::Duration, "1m0s", "volumeStatsAggPeriod"),
];

/// All flags of the kubelet but the ones every component has, as one table for the parser.
pub fn table() -> &'static [Flag] {
    static TABLE: std::sync::OnceLock<Vec<Flag>> = std::sync::OnceLock::new();
    let copy = |f: &Flag| flag(f.group, f.name, f.kind, f.default, f.help);
    TABLE.get_or_init(|| CURRENT.iter().chain(DEPRECATED.iter().map(|d| &d.flag)).map(copy).collect())
}

#[cfg(test)]
mod tests {
    use steersman_component::flags::{COMMON, Flags};

    use super::*;

    #[test]
    fn every_flag_of_upstream_is_accepted_once() {
        let mut names: Vec<&str> = table().iter().chain(COMMON).map(|f| f.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 150);
        let defaults = table().iter().filter(|f| !f.default.is_empty()).map(|f| format!("--{}={}", f.name, f.default));
        Flags::parse(&[table(), COMMON], defaults).expect("every default is a valid value");
    }
}
