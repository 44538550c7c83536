//! What the node and its pods use, as `/stats/summary` tells it.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Instant,
};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use steersman_cri::v1;

use super::Server;
use crate::{
    api::*,
    cgroups::Usage,
    names::label,
    node::facts::{self, FileSystem},
    pods::spec::PodExt,
    runtime::observed::State,
};

/// A rate from two samples closer than this would be noise, in nanoseconds.
const MIN_WINDOW: u64 = 500_000_000;

/// The last samples of CPU time, from which rates follow.
#[derive(Default)]
pub struct Samples(Mutex<HashMap<String, Sample>>);

#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    cpu: u64,
    rate: Option<u64>,
}

impl Samples {
    /// Notes a sample and returns the CPU time used per second since an earlier one, in nanoseconds.
    fn rate(&self, key: &str, cpu: u64) -> Option<u64> {
        let now = Instant::now();
        let mut samples = self.0.lock();
        let Some(before) = samples.get_mut(key) else {
            samples.insert(key.to_owned(), Sample { at: now, cpu, rate: None });
            return None;
        };
        let window = u64::try_from(now.duration_since(before.at).as_nanos()).unwrap_or(u64::MAX);
        if window >= MIN_WINDOW {
            let used = u128::from(cpu.saturating_sub(before.cpu));
            let rate = u64::try_from(used * 1_000_000_000 / u128::from(window)).unwrap_or(0);
            *before = Sample { at: now, cpu, rate: Some(rate) };
        }
        before.rate
    }

    fn keep(&self, keys: impl Fn(&str) -> bool) {
        self.0.lock().retain(|key, _| keys(key));
    }
}

fn time() -> String {
    crate::pods::status::now().to_string()
}

fn cpu(rate: Option<u64>, total: u64) -> Value {
    let mut out = json!({"time": time(), "usageCoreNanoSeconds": total});
    if let Some(rate) = rate {
        out["usageNanoCores"] = json!(rate);
    }
    out
}

fn memory(usage: &Usage, limit: Option<u64>) -> Value {
    let mut out = json!({
        "time": time(), "usageBytes": usage.memory, "workingSetBytes": usage.working_set, "rssBytes": usage.rss,
        "pageFaults": 0, "majorPageFaults": 0
    });
    if let Some(limit) = limit.filter(|l| *l > 0) {
        out["availableBytes"] = json!(limit.saturating_sub(usage.working_set));
    }
    out
}

fn fs(at: Option<FileSystem>, used: Option<u64>, inodes: Option<u64>) -> Value {
    let Some(at) = at else { return json!({"time": time()}) };
    json!({
        "time": time(), "availableBytes": at.available, "capacityBytes": at.capacity,
        "usedBytes": used.unwrap_or(at.capacity.saturating_sub(at.available)),
        "inodesFree": at.inodes_free, "inodes": at.inodes,
        "inodesUsed": inodes.unwrap_or(at.inodes.saturating_sub(at.inodes_free)),
    })
}

/// CPU time of the whole machine in nanoseconds.
pub(super) fn node_cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    // All but idle and waiting for disks; a tick is a hundredth of a second on every Linux there is.
    let busy: u64 = ticks.iter().enumerate().filter(|(i, _)| *i < 8 && *i != 3 && *i != 4).map(|(_, t)| t).sum();
    busy * 10_000_000
}

/// Memory of the whole machine.
pub(super) fn node_memory(total: i64) -> Usage {
    let used = u64::try_from(total.saturating_sub(facts::available_memory())).unwrap_or(0);
    Usage { memory: used, working_set: used, rss: used, ..Usage::default() }
}

/// One container's figures with the labels that say whose it is.
pub(super) struct ContainerUsage {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
    pub id: String,
    pub image: String,
    pub usage: Usage,
    pub disk: Option<(u64, u64)>,
    pub started: i64,
}

/// The figures of all containers that run.
pub(super) async fn containers(server: &Server) -> Vec<ContainerUsage> {
    let (stats, list) =
        tokio::join!(server.k.runtime.list_container_stats(None), server.k.runtime.list_containers(None));
    let list: HashMap<String, v1::Container> =
        list.unwrap_or_default().into_iter().map(|c| (c.id.clone(), c)).collect();
    let value = |v: &Option<v1::UInt64Value>| v.as_ref().map_or(0, |v| v.value);
    let mut out = Vec::new();
    for stat in stats.unwrap_or_default() {
        let Some(attributes) = stat.attributes else { continue };
        let Some(container) = list.get(&attributes.id).filter(|c| c.state() == State::ContainerRunning) else {
            continue;
        };
        let of = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
        let memory = stat.memory.unwrap_or_default();
        out.push(ContainerUsage {
            namespace: of(label::POD_NAMESPACE),
            pod: of(label::POD_NAME),
            uid: of(label::POD_UID),
            container: of(label::CONTAINER_NAME),
            id: attributes.id,
            image: container.image.as_ref().map(|i| i.image.clone()).unwrap_or_default(),
            usage: Usage {
                cpu: stat.cpu.as_ref().map_or(0, |c| value(&c.usage_core_nano_seconds)),
                memory: value(&memory.usage_bytes).max(value(&memory.working_set_bytes)),
                working_set: value(&memory.working_set_bytes),
                rss: value(&memory.rss_bytes),
                pids: 0,
            },
            disk: stat.writable_layer.map(|w| (value(&w.used_bytes), value(&w.inodes_used))),
            started: container.created_at,
        });
    }
    out.sort_by(|a, b| (&a.namespace, &a.pod, &a.container).cmp(&(&b.namespace, &b.pod, &b.container)));
    out
}

