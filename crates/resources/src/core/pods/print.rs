//! The table of pods (rule: printers `printPod`).

use crate::common::{AGE, NAME, age_cell, column, wide};
use crate::shared::pod::is_sidecar;
use crate::shared::print;
use serde_json::{Value, json};
use steersman_apimachinery::object;
use steersman_registry::Column;

/// The columns.
pub static COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "string", "The aggregate readiness state of this pod for accepting traffic."),
    column("Status", "string", "The aggregate status of the containers in this pod."),
    column(
        "Restarts",
        "string",
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
    ),
    AGE,
    wide(
        "IP",
        "string",
        "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.",
    ),
    wide(
        "Node",
        "string",
        "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling by the scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes responsible for the lifecycle of this pod. This field should not be used to express a desire for the pod to be scheduled on a specific node. https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename",
    ),
    wide(
        "Nominated Node",
        "string",
        "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as preemption victims receive their graceful termination periods. This field does not guarantee that the pod will be scheduled on this node. Scheduler may decide to place the pod elsewhere if other nodes become available sooner. Scheduler may also decide to give the resources on this node to a higher priority pod that is created after preemption. As a result, this field may be different than PodSpec.nodeName when the pod is scheduled.",
    ),
    wide(
        "Readiness Gates",
        "string",
        "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers are ready AND all conditions specified in the readiness gates have status equal to \"True\" More info: https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates",
    ),
];

/// The cells of a pod.
pub fn cells(obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let state = State::of(obj);
    let restarts = match state.restarts.last {
        Some(last) if state.restarts.count != 0 => {
            format!(
                "{} ({} ago)",
                state.restarts.count,
                steersman_registry::human_duration(now.as_second() - last.as_second())
            )
        }
        _ => state.restarts.count.to_string(),
    };
    let ip = object::list(obj, &["status", "podIPs"]).first().map_or("", |ip| object::str(ip, &["ip"]));
    vec![
        print::name(obj),
        format!("{}/{}", state.ready, state.total).into(),
        state.reason.into(),
        restarts.into(),
        age_cell(obj, now),
        print::or_none(ip),
        print::or_none(object::str(obj, &["spec", "nodeName"])),
        print::or_none(object::str(obj, &["status", "nominatedNodeName"])),
        readiness_gates(obj).into(),
    ]
}

/// How often containers were started again, and when last.
#[derive(Default, Clone, Copy)]
struct Restarts {
    count: i64,
    last: Option<jiff::Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += object::int(status, &["restartCount"]).unwrap_or(0);
        let finished = object::str(status, &["lastState", "terminated", "finishedAt"]).parse().ok();
        self.last = self.last.max(finished);
    }
}

struct State {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
}

impl State {
    fn of(obj: &Value) -> Self {
        let status = obj.get("status").unwrap_or(&Value::Null);
        let init = object::list(obj, &["spec", "initContainers"]);
        let text = |key: &str| object::str(status, &[key]);
        let mut reason = if text("reason").is_empty() { text("phase") } else { text("reason") }.to_owned();
        if conditions(status).any(|c| is(c, "PodScheduled") && object::str(c, &["reason"]) == "SchedulingGated") {
            reason = "SchedulingGated".to_owned();
        }
        let mut state = Self {
            ready: 0,
            total: object::list(obj, &["spec", "containers"]).len() + init.iter().filter(|c| is_sidecar(c)).count(),
            reason,
            restarts: Restarts::default(),
        };
        let (initializing, sidecars) = state.initialization(status, init);
        if !initializing || conditions(status).any(|c| is(c, "Initialized") && is_true(c)) {
            state.restarts = sidecars;
            state.containers(status);
        }
        if object::is_deleting(obj) {
            if text("reason") == "NodeLost" {
                state.reason = "Unknown".to_owned();
            } else if !matches!(text("phase"), "Failed" | "Succeeded") {
                state.reason = "Terminating".to_owned();
            }
        }
        state
    }

