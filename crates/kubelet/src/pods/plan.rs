//! Deciding what is to be done with a pod: a function of its specification and what the runtime reports
//! (rule: kuberuntime `computePodActions`).

use crate::{
    api::*,
    pods::spec::{Kind, PodExt, is_sidecar, spec},
    runtime::{
        observed::{Observed, PodSandboxState, Run, State},
        specs::hash,
    },
};

/// What the probes have found out about a container that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// A liveness probe failed too often.
    pub not_alive: bool,
    /// A startup probe failed too often.
    pub not_started: bool,
    /// It is up: it has no startup probe, or that one succeeded.
    pub started: bool,
}

/// A container to be killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Why, for the event.
    pub message: String,
    /// What found fault with it, if a probe did.
    pub probe: Option<&'static str>,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Stop all containers and the sandbox first.
    pub kill_pod: bool,
    /// Create a sandbox with this attempt number.
    pub create_sandbox: Option<u32>,
    /// Containers to be killed; those that shall run again are in `start` too.
    pub kill: Vec<Kill>,
    /// Names of containers to be started, in order.
    pub start: Vec<String>,
}

impl Plan {
    /// Whether all is as it should be.
    pub fn is_empty(&self) -> bool {
        *self == Plan::default()
    }
}

/// Whether a container that ended with `exit` is to run again by its own rules or the pod's policy
/// (rule: kubecontainer `ShouldContainerBeRestarted`).
pub fn restarts(pod: &Pod, container: &Container, exit: i32) -> bool {
    if container.restart_policy.is_some() {
        for rule in container.restart_policy_rules.iter().flatten() {
            let Some(codes) = &rule.exit_codes else { continue };
            let listed = codes.values.iter().flatten().any(|v| *v == exit);
            if listed == (codes.operator == "In") {
                return rule.action.starts_with("Restart");
            }
        }
    }
    let policy = container.restart_policy.as_deref().unwrap_or_else(|| pod.restart_policy());
    match policy {
        "Never" => false,
        "OnFailure" => exit != 0,
        _ => true,
    }
}

fn should_start(pod: &Pod, container: &Container, last: Option<&Run>) -> bool {
    match last {
        None => true,
        Some(run) => match run.state() {
            State::ContainerRunning => false,
            // Never got to run, or nobody knows: try again.
            State::ContainerCreated | State::ContainerUnknown => true,
            State::ContainerExited => restarts(pod, container, run.status.exit_code),
        },
    }
}

fn sandbox_change(pod: &Pod, seen: &Observed) -> Option<u32> {
    let ready = seen.sandboxes.iter().filter(|s| s.state() == PodSandboxState::SandboxReady).count();
    let Some(newest) = seen.sandbox() else { return Some(0) };
    let next = newest.metadata.as_ref().map_or(0, |m| m.attempt) + 1;
    let unusable = newest.state() != PodSandboxState::SandboxReady || ready > 1;
    let without_ip = !pod.host_network() && newest.network.as_ref().is_none_or(|n| n.ip.is_empty());
    (unusable || without_ip).then_some(next)
}

/// Decides. `verdict` tells about containers that run, by id.
pub fn compute(pod: &Pod, seen: &Observed, verdict: &dyn Fn(&str) -> Verdict) -> Plan {
    let mut plan = Plan::default();
    let spec = spec(pod);
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let wanted = || spec.containers.iter().filter(|c| should_start(pod, c, seen.newest(&c.name)));

    if let Some(attempt) = sandbox_change(pod, seen) {
        plan.kill_pod = true;
        let restartable = pod.restart_policy() != "Never"
            || spec.containers.iter().any(|c| c.restart_policy.as_deref().is_some_and(|p| p != "Never"));
        if attempt > 0 && !restartable && !seen.runs.is_empty() {
            return plan;
        }
        // Running containers of a lost sandbox come again; ended ones by their policy.
        let again = spec
            .containers
            .iter()
            .any(|c| seen.newest(&c.name).is_none_or(|r| r.is_running()) || should_start(pod, c, seen.newest(&c.name)));
        if !again && spec.containers.iter().any(|c| seen.newest(&c.name).is_some()) {
            return plan;
        }
        plan.create_sandbox = Some(attempt);
        match inits.first() {
            Some(first) => plan.start.push(first.name.clone()),
            None => plan.start.extend(
                spec.containers
                    .iter()
                    .filter(|c| {
                        let last = seen.newest(&c.name);
                        last.is_some_and(Run::is_running) || should_start(pod, c, last)
                    })
                    .map(|c| c.name.clone()),
            ),
        }
        return plan;
    }

    for (_, container) in pod.all_containers().iter().filter(|(kind, _)| *kind == Kind::Ephemeral) {
        if seen.newest(&container.name).is_none() {
            plan.start.push(container.name.clone());
        }
    }

    let initialized = spec.containers.iter().any(|c| seen.current(&c.name).is_some());
    if !init_step(pod, inits, seen, verdict, initialized, &mut plan) {
        return plan;
    }

    let (mut kept, before) = (0, plan.start.len());
    for container in &spec.containers {
        match seen.current(&container.name) {
            Some(run) if run.is_running() => {
                if let Some(kill) = fault(container, run, verdict(run.id())) {
                    let again = kill.probe.is_none() || restarts(pod, container, 137);
                    plan.kill.push(kill);
                    if again {
                        plan.start.push(container.name.clone());
                    }
                } else {
                    kept += 1;
                }
            }
            // The sandbox is new: what ended in an older one counts by its policy, what ran there comes again.
            None if seen.newest(&container.name).is_some_and(Run::is_running) => {
                plan.start.push(container.name.clone())
            }
            _ if wanted().any(|c| c.name == container.name) => plan.start.push(container.name.clone()),
            _ => {}
        }
    }
    if kept == 0 && plan.start.len() == before && plan.kill.is_empty() {
        // Sidecars and ephemeral containers do not keep a pod alive.
        plan.start.clear();
        plan.kill_pod = true;
    }
    plan
}

