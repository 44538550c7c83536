//! What is reported about a pod: a function of its specification, what the runtime says and what the probes found
//! (rule: kubelet `generateAPIPodStatus` and `status/generate.go`).

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;

use super::{
    plan::restarts,
    spec::{Kind, PodExt, is_sidecar, spec},
};
use crate::{
    api::*,
    names::annotation,
    runtime::observed::{Observed, Run, State},
};

/// Why a container is not running although it should, by container name.
pub type Reasons = BTreeMap<String, (String, String)>;

/// The last words of containers are cut here, in bytes.
const MAX_WORDS: usize = 4096;
/// With `FallbackToLogsOnError` so much of the log stands in for them.
const MAX_LOG_WORDS: usize = 2048;

/// What a status is made of.
pub struct Input<'a> {
    /// The pod as the API has it.
    pub pod: &'a Pod,
    /// What the runtime says.
    pub seen: &'a Observed,
    /// Why containers wait.
    pub reasons: &'a Reasons,
    /// Whether a container (by id) is ready, as far as probes are concerned.
    pub ready: &'a dyn Fn(&str) -> bool,
    /// Whether a container (by id) is started, as far as probes are concerned.
    pub started: &'a dyn Fn(&str) -> bool,
    /// Addresses of the node.
    pub host_ips: &'a [String],
    /// The last words of a run.
    pub words: &'a dyn Fn(&Run) -> String,
    /// The pod's containers are stopped for good.
    pub ended: bool,
    /// What containers were given, where that is not what they ask for now.
    pub given: &'a super::resize::Given,
    /// A change of resources that does not fit.
    pub pending: Option<&'a super::resize::Pending>,
    /// A phase, reason and message that overrule what follows from the containers.
    pub verdict: Option<(&'a str, &'a str, &'a str)>,
}

fn time(nanos: i64) -> Option<Time> {
    let whole = nanos.div_euclid(1_000_000_000);
    (nanos > 0).then(|| Timestamp::from_second(whole).ok().map(Time)).flatten()
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()).filter(|r| !r.is_empty()),
            message: Some(message.to_owned()).filter(|m| !m.is_empty()),
        }),
        ..Default::default()
    }
}

fn state_of(run: &Run, id: &str, words: &dyn Fn(&Run) -> String) -> ContainerState {
    let status = &run.status;
    match run.state() {
        State::ContainerRunning => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(status.started_at) }),
            ..Default::default()
        },
        State::ContainerExited => {
            let reason = match status.reason.as_str() {
                "" if status.exit_code == 0 => "Completed",
                "" => "Error",
                other => other,
            };
            let message = Some(words(run)).filter(|m| !m.is_empty()).or_else(|| Some(status.message.clone()));
            ContainerState {
                terminated: Some(ContainerStateTerminated {
                    container_id: Some(id.to_owned()),
                    exit_code: status.exit_code,
                    finished_at: time(status.finished_at),
                    message: message.filter(|m| !m.is_empty()),
                    reason: Some(reason.to_owned()),
                    signal: None,
                    started_at: time(status.started_at).or_else(|| time(status.created_at)),
                }),
                ..Default::default()
            }
        }
        State::ContainerCreated => waiting("ContainerCreating", ""),
        State::ContainerUnknown => ContainerState { terminated: Some(unknown_end()), ..Default::default() },
    }
}

fn unknown_end() -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".into()),
        message: Some("The container could not be located when the pod was terminated".into()),
        ..Default::default()
    }
}

/// The runtime's name stands before ids in the API.
pub const RUNTIME: &str = "containerd";

