//! Carrying out what the plan says.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, sync::Arc, time::Duration};

use jiff::Timestamp;
use steersman_client::EventType;
use steersman_cri::v1;
use steersman_volumes::{self as volumes, Ready};
use tokio::time::Instant;

use super::{
    plan::{self, Kill},
    resize,
    spec::{Kind, PodExt, is_sidecar, spec},
    status::{self, Reasons},
};
use crate::{
    api::*,
    kubelet::Kubelet,
    names::log_path,
    runtime::{
        env,
        images::back_off_message,
        mounts,
        observed::{Observed, Run, State, observe},
        resources, security,
        specs::{self, ContainerInput},
    },
};

/// Waits after a step that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// A change of resources that does not fit is tried again this often.
const DEFERRED: Duration = Duration::from_secs(10);
/// The least time a container gets to stop, after its hook.
const MIN_GRACE: Duration = Duration::from_secs(2);

/// What a worker remembers of its pod between steps.
#[derive(Default)]
pub struct Memory {
    /// Why containers are not running.
    pub reasons: Reasons,
    /// Steps that failed in a row.
    pub failures: u32,
    /// What the sandbox was made from.
    sandbox_config: Option<v1::PodSandboxConfig>,
    /// The status says all there is to say and stays: the node never took the pod, or it had ended before.
    pub settled: bool,
    /// What containers were given.
    pub given: resize::Given,
    /// A change of resources that does not fit.
    pub pending: Option<resize::Pending>,
    /// Volume errors that were told already, so that events do not repeat with every step.
    told: BTreeMap<String, String>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Look again when something happens, or after this time.
    Wait(Option<Duration>),
    /// The pod has come to its end by itself.
    Ended,
}

fn earlier(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Memory {
    fn retry(&mut self) -> Outcome {
        self.failures += 1;
        Outcome::Wait(Some((RETRY.0 * 2u32.saturating_pow(self.failures.min(8) - 1)).min(RETRY.1)))
    }
}

/// Brings a pod one step closer to what it should be.
pub async fn step(k: &Arc<Kubelet>, pod: &Arc<Pod>, memory: &mut Memory) -> Outcome {
    let seen = match observe(k.runtime.as_ref(), pod.uid()).await {
        Ok(seen) => seen,
        Err(error) => {
            tracing::warn!(pod = pod.full(), %error, "cannot see the pod in the runtime");
            return memory.retry();
        }
    };
    k.probes.reconcile(k, pod, &seen);
    k.exits.reconcile(k, pod.uid(), &seen);
    resize::note(&mut memory.given, pod, &seen);
    let status = report(k, pod, &seen, memory, false);
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Outcome::Ended;
    }
    if let Some(error) = k.node.network_error()
        && !pod.host_network()
        && seen.ready_sandbox().is_none()
    {
        k.events.warning(pod, "NetworkNotReady", format!("network is not ready: {error}"));
        return memory.retry();
    }
    // Downward fields show the addresses of now.
    let mut current = (**pod).clone();
    current.status = Some(status);
    let changes = resize::compare(pod, &seen, &memory.given);
    let resizing = changes != resize::Changes::default();
    memory.pending = if resizing { resize::fits(k, pod).err() } else { None };
    let volumes = match prepare(k, &current, &seen, memory).await {
        Ok(volumes) => volumes,
        Err(()) => return memory.retry(),
    };
    let mut plan = plan::compute(pod, &seen, &|id| k.probes.verdict(id));
    if resizing && memory.pending.is_none() && !plan.kill_pod {
        if resize::update(k, pod, &changes, &mut memory.given).await.is_err() {
            return memory.retry();
        }
        plan.start.extend(changes.restart.iter().map(|kill| kill.name.clone()));
        plan.kill.extend(changes.restart);
    }
    if resizing {
        report(k, pod, &seen, memory, false);
    }
    let wake = earlier(deadline(&current), k.objects.renewal(pod.uid()));
    // Room for a change that did not fit may appear without any sign.
    let wake = earlier(wake, memory.pending.as_ref().map(|_| DEFERRED));
    if plan.is_empty() {
        memory.failures = 0;
        clean_up(k, pod, &seen).await;
        return Outcome::Wait(wake);
    }
    let outcome = carry_out(k, &mut current, seen, &plan, volumes, memory).await;
    match observe(k.runtime.as_ref(), pod.uid()).await {
        Ok(seen) => {
            k.probes.reconcile(k, pod, &seen);
            k.exits.reconcile(k, pod.uid(), &seen);
            let status = report(k, pod, &seen, memory, false);
            if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
                return Outcome::Ended;
            }
        }
        Err(_) => return memory.retry(),
    }
    match outcome {
        Ok(retry) => {
            memory.failures = 0;
            Outcome::Wait(earlier(retry, wake))
        }
        Err(()) => memory.retry(),
    }
}

