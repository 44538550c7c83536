//! What `/metrics` tells, under upstream's names (rule: `pkg/scheduler/metrics`).

use crate::queue::Counts;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use std::time::Duration;
use steersman_component::metrics::Metrics as Registry;

type Labels = Vec<(&'static str, String)>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Attempt {
    Scheduled,
    Unschedulable,
    Error,
}

impl Attempt {
    fn label(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::Error => "error",
        }
    }
}

/// The scheduler's figures.
#[derive(Clone)]
pub struct Metrics {
    attempts: Family<Labels, Counter>,
    attempt_duration: Histograms,
    algorithm_duration: Histogram,
    sli_duration: Histograms,
    attempts_per_pod: Histogram,
    pending: Family<Labels, Gauge>,
    cache_size: Family<Labels, Gauge>,
    incoming: Family<Labels, Counter>,
    unschedulable: Family<Labels, Gauge>,
    preemption_attempts: Counter,
    preemption_victims: Histogram,
}

fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

fn slis() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 2.0, 20))
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        let m = Self {
            attempts: Family::default(),
            attempt_duration: Family::new_with_constructor(durations),
            algorithm_duration: durations(),
            sli_duration: Family::new_with_constructor(slis),
            attempts_per_pod: Histogram::new(exponential_buckets(1.0, 2.0, 5)),
            pending: Family::default(),
            cache_size: Family::default(),
            incoming: Family::default(),
            unschedulable: Family::default(),
            preemption_attempts: Counter::default(),
            preemption_victims: Histogram::new(exponential_buckets(1.0, 2.0, 7)),
        };
        registry.with(|r| {
            r.register("scheduler_schedule_attempts", "Attempts to schedule pods, by result", m.attempts.clone());
            r.register(
                "scheduler_scheduling_attempt_duration_seconds",
                "Time of attempts, with binding, in seconds",
                m.attempt_duration.clone(),
            );
            r.register(
                "scheduler_scheduling_algorithm_duration_seconds",
                "Time to choose a node, in seconds",
                m.algorithm_duration.clone(),
            );
            r.register(
                "scheduler_pod_scheduling_sli_duration_seconds",
                "Time from a pod's first coming to its binding, in seconds",
                m.sli_duration.clone(),
            );
            r.register(
                "scheduler_pod_scheduling_attempts",
                "Attempts until a pod was bound",
                m.attempts_per_pod.clone(),
            );
            r.register("scheduler_pending_pods", "Pods that wait, by queue", m.pending.clone());
            r.register("scheduler_cache_size", "Nodes, pods and assumed pods that are known", m.cache_size.clone());
            r.register("scheduler_queue_incoming_pods", "Pods that came to queues, by event", m.incoming.clone());
            r.register("scheduler_unschedulable_pods", "Pods that a plug-in keeps waiting", m.unschedulable.clone());
            r.register("scheduler_preemption_attempts", "Preemptions", m.preemption_attempts.clone());
            r.register("scheduler_preemption_victims", "Pods that a preemption evicts", m.preemption_victims.clone());
        });
        m
    }

    /// An attempt has ended.
    pub fn attempt(&self, profile: &str, result: Attempt, took: Duration) {
        let labels = vec![("profile", profile.to_owned()), ("result", result.label().to_owned())];
        self.attempts.get_or_create(&labels).inc();
        self.attempt_duration.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A node was chosen, or none was found.
    pub fn algorithm(&self, took: Duration) {
        self.algorithm_duration.observe(took.as_secs_f64());
    }

    /// A pod was bound after so many attempts.
    pub fn bound(&self, attempts: u32, since_first: Duration) {
        let label = if attempts > 15 { "16+".to_owned() } else { attempts.to_string() };
        self.sli_duration.get_or_create(&vec![("attempts", label)]).observe(since_first.as_secs_f64());
        self.attempts_per_pod.observe(f64::from(attempts));
    }

    /// Preemption was tried; with so many victims if it helps.
    pub fn preemption(&self, victims: Option<usize>) {
        self.preemption_attempts.inc();
        if let Some(n) = victims {
            self.preemption_victims.observe(n as f64);
        }
    }

    /// Pods came to a queue.
    pub fn incoming(&self, queue: &str, event: &str, count: usize) {
        if count > 0 {
            let labels = vec![("event", event.to_owned()), ("queue", queue.to_owned())];
            self.incoming.get_or_create(&labels).inc_by(count as u64);
        }
    }

    /// How many pods a plug-in keeps waiting.
    pub fn refused_by(&self, plugin: &str, profile: &str, change: i64) {
        let labels = vec![("plugin", plugin.to_owned()), ("profile", profile.to_owned())];
        self.unschedulable.get_or_create(&labels).inc_by(change);
    }

    /// What is known and what waits.
    pub fn sizes(&self, counts: Counts, nodes: usize, (pods, assumed): (usize, usize)) {
        let set = |family: &Family<Labels, Gauge>, label: &'static str, value: &str, n: usize| {
            family.get_or_create(&vec![(label, value.to_owned())]).set(n as i64);
        };
        set(&self.pending, "queue", "active", counts.active);
        set(&self.pending, "queue", "backoff", counts.backoff);
        set(&self.pending, "queue", "unschedulable", counts.unschedulable);
        set(&self.pending, "queue", "gated", counts.gated);
        set(&self.cache_size, "type", "nodes", nodes);
        set(&self.cache_size, "type", "pods", pods);
        set(&self.cache_size, "type", "assumed_pods", assumed);
    }
}
