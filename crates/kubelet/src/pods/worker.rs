//! One task for each pod, which reads everything, does what is missing, and waits until something happens.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    admission,
    spec::{PodExt, spec},
    sync::{self, Memory, Outcome},
};
use crate::{
    api::*,
    kubelet::Kubelet,
    runtime::observed::{Observed, observe},
};

/// How often a pod is looked at although nothing seems to have happened.
const RESYNC: Duration = Duration::from_secs(60);
/// Waits after a failed step of the end of a pod.
const RETRY: Duration = Duration::from_secs(1);

/// Why a pod has to go although nobody deleted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Seconds to stop in; `None` means what the pod says.
    pub grace: Option<u64>,
    /// Shown as the status' reason.
    pub reason: String,
    /// Shown as the status' message.
    pub message: String,
    /// Added to the conditions, as type `DisruptionTarget`.
    pub disrupted: bool,
}

struct Shared {
    notify: Notify,
    desired: Mutex<Desired>,
    /// Cancelled when the pod has to go, to interrupt whatever is being done for it.
    going: CancellationToken,
}

#[derive(Clone)]
struct Desired {
    pod: Arc<Pod>,
    /// The source does not have it any more.
    gone: bool,
    verdict: Option<Verdict>,
}

impl Desired {
    fn must_go(&self) -> bool {
        self.gone || self.verdict.is_some() || self.pod.metadata.deletion_timestamp.is_some()
    }

    fn grace(&self) -> Duration {
        let own = spec(&self.pod).termination_grace_period_seconds.unwrap_or(30);
        let wanted = match &self.verdict {
            Some(Verdict { grace: Some(seconds), .. }) => return Duration::from_secs(*seconds),
            _ => self.pod.metadata.deletion_grace_period_seconds.unwrap_or(own),
        };
        // Zero means that the API forgets the pod at once; its containers still get a moment.
        Duration::from_secs(u64::try_from(wanted).unwrap_or(0).max(1))
    }
}

/// All pods of this node.
#[derive(Default)]
pub struct Workers {
    pods: Mutex<HashMap<String, Arc<Shared>>>,
    ended: Notify,
}

impl Workers {
    /// A pod is new or has changed.
    pub fn update(&self, k: &Arc<Kubelet>, pod: Arc<Pod>) {
        let uid = pod.uid().to_owned();
        let mut pods = self.pods.lock();
        if let Some(shared) = pods.get(&uid) {
            let mut desired = shared.desired.lock();
            desired.pod = pod;
            if desired.must_go() {
                shared.going.cancel();
            }
            drop(desired);
            shared.notify.notify_one();
            return;
        }
        let shared = Arc::new(Shared {
            notify: Notify::new(),
            desired: Mutex::new(Desired { pod, gone: false, verdict: None }),
            going: CancellationToken::new(),
        });
        pods.insert(uid.clone(), shared.clone());
        drop(pods);
        let k = k.clone();
        tokio::spawn(async move {
            let stop = k.shutdown.clone();
            tokio::select! {
                () = work(&k, &uid, &shared) => {
                    k.workers.pods.lock().remove(&uid);
                    k.workers.ended.notify_waiters();
                }
                // Containers go on without the kubelet.
                () = stop.cancelled() => {}
            }
        });
    }

    /// The source does not have a pod any more.
    pub fn remove(&self, uid: &str) {
        if let Some(shared) = self.pods.lock().get(uid) {
            shared.desired.lock().gone = true;
            shared.going.cancel();
            shared.notify.notify_one();
        }
    }

    /// A pod has to go for a reason of the node's own.
    pub fn evict(&self, uid: &str, verdict: Verdict) {
        if let Some(shared) = self.pods.lock().get(uid) {
            shared.desired.lock().verdict.get_or_insert(verdict);
            shared.going.cancel();
            shared.notify.notify_one();
        }
    }

    /// Something about a pod may have changed.
    pub fn poke(&self, uid: &str) {
        if let Some(shared) = self.pods.lock().get(uid) {
            shared.notify.notify_one();
        }
    }

