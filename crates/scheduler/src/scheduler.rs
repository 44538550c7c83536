//! The scheduling loop: applies what informers tell, looks at one pod after the other, and hands the results on.
//!
//! The loop owns the cache and the queue alone. It never waits for the apiserver: bindings, evictions and status writes
//! run in tasks, and a pod counts on its node as soon as that is chosen.

use crate::binder::{Binder, Bound, Order};
use crate::cache::Cache;
use crate::cycle::{Decision, enough, evaluate};
use crate::informers::Change;
use crate::metrics::{Attempt, Metrics};
use crate::plugins::{TABLE, waiting_claims};
use crate::pod::PodInfo;
use crate::preemption::{Outcome, outranked, preempt};
use crate::queue::{Event, Queue, Queued, Times};
use crate::watched::Budget;
use ahash::AHashMap;
use rand::Rng;
use std::sync::Arc;
use std::time::{Duration, Instant};
use steersman_client::EventType;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

/// Gauges are brought up to date this often.
const GAUGES: Duration = Duration::from_secs(1);

/// What can be configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names of schedulers whose pods we look at.
    pub profiles: Vec<Profile>,
    /// Times of the queue.
    pub times: Times,
}

/// A scheduler's name, and how it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name that pods give in `spec.schedulerName`.
    pub name: String,
    /// How many of the nodes that do are enough, in percent; 0: by the size of the cluster.
    pub percentage: usize,
}

/// The loop's state.
pub struct Scheduler {
    settings: Settings,
    cache: Cache,
    queue: Queue,
    budgets: AHashMap<String, Arc<Budget>>,
    binder: Binder,
    metrics: Metrics,
    changes: UnboundedReceiver<Change>,
    /// Where the next search for nodes begins, so that all nodes get their turn.
    start: usize,
    gauges: Instant,
}

impl Scheduler {
    /// Nothing is known yet: all comes by `changes`.
    pub fn new(settings: Settings, binder: Binder, metrics: Metrics, changes: UnboundedReceiver<Change>) -> Self {
        let queue = Queue::new(settings.times);
        let (cache, budgets) = (Cache::default(), AHashMap::new());
        Self { settings, cache, queue, budgets, binder, metrics, changes, start: 0, gauges: Instant::now() }
    }