/// When `activeDeadlineSeconds` will have passed.
fn deadline(pod: &Pod) -> Option<Duration> {
    let limit = spec(pod).active_deadline_seconds?;
    let started = pod.status.as_ref()?.start_time.as_ref()?.0.as_second();
    Some(Duration::from_secs(u64::try_from(started + limit - Timestamp::now().as_second()).unwrap_or(0) + 1))
}

/// Whether `activeDeadlineSeconds` has passed.
pub fn deadline_passed(pod: &Pod, start: Option<&Time>) -> bool {
    let (Some(limit), Some(start)) = (spec(pod).active_deadline_seconds, start) else { return false };
    Timestamp::now().as_second() - start.0.as_second() >= limit
}

/// Makes the status of a pod, notes it to be sent, and returns it.
pub fn report(k: &Kubelet, pod: &Pod, seen: &Observed, memory: &Memory, ended: bool) -> PodStatus {
    report_as(k, pod, seen, memory, ended, None)
}

/// Like [`report`], with a phase, reason and message that overrule.
pub fn report_as(
    k: &Kubelet,
    pod: &Pod,
    seen: &Observed,
    memory: &Memory,
    ended: bool,
    verdict: Option<(&str, &str, &str)>,
) -> PodStatus {
    let known = k.status.get(pod.uid());
    let mut base = pod.clone();
    // What this kubelet said last counts, even if the API has not heard of it yet; what others said does as well.
    if let Some(known) = known {
        base.status = Some(merged(base.status.take(), known));
    }
    let words = |run: &Run| {
        let log = k.folders.logs(pod.ns(), pod.name(), pod.uid()).join(log_path(run.name(), run.restarts()));
        status::last_words(run, &log)
    };
    let status = status::generate(&status::Input {
        pod: &base,
        seen,
        reasons: &memory.reasons,
        ready: &|id| k.probes.is_ready(id),
        started: &|id| k.probes.is_started(id),
        host_ips: &k.node.ips(),
        words: &words,
        ended,
        given: &memory.given,
        pending: memory.pending.as_ref(),
        verdict,
    });
    k.status.set(pod, status.clone());
    status
}

fn merged(api: Option<PodStatus>, mut own: PodStatus) -> PodStatus {
    let others = api.into_iter().flat_map(|s| s.conditions.unwrap_or_default());
    let mut conditions = own.conditions.take().unwrap_or_default();
    conditions.retain(|c| status::OWNED.contains(&c.type_.as_str()) || c.type_ == "DisruptionTarget");
    let extra: Vec<PodCondition> = others.filter(|o| !conditions.iter().any(|c| c.type_ == o.type_)).collect();
    conditions.extend(extra);
    own.conditions = Some(conditions);
    own
}

