//! Liveness, readiness and startup: one task for each probe of each container that runs
//! (rule: kubelet `prober/worker.go`).

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use steersman_client::EventType;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    api::*,
    http::{self, Get},
    kubelet::Kubelet,
    pods::{
        plan::Verdict,
        spec::{Kind, PodExt, is_sidecar},
    },
    runtime::observed::{Observed, Run},
};

mod handlers;

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Restart the container when it fails.
    Liveness,
    /// Take the pod out of services while it fails.
    Readiness,
    /// Hold the other two back until it succeeds.
    Startup,
}

impl Purpose {
    fn shown(self) -> &'static str {
        match self {
            Purpose::Liveness => "Liveness",
            Purpose::Readiness => "Readiness",
            Purpose::Startup => "Startup",
        }
    }
}

/// Counts answers and tells when the result turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counter {
    success: bool,
    last: Option<bool>,
    run: i32,
}

impl Counter {
    /// Adds an answer; true if the result changed.
    fn add(&mut self, ok: bool, success_threshold: i32, failure_threshold: i32) -> bool {
        self.run = if self.last == Some(ok) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(ok);
        let enough = self.run >= if ok { success_threshold } else { failure_threshold };
        let turned = enough && self.success != ok;
        if enough {
            self.success = ok;
        }
        turned
    }
}

/// Results and tasks of all containers that run.
#[derive(Default)]
pub struct Probes {
    watched: Mutex<HashMap<String, Watched>>,
    /// Answers by container, purpose and result, for `/metrics/probes`.
    pub counts: Mutex<HashMap<(String, String, String, &'static str, &'static str), u64>>,
}

struct Watched {
    uid: String,
    stop: CancellationToken,
    liveness: Option<bool>,
    readiness: Option<bool>,
    startup: Option<bool>,
}

impl Probes {
    /// Begins to probe containers that have come to run, and stops with those that do not run any more.
    pub fn reconcile(&self, k: &Arc<Kubelet>, pod: &Arc<Pod>, seen: &Observed) {
        let running: Vec<&Run> = seen.running().collect();
        let mut watched = self.watched.lock();
        watched.retain(|id, w| {
            let keep = w.uid != pod.uid() || running.iter().any(|r| r.id() == id);
            if !keep {
                w.stop.cancel();
            }
            keep
        });
        for run in running.into_iter().filter(|r| seen.sandbox().is_some_and(|s| s.id == r.sandbox)) {
            if watched.contains_key(run.id()) {
                continue;
            }
            let Some((kind, container)) = pod.find_container(run.name()) else { continue };
            if kind == Kind::Ephemeral || kind == Kind::Init && !is_sidecar(&container) {
                continue;
            }
            let stop = k.shutdown.child_token();
            // A kubelet that starts anew takes the API's word for containers it finds running.
            let was = known(pod, run);
            watched.insert(
                run.id().to_owned(),
                Watched {
                    uid: pod.uid().to_owned(),
                    stop: stop.clone(),
                    liveness: container.liveness_probe.as_ref().map(|_| true),
                    readiness: container.readiness_probe.as_ref().map(|_| was.0),
                    startup: container.startup_probe.as_ref().map(|_| was.1),
                },
            );
            let all = [
                (Purpose::Liveness, &container.liveness_probe),
                (Purpose::Readiness, &container.readiness_probe),
                (Purpose::Startup, &container.startup_probe),
            ];
            for (purpose, probe) in all {
                let Some(probe) = probe.clone() else { continue };
                let target = Target {
                    pod: pod.clone(),
                    kind,
                    container: container.clone(),
                    id: run.id().to_owned(),
                    ip: if pod.host_network() { k.node.ips() } else { seen.ips() }.first().cloned().unwrap_or_default(),
                    started: run.status.started_at,
                };
                tokio::spawn(watch(k.clone(), target, purpose, probe, stop.clone()));
            }
        }
    }

    /// Stops probing a pod's containers; with `keep_readiness` its readiness is still watched while it terminates.
    pub fn forget(&self, uid: &str) {
        self.watched.lock().retain(|_, w| {
            if w.uid == uid {
                w.stop.cancel();
            }
            w.uid != uid
        });
    }

    /// Whether liveness and startup probes are satisfied.
    pub fn verdict(&self, id: &str) -> Verdict {
        let watched = self.watched.lock();
        let Some(w) = watched.get(id) else { return Verdict { started: true, ..Default::default() } };
        Verdict {
            not_alive: w.liveness == Some(false) && w.startup != Some(false),
            not_started: w.startup == Some(false) && w.liveness == Some(false),
            started: w.startup != Some(false),
        }
    }

    /// Whether the container has come up.
    pub fn is_started(&self, id: &str) -> bool {
        self.watched.lock().get(id).is_none_or(|w| w.startup != Some(false))
    }

