//! The configuration file, `KubeletConfiguration` of `kubelet.config.k8s.io/v1beta1`, and the flags laid over it.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use steersman_component::flags::{Flags, Kind, parse_duration};

use crate::flags::DEPRECATED;

/// Every field of the file; others are mistakes.
const FIELDS: &[&str] = &[
    "enableServer",
    "staticPodPath",
    "podLogsDir",
    "syncFrequency",
    "fileCheckFrequency",
    "httpCheckFrequency",
    "staticPodURL",
    "staticPodURLHeader",
    "address",
    "port",
    "readOnlyPort",
    "tlsCertFile",
    "tlsPrivateKeyFile",
    "tlsCipherSuites",
    "tlsCurvePreferences",
    "tlsMinVersion",
    "rotateCertificates",
    "serverTLSBootstrap",
    "authentication",
    "authorization",
    "registryPullQPS",
    "registryBurst",
    "imagePullCredentialsVerificationPolicy",
    "preloadedImagesVerificationAllowlist",
    "eventRecordQPS",
    "eventBurst",
    "enableDebuggingHandlers",
    "enableContentionProfiling",
    "healthzPort",
    "healthzBindAddress",
    "oomScoreAdj",
    "clusterDomain",
    "clusterDNS",
    "streamingConnectionIdleTimeout",
    "nodeStatusUpdateFrequency",
    "nodeStatusReportFrequency",
    "nodeLeaseDurationSeconds",
    "imageMinimumGCAge",
    "imageMaximumGCAge",
    "imageGCHighThresholdPercent",
    "imageGCLowThresholdPercent",
    "volumeStatsAggPeriod",
    "kubeletCgroups",
    "systemCgroups",
    "cgroupRoot",
    "cgroupsPerQOS",
    "cgroupDriver",
    "cpuManagerPolicy",
    "singleProcessOOMKill",
    "cpuManagerPolicyOptions",
    "cpuManagerReconcilePeriod",
    "memoryManagerPolicy",
    "topologyManagerPolicy",
    "topologyManagerScope",
    "topologyManagerPolicyOptions",
    "qosReserved",
    "runtimeRequestTimeout",
    "hairpinMode",
    "maxPods",
    "podCIDR",
    "podPidsLimit",
    "resolvConf",
    "runOnce",
    "cpuCFSQuota",
    "cpuCFSQuotaPeriod",
    "nodeStatusMaxImages",
    "maxOpenFiles",
    "contentType",
    "kubeAPIQPS",
    "kubeAPIBurst",
    "serializeImagePulls",
    "maxParallelImagePulls",
    "evictionHard",
    "evictionSoft",
    "evictionSoftGracePeriod",
    "evictionPressureTransitionPeriod",
    "evictionMaxPodGracePeriod",
    "evictionMinimumReclaim",
    "mergeDefaultEvictionSettings",
    "podsPerCore",
    "enableControllerAttachDetach",
    "protectKernelDefaults",
    "makeIPTablesUtilChains",
    "iptablesMasqueradeBit",
    "iptablesDropBit",
    "featureGates",
    "failSwapOn",
    "memorySwap",
    "containerLogMaxSize",
    "containerLogMaxFiles",
    "containerLogMaxWorkers",
    "containerLogMonitorInterval",
    "configMapAndSecretChangeDetectionStrategy",
    "systemReserved",
    "kubeReserved",
    "reservedSystemCPUs",
    "showHiddenMetricsForVersion",
    "systemReservedCgroup",
    "kubeReservedCgroup",
    "enforceNodeAllocatable",
    "allowedUnsafeSysctls",
    "volumePluginDir",
    "providerID",
    "kernelMemcgNotification",
    "logging",
    "enableSystemLogHandler",
    "enableSystemLogQuery",
    "shutdownGracePeriod",
    "shutdownGracePeriodCriticalPods",
    "shutdownGracePeriodByPodPriority",
    "crashLoopBackOff",
    "reservedMemory",
    "enableProfilingHandler",
    "enableDebugFlagsHandler",
    "seccompDefault",
    "memoryThrottlingFactor",
    "memoryReservationPolicy",
    "registerWithTaints",
    "registerNode",
    "tracing",
    "localStorageCapacityIsolation",
    "containerRuntimeEndpoint",
    "imageServiceEndpoint",
    "failCgroupV1",
    "userNamespaces",
];