fn fault(container: &Container, run: &Run, verdict: Verdict) -> Option<Kill> {
    let (message, probe) = if !run.hash().is_empty() && run.hash() != hash(container) {
        (format!("Container {} definition changed", container.name), None)
    } else if verdict.not_alive {
        (format!("Container {} failed liveness probe", container.name), Some("liveness"))
    } else if verdict.not_started {
        (format!("Container {} failed startup probe", container.name), Some("startup"))
    } else {
        return None;
    };
    let message = format!("{message}, will be restarted");
    Some(Kill { id: run.id().to_owned(), name: container.name.clone(), message, probe })
}

/// Goes through the init containers as far as they have come; true when the others may run.
fn init_step(
    pod: &Pod,
    inits: &[Container],
    seen: &Observed,
    verdict: &dyn Fn(&str) -> Verdict,
    initialized: bool,
    plan: &mut Plan,
) -> bool {
    for container in inits {
        let run = seen.current(&container.name);
        if is_sidecar(container) {
            match run {
                Some(run) if run.is_running() => {
                    let found = verdict(run.id());
                    if let Some(kill) = fault(container, run, found) {
                        plan.kill.push(kill);
                        plan.start.push(container.name.clone());
                    } else if found.started || initialized {
                        continue;
                    }
                }
                _ => plan.start.push(container.name.clone()),
            }
            // The next one waits until this one is up; once the pod is initialised nobody waits.
            if initialized {
                continue;
            }
            return false;
        }
        if initialized {
            continue;
        }
        match run {
            Some(run) if run.is_running() => return false,
            Some(run) if run.state() == State::ContainerExited && run.status.exit_code == 0 => {}
            Some(run) if run.state() == State::ContainerExited && !restarts_init(pod, container, run) => {
                plan.kill_pod = true;
                plan.start.clear();
                return false;
            }
            _ => {
                plan.start.push(container.name.clone());
                return false;
            }
        }
    }
    true
}