    /// Whether the container may get traffic.
    pub fn is_ready(&self, id: &str) -> bool {
        self.watched.lock().get(id).is_none_or(|w| w.readiness != Some(false) && w.startup != Some(false))
    }

    fn set(&self, id: &str, purpose: Purpose, ok: bool) {
        if let Some(w) = self.watched.lock().get_mut(id) {
            match (purpose, ok) {
                (Purpose::Liveness, ok) => w.liveness = Some(ok),
                (Purpose::Readiness, ok) => w.readiness = Some(ok),
                (Purpose::Startup, true) => w.startup = Some(true),
                // A start that failed for good is told by both: not started, and not alive.
                (Purpose::Startup, false) => w.liveness = Some(false),
            }
        }
    }
}

/// Whether the API has this run as ready and as started.
fn known(pod: &Pod, run: &Run) -> (bool, bool) {
    let status = pod.status.as_ref();
    let lists = status.map(|s| (s.container_statuses.iter().flatten(), s.init_container_statuses.iter().flatten()));
    let mut all = lists.into_iter().flat_map(|(a, b)| a.chain(b));
    let found =
        all.find(|s| s.container_id.as_deref().is_some_and(|id| id.ends_with(run.id()) && !run.id().is_empty()));
    found.map_or((false, false), |s| (s.ready, s.started == Some(true)))
}

struct Target {
    pod: Arc<Pod>,
    kind: Kind,
    container: Container,
    id: String,
    ip: String,
    started: i64,
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default))
}

async fn watch(k: Arc<Kubelet>, target: Target, purpose: Purpose, probe: Probe, stop: CancellationToken) {
    let period = seconds(probe.period_seconds, 10);
    let timeout = seconds(probe.timeout_seconds, 1);
    let success_threshold = probe.success_threshold.unwrap_or(1).max(1);
    let failure_threshold = probe.failure_threshold.unwrap_or(3).max(1);
    let now = jiff::Timestamp::now().as_nanosecond();
    let age = Duration::from_nanos(u64::try_from(now - i128::from(target.started)).unwrap_or(0));
    let delay = seconds(probe.initial_delay_seconds, 0).saturating_sub(age);
    // After a restart of the kubelet not all probes of the node start at once.
    let spread = if age > Duration::from_secs(5) { period.mul_f64(rand::random::<f64>()) } else { Duration::ZERO };
    let mut next = Instant::now() + delay.max(spread);
    let mut counter = Counter { success: purpose == Purpose::Liveness, last: None, run: 0 };
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = stop.cancelled() => return,
        }
        next = Instant::now() + period;
        if purpose != Purpose::Startup && !k.probes.is_started(&target.id) {
            // Looks again soon after the start, so that readiness does not lag a whole period behind.
            next = Instant::now() + period.min(Duration::from_secs(1));
            continue;
        }
        let answer = tokio::select! {
            answer = handlers::run(&k, &target, &probe, timeout) => answer,
            () = stop.cancelled() => return,
        };
        let ok = answer.is_ok();
        count(&k, &target, purpose, ok);
        if let Err(output) = &answer {
            let message = format!("{} probe failed: {output}", purpose.shown());
            let about = (target.kind, target.container.name.as_str());
            k.events.container(&target.pod, about, EventType::Warning, "Unhealthy", message);
        }
        let turned = counter.add(ok, success_threshold, failure_threshold);
        let failed_start =
            purpose == Purpose::Startup && !ok && counter.last == Some(false) && counter.run >= failure_threshold;
        if turned || failed_start {
            k.probes.set(&target.id, purpose, ok);
            k.workers.poke(target.pod.uid());
        }
        // A startup probe has done its work with the first success or the last failure; a container that is found dead
        // is killed and probed anew.
        if purpose == Purpose::Startup && (turned && ok || failed_start)
            || purpose == Purpose::Liveness && turned && !ok
        {
            return;
        }
    }
}

fn count(k: &Kubelet, target: &Target, purpose: Purpose, ok: bool) {
    let key = (
        target.pod.ns().to_owned(),
        target.pod.name().to_owned(),
        target.container.name.clone(),
        purpose.shown(),
        if ok { "successful" } else { "failed" },
    );
    *k.probes.counts.lock().entry(key).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_turn_at_their_thresholds() {
        let check = |begin: bool, answers: &[bool], expect: &[bool]| {
            let mut counter = Counter { success: begin, last: None, run: 0 };
            let results: Vec<bool> = answers
                .iter()
                .map(|ok| {
                    counter.add(*ok, 2, 3);
                    counter.success
                })
                .collect();
            assert_eq!(results, expect, "{answers:?}");
        };
        check(false, &[true, true], &[false, true]);
        check(true, &[false, false, true, false, false, false], &[true, true, true, true, true, false]);
        check(false, &[true, false, true, true], &[false, false, false, true]);
    }
}