fn container_status(input: &Input<'_>, kind: Kind, container: &Container) -> ContainerStatus {
    let pod = input.pod;
    let runs: Vec<&Run> = input.seen.runs.iter().filter(|r| r.name() == container.name).collect();
    let has_init = spec(pod).init_containers.iter().flatten().count() > 0;
    let default = if has_init && kind != Kind::Ephemeral { "PodInitializing" } else { "ContainerCreating" };
    let old = previous(pod, kind, &container.name);
    let mut out = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        ready: false,
        started: Some(false),
        state: Some(waiting(default, "")),
        last_state: Some(ContainerState::default()),
        ..Default::default()
    };
    let Some(newest) = runs.first() else {
        // A run that was reported and is gone from the runtime was removed; it counts as ended.
        if let Some(old) = old {
            out.restart_count = old.restart_count;
            let ended = old.state.as_ref().and_then(|s| s.terminated.clone());
            let ran = old.state.as_ref().is_some_and(|s| s.running.is_some());
            if let Some(ended) = ended.or_else(|| (ran && input.ended).then(unknown_end)) {
                out.image_id.clone_from(&old.image_id);
                out.container_id.clone_from(&old.container_id);
                out.state = Some(ContainerState { terminated: Some(ended), ..Default::default() });
                out.ready = old.ready && kind == Kind::Init;
                return out;
            }
            out.last_state.clone_from(&old.last_state);
        }
        if input.ended {
            out.state = Some(ContainerState { terminated: Some(unknown_end()), ..Default::default() });
        } else if let Some((reason, message)) = input.reasons.get(&container.name) {
            out.state = Some(waiting(reason, message));
        }
        return out;
    };
    let id = |run: &Run| format!("{RUNTIME}://{}", run.id());
    out.restart_count = i32::try_from(newest.restarts()).unwrap_or(i32::MAX);
    out.container_id = Some(id(newest));
    let status = &newest.status;
    out.image = status
        .image
        .as_ref()
        .map(|i| i.image.clone())
        .filter(|i| !i.is_empty() && !i.starts_with("sha256:"))
        .unwrap_or(out.image);
    out.image_id.clone_from(&status.image_ref);
    out.state = Some(state_of(newest, &id(newest), input.words));
    if let Some(before) = runs.get(1).filter(|r| r.state() == State::ContainerExited) {
        out.last_state = Some(state_of(before, &id(before), input.words));
    }
    let lost = newest.state() == State::ContainerExited
        && !input.ended
        && restarts(pod, container, status.exit_code)
        && (kind == Kind::Regular || kind == Kind::Init && (is_sidecar(container) || status.exit_code != 0));
    if lost && let Some((reason, message)) = input.reasons.get(&container.name) {
        out.last_state = out.state.take();
        out.state = Some(waiting(reason, message));
    }
    let running = newest.is_running();
    out.started = Some(running && (input.started)(newest.id()));
    out.ready = match kind {
        Kind::Init if !is_sidecar(container) => newest.state() == State::ContainerExited && status.exit_code == 0,
        Kind::Ephemeral => false,
        _ => running && out.started == Some(true) && (input.ready)(newest.id()),
    };
    if kind == Kind::Init && !is_sidecar(container) {
        out.started = Some(running);
    }
    if running || newest.state() == State::ContainerExited {
        let given = input.given.get(&container.name).or(container.resources.as_ref());
        out.resources = given.cloned().filter(|r| *r != ResourceRequirements::default());
        out.allocated_resources = given.and_then(|r| r.requests.clone());
    }
    out.user = status.user.as_ref().and_then(|u| u.linux.as_ref()).map(|u| ContainerUser {
        linux: Some(LinuxContainerUser {
            uid: u.uid,
            gid: u.gid,
            supplemental_groups: Some(u.supplemental_groups.clone()).filter(|g| !g.is_empty()),
        }),
    });
    out.volume_mounts = mounts(container);
    out
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let all: Vec<_> = container
        .volume_mounts
        .iter()
        .flatten()
        .map(|m| VolumeMountStatus {
            mount_path: m.mount_path.clone(),
            name: m.name.clone(),
            read_only: m.read_only.filter(|r| *r),
            recursive_read_only: m
                .read_only
                .filter(|r| *r)
                .map(|_| m.recursive_read_only.clone().unwrap_or_else(|| "Disabled".into())),
            volume_status: None,
        })
        .collect();
    Some(all).filter(|m| !m.is_empty())
}

fn previous<'a>(pod: &'a Pod, kind: Kind, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let list = match kind {
        Kind::Init => &status.init_container_statuses,
        Kind::Regular => &status.container_statuses,
        Kind::Ephemeral => &status.ephemeral_container_statuses,
    };
    list.iter().flatten().find(|c| c.name == name)
}