/// `/stats/summary`.
pub(super) async fn summary(server: &Server) -> Value {
    let k = &server.k;
    let running = containers(server).await;
    let root = facts::file_system(&k.folders.root);
    let image_fs = k.runtime.image_fs_info().await.unwrap_or_default();
    let images = image_fs.image_filesystems.first();
    let images_at = images.and_then(|f| f.fs_id.as_ref()).and_then(|f| facts::file_system(Path::new(&f.mountpoint)));
    let images_used = images.and_then(|f| f.used_bytes.as_ref()).map(|u| u.value);
    let inodes_used = images.and_then(|f| f.inodes_used.as_ref()).map(|u| u.value);
    let total = node_cpu();
    let node_limit = u64::try_from(k.node.memory()).ok();
    let image_stats = fs(images_at, images_used, inodes_used);
    let node = json!({
        "nodeName": k.node_name,
        "startTime": crate::pods::status::now().to_string(),
        "cpu": cpu(server.samples.rate("node", total), total),
        "memory": memory(&node_memory(k.node.memory()), node_limit),
        "fs": fs(root, None, None),
        "runtime": {"imageFs": image_stats, "containerFs": image_stats},
    });
    let mut by_pod: BTreeMap<String, Vec<&ContainerUsage>> = BTreeMap::new();
    for usage in &running {
        by_pod.entry(usage.uid.clone()).or_default().push(usage);
    }
    let mut pods = Vec::new();
    for (uid, list) in &by_pod {
        let Some(pod) = k.workers.get(uid) else { continue };
        pods.push(of_pod(server, &pod, list, root, images_at));
    }
    server.samples.keep(|key| key == "node" || running.iter().any(|r| r.id == key || r.uid == key));
    json!({"node": node, "pods": pods})
}

fn of_pod(
    server: &Server,
    pod: &Pod,
    list: &[&ContainerUsage],
    root: Option<FileSystem>,
    images: Option<FileSystem>,
) -> Value {
    let k = &server.k;
    let started = k.status.get(pod.uid()).and_then(|s| s.start_time).map(|t| t.0.to_string());
    let mut disk = 0;
    let containers: Vec<Value> = list
        .iter()
        .map(|c| {
            let limit = pod.find_container(&c.container).and_then(|(_, spec)| crate::pods::spec::limit(&spec, "memory"));
            let logs = crate::housekeeping::disk_usage(
                &k.folders.logs(&c.namespace, &c.pod, &c.uid).join(&c.container),
            );
            disk += logs + c.disk.map_or(0, |d| d.0);
            let at = jiff::Timestamp::from_nanosecond(c.started.into()).unwrap_or_default();
            json!({
                "name": c.container, "startTime": jiff::Timestamp::from_second(at.as_second()).unwrap_or_default().to_string(),
                "cpu": cpu(server.samples.rate(&c.id, c.usage.cpu), c.usage.cpu),
                "memory": memory(&c.usage, limit.and_then(|l| u64::try_from(l / 1000).ok())),
                "rootfs": fs(images, c.disk.map(|d| d.0), c.disk.map(|d| d.1)),
                "logs": fs(root, Some(logs), Some(1)),
            })
        })
        .collect();
    // The pod's cgroup counts the sandbox too; without one the containers have to do.
    let summed = list.iter().fold(Usage::default(), |sum, c| Usage {
        cpu: sum.cpu + c.usage.cpu,
        memory: sum.memory + c.usage.memory,
        working_set: sum.working_set + c.usage.working_set,
        rss: sum.rss + c.usage.rss,
        pids: 0,
    });
    let usage = k.cgroups.usage(Some(pod)).unwrap_or(summed);
    let volumes: Vec<Value> = volumes(&k.folders.pod(pod.uid()));
    disk += volumes.iter().filter_map(|v| v["usedBytes"].as_u64()).sum::<u64>();
    let mut out = Map::new();
    out.insert("podRef".into(), json!({"name": pod.name(), "namespace": pod.ns(), "uid": pod.uid()}));
    out.insert("startTime".into(), json!(started));
    out.insert("containers".into(), containers.into());
    out.insert("cpu".into(), cpu(server.samples.rate(pod.uid(), usage.cpu), usage.cpu));
    out.insert("memory".into(), memory(&usage, None));
    out.insert("volume".into(), volumes.into());
    out.insert("ephemeral-storage".into(), fs(root, Some(disk), None));
    out.insert("process_stats".into(), json!({"process_count": usage.pids}));
    out.into()
}

fn volumes(dir: &Path) -> Vec<Value> {
    let kinds = std::fs::read_dir(dir.join("volumes")).into_iter().flatten().flatten();
    let all = kinds.flat_map(|k| std::fs::read_dir(k.path()).into_iter().flatten().flatten());
    all.map(|v| {
        let used = crate::housekeeping::disk_usage(&v.path());
        let mut out = fs(facts::file_system(&v.path()), Some(used), None);
        out["name"] = json!(v.file_name().to_string_lossy());
        out
    })
    .collect()
}