    /// Whether the pod is known here.
    pub fn knows(&self, uid: &str) -> bool {
        self.pods.lock().contains_key(uid)
    }

    /// All pods, as their sources have them.
    pub fn list(&self) -> Vec<Arc<Pod>> {
        self.pods.lock().values().map(|s| s.desired.lock().pod.clone()).collect()
    }

    /// One pod.
    pub fn get(&self, uid: &str) -> Option<Arc<Pod>> {
        self.pods.lock().get(uid).map(|s| s.desired.lock().pod.clone())
    }

    /// A pod by name; of several with one name, the one that is not on its way out.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let pods = self.pods.lock();
        let mut found: Vec<_> = pods
            .values()
            .map(|s| (s.going.is_cancelled(), s.desired.lock().pod.clone()))
            .filter(|(_, p)| p.ns() == namespace && p.name() == name)
            .collect();
        found.sort_by_key(|(going, _)| *going);
        found.into_iter().next().map(|(_, pod)| pod)
    }

    fn another(&self, pod: &Pod) -> bool {
        let pods = self.pods.lock();
        pods.values().any(|s| {
            let other = s.desired.lock().pod.clone();
            other.uid() != pod.uid() && other.ns() == pod.ns() && other.name() == pod.name() && s.going.is_cancelled()
        })
    }
}

async fn work(k: &Arc<Kubelet>, uid: &str, shared: &Shared) {
    // A static pod that was changed waits until its former self is gone; both have one name and perhaps one port.
    loop {
        let ended = k.workers.ended.notified();
        let pod = shared.desired.lock().pod.clone();
        if !k.workers.another(&pod) {
            break;
        }
        tokio::select! {
            () = ended => {}
            () = tokio::time::sleep(RETRY) => {}
        }
    }
    let mut memory = Memory::default();
    let finished = live(k, shared, &mut memory).await;
    end(k, uid, shared, &mut memory, finished).await;
    // What has ended stays known, with its logs, until its source forgets it.
    loop {
        let gone = shared.desired.lock().gone;
        if gone {
            break;
        }
        k.status.finish(uid);
        shared.notify.notified().await;
    }
    forget(k, uid, shared).await;
}