/// The phase that follows from the containers (rule: kubelet `getPhase`).
pub fn phase(pod: &Pod, inits: &[ContainerStatus], regular: &[ContainerStatus], ended: bool) -> &'static str {
    let spec = spec(pod);
    let (mut pending_init, mut failed_init) = (0, 0);
    for container in spec.init_containers.iter().flatten() {
        let found = inits.iter().find(|s| s.name == container.name);
        let state = found.and_then(|s| s.state.as_ref());
        if is_sidecar(container) {
            match state {
                Some(s) if s.running.is_some() && found.is_some_and(|f| f.started == Some(true)) => {}
                Some(s) if s.terminated.is_some() => {}
                Some(s) if s.waiting.is_some() && has_ended_before(found) => {}
                _ => pending_init += 1,
            }
            continue;
        }
        match state {
            Some(s) if s.terminated.as_ref().is_some_and(|t| t.exit_code == 0) => {}
            Some(s) if s.terminated.is_some() => failed_init += 1,
            Some(s) if s.waiting.is_some() && has_ended_before(found) => {
                let last = found.and_then(|f| f.last_state.as_ref()?.terminated.as_ref());
                if last.is_some_and(|t| t.exit_code != 0) {
                    failed_init += 1;
                } else {
                    pending_init += 1;
                }
            }
            _ => pending_init += 1,
        }
    }
    let (mut unknown, mut running, mut waiting, mut stopped, mut succeeded) = (0, 0, 0, 0, 0);
    for container in &spec.containers {
        let found = regular.iter().find(|s| s.name == container.name);
        match found.and_then(|s| s.state.as_ref()) {
            Some(s) if s.running.is_some() => running += 1,
            Some(s) if s.terminated.is_some() => {
                stopped += 1;
                succeeded += usize::from(s.terminated.as_ref().is_some_and(|t| t.exit_code == 0));
            }
            Some(s) if s.waiting.is_some() => {
                if has_ended_before(found) {
                    stopped += 1;
                } else {
                    waiting += 1;
                }
            }
            _ => unknown += 1,
        }
    }
    let never = pod.restart_policy() == "Never";
    if failed_init > 0 && (never || ended) {
        return "Failed";
    }
    let begun = running + stopped > 0;
    if pending_init + failed_init > 0 && !begun && !ended {
        return "Pending";
    }
    if waiting > 0 && !ended {
        return "Pending";
    }
    if running > 0 && unknown == 0 {
        return "Running";
    }
    if running == 0 && stopped > 0 && unknown == 0 {
        if ended {
            return if stopped == succeeded { "Succeeded" } else { "Failed" };
        }
        if spec.containers.iter().any(|c| {
            let last = regular.iter().find(|s| s.name == c.name).and_then(exit_code);
            last.is_some_and(|exit| restarts(pod, c, exit))
        }) {
            return "Running";
        }
        return if stopped == succeeded { "Succeeded" } else { "Failed" };
    }
    if ended { "Failed" } else { "Pending" }
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    let now = status.state.as_ref().and_then(|s| s.terminated.as_ref());
    let last = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
    now.or(last).map(|t| t.exit_code)
}

fn has_ended_before(status: Option<&ContainerStatus>) -> bool {
    status.and_then(|s| s.last_state.as_ref()).is_some_and(|s| s.terminated.is_some())
}