/// What this kubelet acts on. Fields that are valid but not acted on stay in [`Loaded::document`] alone.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)] // The names are those of the file's reference.
pub struct Configuration {
    pub static_pod_path: String,
    pub pod_logs_dir: String,
    pub sync_frequency: Span,
    pub file_check_frequency: Span,
    pub address: String,
    pub port: u16,
    pub read_only_port: u16,
    pub enable_server: bool,
    pub tls_cert_file: String,
    pub tls_private_key_file: String,
    #[serde(rename = "serverTLSBootstrap")]
    pub server_tls_bootstrap: bool,
    pub rotate_certificates: bool,
    pub authentication: Authentication,
    pub authorization: Authorization,
    pub enable_debugging_handlers: bool,
    pub healthz_port: u16,
    pub healthz_bind_address: String,
    pub cluster_domain: String,
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: Vec<String>,
    pub streaming_connection_idle_timeout: Span,
    pub node_status_update_frequency: Span,
    pub node_status_report_frequency: Span,
    pub node_lease_duration_seconds: i32,
    #[serde(rename = "imageMinimumGCAge")]
    pub image_minimum_gc_age: Span,
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: u8,
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: u8,
    pub cgroup_root: String,
    #[serde(rename = "cgroupsPerQOS")]
    pub cgroups_per_qos: bool,
    pub cgroup_driver: String,
    pub runtime_request_timeout: Span,
    pub max_pods: i64,
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    pub pod_pids_limit: i64,
    pub resolv_conf: String,
    #[serde(rename = "cpuCFSQuota")]
    pub cpu_cfs_quota: bool,
    #[serde(rename = "cpuCFSQuotaPeriod")]
    pub cpu_cfs_quota_period: Span,
    pub node_status_max_images: i64,
    pub serialize_image_pulls: bool,
    pub max_parallel_image_pulls: Option<usize>,
    pub eviction_hard: BTreeMap<String, String>,
    pub eviction_pressure_transition_period: Span,
    pub eviction_max_pod_grace_period: i64,
    pub pods_per_core: i64,
    pub enable_controller_attach_detach: bool,
    pub feature_gates: BTreeMap<String, bool>,
    pub fail_swap_on: bool,
    pub container_log_max_size: String,
    pub container_log_max_files: usize,
    pub container_log_monitor_interval: Span,
    pub system_reserved: BTreeMap<String, String>,
    pub kube_reserved: BTreeMap<String, String>,
    pub allowed_unsafe_sysctls: Vec<String>,
    #[serde(rename = "providerID")]
    pub provider_id: String,
    pub crash_loop_back_off: CrashLoopBackOff,
    pub seccomp_default: bool,
    pub register_with_taints: Vec<Taint>,
    pub register_node: bool,
    pub container_runtime_endpoint: String,
    pub image_service_endpoint: String,
    #[serde(rename = "singleProcessOOMKill")]
    pub single_process_oom_kill: Option<bool>,
    #[serde(rename = "enforceNodeAllocatable")]
    pub enforce_node_allocatable: Vec<String>,
    pub enable_system_log_handler: bool,
    pub logging: Value,
}