async fn prepare(k: &Arc<Kubelet>, pod: &Pod, seen: &Observed, memory: &mut Memory) -> Result<Ready, ()> {
    let limits = resources::of_pod(pod, &k.config);
    let ensured = if memory.pending.is_some() { Ok(()) } else { k.cgroups.ensure(pod, &limits) };
    // A pod that runs does not stop because the kernel refuses a smaller limit for now.
    if let Err(error) = ensured
        && seen.ready_sandbox().is_none()
    {
        k.events.warning(pod, "FailedToCreatePodContainer", format!("unable to ensure pod container exists: {error}"));
        return Err(());
    }
    let dir = k.folders.pod(pod.uid());
    for sub in ["volumes", "plugins", "containers"] {
        if let Err(error) = fs::create_dir_all(dir.join(sub)) {
            k.events.warning(pod, "FailedSync", format!("error making pod data directories: {error}"));
            return Err(());
        }
    }
    k.share_among_classes();
    k.objects.register(pod, &volumes::references(pod));
    let node = k.node.resources();
    let cx = volumes::Context { pod, objects: k.objects.as_ref(), host: k.host.as_ref(), node: &node };
    let (ready, failed) = volumes::set_up(&cx, &dir).await;
    if failed.is_empty() {
        memory.told.clear();
        return Ok(ready);
    }
    for (name, error) in &failed {
        let message = format!("MountVolume.SetUp failed for volume {name:?} : {error}");
        // The same failure is told again now and then, not with every try.
        if memory.told.get(name) != Some(&message) || memory.failures.is_multiple_of(12) {
            k.events.warning(pod, "FailedMount", message.clone());
        }
        memory.told.insert(name.clone(), message);
    }
    Err(())
}

async fn carry_out(
    k: &Arc<Kubelet>,
    pod: &mut Pod,
    mut seen: Observed,
    plan: &plan::Plan,
    volumes: Ready,
    memory: &mut Memory,
) -> Result<Option<Duration>, ()> {
    if plan.kill_pod {
        let grace = Duration::from_secs(spec(pod).termination_grace_period_seconds.unwrap_or(30).max(0) as u64);
        stop_all(k, pod, &seen, grace).await?;
        if plan.create_sandbox.is_none() {
            return Ok(None);
        }
    }
    for kill in &plan.kill {
        stop_one(k, pod, &seen, kill).await?;
    }
    if let Some(attempt) = plan.create_sandbox {
        create_sandbox(k, pod, attempt, memory).await?;
        seen = observe(k.runtime.as_ref(), pod.uid()).await.map_err(|_| ())?;
        if let Some(status) = &mut pod.status
            && pod.spec.as_ref().is_none_or(|s| s.host_network != Some(true))
        {
            let ips = seen.ips();
            status.pod_ip = ips.first().cloned();
            status.pod_ips = Some(ips.into_iter().map(|ip| PodIP { ip }).collect());
        }
        report(k, pod, &seen, memory, false);
    }
    let Some(sandbox) = seen.ready_sandbox().cloned() else { return Err(()) };
    let config = sandbox_config(k, pod, &sandbox, memory);
    let mut wake = None;
    for name in &plan.start {
        let Some((kind, container)) = pod.find_container(name) else { continue };
        match start(k, pod, kind, &container, &seen, &sandbox, &config, &volumes, memory).await {
            Ok(()) => {
                memory.reasons.remove(name);
            }
            Err(NotStarted { reason, message, retry }) => {
                memory.reasons.insert(name.clone(), (reason.to_owned(), message));
                wake = earlier(wake, Some(retry));
            }
        }
    }
    Ok(wake)
}

fn sandbox_config(k: &Kubelet, pod: &Pod, sandbox: &v1::PodSandboxStatus, memory: &mut Memory) -> v1::PodSandboxConfig {
    let attempt = sandbox.metadata.as_ref().map_or(0, |m| m.attempt);
    memory
        .sandbox_config
        .get_or_insert_with(|| {
            specs::sandbox(pod, attempt, &k.config, &k.folders, &k.cgroups.parent(pod), &k.host_resolv())
        })
        .clone()
}

