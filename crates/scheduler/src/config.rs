//! The configuration file, `KubeSchedulerConfiguration` of `kubescheduler.config.k8s.io/v1`, over the flags.

use crate::queue::Times;
use crate::scheduler::{Profile, Settings};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use steersman_client::LeaderElectionConfig;
use steersman_component::flags::{Flags, parse_duration};

const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";
const DEFAULT_SCHEDULER: &str = "default-scheduler";
/// The leader must be able to try again before its deadline.
const JITTER: f64 = 1.2;

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    parallelism: Option<i64>,
    leader_election: LeaderElection,
    client_connection: ClientConnection,
    enable_profiling: Option<bool>,
    enable_contention_profiling: Option<bool>,
    percentage_of_nodes_to_score: Option<i64>,
    pod_initial_backoff_seconds: Option<i64>,
    pod_max_backoff_seconds: Option<i64>,
    profiles: Vec<FileProfile>,
    extenders: Vec<Value>,
    delay_cache_until_active: Option<bool>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct LeaderElection {
    leader_elect: Option<bool>,
    lease_duration: Option<String>,
    renew_deadline: Option<String>,
    retry_period: Option<String>,
    resource_lock: Option<String>,
    resource_name: Option<String>,
    resource_namespace: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct ClientConnection {
    kubeconfig: String,
    accept_content_types: String,
    content_type: String,
    qps: Option<f64>,
    burst: Option<i64>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct FileProfile {
    scheduler_name: Option<String>,
    percentage_of_nodes_to_score: Option<i64>,
    plugins: Option<Value>,
    plugin_config: Option<Value>,
}

/// All that the process needs to know.
#[derive(Debug)]
pub struct Config {
    /// Path of the kubeconfig; empty for none.
    pub kubeconfig: String,
    /// The election; `None`: lead without one.
    pub election: Option<LeaderElectionConfig>,
    /// For the scheduling loop.
    pub settings: Settings,
    /// As `/configz` shows it.
    pub shown: Value,
}

impl Config {
    /// From the flags and, if they name one, the file.
    pub fn load(flags: &Flags) -> anyhow::Result<Self> {
        let text = match flags.path("config") {
            Some(path) => Some(read(&path)?),
            None => None,
        };
        Self::build(flags, text.as_deref())
    }

    fn build(flags: &Flags, text: Option<&str>) -> anyhow::Result<Self> {
        let file: File = match text {
            Some(text) => serde_saphyr::from_str(text).context("couldn't decode the configuration")?,
            None => File { api_version: API_VERSION.to_owned(), kind: KIND.to_owned(), ..File::default() },
        };
        if file.api_version != API_VERSION || file.kind != KIND {
            bail!("no kind \"{}\" is registered for version \"{}\"", file.kind, file.api_version);
        }
        if !file.extenders.is_empty() {
            bail!("extenders are not supported");
        }
        let parallelism = file.parallelism.unwrap_or(16);
        if parallelism <= 0 {
            bail!("parallelism: Invalid value: {parallelism}: should be an integer value greater than zero");
        }
        let percentage = percentage("percentageOfNodesToScore", file.percentage_of_nodes_to_score)?.unwrap_or(0);
        let seconds =
            |n: Option<i64>, default: i64| Duration::from_secs(u64::try_from(n.unwrap_or(default)).unwrap_or(0));
        let times = Times {
            initial_backoff: seconds(file.pod_initial_backoff_seconds, 1),
            max_backoff: seconds(file.pod_max_backoff_seconds, 10),
            max_unschedulable: flags.duration("pod-max-in-unschedulable-pods-duration"),
        };
        if times.initial_backoff.is_zero() {
            bail!("podInitialBackoffSeconds: Invalid value: must be greater than 0");
        }
        if times.max_backoff < times.initial_backoff {
            bail!("podMaxBackoffSeconds: Invalid value: must be greater than or equal to PodInitialBackoffSeconds");
        }
        let profiles = profiles(&file.profiles, percentage)?;
        let kubeconfig = match (text, file.client_connection.kubeconfig.as_str()) {
            (Some(_), path) if !path.is_empty() => path.to_owned(),
            _ => flags.text("kubeconfig").to_owned(),
        };
        let election = election(flags, &file.leader_election)?;
        let shown = shown(election.as_ref(), &kubeconfig, parallelism, percentage, &times, &profiles);
        Ok(Self { kubeconfig, election, settings: Settings { profiles, times }, shown })
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("open {}", path.display()))
}

fn percentage(path: &str, value: Option<i64>) -> anyhow::Result<Option<usize>> {
    match value {
        Some(n) if !(0..=100).contains(&n) => bail!("{path}: Invalid value: {n}: not in valid range [0-100]"),
        Some(n) => Ok(usize::try_from(n).ok()),
        None => Ok(None),
    }
}

fn profiles(given: &[FileProfile], default: usize) -> anyhow::Result<Vec<Profile>> {
    let mut out: Vec<Profile> = Vec::new();
    for (i, profile) in given.iter().enumerate() {
        let name = match &profile.scheduler_name {
            Some(name) => name.clone(),
            None if given.len() == 1 => DEFAULT_SCHEDULER.to_owned(),
            None => bail!("profiles[{i}].schedulerName: Required value"),
        };
        if out.iter().any(|p| p.name == name) {
            bail!("profiles[{i}].schedulerName: Duplicate value: \"{name}\"");
        }
        if profile.plugins.is_some() || profile.plugin_config.is_some() {
            tracing::warn!(profile = name, "plugins and pluginConfig are not supported: the default plug-ins run");
        }
        let path = format!("profiles[{i}].percentageOfNodesToScore");
        let percentage = percentage(&path, profile.percentage_of_nodes_to_score)?.unwrap_or(default);
        out.push(Profile { name, percentage });
    }
    if out.is_empty() {
        out.push(Profile { name: DEFAULT_SCHEDULER.to_owned(), percentage: default });
    }
    Ok(out)
}

/// Flags that are given win over the file, as upstream has it for leader election.
fn election(flags: &Flags, file: &LeaderElection) -> anyhow::Result<Option<LeaderElectionConfig>> {
    let text = |flag: &str, in_file: &Option<String>| match in_file {
        Some(text) if !flags.is_set(flag) => text.clone(),
        _ => flags.text(flag).to_owned(),
    };
    let on = match file.leader_elect {
        Some(on) if !flags.is_set("leader-elect") => on,
        _ => flags.bool("leader-elect"),
    };
    if !on {
        return Ok(None);
    }
    let duration = |flag: &str, in_file: &Option<String>| {
        let text = text(flag, in_file);
        parse_duration(&text).with_context(|| format!("time: invalid duration {text:?}"))
    };
    let lock = text("leader-elect-resource-lock", &file.resource_lock);
    if lock != "leases" {
        bail!("leaderElection.resourceLock: Invalid value: \"{lock}\": resourceLock value must be \"leases\"");
    }
    let namespace = text("leader-elect-resource-namespace", &file.resource_namespace);
    let name = text("leader-elect-resource-name", &file.resource_name);
    let config = LeaderElectionConfig {
        lease_duration: duration("leader-elect-lease-duration", &file.lease_duration)?,
        renew_deadline: duration("leader-elect-renew-deadline", &file.renew_deadline)?,
        retry_period: duration("leader-elect-retry-period", &file.retry_period)?,
        ..LeaderElectionConfig::new(&namespace, &name)
    };
    if config.lease_duration <= config.renew_deadline {
        bail!("leaseDuration must be greater than renewDeadline");
    }
    if config.renew_deadline <= config.retry_period.mul_f64(JITTER) {
        bail!("renewDeadline must be greater than retryPeriod*JitterFactor");
    }
    Ok(Some(config))
}

fn shown(
    election: Option<&LeaderElectionConfig>,
    kubeconfig: &str,
    parallelism: i64,
    percentage: usize,
    times: &Times,
    profiles: &[Profile],
) -> Value {
    let seconds = |d: Duration| format!("{}s", d.as_secs_f64());
    let leader = match election {
        None => json!({"leaderElect": false}),
        Some(e) => json!({
            "leaderElect": true,
            "leaseDuration": seconds(e.lease_duration),
            "renewDeadline": seconds(e.renew_deadline),
            "retryPeriod": seconds(e.retry_period),
            "resourceLock": "leases",
            "resourceName": e.name,
            "resourceNamespace": e.namespace,
        }),
    };
    let profiles: Vec<Value> =
        profiles.iter().map(|p| json!({"schedulerName": p.name, "percentageOfNodesToScore": p.percentage})).collect();
    json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        "clientConnection": {"kubeconfig": kubeconfig},
        "leaderElection": leader,
        "parallelism": parallelism,
        "percentageOfNodesToScore": percentage,
        "podInitialBackoffSeconds": times.initial_backoff.as_secs(),
        "podMaxBackoffSeconds": times.max_backoff.as_secs(),
        "profiles": profiles,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FLAGS;
    use steersman_component::flags::COMMON;

    fn build(args: &[&str], file: Option<&str>) -> anyhow::Result<Config> {
        let flags = Flags::parse(&[FLAGS, COMMON], args.iter().map(ToString::to_string)).expect("flags");
        let head = format!("apiVersion: {API_VERSION}\nkind: {KIND}\n");
        Config::build(&flags, file.map(|f| head + f).as_deref())
    }

    #[test]
    fn defaults_and_files() {
        let config = build(&["--kubeconfig=a"], None).expect("defaults");
        assert_eq!(config.kubeconfig, "a");
        assert_eq!(config.settings.profiles, [Profile { name: DEFAULT_SCHEDULER.into(), percentage: 0 }]);
        assert_eq!(config.election.expect("on").name, "kube-scheduler");
        let file = "clientConnection: {kubeconfig: b}\nleaderElection: {leaderElect: false}\npercentageOfNodesToScore: 40\n\
                    podMaxBackoffSeconds: 3\nprofiles: [{schedulerName: one}, {schedulerName: two, percentageOfNodesToScore: 7}]";
        let config = build(&["--kubeconfig=a"], Some(file)).expect("a file");
        assert_eq!(config.kubeconfig, "b");
        assert!(config.election.is_none());
        let names: Vec<_> = config.settings.profiles.iter().map(|p| (p.name.as_str(), p.percentage)).collect();
        assert_eq!(names, [("one", 40), ("two", 7)]);
        assert_eq!(config.settings.times.max_backoff, Duration::from_secs(3));
    }

    #[test]
    fn mistakes() {
        let check = |args: &[&str], file, want: &str| {
            let error = format!("{:#}", build(args, file).expect_err(want));
            assert!(error.contains(want), "{error}");
        };
        check(&[], Some("percentageOfNodesToScore: 101"), "not in valid range [0-100]");
        check(&[], Some("parallelism: 0"), "greater than zero");
        check(&[], Some("profiles: [{schedulerName: a}, {schedulerName: a}]"), "Duplicate value: \"a\"");
        check(&[], Some("nonsense: 1"), "nonsense");
        check(&["--leader-elect-renew-deadline=20s"], None, "leaseDuration must be greater than renewDeadline");
        check(&["--leader-elect-resource-lock=configmaps"], None, "must be \"leases\"");
    }
}