impl Default for Configuration {
    fn default() -> Self {
        Configuration {
            static_pod_path: String::new(),
            pod_logs_dir: "/var/log/pods".into(),
            sync_frequency: Span::seconds(60),
            file_check_frequency: Span::seconds(20),
            address: "0.0.0.0".into(),
            port: 10250,
            read_only_port: 0,
            enable_server: true,
            tls_cert_file: String::new(),
            tls_private_key_file: String::new(),
            server_tls_bootstrap: false,
            rotate_certificates: false,
            authentication: Authentication::default(),
            authorization: Authorization::default(),
            enable_debugging_handlers: true,
            healthz_port: 10248,
            healthz_bind_address: "127.0.0.1".into(),
            cluster_domain: String::new(),
            cluster_dns: Vec::new(),
            streaming_connection_idle_timeout: Span::seconds(4 * 3600),
            node_status_update_frequency: Span::seconds(10),
            node_status_report_frequency: Span::seconds(300),
            node_lease_duration_seconds: 40,
            image_minimum_gc_age: Span::seconds(120),
            image_gc_high_threshold_percent: 85,
            image_gc_low_threshold_percent: 80,
            cgroup_root: String::new(),
            cgroups_per_qos: true,
            cgroup_driver: "cgroupfs".into(),
            runtime_request_timeout: Span::seconds(120),
            max_pods: 110,
            pod_cidr: String::new(),
            pod_pids_limit: -1,
            resolv_conf: "/etc/resolv.conf".into(),
            cpu_cfs_quota: true,
            cpu_cfs_quota_period: Span(Duration::from_millis(100)),
            node_status_max_images: 50,
            serialize_image_pulls: true,
            max_parallel_image_pulls: None,
            eviction_hard: default_eviction(),
            eviction_pressure_transition_period: Span::seconds(300),
            eviction_max_pod_grace_period: 0,
            pods_per_core: 0,
            enable_controller_attach_detach: true,
            feature_gates: BTreeMap::new(),
            fail_swap_on: true,
            container_log_max_size: "10Mi".into(),
            container_log_max_files: 5,
            container_log_monitor_interval: Span::seconds(10),
            system_reserved: BTreeMap::new(),
            kube_reserved: BTreeMap::new(),
            allowed_unsafe_sysctls: Vec::new(),
            provider_id: String::new(),
            crash_loop_back_off: CrashLoopBackOff::default(),
            seccomp_default: false,
            register_with_taints: Vec::new(),
            register_node: true,
            container_runtime_endpoint: "unix:///run/containerd/containerd.sock".into(),
            image_service_endpoint: String::new(),
            single_process_oom_kill: None,
            enforce_node_allocatable: vec!["pods".into()],
            enable_system_log_handler: true,
            logging: Value::Null,
        }
    }
}