async fn create_sandbox(k: &Arc<Kubelet>, pod: &Pod, attempt: u32, memory: &mut Memory) -> Result<(), ()> {
    let config = specs::sandbox(pod, attempt, &k.config, &k.folders, &k.cgroups.parent(pod), &k.host_resolv());
    let failed =
        |why: String| k.events.warning(pod, "FailedCreatePodSandBox", format!("Failed to create pod sandbox: {why}"));
    if let Err(error) = fs::create_dir_all(&config.log_directory) {
        failed(error.to_string());
        return Err(());
    }
    let handler = k.runtime_handler(pod).await.map_err(&failed)?;
    match k.runtime.run_pod_sandbox(config.clone(), &handler).await {
        Ok(_) => {
            memory.sandbox_config = Some(config);
            Ok(())
        }
        Err(error) => {
            failed(error.to_string());
            Err(())
        }
    }
}

struct NotStarted {
    reason: &'static str,
    message: String,
    retry: Duration,
}

fn not_started(reason: &'static str) -> impl FnOnce(String) -> NotStarted {
    move |message| NotStarted { reason, message, retry: Duration::from_secs(5) }
}

async fn start(
    k: &Arc<Kubelet>,
    pod: &Pod,
    kind: Kind,
    container: &Container,
    seen: &Observed,
    sandbox: &v1::PodSandboxStatus,
    sandbox_config: &v1::PodSandboxConfig,
    volumes: &Ready,
    memory: &Memory,
) -> Result<(), NotStarted> {
    let about = (kind, container.name.as_str());
    let warn = |reason: &str, message: String| k.events.container(pod, about, EventType::Warning, reason, message);
    let last = seen.newest(&container.name);
    let key = format!("{}_{}_{}", pod.uid(), container.name, specs::hash(container));
    let ended = last.filter(|r| r.state() == State::ContainerExited);
    if let Some(run) = ended {
        let since = instant_of(run.status.finished_at);
        if let Some((left, delay)) = k.crashes.remaining(&key, Some(since)) {
            let message = back_off_message(&container.name, pod, delay);
            // People see one event for each wait, not for each look.
            if memory.reasons.get(&container.name).is_none_or(|(_, m)| *m != message) {
                warn(
                    "BackOff",
                    format!("Back-off restarting failed container {} in pod {}", container.name, pod.full()),
                );
            }
            return Err(NotStarted { reason: "CrashLoopBackOff", message, retry: left });
        }
        k.crashes.next(&key, since);
    }
    let image = k
        .images
        .ensure(pod, kind, container, k.objects.as_ref(), sandbox_config)
        .await
        .map_err(|m| NotStarted { reason: m.reason, message: m.message, retry: m.retry })?;
    let config_error = |message: String| {
        warn("Failed", format!("Error: {message}"));
        not_started("CreateContainerConfigError")(message)
    };
    security::check_non_root(pod, container, &image.user).map_err(&config_error)?;
    let services = k.services().await.map_err(&config_error)?;
    let node = k.node.resources();
    let sources = env::Sources { pod, objects: k.objects.as_ref(), services: &services, node: &node };
    let env = env::variables(&sources, container).await.map_err(&config_error)?;
    let target = spec(pod)
        .ephemeral_containers
        .iter()
        .flatten()
        .find(|e| e.name == container.name)
        .and_then(|e| e.target_container_name.as_deref())
        .and_then(|name| seen.current(name))
        .map(|run| run.id().to_owned());
    let ips = if pod.host_network() { k.node.ips() } else { seen.ips() };
    let mounts = mounts::of_container(&mounts::Input {
        pod,
        container,
        volumes,
        env: &env,
        ips: &ips,
        folders: &k.folders,
        host: k.host.as_ref(),
        domain: k.config.cluster_domain.trim_matches('.'),
    })
    .map_err(&config_error)?;
    let restarts = last.map_or_else(|| next_log(k, pod, &container.name), |run| run.restarts() + 1);
    let input = ContainerInput {
        pod,
        container,
        restarts,
        image_ref: &image.reference,
        user: &image.user,
        env,
        mounts,
        target: target.as_deref(),
        node_memory: k.node.memory(),
        unified: k.cgroups.unified(),
    };
    let config = specs::container(input, &k.config, &k.folders.root);
    let create_error = |message: String| {
        warn("Failed", format!("Error: {message}"));
        not_started("CreateContainerError")(message)
    };
    let log = std::path::Path::new(&sandbox_config.log_directory).join(&config.log_path);
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir).map_err(|e| create_error(e.to_string()))?;
    }
    let id = k
        .runtime
        .create_container(&sandbox.id, config, sandbox_config.clone())
        .await
        .map_err(|e| create_error(e.to_string()))?;
    k.events.container(pod, about, EventType::Normal, "Created", "Container created");
    k.runtime.start_container(&id).await.map_err(|e| {
        let message = e.to_string();
        warn("Failed", format!("Error: {message}"));
        not_started("RunContainerError")(message)
    })?;
    k.events.container(pod, about, EventType::Normal, "Started", "Container started");
    link_log(k, pod, &container.name, &id, &log);
    if let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) {
        let ip = ips.first().map_or("", String::as_str);
        if let Err(message) = crate::hooks::run(k.runtime.as_ref(), container, &id, hook, ip).await {
            warn("FailedPostStartHook", message.clone());
            let kill = Kill { id, name: container.name.clone(), message: "FailedPostStartHook".into(), probe: None };
            // Whatever this gives, the next step sees the container as it is.
            let _ = stop_one(k, pod, seen, &kill).await;
            return Err(not_started("PostStartHookError")(message));
        }
    }
    Ok(())
}

