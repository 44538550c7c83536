//! Pods are evicted when the node runs short of memory, disk or process ids, or when they outgrow their own limits
//! (rule: kubelet `eviction`).

use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{disk_usage, threshold};
use crate::{
    api::*,
    kubelet::{Kubelet, Pressure},
    node::facts,
    pods::{
        spec::{PodExt, pod_total, requested, spec},
        worker::Verdict,
    },
};

/// Remembers when the node was last short of something.
#[derive(Default)]
pub(super) struct Manager {
    memory: Option<Instant>,
    disk: Option<Instant>,
    pids: Option<Instant>,
}

/// What the node has left of a signal.
struct Signal {
    name: &'static str,
    resource: &'static str,
    available: u64,
    whole: u64,
}

fn signals(k: &Kubelet) -> Vec<Signal> {
    let memory = u64::try_from(k.node.memory()).unwrap_or(0);
    let signal = |name, resource, available, whole| Signal { name, resource, available, whole };
    let mut out =
        vec![signal("memory.available", "memory", u64::try_from(facts::available_memory()).unwrap_or(0), memory)];
    if let Some(fs) = facts::file_system(&k.folders.root) {
        out.push(signal("nodefs.available", "ephemeral-storage", fs.available, fs.capacity));
        if fs.inodes > 0 {
            out.push(signal("nodefs.inodesFree", "inodes", fs.inodes_free, fs.inodes));
        }
    }
    let number = |file: &str| std::fs::read_to_string(file).ok().and_then(|t| t.trim().parse::<u64>().ok());
    if let Some(max) = number("/proc/sys/kernel/pid_max") {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let tasks = load.split_whitespace().nth(3).and_then(|f| f.split('/').nth(1)?.parse::<u64>().ok()).unwrap_or(0);
        out.push(signal("pid.available", "pids", max.saturating_sub(tasks), max));
    }
    out
}

impl Manager {
    pub(super) async fn look(&mut self, k: &Arc<Kubelet>) {
        let now = Instant::now();
        let mut short = Vec::new();
        for signal in signals(k) {
            let limit = k.config.eviction_hard.get(signal.name).and_then(|t| threshold(t, signal.whole));
            if let Some(limit) = limit.filter(|l| signal.available < *l) {
                let slot = match signal.resource {
                    "memory" => &mut self.memory,
                    "pids" => &mut self.pids,
                    _ => &mut self.disk,
                };
                *slot = Some(now);
                short.push((signal, limit));
            }
        }
        let lasting = |since: Option<Instant>| {
            since.is_some_and(|t| {
                t.elapsed() < k.config.eviction_pressure_transition_period.0.max(Duration::from_secs(1))
            })
        };
        k.pressure.store(Arc::new(Pressure {
            memory: lasting(self.memory),
            disk: lasting(self.disk),
            pids: lasting(self.pids),
        }));
        if let Some((signal, limit)) = short.first() {
            evict_one(k, signal, *limit);
        }
        evict_oversized(k);
    }
}

fn evict_one(k: &Kubelet, signal: &Signal, limit: u64) {
    let mut pods: Vec<Arc<Pod>> =
        k.workers.list().into_iter().filter(|p| !p.is_terminal() && !p.is_critical()).collect();
    // Those that use more than they asked for go first, then the less important, then the larger.
    pods.sort_by_cached_key(|p| {
        let usage = usage(k, p, signal.resource);
        let asked = u64::try_from(pod_total(p, signal.resource, requested) / 1000).unwrap_or(0);
        (usage <= asked, spec(p).priority.unwrap_or(0), Reverse(usage.saturating_sub(asked)))
    });
    let Some(pod) = pods.first() else { return };
    let message = format!(
        "The node was low on resource: {}. Threshold quantity: {limit}, available: {}. ",
        signal.resource, signal.available
    );
    evict(k, pod, message);
}

fn evict(k: &Kubelet, pod: &Pod, message: String) {
    k.events.warning(pod, "Evicted", message.clone());
    let verdict = Verdict { grace: Some(0), reason: "Evicted".into(), message, disrupted: true };
    k.workers.evict(pod.uid(), verdict);
}

fn usage(k: &Kubelet, pod: &Pod, resource: &str) -> u64 {
    match resource {
        "memory" => k.cgroups.usage(Some(pod)).map_or(0, |u| u.working_set),
        "pids" => k.cgroups.usage(Some(pod)).map_or(0, |u| u.pids),
        _ => disk_usage(&k.folders.pod(pod.uid())) + disk_usage(&k.folders.logs(pod.ns(), pod.name(), pod.uid())),
    }
}

/// Volumes and pods that have outgrown the limits they set themselves.
fn evict_oversized(k: &Kubelet) {
    for pod in k.workers.list().into_iter().filter(|p| !p.is_terminal()) {
        let dir = k.folders.pod(pod.uid()).join("volumes/kubernetes.io~empty-dir");
        for (name, limit) in steersman_volumes::disk_limits(&pod) {
            if disk_usage(&dir.join(&name)) > limit {
                let message = format!("Usage of EmptyDir volume {name:?} exceeds the limit {limit:?}. ");
                evict(k, &pod, message);
                break;
            }
        }
    }
}