/// Runs the pod until it has to go (false) or has come to its end (true).
async fn live(k: &Arc<Kubelet>, shared: &Shared, memory: &mut Memory) -> bool {
    let first = shared.desired.lock().clone();
    if first.pod.is_terminal() {
        memory.settled = true;
        return true;
    }
    if first.must_go() {
        return false;
    }
    if let Err(refusal) = admission::admit(k, &first.pod).await {
        k.events.warning(&first.pod, &refusal.reason, refusal.message.clone());
        k.status.set(&first.pod, super::status::rejected(&first.pod, &refusal.reason, &refusal.message));
        memory.settled = true;
        return false;
    }
    loop {
        let desired = shared.desired.lock().clone();
        if desired.must_go() {
            return false;
        }
        let start = k.status.get(desired.pod.uid()).and_then(|s| s.start_time);
        if sync::deadline_passed(&desired.pod, start.as_ref()) {
            let message = "Pod was active on the node longer than the specified deadline".to_owned();
            k.events.normal(&desired.pod, "DeadlineExceeded", message.clone());
            let verdict = Verdict { grace: None, reason: "DeadlineExceeded".into(), message, disrupted: false };
            shared.desired.lock().verdict = Some(verdict);
            return false;
        }
        let outcome = tokio::select! {
            outcome = sync::step(k, &desired.pod, memory) => outcome,
            () = shared.going.cancelled() => continue,
        };
        let wait = match outcome {
            Outcome::Ended => return true,
            Outcome::Wait(wait) => wait.unwrap_or(RESYNC).min(RESYNC),
        };
        tokio::select! {
            () = shared.notify.notified() => {}
            () = shared.going.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Stops everything of the pod and gives back what it held; tries until it succeeds.
async fn end(k: &Arc<Kubelet>, uid: &str, shared: &Shared, memory: &mut Memory, finished: bool) {
    loop {
        if !stop(k, uid, shared, memory, finished).await {
            continue;
        }
        match give_back(k, uid).await {
            Ok(()) => break,
            // A sandbox that was being made when the pod had to go may have come up since then: look once more.
            Err(error) => {
                tracing::warn!(pod = uid, error, "cannot clean up after a pod yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    k.objects.unregister(uid);
    k.images.forget(uid);
    k.crashes.forget(uid);
}

/// Stops what runs of the pod and reports its end; false if it has to be tried again.
async fn stop(k: &Arc<Kubelet>, uid: &str, shared: &Shared, memory: &mut Memory, finished: bool) -> bool {
    let desired = shared.desired.lock().clone();
    let pod = &desired.pod;
    let grace = if finished { Duration::from_secs(30) } else { desired.grace() };
    let Ok(seen) = observe(k.runtime.as_ref(), uid).await else {
        tokio::time::sleep(RETRY).await;
        return false;
    };
    if seen.running().next().is_some() && !finished {
        sync::report_as(k, pod, &seen, memory, false, said(&desired));
    }
    // A shorter grace period that is asked for meanwhile starts the stop anew.
    let stopped = tokio::select! {
        stopped = sync::stop_all(k, pod, &seen, grace) => stopped,
        () = shortened(shared, grace) => return false,
    };
    if stopped.is_err() {
        tokio::time::sleep(RETRY).await;
        return false;
    }
    let Ok(seen) = observe(k.runtime.as_ref(), uid).await else { return false };
    if seen.running().next().is_some() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        return false;
    }
    k.probes.forget(uid);
    if !memory.settled {
        finish_status(k, &desired, &seen, memory);
        memory.settled = true;
    }
    true
}

/// Gives back the volumes and the cgroup of a pod whose processes have ended.
async fn give_back(k: &Kubelet, uid: &str) -> Result<(), String> {
    let dir = k.folders.pod(uid);
    steersman_volumes::tear_down(k.host.as_ref(), &dir).await.map_err(|e| e.to_string())?;
    k.cgroups.remove(uid).map_err(|e| e.to_string())
}

fn said(desired: &Desired) -> Option<(&str, &str, &str)> {
    desired.verdict.as_ref().map(|v| ("", v.reason.as_str(), v.message.as_str()))
}

fn finish_status(k: &Kubelet, desired: &Desired, seen: &Observed, memory: &Memory) {
    let verdict = desired.verdict.as_ref().map(|v| ("Failed", v.reason.as_str(), v.message.as_str()));
    let mut status = sync::report_as(k, &desired.pod, seen, memory, true, verdict);
    let disrupted = desired.verdict.as_ref().filter(|v| v.disrupted);
    if let Some(v) = disrupted {
        let condition = PodCondition {
            type_: "DisruptionTarget".into(),
            status: "True".into(),
            reason: Some("TerminationByKubelet".into()),
            message: Some(v.message.clone()),
            last_transition_time: Some(Time(super::status::now())),
            observed_generation: desired.pod.metadata.generation,
            ..Default::default()
        };
        status.conditions.get_or_insert_default().push(condition);
        k.status.set(&desired.pod, status);
    }
}

async fn shortened(shared: &Shared, grace: Duration) {
    loop {
        shared.notify.notified().await;
        if shared.desired.lock().grace() < grace {
            return;
        }
    }
}

/// Removes what the runtime and the disk still have of a pod.
async fn forget(k: &Arc<Kubelet>, uid: &str, shared: &Shared) {
    let pod = shared.desired.lock().pod.clone();
    k.status.forget(uid);
    remove_remains(k, uid).await;
    let logs = k.folders.logs(pod.ns(), pod.name(), uid);
    // What is left is found again by the next housekeeping.
    let _ = (std::fs::remove_dir_all(logs), std::fs::remove_dir_all(k.folders.pod(uid)));
}

/// Removes containers and sandboxes of a pod from the runtime.
pub async fn remove_remains(k: &Kubelet, uid: &str) {
    let Ok(seen) = observe(k.runtime.as_ref(), uid).await else { return };
    for run in &seen.runs {
        if let Err(error) = k.runtime.remove_container(run.id()).await {
            tracing::debug!(pod = uid, %error, "cannot remove a container yet");
        }
        if let Some(pod) = run.status.labels.get(crate::names::label::POD_NAME) {
            let ns = run.status.labels.get(crate::names::label::POD_NAMESPACE).map_or("", String::as_str);
            // The link may never have been made.
            let _ = std::fs::remove_file(k.folders.log_link(ns, pod, run.name(), run.id()));
        }
    }
    for sandbox in &seen.sandboxes {
        let removed = match k.runtime.stop_pod_sandbox(&sandbox.id).await {
            Ok(()) => k.runtime.remove_pod_sandbox(&sandbox.id).await,
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::debug!(pod = uid, %error, "cannot remove a sandbox yet");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use serde_json::{Value, json};
    use steersman_cri::{Runtime, v1};

    use super::*;
    use crate::doubles::{FakeCgroups, FakeRuntime};

    struct Bench {
        k: Arc<Kubelet>,
        runtime: Arc<FakeRuntime>,
        cgroups: FakeCgroups,
        _root: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let root = tempfile::tempdir().unwrap();
        let (runtime, cgroups) = (Arc::new(FakeRuntime::default()), FakeCgroups::default());
        Bench { k: Kubelet::for_test(root.path(), runtime.clone(), cgroups.clone()), runtime, cgroups, _root: root }
    }

    fn pod(uid: &str, spec: Value) -> Arc<Pod> {
        let meta = json!({"name": "p", "namespace": "n", "uid": uid});
        Arc::new(serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap())
    }

    impl Bench {
        async fn until(&self, what: &str, done: impl Fn(&Bench) -> bool) {
            for _ in 0..500 {
                if done(self) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{what}: {:?} {:?}", self.runtime.log.lock(), self.k.status.get("u"));
        }

        fn phase(&self, uid: &str) -> String {
            self.k.status.get(uid).and_then(|s| s.phase).unwrap_or_default()
        }

        fn did(&self, expect: &[&str]) -> bool {
            *self.runtime.log.lock() == expect
        }
    }

    #[tokio::test]
    async fn a_pod_runs_restarts_and_goes() {
        let bench = bench();
        let spec = json!({"terminationGracePeriodSeconds": 7, "initContainers": [{"name": "i", "image": "x:1"}],
            "containers": [{"name": "a", "image": "x:1"}]});
        let pod = pod("u", spec);
        bench.k.workers.update(&bench.k, pod.clone());
        bench.until("the init container starts", |b| b.did(&["sandbox 0", "start i"])).await;
        assert_eq!(bench.phase("u"), "Pending");
        bench.runtime.exit("i", 0);
        bench.k.workers.poke("u");
        bench.until("the container starts", |b| b.did(&["sandbox 0", "start i", "start a"])).await;
        bench.until("it is reported", |b| b.phase("u") == "Running").await;

        bench.runtime.exit("a", 3);
        bench.k.workers.poke("u");
        bench.until("the first restart is at once", |b| b.runtime.log.lock().len() == 4).await;
        bench.runtime.exit("a", 3);
        bench.k.workers.poke("u");
        let waits = |b: &Bench| {
            let status = b.k.status.get("u").unwrap_or_default();
            let states = status.container_statuses.unwrap_or_default();
            states.iter().any(|c| {
                let waiting = c.state.as_ref().and_then(|s| s.waiting.as_ref()?.reason.clone());
                waiting.as_deref() == Some("CrashLoopBackOff") && c.restart_count == 1
            })
        };
        bench.until("the second one waits", waits).await;

        bench.k.workers.remove("u");
        bench.until("nothing is left", |b| !b.k.workers.knows("u")).await;
        assert!(bench.cgroups.pods.lock().is_empty());
        assert!(!bench.k.folders.pod("u").exists());
    }

    #[tokio::test]
    async fn a_running_pod_is_stopped_within_its_grace_period() {
        let bench = bench();
        let spec = json!({"terminationGracePeriodSeconds": 7, "containers": [{"name": "a", "image": "x:1"}]});
        bench.k.workers.update(&bench.k, pod("u", spec));
        bench.until("it runs", |b| b.runtime.running() == 1).await;
        bench.k.workers.remove("u");
        bench.until("it is gone", |b| !b.k.workers.knows("u")).await;
        assert!(bench.runtime.log.lock().iter().any(|l| l == "stop a 7"), "{:?}", bench.runtime.log.lock());
    }

    #[tokio::test]
    async fn a_sandbox_that_comes_up_while_the_pod_goes_is_stopped_too() {
        let bench = bench();
        bench.k.workers.update(&bench.k, pod("u", json!({"containers": [{"name": "a", "image": "x:1"}]})));
        bench.until("it runs", |b| b.runtime.running() == 1).await;
        bench.cgroups.busy.store(true, Ordering::Relaxed);
        bench.k.workers.remove("u");
        let stops = |b: &Bench| b.runtime.log.lock().iter().filter(|l| *l == "stop sandbox").count();
        bench.until("its sandbox is stopped", |b| stops(b) == 1).await;
        let labels = HashMap::from([(crate::names::label::POD_UID.to_owned(), "u".to_owned())]);
        let late = v1::PodSandboxConfig { labels, ..Default::default() };
        bench.runtime.run_pod_sandbox(late, "").await.unwrap();
        bench.until("the late one is stopped", |b| stops(b) == 2).await;
        bench.cgroups.busy.store(false, Ordering::Relaxed);
        bench.until("nothing is left", |b| !b.k.workers.knows("u")).await;
    }

    #[tokio::test]
    async fn a_pod_that_ends_by_itself_is_reported_and_kept() {
        let bench = bench();
        bench.k.workers.update(
            &bench.k,
            pod("u", json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "x:1"}]})),
        );
        bench.until("it runs", |b| b.runtime.running() == 1).await;
        bench.runtime.exit("a", 0);
        bench.k.workers.poke("u");
        bench.until("it succeeded", |b| b.phase("u") == "Succeeded").await;
        bench.until("its sandbox is stopped", |b| b.runtime.log.lock().iter().any(|l| l == "stop sandbox")).await;
        assert!(bench.k.workers.knows("u"));
    }

    #[tokio::test]
    async fn a_missing_image_is_told() {
        let bench = bench();
        bench.k.workers.update(&bench.k, pod("u", json!({"containers": [{"name": "a", "image": "missing:1"}]})));
        let reason = |b: &Bench| {
            let status = b.k.status.get("u").unwrap_or_default();
            let state = status.container_statuses.unwrap_or_default().into_iter().next().and_then(|c| c.state);
            state.and_then(|s| s.waiting?.reason).unwrap_or_default()
        };
        bench.until("the pull fails", |b| reason(b) == "ErrImagePull").await;
        bench.until("then it backs off", |b| reason(b) == "ImagePullBackOff").await;
    }

    #[tokio::test]
    async fn a_pod_the_node_cannot_take_never_starts() {
        let bench = bench();
        let resources = json!({"requests": {"cpu": "100"}});
        bench
            .k
            .workers
            .update(&bench.k, pod("u", json!({"containers": [{"name": "a", "image": "x:1", "resources": resources}]})));
        bench.until("it is refused", |b| b.phase("u") == "Failed").await;
        assert_eq!(bench.k.status.get("u").and_then(|s| s.reason).as_deref(), Some("OutOfcpu"));
        assert!(bench.runtime.log.lock().is_empty());
    }

    #[tokio::test]
    async fn a_changed_static_pod_waits_for_its_former_self() {
        let bench = bench();
        let spec = json!({"containers": [{"name": "a", "image": "x:1"}]});
        bench.k.workers.update(&bench.k, pod("u", spec.clone()));
        bench.until("it runs", |b| b.runtime.running() == 1).await;
        bench.k.workers.remove("u");
        bench.k.workers.update(&bench.k, pod("v", spec));
        bench.until("the new one runs", |b| b.runtime.running() == 1 && !b.k.workers.knows("u")).await;
        let log = bench.runtime.log.lock().clone();
        let first_stop = log.iter().position(|l| l.starts_with("stop a"));
        let second_start = log.iter().rposition(|l| l == "start a");
        assert!(first_stop < second_start, "{log:?}");
    }
}