fn restarts_init(pod: &Pod, container: &Container, run: &Run) -> bool {
    // An init container of a pod that always restarts is repeated only when it failed.
    pod.restart_policy() != "Never"
        || container.restart_policy.is_some() && restarts(pod, container, run.status.exit_code)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use steersman_cri::v1;

    use super::*;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec})).unwrap()
    }

    fn sandbox(attempt: u32, ready: bool) -> v1::PodSandboxStatus {
        v1::PodSandboxStatus {
            id: format!("s{attempt}"),
            metadata: Some(v1::PodSandboxMetadata { attempt, ..Default::default() }),
            state: i32::from(!ready),
            network: Some(v1::PodSandboxNetworkStatus { ip: "10.0.0.1".into(), ..Default::default() }),
            ..Default::default()
        }
    }

    /// `name` runs, or has ended with the code given.
    fn run(name: &str, exit: Option<i32>) -> Run {
        run_in("s0", name, exit)
    }

    fn run_in(sandbox: &str, name: &str, exit: Option<i32>) -> Run {
        let state = if exit.is_some() { State::ContainerExited } else { State::ContainerRunning };
        Run {
            sandbox: sandbox.into(),
            status: v1::ContainerStatus {
                id: format!("id-{name}"),
                metadata: Some(v1::ContainerMetadata { name: name.into(), attempt: 0 }),
                state: state.into(),
                exit_code: exit.unwrap_or(0),
                ..Default::default()
            },
        }
    }

    fn check(about: &str, spec: Value, sandboxes: &[v1::PodSandboxStatus], runs: &[Run], expect: &str) {
        check_with(about, spec, sandboxes, runs, &|_| Verdict { started: true, ..Default::default() }, expect);
    }

    fn check_with(
        about: &str,
        spec: Value,
        sandboxes: &[v1::PodSandboxStatus],
        runs: &[Run],
        verdict: &dyn Fn(&str) -> Verdict,
        expect: &str,
    ) {
        let seen = Observed { sandboxes: sandboxes.to_vec(), runs: runs.to_vec() };
        let plan = compute(&pod(spec), &seen, verdict);
        let mut words = Vec::new();
        if plan.kill_pod {
            words.push("kill".to_owned());
        }
        words.extend(plan.create_sandbox.map(|n| format!("sandbox{n}")));
        words.extend(plan.kill.iter().map(|k| format!("-{}", k.name)));
        words.extend(plan.start.iter().map(|s| format!("+{s}")));
        assert_eq!(words.join(" "), expect, "{about}");
    }

    #[test]
    fn regular_containers() {
        let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let with = |policy: &str| json!({"restartPolicy": policy, "containers": [{"name": "a"}]});
        check("new pod", two.clone(), &[], &[], "kill sandbox0 +a +b");
        check("sandbox is up", two.clone(), &[sandbox(0, true)], &[], "+a +b");
        check("all runs", two.clone(), &[sandbox(0, true)], &[run("a", None), run("b", None)], "");
        check("one ended", two.clone(), &[sandbox(0, true)], &[run("a", None), run("b", Some(0))], "+b");
        check("failed", with("OnFailure"), &[sandbox(0, true)], &[run("a", Some(1))], "+a");
        check("succeeded", with("OnFailure"), &[sandbox(0, true)], &[run("a", Some(0))], "kill");
        check("never again", with("Never"), &[sandbox(0, true)], &[run("a", Some(1))], "kill");
        check("sandbox lost", two, &[sandbox(0, false)], &[run("a", None), run("b", Some(1))], "kill sandbox1 +a +b");
        check("sandbox lost, never again", with("Never"), &[sandbox(0, false)], &[run("a", None)], "kill");
        check("sandbox lost, succeeded", with("OnFailure"), &[sandbox(0, false)], &[run("a", Some(0))], "kill");
        check(
            "new sandbox after loss",
            with("Always"),
            &[sandbox(1, true), sandbox(0, false)],
            &[run_in("s0", "a", Some(137))],
            "+a",
        );
    }

    #[test]
    fn init_containers_run_in_turn() {
        let spec = json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]});
        let never = {
            let mut spec = spec.clone();
            spec["restartPolicy"] = json!("Never");
            spec
        };
        check("new pod", spec.clone(), &[], &[], "kill sandbox0 +i");
        check("first", spec.clone(), &[sandbox(0, true)], &[], "+i");
        check("first runs", spec.clone(), &[sandbox(0, true)], &[run("i", None)], "");
        check("first done", spec.clone(), &[sandbox(0, true)], &[run("i", Some(0))], "+j");
        check("first failed", spec.clone(), &[sandbox(0, true)], &[run("i", Some(1))], "+i");
        check("first failed for good", never, &[sandbox(0, true)], &[run("i", Some(1))], "kill");
        check("both done", spec.clone(), &[sandbox(0, true)], &[run("j", Some(0)), run("i", Some(0))], "+a");
        check("init is gone later", spec.clone(), &[sandbox(0, true)], &[run("a", None)], "");
        check(
            "again in a new sandbox",
            spec,
            &[sandbox(1, true), sandbox(0, false)],
            &[run_in("s0", "a", Some(137)), run_in("s0", "i", Some(0))],
            "+i",
        );
    }

    #[test]
    fn sidecars_are_up_before_the_next() {
        let spec = json!({
            "initContainers": [{"name": "side", "restartPolicy": "Always"}, {"name": "i"}],
            "containers": [{"name": "a"}]
        });
        let waiting = |_: &str| Verdict::default();
        check_with("not yet up", spec.clone(), &[sandbox(0, true)], &[run("side", None)], &waiting, "");
        check("up", spec.clone(), &[sandbox(0, true)], &[run("side", None)], "+i");
        check("done", spec.clone(), &[sandbox(0, true)], &[run("i", Some(0)), run("side", None)], "+a");
        check("died later", spec.clone(), &[sandbox(0, true)], &[run("a", None), run("side", Some(1))], "+side");
        let mut once = spec;
        once["restartPolicy"] = json!("Never");
        let ended = [run("a", Some(0)), run("i", Some(0)), run("side", Some(1))];
        check("died with the others", once, &[sandbox(0, true)], &ended, "kill");
    }

    #[test]
    fn probes_and_changes_restart() {
        let spec = json!({"containers": [{"name": "a", "image": "x"}]});
        let dead = |_: &str| Verdict { not_alive: true, started: true, ..Default::default() };
        check_with("dead", spec.clone(), &[sandbox(0, true)], &[run("a", None)], &dead, "-a +a");
        let mut changed = run("a", None);
        changed.status.annotations.insert(crate::names::annotation::HASH.into(), "0".into());
        check("changed", spec, &[sandbox(0, true)], &[changed], "-a +a");
    }

    #[test]
    fn rules_of_a_container_win() {
        let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
        let spec = json!({"restartPolicy": "Never",
            "containers": [{"name": "a", "restartPolicy": "Never", "restartPolicyRules": rules}]});
        check("42 restarts", spec.clone(), &[sandbox(0, true)], &[run("a", Some(42))], "+a");
        check("1 does not", spec, &[sandbox(0, true)], &[run("a", Some(1))], "kill");
    }
}