    /// Goes through the init containers up to the first that is not done. Returns whether there is one, and the
    /// restarts of the sidecars.
    fn initialization(&mut self, status: &Value, init: &[Value]) -> (bool, Restarts) {
        let mut sidecars = Restarts::default();
        for (i, s) in object::list(status, &["initContainerStatuses"]).iter().enumerate() {
            let sidecar = init.iter().any(|c| object::str(c, &["name"]) == object::str(s, &["name"]) && is_sidecar(c));
            self.restarts.add(s);
            if sidecar {
                sidecars.add(s);
            }
            let terminated = object::get(s, &["state", "terminated"]);
            let waiting = object::str(s, &["state", "waiting", "reason"]);
            self.reason = match terminated {
                Some(t) if object::int(t, &["exitCode"]).unwrap_or(0) == 0 => continue,
                _ if sidecar && object::bool(s, &["started"]) => {
                    self.ready += usize::from(object::bool(s, &["ready"]));
                    continue;
                }
                Some(t) => format!("Init:{}", ended(t)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
                None => format!("Init:{i}/{}", init.len()),
            };
            return (true, sidecars);
        }
        (false, sidecars)
    }

    fn containers(&mut self, status: &Value) {
        let mut has_running = false;
        for s in object::list(status, &["containerStatuses"]).iter().rev() {
            self.restarts.add(s);
            let waiting = object::str(s, &["state", "waiting", "reason"]);
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(t) = object::get(s, &["state", "terminated"]) {
                self.reason = ended(t);
            } else if object::bool(s, &["ready"]) && object::get(s, &["state", "running"]).is_some() {
                has_running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && has_running {
            let ready = conditions(status).any(|c| is(c, "Ready") && is_true(c));
            self.reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
}

/// Why a container ended.
fn ended(terminated: &Value) -> String {
    let int = |key: &str| object::int(terminated, &[key]).unwrap_or(0);
    match object::str(terminated, &["reason"]) {
        "" if int("signal") != 0 => format!("Signal:{}", int("signal")),
        "" => format!("ExitCode:{}", int("exitCode")),
        reason => reason.to_owned(),
    }
}

fn conditions(status: &Value) -> impl Iterator<Item = &Value> {
    object::list(status, &["conditions"]).iter()
}
fn is(condition: &Value, kind: &str) -> bool {
    object::str(condition, &["type"]) == kind
}
fn is_true(condition: &Value) -> bool {
    object::str(condition, &["status"]) == "True"
}

fn readiness_gates(obj: &Value) -> String {
    let gates = object::list(obj, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let met = |gate: &&Value| {
        let kind = object::str(gate, &["conditionType"]);
        object::list(obj, &["status", "conditions"]).iter().find(|c| is(c, kind)).is_some_and(is_true)
    };
    format!("{}/{}", gates.iter().filter(met).count(), gates.len())
}

/// What makes clients grey out a pod that has ended.
pub fn row_conditions(obj: &Value) -> Vec<Value> {
    let (reason, message) = match object::str(obj, &["status", "phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return Vec::new(),
    };
    vec![json!({ "type": "Completed", "status": "True", "reason": reason, "message": message })]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pod: Value, ready: &str, status: &str, restarts: &str) {
        let now = "2024-01-01T00:10:00Z".parse().unwrap();
        let cells = cells(&pod, now);
        assert_eq!((&cells[1], &cells[2], &cells[3]), (&json!(ready), &json!(status), &json!(restarts)), "{pod}");
    }

    #[test]
    fn states() {
        let spec = json!({ "containers": [{ "name": "c" }], "initContainers": [{ "name": "i" }, { "name": "s", "restartPolicy": "Always" }] });
        let pod = |status: Value| json!({ "metadata": { "name": "p" }, "spec": spec, "status": status });
        check(pod(json!({ "phase": "Pending" })), "0/2", "Pending", "0");
        check(
            pod(
                json!({ "phase": "Pending", "initContainerStatuses": [{ "name": "i", "state": { "running": {} }, "restartCount": 1 }] }),
            ),
            "0/2",
            "Init:0/2",
            "1",
        );
        check(
            pod(
                json!({ "phase": "Pending", "initContainerStatuses": [{ "name": "i", "state": { "terminated": { "exitCode": 3 } } }] }),
            ),
            "0/2",
            "Init:ExitCode:3",
            "0",
        );
        let done = json!({ "name": "i", "state": { "terminated": { "exitCode": 0 } } });
        let sidecar = json!({ "name": "s", "started": true, "ready": true, "state": { "running": {} }, "restartCount": 2,
            "lastState": { "terminated": { "finishedAt": "2024-01-01T00:05:00Z" } } });
        check(
            pod(json!({ "phase": "Running", "initContainerStatuses": [done, sidecar],
                "containerStatuses": [{ "name": "c", "ready": true, "state": { "running": {} }, "restartCount": 1 }] })),
            "2/2",
            "Running",
            "3 (5m ago)",
        );
        check(
            pod(json!({ "phase": "Running", "initContainerStatuses": [done, sidecar],
                "containerStatuses": [{ "name": "c", "state": { "waiting": { "reason": "CrashLoopBackOff" } } }] })),
            "1/2",
            "CrashLoopBackOff",
            "2 (5m ago)",
        );
    }

    #[test]
    fn deletion_and_gates() {
        let mut pod = json!({ "metadata": { "name": "p", "deletionTimestamp": "2024-01-01T00:00:00Z" }, "spec": {}, "status": { "phase": "Running" } });
        check(pod.clone(), "0/0", "Terminating", "0");
        pod["status"]["phase"] = "Succeeded".into();
        check(pod, "0/0", "Succeeded", "0");
        check(
            json!({ "metadata": { "name": "p" }, "status": { "phase": "Pending", "conditions": [{ "type": "PodScheduled", "reason": "SchedulingGated" }] } }),
            "0/0",
            "SchedulingGated",
            "0",
        );
    }
}