/// The moment of a time that the runtime gave, as far as it can be told.
fn instant_of(nanos: i64) -> Instant {
    let ago = Timestamp::now().as_nanosecond() - i128::from(nanos);
    let ago = Duration::from_nanos(u64::try_from(ago).unwrap_or(0));
    Instant::now().checked_sub(ago).unwrap_or_else(Instant::now)
}

/// When the runtime has forgotten a container, its logs still tell how often it ran.
fn next_log(k: &Kubelet, pod: &Pod, container: &str) -> u32 {
    let dir = k.folders.logs(pod.ns(), pod.name(), pod.uid()).join(container);
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter_map(|n| n.split('.').next()?.parse::<u32>().ok()).max().map_or(0, |n| n + 1)
}

fn link_log(k: &Kubelet, pod: &Pod, container: &str, id: &str, log: &std::path::Path) {
    let link = k.folders.log_link(pod.ns(), pod.name(), container, id);
    // Collectors read these links; a container runs without them as well.
    let linked = fs::create_dir_all(&k.folders.container_logs).and_then(|()| symlink(log, &link));
    if let Err(error) = linked {
        tracing::debug!(link = %link.display(), %error, "cannot link a container log");
    }
}

async fn stop_one(k: &Arc<Kubelet>, pod: &Pod, seen: &Observed, kill: &Kill) -> Result<(), ()> {
    let container = pod.find_container(&kill.name);
    let own = container.as_ref().and_then(|(_, c)| {
        let probe = match kill.probe {
            Some("liveness") => c.liveness_probe.as_ref(),
            Some("startup") => c.startup_probe.as_ref(),
            _ => None,
        };
        probe.and_then(|p| p.termination_grace_period_seconds)
    });
    let grace = own.or(spec(pod).termination_grace_period_seconds).unwrap_or(30).max(0) as u64;
    let ip = seen.ips().first().cloned().unwrap_or_default();
    stop_container(k, pod, &kill.id, &kill.name, &kill.message, Duration::from_secs(grace), &ip).await
}

/// The runtime counts in seconds, so a moment that has passed does not cost a whole one.
fn whole_seconds(begun: Instant) -> Duration {
    Duration::from_secs(begun.elapsed().as_secs())
}

