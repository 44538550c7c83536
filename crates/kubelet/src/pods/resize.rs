//! Changing the resources of containers that run (rule: kubelet `allocation` and kuberuntime `doPodResizeAction`).
//!
//! What a container was given stays what counts until a change has been found to fit and was carried out.

use std::{collections::BTreeMap, sync::Arc};

use steersman_client::EventType;
use steersman_cri::v1;

use super::{
    admission,
    plan::Kill,
    spec::{Kind, PodExt, is_sidecar},
};
use crate::{
    api::*,
    kubelet::Kubelet,
    runtime::{observed::Observed, resources},
};

/// What containers were given, by name.
pub type Given = BTreeMap<String, ResourceRequirements>;

/// A change that is not carried out yet, as the condition shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// `Deferred` if it may fit later, `Infeasible` if it never will.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// What there is to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Containers whose limits change while they run: name and id.
    pub update: Vec<(String, String)>,
    /// Containers that want to be restarted for it.
    pub restart: Vec<Kill>,
}

fn own(container: &Container) -> ResourceRequirements {
    container.resources.clone().unwrap_or_default()
}

/// Whether two sets of resources mean different limits.
fn differs(a: &ResourceRequirements, b: &ResourceRequirements, name: &str) -> bool {
    let amount = |map: &Option<BTreeMap<String, ApiQuantity>>| {
        map.as_ref().and_then(|m| m.get(name)).map(|q| quantity(q).milli_value())
    };
    amount(&a.requests) != amount(&b.requests) || amount(&a.limits) != amount(&b.limits)
}

/// Notes containers that are new here with what they were given: what the API says they have if they run already,
/// else what they ask for.
pub fn note(given: &mut Given, pod: &Pod, seen: &Observed) {
    let reported = pod
        .status
        .iter()
        .flat_map(|s| s.container_statuses.iter().flatten().chain(s.init_container_statuses.iter().flatten()));
    let reported: BTreeMap<&str, &ResourceRequirements> =
        reported.filter_map(|s| Some((s.name.as_str(), s.resources.as_ref()?))).collect();
    for (_, container) in pod.all_containers() {
        let runs = seen.current(&container.name).is_some_and(|r| r.is_running());
        if !runs {
            given.remove(&container.name);
        } else if !given.contains_key(&container.name) {
            let known = reported.get(container.name.as_str()).map(|r| (*r).clone());
            given.insert(container.name.clone(), known.unwrap_or_else(|| own(&container)));
        }
    }
}

/// What has to change.
pub fn compare(pod: &Pod, seen: &Observed, given: &Given) -> Changes {
    let mut out = Changes::default();
    for (kind, container) in pod.all_containers() {
        if kind == Kind::Ephemeral || kind == Kind::Init && !is_sidecar(&container) {
            continue;
        }
        let (Some(has), Some(run)) = (given.get(&container.name), seen.current(&container.name)) else { continue };
        let wants = own(&container);
        let changed: Vec<&str> = ["cpu", "memory"].into_iter().filter(|n| differs(has, &wants, n)).collect();
        if changed.is_empty() || !run.is_running() {
            continue;
        }
        let policy = |name: &str| {
            let found = container.resize_policy.iter().flatten().find(|p| p.resource_name == name);
            found.is_some_and(|p| p.restart_policy == "RestartContainer")
        };
        if changed.iter().any(|n| policy(n)) {
            out.restart.push(Kill {
                id: run.id().to_owned(),
                name: container.name.clone(),
                message: format!("Container {} resize requires restart", container.name),
                probe: None,
            });
        } else {
            out.update.push((container.name.clone(), run.id().to_owned()));
        }
    }
    out
}

/// Whether the node has room for the pod as it is specified now.
pub fn fits(k: &Kubelet, pod: &Pod) -> Result<(), Pending> {
    let allocatable = k.node.allocatable();
    let mut alone = allocatable.clone();
    alone.retain(|name, _| name == "cpu" || name == "memory");
    alone.insert("pods".into(), i64::MAX);
    if let Err(refusal) = admission::check(pod, &[], &alone, None) {
        let message = refusal.message.replace("Pod was rejected: ", "");
        return Err(Pending { reason: "Infeasible", message });
    }
    let others: Vec<Arc<Pod>> =
        k.workers.list().into_iter().filter(|p| p.uid() != pod.uid() && !p.is_terminal()).collect();
    admission::check(pod, &others, &alone, None)
        .map_err(|refusal| Pending { reason: "Deferred", message: refusal.message.replace("Pod was rejected: ", "") })
}

/// Changes the limits of containers that run, and notes what they have been given.
pub async fn update(k: &Kubelet, pod: &Pod, changes: &Changes, given: &mut Given) -> Result<(), ()> {
    let mut failed = false;
    for (name, id) in &changes.update {
        let Some((kind, container)) = pod.find_container(name) else { continue };
        let mut linux: v1::LinuxContainerResources =
            resources::of_container(pod, &container, &k.config, k.node.memory(), k.cgroups.unified());
        if linux.cpu_quota == 0 {
            // A limit that was taken away has to be lifted explicitly.
            linux.cpu_quota = -1;
        }
        match k.runtime.update_container_resources(id, linux).await {
            Ok(()) => {
                given.insert(name.clone(), own(&container));
                k.events.container(
                    pod,
                    (kind, name),
                    EventType::Normal,
                    "ResizeCompleted",
                    "Container resize completed",
                );
            }
            Err(error) => {
                let message = format!("failed to resize container {name:?}: {error}");
                k.events.container(pod, (kind, name), EventType::Warning, "ResizeError", message);
                failed = true;
            }
        }
    }
    if failed { Err(()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::runtime::observed::{Run, State};

    fn seen() -> Observed {
        let status = v1::ContainerStatus {
            id: "1".into(),
            metadata: Some(v1::ContainerMetadata { name: "a".into(), attempt: 0 }),
            state: State::ContainerRunning.into(),
            ..Default::default()
        };
        let sandbox = v1::PodSandboxStatus { id: "s".into(), ..Default::default() };
        Observed { sandboxes: vec![sandbox], runs: vec![Run { sandbox: "s".into(), status }] }
    }

    fn pod(cpu: &str, policy: Value, reported: Option<&str>) -> Pod {
        let status = reported.map(|cpu| {
            json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "resources": {"limits": {"cpu": cpu}}}]})
        });
        serde_json::from_value(json!({"spec": {"containers": [
            {"name": "a", "resizePolicy": policy, "resources": {"limits": {"cpu": cpu}}}]}, "status": status}))
        .unwrap()
    }

    #[test]
    fn changes_are_found_and_sorted_by_policy() {
        let check = |first: &str, then: &str, policy: Value, reported: Option<&str>, expect: (usize, usize)| {
            let mut given = Given::new();
            note(&mut given, &pod(first, policy.clone(), reported), &seen());
            let changes = compare(&pod(then, policy, reported), &seen(), &given);
            assert_eq!((changes.update.len(), changes.restart.len()), expect, "{first} -> {then}");
        };
        let restart = json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
        check("100m", "0.1", json!(null), None, (0, 0));
        check("100m", "200m", json!(null), None, (1, 0));
        check("100m", "200m", restart, None, (0, 1));
        // The kubelet was away while the change was made.
        check("200m", "200m", json!(null), Some("100m"), (1, 0));
    }
}
