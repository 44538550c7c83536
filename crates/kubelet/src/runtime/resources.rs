//! From requests and limits to what the kernel understands.

use steersman_cri::v1;

use crate::{
    api::*,
    config::Configuration,
    pods::spec::{PodExt, limit, pod_total, requested},
};

/// The least share the kernel accepts.
const MIN_SHARES: i64 = 2;
/// The most it accepts.
const MAX_SHARES: i64 = 262_144;
/// The least quota the kernel accepts, in microseconds.
const MIN_QUOTA: i64 = 1000;

/// CPU shares of so many thousandths of a CPU (rule: cm `MilliCPUToShares`).
pub fn shares(milli: i64) -> i64 {
    if milli == 0 { MIN_SHARES } else { (milli.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES) }
}

/// CPU quota in microseconds of each `period`, 0 for none (rule: cm `MilliCPUToQuota`).
pub fn quota(milli: i64, period: i64) -> i64 {
    if milli == 0 { 0 } else { (milli.saturating_mul(period) / 1000).max(MIN_QUOTA) }
}

/// Weight in cgroup v2 that corresponds to shares.
pub fn weight(shares: i64) -> i64 {
    1 + (shares.max(MIN_SHARES) - 2) * 9999 / 262_142
}

/// Whole bytes of thousandths.
fn bytes(milli: i64) -> i64 {
    (milli + 999) / 1000
}

/// How likely the kernel is to kill a container when memory is short (rule: `qos.GetContainerOOMScoreAdjust`).
pub fn oom_score(pod: &Pod, container: &Container, node_memory: i64) -> i64 {
    if pod.is_critical() {
        return -997;
    }
    match pod.qos() {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let request = bytes(requested(container, "memory").unwrap_or(0));
            let score = 1000 - 1000 * request / node_memory.max(1);
            if crate::pods::spec::is_sidecar(container) {
                return score.clamp(2, 999);
            }
            if score < 3 { 3 } else { score.min(999) }
        }
    }
}

/// The limits of one container.
pub fn of_container(
    pod: &Pod,
    container: &Container,
    config: &Configuration,
    node_memory: i64,
    unified: bool,
) -> v1::LinuxContainerResources {
    let mut out = v1::LinuxContainerResources {
        cpu_shares: shares(requested(container, "cpu").unwrap_or(0)),
        memory_limit_in_bytes: bytes(limit(container, "memory").unwrap_or(0)),
        oom_score_adj: oom_score(pod, container, node_memory),
        ..Default::default()
    };
    let period = i64::try_from(config.cpu_cfs_quota_period.0.as_micros()).unwrap_or(100_000);
    if config.cpu_cfs_quota {
        out.cpu_quota = quota(limit(container, "cpu").unwrap_or(0), period);
        out.cpu_period = period;
    }
    if unified && !config.single_process_oom_kill.unwrap_or(false) {
        out.unified.insert("memory.oom.group".into(), "1".into());
    }
    out
}

/// The limits of a pod's own cgroup; `None` where it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodLimits {
    /// Relative share of CPU.
    pub shares: i64,
    /// Microseconds of CPU in each `period`.
    pub quota: Option<i64>,
    /// Microseconds.
    pub period: i64,
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Processes.
    pub pids: Option<i64>,
}

/// What a pod's cgroup enforces (rule: cm `ResourceConfigForPod`): a limit holds for the pod only if each of its
/// containers has one.
pub fn of_pod(pod: &Pod, config: &Configuration) -> PodLimits {
    let spec = crate::pods::spec::spec(pod);
    let all_have = |name: &str| {
        let pod_level = spec.resources.as_ref().and_then(|r| r.limits.as_ref()?.get(name)).is_some();
        let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        pod_level || containers.all(|c| limit(c, name).is_some_and(|l| l > 0))
    };
    let period = i64::try_from(config.cpu_cfs_quota_period.0.as_micros()).unwrap_or(100_000);
    let limited = |name: &str| {
        let pod_level = spec.resources.as_ref().and_then(|r| r.limits.as_ref()?.get(name));
        pod_level.map_or_else(|| pod_total(pod, name, limit), |q| quantity(q).milli_value())
    };
    let quota_of = || quota(limited("cpu"), period);
    PodLimits {
        shares: if pod.qos() == "BestEffort" { MIN_SHARES } else { shares(pod_total(pod, "cpu", requested)) },
        quota: (config.cpu_cfs_quota && all_have("cpu")).then(quota_of).filter(|q| *q > 0),
        period,
        memory: all_have("memory").then(|| bytes(limited("memory"))).filter(|m| *m > 0),
        pids: Some(config.pod_pids_limit).filter(|p| *p > 0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn amounts_become_kernel_numbers() {
        assert_eq!([0, 1, 100, 1000, 1_000_000].map(shares), [2, 2, 102, 1024, 262_144]);
        assert_eq!([0, 1, 250, 2000].map(|m| quota(m, 100_000)), [0, 1000, 25_000, 200_000]);
        assert_eq!([2, 1024, 262_144].map(weight), [1, 39, 10_000]);
    }

    #[test]
    fn pods_are_limited_when_all_their_containers_are() {
        let config = Configuration::default();
        let check = |containers: Value, quota: Option<i64>, memory: Option<i64>| {
            let pod: Pod = serde_json::from_value(json!({"spec": {"containers": containers}})).unwrap();
            let limits = of_pod(&pod, &config);
            assert_eq!((limits.quota, limits.memory), (quota, memory), "{containers}");
        };
        let limits =
            |cpu: &str, memory: &str| json!({"name": "c", "resources": {"limits": {"cpu": cpu, "memory": memory}}});
        check(json!([limits("1", "1Mi"), limits("500m", "1Mi")]), Some(150_000), Some(2 << 20));
        check(json!([limits("1", "1Mi"), {"name": "d"}]), None, None);
        check(json!([{"name": "c", "resources": {"limits": {"cpu": "1"}}}]), Some(100_000), None);
    }
}