/// Runs the hook of a container and stops it, both within `grace`.
pub async fn stop_container(
    k: &Arc<Kubelet>,
    pod: &Pod,
    id: &str,
    name: &str,
    message: &str,
    grace: Duration,
    ip: &str,
) -> Result<(), ()> {
    let found = pod.find_container(name);
    let about = (found.as_ref().map_or(Kind::Regular, |(kind, _)| *kind), name);
    let message = if message.is_empty() { format!("Stopping container {name}") } else { message.to_owned() };
    k.events.container(pod, about, EventType::Normal, "Killing", message);
    let begun = Instant::now();
    let hook = found.as_ref().and_then(|(_, c)| c.lifecycle.as_ref()?.pre_stop.clone());
    if let (Some(hook), Some((_, container)), false) = (hook, &found, grace.is_zero()) {
        let run = crate::hooks::run(k.runtime.as_ref(), container, id, &hook, ip);
        if let Ok(Err(error)) = tokio::time::timeout(grace, run).await {
            k.events.container(pod, about, EventType::Warning, "FailedPreStopHook", error);
        }
    }
    let left =
        if grace.is_zero() { grace } else { grace.saturating_sub(whole_seconds(begun)).max(MIN_GRACE.min(grace)) };
    match k.runtime.stop_container(id, left).await {
        Err(e) if !e.is_not_found() => {
            k.events.container(
                pod,
                about,
                EventType::Warning,
                "FailedKillPod",
                format!("error killing container: {e}"),
            );
            Err(())
        }
        _ => Ok(()),
    }
}

/// Stops all containers of a pod and then its sandboxes: the regular ones at once, then the sidecars from last to
/// first, all within `grace`.
pub async fn stop_all(k: &Arc<Kubelet>, pod: &Pod, seen: &Observed, grace: Duration) -> Result<(), ()> {
    let begun = Instant::now();
    let ip = seen.ips().first().cloned().unwrap_or_default();
    let sidecars: Vec<String> =
        spec(pod).init_containers.iter().flatten().filter(|c| is_sidecar(c)).map(|c| c.name.clone()).rev().collect();
    let (late, first): (Vec<&Run>, Vec<&Run>) = seen.running().partition(|r| sidecars.iter().any(|s| s == r.name()));
    let stops = first.iter().map(|run| stop_container(k, pod, run.id(), run.name(), "", grace, &ip));
    let mut failed = futures::future::join_all(stops).await.into_iter().any(|r| r.is_err());
    for name in &sidecars {
        for run in late.iter().filter(|r| r.name() == name) {
            let left = if grace.is_zero() {
                grace
            } else {
                grace.saturating_sub(whole_seconds(begun)).max(MIN_GRACE.min(grace))
            };
            failed |= stop_container(k, pod, run.id(), name, "", left, &ip).await.is_err();
        }
    }
    for sandbox in seen.sandboxes.iter().filter(|s| s.state() == v1::PodSandboxState::SandboxReady) {
        if let Err(error) = k.runtime.stop_pod_sandbox(&sandbox.id).await
            && !error.is_not_found()
        {
            k.events.warning(pod, "FailedKillPod", format!("error killing pod: failed to stop sandbox: {error}"));
            failed = true;
        }
    }
    if failed { Err(()) } else { Ok(()) }
}

/// Removes what older runs left, but the newest ended one of each container, and sandboxes nothing belongs to.
async fn clean_up(k: &Kubelet, pod: &Pod, seen: &Observed) {
    let mut kept: BTreeMap<&str, usize> = BTreeMap::new();
    let mut used: Vec<&str> = seen.sandbox().map(|s| s.id.as_str()).into_iter().collect();
    for run in &seen.runs {
        let count = kept.entry(run.name()).or_default();
        *count += 1;
        if *count <= 2 || run.is_running() {
            used.push(&run.sandbox);
            continue;
        }
        if k.runtime.remove_container(run.id()).await.is_ok() {
            let log = k.folders.logs(pod.ns(), pod.name(), pod.uid()).join(log_path(run.name(), run.restarts()));
            let link = k.folders.log_link(pod.ns(), pod.name(), run.name(), run.id());
            // Either may be gone already.
            let _ = (fs::remove_file(log), fs::remove_file(link));
        }
    }
    for sandbox in seen.sandboxes.iter().filter(|s| !used.contains(&s.id.as_str())) {
        if k.runtime.stop_pod_sandbox(&sandbox.id).await.is_ok() {
            // What fails now is tried again with the next clean-up.
            let _ = k.runtime.remove_pod_sandbox(&sandbox.id).await;
        }
    }
}
