//! Figures for Prometheus, in its text format; names are upstream's.

use std::fmt::Write;

use super::{
    Server,
    stats::{self, ContainerUsage},
};
use crate::pods::spec::PodExt;

/// One family: name, kind, help, then samples as labels and value.
struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl<'a> Family<'a> {
    fn new(out: &'a mut String, name: &'static str, kind: &str, help: &str) -> Self {
        // Writing to a String cannot fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { out, name }
    }

    fn add(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.out.push_str(self.name);
        if !labels.is_empty() {
            let list: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
            let _ = write!(self.out, "{{{}}}", list.join(","));
        }
        let _ = writeln!(self.out, " {value}");
        self
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// `/metrics`.
pub(super) async fn kubelet(server: &Server) -> String {
    let k = &server.k;
    let mut out = server.metrics.text().trim_end_matches("# EOF\n").to_owned();
    let running = stats::containers(server).await.len();
    let pods = k.workers.list();
    Family::new(&mut out, "kubelet_node_name", "gauge", "The node's name. The count is always 1.")
        .add(&[("node", &k.node_name)], 1.0);
    Family::new(&mut out, "kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox")
        .add(&[], pods.iter().filter(|p| !p.is_terminal()).count() as f64);
    Family::new(&mut out, "kubelet_running_containers", "gauge", "Number of containers currently running")
        .add(&[("container_state", "running")], running as f64);
    let statics = pods.iter().filter(|p| p.is_static()).count();
    Family::new(&mut out, "kubelet_desired_pods", "gauge", "The number of pods the kubelet is being instructed to run")
        .add(&[("static", "false")], (pods.len() - statics) as f64)
        .add(&[("static", "true")], statics as f64);
    out
}

/// `/metrics/slis`.
pub(super) fn slis(server: &Server) -> String {
    let mut out = String::new();
    let well = f64::from(u8::from(server.k.pleg.error().is_none()));
    Family::new(&mut out, "kubernetes_healthcheck", "gauge", "This metric records the result of a single healthcheck.")
        .add(&[("name", "ping"), ("type", "healthz")], 1.0)
        .add(&[("name", "syncloop"), ("type", "healthz")], well);
    out
}

/// `/metrics/probes`.
pub(super) fn probes(server: &Server) -> String {
    let mut out = String::new();
    let counts = server.k.probes.counts.lock();
    let mut family = Family::new(
        &mut out,
        "prober_probe_total",
        "counter",
        "Cumulative number of a liveness, readiness or startup probe for a container by result.",
    );
    for ((namespace, pod, container, kind, result), count) in counts.iter() {
        let labels = [
            ("container", container.as_str()),
            ("namespace", namespace),
            ("pod", pod),
            ("probe_type", kind),
            ("result", result),
        ];
        family.add(&labels, *count as f64);
    }
    out
}

/// `/metrics/resource`.
pub(super) async fn resource(server: &Server) -> String {
    let k = &server.k;
    let running = stats::containers(server).await;
    let mut out = String::new();
    let labels = |c: &ContainerUsage| [c.container.clone(), c.namespace.clone(), c.pod.clone()];
    type Value = fn(&ContainerUsage) -> f64;
    let per_container: [(&str, &str, &str, Value); 3] = [
        (
            "container_cpu_usage_seconds_total",
            "counter",
            "Cumulative cpu time consumed by the container in core-seconds",
            |c| seconds(c.usage.cpu),
        ),
        ("container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes", |c| {
            c.usage.working_set as f64
        }),
        ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds", |c| {
            c.started as f64 / 1e9
        }),
    ];
    for (name, kind, help, value) in per_container {
        let mut family = Family::new(&mut out, name, kind, help);
        for c in &running {
            let [container, namespace, pod] = labels(c);
            family.add(&[("container", &container), ("namespace", &namespace), ("pod", &pod)], value(c));
        }
    }
    Family::new(
        &mut out,
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
    )
    .add(&[], seconds(stats::node_cpu()));
    Family::new(&mut out, "node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes")
        .add(&[], stats::node_memory(k.node.memory()).working_set as f64);
    let usages: Vec<_> =
        k.workers.list().into_iter().filter_map(|p| k.cgroups.usage(Some(&p)).map(|u| (p, u))).collect();
    let mut family = Family::new(
        &mut out,
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
    );
    for (pod, usage) in &usages {
        family.add(&[("namespace", pod.ns()), ("pod", pod.name())], seconds(usage.cpu));
    }
    let mut family =
        Family::new(&mut out, "pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes");
    for (pod, usage) in &usages {
        family.add(&[("namespace", pod.ns()), ("pod", pod.name())], usage.working_set as f64);
    }
    Family::new(
        &mut out,
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    )
    .add(&[], 0.0);
    out
}

/// `/metrics/cadvisor`.
pub(super) async fn cadvisor(server: &Server) -> String {
    let k = &server.k;
    let running = stats::containers(server).await;
    let mut out = String::new();
    type Value = fn(&ContainerUsage) -> Option<f64>;
    let families: [(&str, &str, &str, Value); 6] = [
        ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", |c| {
            Some(seconds(c.usage.cpu))
        }),
        (
            "container_fs_usage_bytes",
            "gauge",
            "Number of bytes that are consumed by the container on this filesystem.",
            |c| c.disk.map(|d| d.0 as f64),
        ),
        ("container_memory_rss", "gauge", "Size of RSS in bytes.", |c| Some(c.usage.rss as f64)),
        (
            "container_memory_usage_bytes",
            "gauge",
            "Current memory usage in bytes, including all memory regardless of when it was accessed",
            |c| Some(c.usage.memory as f64),
        ),
        ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |c| {
            Some(c.usage.working_set as f64)
        }),
        ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.", |c| {
            Some(c.started as f64 / 1e9)
        }),
    ];
    for (name, kind, help, value) in families {
        let mut family = Family::new(&mut out, name, kind, help);
        for c in &running {
            let Some(value) = value(c) else { continue };
            let labels = [
                ("container", c.container.as_str()),
                ("id", c.id.as_str()),
                ("image", c.image.as_str()),
                ("name", c.id.as_str()),
                ("namespace", c.namespace.as_str()),
                ("pod", c.pod.as_str()),
            ];
            family.add(&labels, value);
        }
    }
    let version = [
        ("cadvisorRevision", ""),
        ("cadvisorVersion", ""),
        ("dockerVersion", ""),
        ("kernelVersion", k.node.facts.kernel.as_str()),
        ("osVersion", k.node.facts.os_image.as_str()),
    ];
    Family::new(&mut out, "cadvisor_version_info", "gauge", "A metric with a constant '1' value labeled by versions.")
        .add(&version, 1.0);
    Family::new(&mut out, "machine_cpu_cores", "gauge", "Number of logical CPU cores.")
        .add(&[], k.node.facts.cpus as f64);
    Family::new(&mut out, "machine_memory_bytes", "gauge", "Amount of memory installed on the machine.")
        .add(&[], k.node.memory() as f64);
    out
}