    /// Schedules until cancelled.
    pub async fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            while let Ok(change) = self.changes.try_recv() {
                self.apply(change);
            }
            let now = Instant::now();
            if now >= self.gauges {
                self.metrics.sizes(self.queue.counts(), self.cache.peek().nodes.len(), self.cache.sizes());
                self.gauges = now + GAUGES;
            }
            if let Some(queued) = self.queue.pop(now) {
                self.schedule(queued, now);
                tokio::task::yield_now().await;
                continue;
            }
            self.metrics.sizes(self.queue.counts(), self.cache.peek().nodes.len(), self.cache.sizes());
            let wake = self.queue.next_wake().unwrap_or(now + Duration::from_secs(3600));
            tokio::select! {
                () = stop.cancelled() => return,
                change = self.changes.recv() => match change {
                    Some(change) => self.apply(change),
                    None => return,
                },
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    // ---- changes

    fn apply(&mut self, change: Change) {
        match change {
            Change::Pod(pod) if pod.finished => self.pod_gone(&pod),
            Change::Pod(pod) if pod.node_name.is_empty() => self.pod_waits(pod),
            Change::Pod(pod) => self.pod_placed(pod),
            Change::PodGone(pod) => self.pod_gone(&pod),
            Change::Node(node) => match self.cache.set_node(&node) {
                None => self.moved("NodeAdd", &Event::NodeAdded(&node)),
                Some(old) => self.moved("NodeUpdate", &Event::NodeUpdated { old: &old, new: &node }),
            },
            Change::NodeGone(name) => {
                if let Some(node) = self.cache.remove_node(&name) {
                    self.moved("NodeDelete", &Event::NodeRemoved(&node));
                }
            }
            Change::Namespace(name, labels) => self.cache.set_namespace(&name, labels),
            Change::Service(namespace, old, new) => {
                if old != new {
                    self.cache.set_service(&namespace, old.as_ref(), new);
                }
            }
            Change::Owner(key, selector) => self.cache.set_owner(key, selector),
            Change::Budget(key, Some(budget)) => drop(self.budgets.insert(key, budget)),
            Change::Budget(key, None) => drop(self.budgets.remove(&key)),
            Change::Claim(key, claim) => {
                match claim {
                    Some(claim) => drop(self.cache.volumes().claims.insert(key.clone(), claim)),
                    None => drop(self.cache.volumes().claims.remove(&key)),
                }
                self.moved("PersistentVolumeClaimUpdate", &Event::ClaimChanged(&key));
            }
            Change::Volume(name, volume) => {
                match volume {
                    Some(volume) => drop(self.cache.volumes().volumes.insert(name, volume)),
                    None => drop(self.cache.volumes().volumes.remove(&name)),
                }
                self.moved("PersistentVolumeUpdate", &Event::VolumeChanged);
            }
            Change::Class(name, class) => {
                match class {
                    Some(class) => drop(self.cache.volumes().classes.insert(name, class)),
                    None => drop(self.cache.volumes().classes.remove(&name)),
                }
                self.moved("StorageClassAdd", &Event::ClassAdded);
            }
            Change::Bound(bound) => self.bound(bound),
        }
    }

    fn moved(&mut self, name: &str, event: &Event<'_>) {
        let count = self.queue.moved(event, self.cache.peek(), Instant::now());
        self.metrics.incoming("active", name, count);
    }

    fn pod_waits(&mut self, pod: Arc<PodInfo>) {
        let ours = self.settings.profiles.iter().any(|p| p.name == pod.scheduler_name);
        // While it is being bound the informer may still show it without a node.
        if !ours || self.cache.has_pod(&pod.uid) {
            return;
        }
        if self.cache.nominated(&pod.uid).is_none() {
            self.cache.nominate(&pod, &pod.nominated);
        }
        self.queue.set(pod, self.cache.peek(), Instant::now());
    }

    fn pod_placed(&mut self, pod: Arc<PodInfo>) {
        self.queue.remove(&pod.uid);
        self.cache.nominate(&pod, "");
        match self.cache.set_pod(pod.clone()) {
            None => self.moved("AssignedPodAdd", &Event::PodAdded(&pod)),
            Some(old) => self.moved("AssignedPodUpdate", &Event::PodUpdated { old: &old, new: &pod }),
        }
    }

    fn pod_gone(&mut self, pod: &Arc<PodInfo>) {
        self.queue.remove(&pod.uid);
        let held_room = self.cache.nominated(&pod.uid).is_some();
        self.cache.nominate(pod, "");
        if self.cache.remove_pod(&pod.uid).is_some() || held_room {
            self.moved("AssignedPodDelete", &Event::PodRemoved(pod));
        }
    }

    // ---- one pod

    fn schedule(&mut self, queued: Queued, began: Instant) {
        let pod = queued.pod.clone();
        if pod.terminating {
            self.queue.remove(&pod.uid);
            return;
        }
        let Some(profile) = self.settings.profiles.iter().find(|p| p.name == pod.scheduler_name) else { return };
        let percentage = profile.percentage;
        let cluster = self.cache.snapshot();
        let all = cluster.nodes.len();
        let decision = evaluate(&pod, cluster, self.start, enough(all, percentage));
        self.start = (self.start + decision.looked_at) % all.max(1);
        let chosen = decision.best(|n| rand::rng().random_range(0..n)).map(|r| cluster.nodes[r.index].clone());
        self.metrics.algorithm(began.elapsed());
        let Some(node) = chosen else {
            self.unschedulable(&queued, &decision, began);
            return;
        };
        let volumes = &cluster.volumes;
        let waiting = waiting_claims(&pod, volumes).unwrap_or_default();
        let sources = volumes.sources(&pod.namespace, &waiting, &node.name, &node.labels).unwrap_or_default();
        self.cache.assume(pod.clone(), &node.name);
        self.cache.nominate(&pod, "");
        let history = (queued.attempts, queued.first);
        self.binder.bind(Order { pod, node: node.name.clone(), sources, began, history });
    }

    /// No node does: room may be made, and the user is told.
    fn unschedulable(&mut self, queued: &Queued, decision: &Decision, began: Instant) {
        let pod = &queued.pod;
        let cluster = self.cache.peek();
        let all = cluster.nodes.len();
        let mut message = decision.message(all);
        let mut nominated = None;
        if all > 0 {
            let budgets: Vec<Arc<Budget>> = self.budgets.values().cloned().collect();
            let offset = rand::rng().random_range(0..all);
            match preempt(pod, cluster, decision, &budgets, offset) {
                Outcome::Found(candidate) => {
                    let node = cluster.nodes[candidate.index].name.clone();
                    tracing::info!(pod = pod.key(), node, victims = candidate.victims.len(), "preempting pods");
                    self.metrics.preemption(Some(candidate.victims.len()));
                    for other in outranked(pod, &node, &cluster.nominated) {
                        self.cache.nominate(&other, "");
                        self.queue.activate(&other.uid, began);
                        self.binder.clear_nomination(other);
                    }
                    self.cache.nominate(pod, &node);
                    self.binder.evict(candidate.victims, pod.clone(), node.clone());
                    nominated = Some(node);
                }
                Outcome::Nothing { message: why, clear } => {
                    self.metrics.preemption(None);
                    message = format!("{message} preemption: {why}");
                    if clear {
                        self.cache.nominate(pod, "");
                        nominated = Some(String::new());
                    }
                }
            }
        }
        tracing::debug!(pod = pod.key(), message, "the pod does not fit");
        self.binder.event(pod, EventType::Warning, "FailedScheduling", message.clone());
        self.binder.report(pod, "Unschedulable", &message, nominated.as_deref());
        self.metrics.attempt(&pod.scheduler_name, Attempt::Unschedulable, began.elapsed());
        let mut refusing = decision.refusing();
        if refusing.is_empty() {
            // Without nodes nobody refuses, but any node will help.
            refusing.extend(TABLE.iter().filter(|p| p.hint.is_some()).map(|p| p.name));
        }
        self.metrics.incoming("unschedulable", "ScheduleAttemptFailure", 1);
        self.queue.failed(&pod.uid, refusing, Instant::now());
    }

    fn bound(&mut self, bound: Bound) {
        let Bound { pod, node, began, history: (attempts, first), result, gone } = bound;
        let Err(error) = result else {
            tracing::debug!(pod = pod.key(), node, "bound");
            self.queue.remove(&pod.uid);
            let message = format!("Successfully assigned {}/{} to {node}", pod.namespace, pod.name);
            self.binder.event(&pod, EventType::Normal, "Scheduled", message);
            self.metrics.attempt(&pod.scheduler_name, Attempt::Scheduled, began.elapsed());
            self.metrics.bound(attempts, first.elapsed());
            return;
        };
        if self.cache.forget(&pod.uid).is_some() {
            self.moved("AssignedPodDelete", &Event::PodRemoved(&pod));
        }
        if gone {
            self.queue.remove(&pod.uid);
            return;
        }
        tracing::warn!(pod = pod.key(), node, error, "the pod was not bound");
        let message = format!("binding rejected: running Bind plugin \"DefaultBinder\": {error}");
        self.binder.event(&pod, EventType::Warning, "FailedScheduling", message.clone());
        self.binder.report(&pod, "SchedulerError", &message, None);
        self.metrics.attempt(&pod.scheduler_name, Attempt::Error, began.elapsed());
        self.queue.failed(&pod.uid, Vec::new(), Instant::now());
    }
}