/// Makes the whole status. Conditions that others own are kept.
pub fn generate(input: &Input<'_>) -> PodStatus {
    let pod = input.pod;
    let of_kind = |kind: Kind| -> Vec<ContainerStatus> {
        let all = pod.all_containers();
        all.iter().filter(|(k, _)| *k == kind).map(|(k, c)| container_status(input, *k, c)).collect()
    };
    let (inits, regular, ephemeral) = (of_kind(Kind::Init), of_kind(Kind::Regular), of_kind(Kind::Ephemeral));
    let old = pod.status.clone().unwrap_or_default();
    let mut phase = match input.verdict {
        Some((phase, ..)) if !phase.is_empty() => phase.to_owned(),
        _ => phase(pod, &inits, &regular, input.ended).to_owned(),
    };
    // A pod that ended does not come back.
    if let Some(was @ ("Succeeded" | "Failed")) = old.phase.as_deref() {
        was.clone_into(&mut phase);
    }
    let ips = if pod.host_network() { input.host_ips.to_vec() } else { input.seen.ips() };
    let ips = if ips.is_empty() && !phase_is_final(&phase) { ips } else { keep_ips(ips, &old) };
    let host_ips: Vec<HostIP> = input.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect();
    let mut out = PodStatus {
        conditions: Some(conditions(input, &inits, &regular, &phase)),
        reason: input.verdict.map(|(_, r, _)| r.to_owned()).or(old.reason).filter(|r| !r.is_empty()),
        message: input.verdict.map(|(_, _, m)| m.to_owned()).or(old.message).filter(|m| !m.is_empty()),
        phase: Some(phase),
        host_ip: input.host_ips.first().cloned(),
        host_ips: Some(host_ips).filter(|l| !l.is_empty()),
        pod_ip: ips.first().cloned(),
        pod_ips: Some(ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect::<Vec<_>>()).filter(|l| !l.is_empty()),
        qos_class: old.qos_class.or_else(|| Some(pod.qos().to_owned())),
        start_time: old.start_time.or_else(|| Some(Time(now()))),
        observed_generation: pod.metadata.generation,
        nominated_node_name: old.nominated_node_name,
        resize: old.resize,
        resource_claim_statuses: old.resource_claim_statuses,
        extended_resource_claim_status: old.extended_resource_claim_status,
        container_statuses: Some(regular),
        ..Default::default()
    };
    out.init_container_statuses = Some(inits).filter(|l| !l.is_empty());
    out.ephemeral_container_statuses = Some(ephemeral).filter(|l| !l.is_empty());
    out
}

/// The status of a pod that the node does not take: it has no containers to speak of.
pub fn rejected(pod: &Pod, reason: &str, message: &str) -> PodStatus {
    let old = pod.status.clone().unwrap_or_default();
    PodStatus {
        phase: Some("Failed".into()),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        qos_class: old.qos_class.clone().or_else(|| Some(pod.qos().to_owned())),
        start_time: old.start_time.clone().or_else(|| Some(Time(now()))),
        observed_generation: pod.metadata.generation,
        ..old
    }
}

fn phase_is_final(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// The addresses of a pod that has ended stay readable.
fn keep_ips(ips: Vec<String>, old: &PodStatus) -> Vec<String> {
    if !ips.is_empty() {
        return ips;
    }
    old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect()
}

/// The present, in whole seconds as the API keeps it.
pub fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The conditions this kubelet owns.
pub const OWNED: &[&str] = &[
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
];

type Said = (bool, &'static str, String);

fn conditions(
    input: &Input<'_>,
    inits: &[ContainerStatus],
    regular: &[ContainerStatus],
    phase: &str,
) -> Vec<PodCondition> {
    let (pod, seen) = (input.pod, input.seen);
    let old: Vec<PodCondition> = pod.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let gates = spec(pod).readiness_gates.iter().flatten();
    let containers = containers_ready(pod, inits, regular, phase);
    let missing: Vec<String> = gates
        .filter(|g| !old.iter().any(|c| c.type_ == g.condition_type && c.status == "True"))
        .map(|g| match old.iter().find(|c| c.type_ == g.condition_type) {
            Some(_) => format!("the status of pod readiness gate {:?} is not \"True\", but False", g.condition_type),
            None => format!("corresponding condition of pod readiness gate {:?} does not exist.", g.condition_type),
        })
        .collect();
    let ready = if containers.0 && !missing.is_empty() {
        (false, "ReadinessGatesNotReady", missing.join(", "))
    } else {
        containers.clone()
    };
    let sandbox = seen
        .ready_sandbox()
        .is_some_and(|s| pod.host_network() || s.network.as_ref().is_some_and(|n| !n.ip.is_empty()));
    let mut said: Vec<(&str, Said)> = vec![
        ("PodReadyToStartContainers", (sandbox, "", String::new())),
        ("Initialized", initialized(pod, inits, regular, phase)),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", (true, "", String::new())),
    ];
    said.extend(input.pending.map(|p| ("PodResizePending", (true, p.reason, p.message.clone()))));
    let mut out: Vec<PodCondition> = said
        .into_iter()
        .map(|(kind, (status, reason, message))| {
            let before = old.iter().find(|c| c.type_ == kind);
            let status = if status { "True" } else { "False" };
            let since = before
                .filter(|c| c.status == status)
                .and_then(|c| c.last_transition_time.clone())
                .unwrap_or_else(|| Time(now()));
            PodCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()).filter(|r| !r.is_empty()),
                message: Some(message).filter(|m| !m.is_empty()),
                last_transition_time: Some(since),
                last_probe_time: None,
                observed_generation: pod.metadata.generation,
            }
        })
        .collect();
    out.extend(old.into_iter().filter(|c| !OWNED.contains(&c.type_.as_str())));
    out
}

