//! The metrics registry of a process, and what every process tells of itself.

use crate::features::Gates;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::{Arc, Mutex};

/// The content type of [`Metrics::text`]: what upstream's library answers whatever a scraper prefers.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// A process's metrics. Names are registered without the `_total` that counters get when they are printed.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// With the process's own, `kubernetes_build_info` and `kubernetes_feature_enabled`.
    pub fn new(gates: &Gates) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let build: Family<Vec<(&'static str, String)>, Gauge> = Family::default();
        let labels = vec![
            ("major", crate::version::MAJOR.to_owned()),
            ("minor", crate::version::MINOR.to_owned()),
            ("git_version", crate::version::GIT_VERSION.to_owned()),
        ];
        build.get_or_create(&labels).set(1);
        registry.register("kubernetes_build_info", "Version of this build", build);
        let features: Family<Vec<(&'static str, &'static str)>, Gauge> = Family::default();
        for (name, on, stage) in gates.iter() {
            features.get_or_create(&vec![("name", name), ("stage", stage.label())]).set(i64::from(on));
        }
        registry.register("kubernetes_feature_enabled", "Whether a feature gate is on", features);
        Self(Arc::new(Mutex::new(registry)))
    }
    /// Registers more.
    pub fn with<R>(&self, register: impl FnOnce(&mut Registry) -> R) -> R {
        register(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
    /// Everything, in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.with(|r| text::encode(&mut out, r))
            .unwrap_or_else(|e| tracing::error!(error = %e, "metrics do not encode"));
        prometheus_text(&out)
    }
}

/// OpenMetrics, which the library writes, as the older format: there a counter's name ends in `_total` in its
/// description as well, and there are neither units nor a mark of the end.
fn prometheus_text(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some((name, text)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            help = Some((name, text));
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let kind = if kind == "unknown" { "untyped" } else { kind };
            if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                out += &format!("# HELP {name}{suffix} {text}\n");
            }
            out += &format!("# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            out += line;
            out.push('\n');
        }
    }
    out
}

/// Figures the kernel keeps of this process.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(stat) = read_stat() else { return Ok(()) };
        let cpu = ConstCounter::new(stat.cpu_seconds);
        let help = "User and system CPU time spent, seconds";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        let mut gauge = |name: &str, help: &str, value: f64| {
            let g = ConstGauge::new(value);
            g.encode(encoder.encode_descriptor(name, help, None, g.metric_type())?)
        };
        gauge("process_resident_memory_bytes", "Resident memory", stat.resident as f64)?;
        gauge("process_virtual_memory_bytes", "Virtual memory", stat.virt as f64)?;
        gauge("process_start_time_seconds", "Start, seconds since 1970", stat.started)?;
        gauge("process_open_fds", "Open file descriptors", stat.fds as f64)
    }
}

struct Stat {
    cpu_seconds: f64,
    resident: u64,
    virt: u64,
    started: f64,
    fds: usize,
}

fn read_stat() -> Option<Stat> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name may hold spaces; the fields after its closing bracket are counted from the third on.
    let rest: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |i: usize| rest.get(i - 3).and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
    const TICKS: f64 = 100.0;
    const PAGE: u64 = 4096;
    Some(Stat {
        cpu_seconds: (number(14) + number(15)) as f64 / TICKS,
        virt: number(23),
        resident: number(24) * PAGE,
        started: boot_time() + number(22) as f64 / TICKS,
        fds: std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0),
    })
}

/// When the machine was started, seconds since 1970.
fn boot_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_holds_the_process_and_the_gates() {
        let text = Metrics::new(&Gates::default()).text();
        assert!(text.contains("process_resident_memory_bytes "));
        assert!(text.contains("kubernetes_feature_enabled{name=\"SidecarContainers\",stage=\"\"} 1"));
        let started = text.lines().find_map(|l| l.strip_prefix("process_start_time_seconds ")).expect("is told");
        assert!(started.parse::<f64>().expect("a number") > 1e9, "{started}");
    }

    #[test]
    fn counters_are_described_by_their_whole_name() {
        let open = "# HELP a Things.\n# TYPE a counter\n# UNIT a x\na_total{l=\"v\"} 1\n# HELP b More.\n# TYPE b gauge\nb 2\n# EOF\n";
        let want =
            "# HELP a_total Things.\n# TYPE a_total counter\na_total{l=\"v\"} 1\n# HELP b More.\n# TYPE b gauge\nb 2\n";
        assert_eq!(prometheus_text(open), want);
    }
}