fn default_eviction() -> BTreeMap<String, String> {
    let pairs = [
        ("memory.available", "100Mi"),
        ("nodefs.available", "10%"),
        ("nodefs.inodesFree", "5%"),
        ("imagefs.available", "15%"),
        ("imagefs.inodesFree", "5%"),
    ];
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Who may ask this kubelet.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Authentication {
    pub x509: X509,
    pub webhook: WebhookAuthentication,
    pub anonymous: Anonymous,
}

impl Default for Authentication {
    fn default() -> Self {
        Authentication {
            x509: X509::default(),
            webhook: WebhookAuthentication { enabled: true, cache_ttl: Span::seconds(120) },
            anonymous: Anonymous { enabled: false },
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct X509 {
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct WebhookAuthentication {
    pub enabled: bool,
    #[serde(rename = "cacheTTL")]
    pub cache_ttl: Span,
}

impl Default for WebhookAuthentication {
    fn default() -> Self {
        Authentication::default().webhook
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Anonymous {
    pub enabled: bool,
}

/// What they may do.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Authorization {
    pub mode: String,
    pub webhook: WebhookAuthorization,
}

impl Default for Authorization {
    fn default() -> Self {
        Authorization { mode: "Webhook".into(), webhook: WebhookAuthorization::default() }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct WebhookAuthorization {
    #[serde(rename = "cacheAuthorizedTTL")]
    pub cache_authorized_ttl: Span,
    #[serde(rename = "cacheUnauthorizedTTL")]
    pub cache_unauthorized_ttl: Span,
}

impl Default for WebhookAuthorization {
    fn default() -> Self {
        WebhookAuthorization { cache_authorized_ttl: Span::seconds(300), cache_unauthorized_ttl: Span::seconds(30) }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct CrashLoopBackOff {
    pub max_container_restart_period: Option<Span>,
}

/// A taint to register the node with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: String,
}

/// A length of time in the file: a Go duration, where zero means the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Span {
    const fn seconds(n: u64) -> Self {
        Span(Duration::from_secs(n))
    }
}

impl Default for Span {
    fn default() -> Self {
        Span(Duration::ZERO)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Span).ok_or_else(|| serde::de::Error::custom(format!("invalid duration {text:?}")))
    }
}

/// The configuration in both forms.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the code reads.
    pub typed: Configuration,
    /// The document as merged from file and flags, for `/configz`.
    pub document: Value,
}

/// Reads `--config`, merges `--config-dir` and lays the flags given over them.
pub fn load(flags: &Flags) -> Result<Loaded> {
    let mut document = match flags.path("config") {
        Some(path) => read_file(&path)?,
        None => flag_only_defaults(),
    };
    if let Some(dir) = flags.path("config-dir") {
        let mut files: Vec<_> = std::fs::read_dir(&dir)
            .with_context(|| format!("failed to walk through kubelet dropin directory {:?}", dir.display()))?
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "conf"))
            .collect();
        files.sort();
        for file in files {
            merge(&mut document, read_file(&file)?);
        }
    }
    for old in DEPRECATED.iter().filter(|d| !d.field.is_empty() && flags.is_set(d.flag.name)) {
        set(&mut document, old.field, flag_value(flags, old.flag.name, old.flag.kind));
    }
    if flags.is_set("seccomp-default") {
        set(&mut document, "seccompDefault", json!(flags.bool("seccomp-default")));
    }
    if flags.is_set("provider-id") {
        set(&mut document, "providerID", json!(flags.text("provider-id")));
    }
    let gates = flags.map("feature-gates");
    for (gate, on) in &gates {
        set(&mut document, &format!("featureGates.{gate}"), json!(on == "true"));
    }
    drop_empty(&mut document);
    let typed: Configuration = serde_json::from_value(document.clone()).context("invalid kubelet configuration")?;
    validate(&typed)?;
    Ok(Loaded { typed, document })
}

/// Some defaults differ when there is no file (rule: cmd/kubelet `applyLegacyDefaults`).
fn flag_only_defaults() -> Value {
    json!({
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "readOnlyPort": 10255,
    })
}

fn read_file(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to load kubelet config file, path: {}", path.display()))?;
    let document = crate::yaml::parse(&text)
        .with_context(|| format!("failed to load kubelet config file, path: {}", path.display()))?;
    let Value::Object(fields) = &document else { bail!("{}: not a KubeletConfiguration", path.display()) };
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("kind") != "KubeletConfiguration" || text("apiVersion") != "kubelet.config.k8s.io/v1beta1" {
        bail!("{}: no kind {:?} is registered for version {:?}", path.display(), text("kind"), text("apiVersion"));
    }
    for field in fields.keys() {
        if field != "kind" && field != "apiVersion" && !FIELDS.contains(&field.as_str()) {
            bail!("{}: strict decoding error: unknown field {field:?}", path.display());
        }
    }
    Ok(document)
}

fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

fn set(document: &mut Value, path: &str, value: Value) {
    let mut at = document;
    for key in path.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(fields) = at else { return };
        at = fields.entry(key).or_insert(Value::Null);
    }
    *at = value;
}

/// Go's zero values stand for "not given": the typed form has the defaults.
fn drop_empty(document: &mut Value) {
    if let Value::Object(fields) = document {
        fields.retain(|_, v| !matches!(v, Value::Null) && v != "" && v != "0s");
        fields.values_mut().for_each(drop_empty);
    }
}

fn flag_value(flags: &Flags, name: &str, kind: Kind) -> Value {
    match (name, kind) {
        ("register-with-taints", _) => flags.list(name).iter().map(|t| taint(t)).collect(),
        // Thresholds are written `signal<value`.
        ("eviction-hard" | "eviction-soft", _) => flags
            .list(name)
            .iter()
            .filter_map(|p| p.split_once('<'))
            .map(|(k, v)| (k.to_owned(), json!(v)))
            .collect::<Map<_, _>>()
            .into(),
        (_, Kind::Bool) => json!(flags.bool(name)),
        (_, Kind::Int) => json!(flags.int(name)),
        (_, Kind::Float) => json!(flags.float(name)),
        (_, Kind::List) => json!(flags.list(name)),
        (_, Kind::Map) => flags.map(name).into_iter().map(|(k, v)| (k, json!(v))).collect::<Map<_, _>>().into(),
        (_, Kind::Text | Kind::Duration) => json!(flags.text(name)),
    }
}

/// `key=value:Effect` or `key:Effect`.
fn taint(text: &str) -> Value {
    let (pair, effect) = text.rsplit_once(':').unwrap_or((text, ""));
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    json!({"key": key, "value": value, "effect": effect})
}

fn validate(config: &Configuration) -> Result<()> {
    if !matches!(config.cgroup_driver.as_str(), "cgroupfs" | "systemd") {
        bail!(
            "invalid configuration: cgroupDriver must be \"cgroupfs\" or \"systemd\", not {:?}",
            config.cgroup_driver
        );
    }
    if config.image_gc_low_threshold_percent >= config.image_gc_high_threshold_percent {
        bail!(
            "invalid configuration: imageGCLowThresholdPercent (--image-gc-low-threshold) {} must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) {}",
            config.image_gc_low_threshold_percent,
            config.image_gc_high_threshold_percent
        );
    }
    if config.max_pods < 0 {
        bail!("invalid configuration: maxPods (--max-pods) {} must not be a negative number", config.max_pods);
    }
    if !matches!(config.authorization.mode.as_str(), "AlwaysAllow" | "Webhook") {
        bail!("invalid configuration: unknown authorization mode {}", config.authorization.mode);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use steersman_component::flags::COMMON;

    use super::*;

    fn loaded(file: &str, args: &[&str]) -> Result<Loaded> {
        let mut out = tempfile::NamedTempFile::new()?;
        out.write_all(file.as_bytes())?;
        let mut args: Vec<String> = args.iter().map(ToString::to_string).collect();
        if !file.is_empty() {
            args.push(format!("--config={}", out.path().display()));
        }
        load(&Flags::parse(&[crate::flags::table(), COMMON], args)?)
    }

    const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = format!("{HEAD}maxPods: 5\nclusterDNS: [10.0.0.10]\nsyncFrequency: 0s\ncgroupRoot: /x\n");
        let config = loaded(&file, &["--max-pods=7", "--eviction-hard=memory.available<1Gi"]).unwrap().typed;
        assert_eq!((config.max_pods, config.cgroup_root.as_str()), (7, "/x"));
        assert_eq!(config.sync_frequency, Span::seconds(60));
        assert_eq!(config.eviction_hard["memory.available"], "1Gi");
        assert!(!config.authentication.anonymous.enabled, "a file means strict defaults");
        assert!(loaded("", &[]).unwrap().typed.authentication.anonymous.enabled);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |file: String, args: &[&str], text: &str| {
            let error = format!("{:#}", loaded(&file, args).unwrap_err());
            assert!(error.contains(text), "{error}");
        };
        check(format!("{HEAD}maxPodz: 5\n"), &[], "unknown field \"maxPodz\"");
        check("kind: Pod\napiVersion: v1\n".into(), &[], "no kind \"Pod\"");
        check(format!("{HEAD}maxPods: many\n"), &[], "invalid kubelet configuration");
        check(String::new(), &["--cgroup-driver=none"], "cgroupDriver");
        check(String::new(), &["--config=/does/not/exist"], "/does/not/exist");
    }
}