fn containers_ready(pod: &Pod, inits: &[ContainerStatus], regular: &[ContainerStatus], phase: &str) -> Said {
    match phase {
        "Succeeded" => return (false, "PodCompleted", String::new()),
        "Failed" => return (false, "PodFailed", String::new()),
        _ => {}
    }
    let sidecars = spec(pod).init_containers.iter().flatten().filter(|c| is_sidecar(c)).map(|c| (c, inits));
    let own = spec(pod).containers.iter().map(|c| (c, regular));
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for (container, list) in sidecars.chain(own) {
        match list.iter().find(|s| s.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(s) if !s.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: [{}]", unknown.join(" ")));
    }
    if !unready.is_empty() {
        parts.push(format!("containers with unready status: [{}]", unready.join(" ")));
    }
    if parts.is_empty() { (true, "", String::new()) } else { (false, "ContainersNotReady", parts.join(", ")) }
}

fn initialized(pod: &Pod, inits: &[ContainerStatus], regular: &[ContainerStatus], phase: &str) -> Said {
    if phase == "Succeeded" {
        return (true, "PodCompleted", String::new());
    }
    // Once a container of the pod has run, its init containers had all succeeded.
    let begun = |s: &ContainerStatus| {
        s.state
            .as_ref()
            .is_some_and(|s| s.running.is_some() || s.terminated.as_ref().is_some_and(|t| t.container_id.is_some()))
            || s.last_state.as_ref().is_some_and(|s| s.terminated.is_some())
    };
    if regular.iter().any(begun) {
        return (true, "", String::new());
    }
    let mut open = Vec::new();
    for container in spec(pod).init_containers.iter().flatten() {
        let done = inits
            .iter()
            .find(|s| s.name == container.name)
            .is_some_and(|s| if is_sidecar(container) { s.started == Some(true) } else { s.ready });
        if !done {
            open.push(container.name.as_str());
        }
    }
    if open.is_empty() {
        (true, "", String::new())
    } else {
        (false, "ContainersNotInitialized", format!("containers with incomplete status: [{}]", open.join(" ")))
    }
}

/// The last words of a run: what it wrote to its file, or the end of its log where it asked for that.
pub fn last_words(run: &Run, log: &Path) -> String {
    let annotations = &run.status.annotations;
    let inside = annotations.get(annotation::TERMINATION_PATH).map_or("", String::as_str);
    let file = run.status.mounts.iter().find(|m| m.container_path == inside).map(|m| &m.host_path);
    let written = file.and_then(|f| read_start(Path::new(f), MAX_WORDS)).unwrap_or_default();
    let fall_back = annotations.get(annotation::TERMINATION_POLICY).is_some_and(|p| p == "FallbackToLogsOnError");
    if written.is_empty() && fall_back && run.status.exit_code != 0 {
        return crate::server::logs::tail_text(log, 80, MAX_LOG_WORDS);
    }
    written
}

fn read_start(path: &Path, max: usize) -> Option<String> {
    use std::io::Read;
    let mut out = Vec::new();
    std::fs::File::open(path).ok()?.take(max as u64).read_to_end(&mut out).ok()?;
    Some(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container(state: Value, last: Value) -> ContainerStatus {
        let text = json!({"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": state, "lastState": last});
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn phases_follow_from_the_containers() {
        let check = |policy: &str, state: Value, last: Value, ended: bool, expect: &str| {
            let pod: Pod =
                serde_json::from_value(json!({"spec": {"restartPolicy": policy, "containers": [{"name": "a"}]}}))
                    .unwrap();
            assert_eq!(phase(&pod, &[], &[container(state.clone(), last)], ended), expect, "{policy} {state} {ended}");
        };
        let (waits, runs) = (json!({"waiting": {}}), json!({"running": {}}));
        let end = |code: i32| json!({"terminated": {"exitCode": code}});
        check("Always", waits.clone(), json!({}), false, "Pending");
        check("Always", runs, json!({}), false, "Running");
        check("Always", waits.clone(), end(1), false, "Running");
        check("Always", end(0), json!({}), false, "Running");
        check("Always", end(0), json!({}), true, "Succeeded");
        check("Always", end(137), json!({}), true, "Failed");
        check("OnFailure", end(0), json!({}), false, "Succeeded");
        check("OnFailure", end(1), json!({}), false, "Running");
        check("Never", end(1), json!({}), false, "Failed");
        check("Never", waits, end(1), false, "Failed");
    }

    fn status(pod: Value, seen: &Observed, reasons: &Reasons) -> PodStatus {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        generate(&Input {
            pod: &pod,
            seen,
            reasons,
            ready: &|_| true,
            started: &|_| true,
            host_ips: &["192.0.2.7".into()],
            words: &|_| String::new(),
            ended: false,
            given: &Default::default(),
            pending: None,
            verdict: None,
        })
    }

    #[test]
    fn a_new_pod_waits_for_its_containers() {
        let pod = json!({"metadata": {"name": "p", "generation": 3}, "spec": {
            "initContainers": [{"name": "i"}], "containers": [{"name": "a", "image": "x"}]},
            "status": {"conditions": [{"type": "Custom", "status": "True"}]}});
        let out = status(pod, &Observed::default(), &Reasons::new());
        assert_eq!(out.phase.as_deref(), Some("Pending"));
        assert_eq!((out.observed_generation, out.host_ip.as_deref()), (Some(3), Some("192.0.2.7")));
        let said: Vec<String> = out
            .conditions
            .unwrap()
            .iter()
            .map(|c| format!("{}={} {}", c.type_, c.status, c.message.clone().unwrap_or_default()))
            .collect();
        assert_eq!(
            said,
            [
                "PodReadyToStartContainers=False ",
                "Initialized=False containers with incomplete status: [i]",
                "Ready=False containers with unready status: [a]",
                "ContainersReady=False containers with unready status: [a]",
                "PodScheduled=True ",
                "Custom=True ",
            ]
        );
        let state = out.container_statuses.unwrap().remove(0).state.unwrap();
        assert_eq!(state.waiting.unwrap().reason.as_deref(), Some("PodInitializing"));
    }

    #[test]
    fn a_crashing_container_shows_why_it_waits_and_how_it_ended() {
        let mut seen = Observed::default();
        let mut run = Run::default();
        run.status.metadata = Some(steersman_cri::v1::ContainerMetadata { name: "a".into(), attempt: 4 });
        run.status.state = State::ContainerExited.into();
        run.status.exit_code = 2;
        seen.runs.push(run);
        let reasons = Reasons::from([("a".into(), ("CrashLoopBackOff".into(), "back-off".into()))]);
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
        let out = status(pod, &seen, &reasons);
        let c = out.container_statuses.unwrap().remove(0);
        assert_eq!(c.state.unwrap().waiting.unwrap().reason.as_deref(), Some("CrashLoopBackOff"));
        assert_eq!(c.last_state.unwrap().terminated.unwrap().exit_code, 2);
        assert_eq!((c.restart_count, out.phase.as_deref()), (4, Some("Running")));
    }
}
