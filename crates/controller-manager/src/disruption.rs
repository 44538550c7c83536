//! Keeps the status of disruption budgets, which evictions go by (rule: `pkg/controller/disruption`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::FutureExt;
use jiff::Timestamp;
use serde_json::json;
use steersman_api::k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        core::v1::{Pod, ReplicationController},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, Time},
        util::intstr::IntOrString,
    },
};
use steersman_client::{
    Action, Client, Event, EventRecorder, EventType, Object, ObjectKey, Patch, ResourcePath, Result, Store, WorkQueue,
    labels, run_workers,
};

use crate::{
    context::{Context, Run, index, namespace_index},
    deployment::scaled,
    discovery, pods,
};

/// An eviction that was allowed and did not happen within this time is forgotten.
const DELETION_TIMEOUT: Duration = Duration::from_secs(120);
/// A pod that was to be disrupted, and still is not after this time, no longer carries the mark.
const STALE_DISRUPTION: Duration = Duration::from_secs(120);
const WORKERS: usize = 2;

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let budgets = context.informers.get::<PodDisruptionBudget>();
    budgets.add_index(index::NAMESPACE, namespace_index);
    let pods = context.pods_by_namespace();
    let queue = WorkQueue::<ObjectKey>::new();
    let stale = WorkQueue::<ObjectKey>::new();
    budgets.add_handler({
        let queue = queue.clone();
        move |event| queue.add(event.object().key())
    });
    pods.add_handler({
        let (queue, stale, budgets) = (queue.clone(), stale.clone(), budgets.store().clone());
        move |event| {
            let pod = event.object();
            for budget in budgets.by_index(index::NAMESPACE, pod.namespace()) {
                if selects(&budget, pod.labels()) || event.old().is_some_and(|old| selects(&budget, old.labels())) {
                    queue.add(budget.key());
                }
            }
            if !matches!(event, Event::Deleted { .. }) && is_marked(pod) {
                stale.add_after(pod.key(), STALE_DISRUPTION);
            }
        }
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        budgets: budgets.store().clone(),
        pods: pods.store().clone(),
        sets: context.informers.get::<ReplicaSet>().store().clone(),
        deployments: context.informers.get::<Deployment>().store().clone(),
        stateful_sets: context.informers.get::<StatefulSet>().store().clone(),
        replication_controllers: context.informers.get::<ReplicationController>().store().clone(),
    });
    let shutdown = context.shutdown.clone();
    Ok(Some(
        async move {
            let sync = {
                let controller = controller.clone();
                move |key: ObjectKey| {
                    let controller = controller.clone();
                    async move { controller.sync(&key).await }
                }
            };
            let unmark = move |key: ObjectKey| {
                let controller = controller.clone();
                async move { controller.unmark(&key).await }
            };
            tokio::join!(
                run_workers("disruption", &queue, WORKERS, &shutdown, sync),
                run_workers("disruption-stale", &stale, 1, &shutdown, unmark),
            );
        }
        .boxed(),
    ))
}

fn selects(budget: &PodDisruptionBudget, given: &BTreeMap<String, String>) -> bool {
    labels::matches_opt(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()), given)
}

fn is_marked(pod: &Pod) -> bool {
    !pods::is_terminal(pod)
        && !pod.is_deleting()
        && pods::condition(pod, "DisruptionTarget").is_some_and(|condition| condition.status == "True")
}

struct Controller {
    client: Client,
    recorder: EventRecorder,
    budgets: Store<PodDisruptionBudget>,
    pods: Store<Pod>,
    sets: Store<ReplicaSet>,
    deployments: Store<Deployment>,
    stateful_sets: Store<StatefulSet>,
    replication_controllers: Store<ReplicationController>,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(budget) = self.budgets.get(key) else { return Ok(Action::Done) };
        let Some(spec) = &budget.spec else { return Ok(Action::Done) };
        let mut covered = self.pods.by_index(index::NAMESPACE, budget.namespace());
        covered.retain(|pod| selects(&budget, pod.labels()));
        if covered.is_empty() {
            self.recorder.event(&*budget, EventType::Normal, "NoPods", "No matching pods found");
        }
        let counts = match (&spec.max_unavailable, &spec.min_available) {
            (Some(value), _) => self
                .expected(&covered)
                .await
                .map(|expected| (expected, (expected - scaled(Some(value), expected, true)).max(0))),
            (None, Some(IntOrString::Int(wanted))) => Ok((covered.len() as i32, *wanted)),
            (None, Some(value)) => {
                self.expected(&covered).await.map(|expected| (expected, scaled(Some(value), expected, true)))
            }
            (None, None) => Ok((covered.len() as i32, 0)),
        };
        let now = Timestamp::now();
        let (expected, desired) = match counts {
            Ok(counts) => counts,
            Err(message) => {
                let reason = "CalculateExpectedPodCountFailed";
                self.recorder.event(&*budget, EventType::Warning, reason, &message);
                let mut status = budget.status.clone().unwrap_or_default();
                // Until it is known how many there should be, none may go.
                status.disruptions_allowed = Some(0);
                status.observed_generation = Some(budget.generation());
                set_condition(&mut status, budget.generation(), "False", "SyncFailed", &message, now);
                self.store(&budget, status).await?;
                return Ok(Action::Requeue);
            }
        };
        let (status, recheck) = status(&budget, &covered, expected, desired, now);
        self.store(&budget, status).await?;
        Ok(recheck.map_or(Action::Done, Action::RequeueAfter))
    }

    async fn store(&self, budget: &PodDisruptionBudget, status: PodDisruptionBudgetStatus) -> Result<()> {
        if budget.status.as_ref() != Some(&status) {
            let changed = PodDisruptionBudget { status: Some(status), ..budget.clone() };
            self.client.update_status(&changed).await?;
        }
        Ok(())
    }

    /// How many pods the owners of these pods ask for together (rule: `getExpectedScale`).
    async fn expected(&self, covered: &[Arc<Pod>]) -> Result<i32, String> {
        let mut owners: BTreeMap<String, i32> = BTreeMap::new();
        for pod in covered {
            let Some(owner) = pod.controller() else { continue };
            if owners.contains_key(&owner.uid) {
                continue;
            }
            let (namespace, name) = (pod.namespace(), owner.name.as_str());
            let scale = match (owner.api_version.split('/').next().unwrap_or(""), owner.kind.as_str()) {
                ("apps", "ReplicaSet") => self.sets.find(namespace, name).map(|set| {
                    let parent = set.controller().filter(|parent| parent.kind == "Deployment");
                    let parent = parent.and_then(|parent| self.deployments.find(namespace, &parent.name));
                    match parent {
                        Some(deployment) => {
                            let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
                            (deployment.uid().to_owned(), replicas.unwrap_or(1))
                        }
                        None => (set.uid().to_owned(), set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)),
                    }
                }),
                ("apps", "StatefulSet") => self
                    .stateful_sets
                    .find(namespace, name)
                    .map(|set| (set.uid().to_owned(), set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1))),
                ("v1", "ReplicationController") => self
                    .replication_controllers
                    .find(namespace, name)
                    .map(|set| (set.uid().to_owned(), set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1))),
                _ => Some(self.scale_of(pod, &owner.api_version, &owner.kind, name).await?),
            };
            if let Some((uid, replicas)) = scale {
                owners.insert(uid, replicas);
            }
        }
        Ok(owners.values().sum())
    }

    /// The size of a custom owner, through its scale subresource.
    async fn scale_of(&self, pod: &Pod, api_version: &str, kind: &str, name: &str) -> Result<(String, i32), String> {
        let unsupported = || format!("found no controllers for pod \"{}\"", pod.name());
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let found = discovery::preferred(&self.client, &[]).await.map_err(|error| error.to_string())?;
        let resource = found.resources.into_iter().find(|r| r.path.group == group && r.kind == kind);
        let resource = resource.ok_or_else(unsupported)?;
        let path = ResourcePath { version: version.to_owned(), ..resource.path }.object(pod.namespace(), name);
        let scale = self.client.json::<serde_json::Value>(http::Method::GET, &format!("{path}/scale"), "", None).await;
        let scale = scale.map_err(|error| {
            if error.is_not_found() {
                format!("{kind}.{group} does not implement the scale subresource")
            } else {
                error.to_string()
            }
        })?;
        let uid = scale["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        Ok((uid, scale["spec"]["replicas"].as_i64().unwrap_or(0) as i32))
    }

    async fn unmark(&self, key: &ObjectKey) -> Result<Action> {
        let Some(pod) = self.pods.get(key).filter(|pod| is_marked(pod)) else { return Ok(Action::Done) };
        let since =
            pods::condition(&pod, "DisruptionTarget").and_then(|condition| condition.last_transition_time.clone());
        let age = since.map_or(i64::MAX, |since| Timestamp::now().as_second() - since.0.as_second());
        let left = STALE_DISRUPTION.as_secs() as i64 - age;
        if left > 0 {
            return Ok(Action::RequeueAfter(Duration::from_secs(left as u64)));
        }
        let patch = Patch::Strategic(json!({
            "metadata": {"uid": pod.uid()},
            "status": {"conditions": [{
                "type": "DisruptionTarget", "status": "False", "lastTransitionTime": Time(Timestamp::now()),
            }]},
        }));
        match self.client.patch_status::<Pod>(pod.namespace(), pod.name(), &patch).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(Action::Done),
        }
    }
}

/// The status, and when a disruption that did not happen must be looked at again.
fn status(
    budget: &PodDisruptionBudget,
    covered: &[Arc<Pod>],
    expected: i32,
    desired: i32,
    now: Timestamp,
) -> (PodDisruptionBudgetStatus, Option<Duration>) {
    let mut status = budget.status.clone().unwrap_or_default();
    let mut recheck = None;
    let mut disrupted = status.disrupted_pods.take().unwrap_or_default();
    disrupted.retain(|name, since| {
        if !covered.iter().any(|pod| pod.name() == name && !pod.is_deleting()) {
            return false;
        }
        let left = DELETION_TIMEOUT.as_secs() as i64 - (now.as_second() - since.0.as_second());
        if left > 0 {
            let left = Duration::from_secs(left as u64);
            recheck = Some(recheck.map_or(left, |known: Duration| known.min(left)));
        }
        left > 0
    });
    let healthy = covered
        .iter()
        .filter(|pod| !pod.is_deleting() && !disrupted.contains_key(pod.name()) && pods::is_ready(pod))
        .count() as i32;
    let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    status.current_healthy = Some(healthy);
    status.desired_healthy = Some(desired);
    status.expected_pods = Some(expected);
    status.disruptions_allowed = Some(allowed);
    status.disrupted_pods = Some(disrupted).filter(|disrupted| !disrupted.is_empty());
    status.observed_generation = Some(budget.generation());
    let (value, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    set_condition(&mut status, budget.generation(), value, reason, "", now);
    (status, recheck)
}

fn set_condition(
    status: &mut PodDisruptionBudgetStatus,
    generation: i64,
    value: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let conditions = status.conditions.get_or_insert_default();
    let mut condition = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: Some(generation),
        last_transition_time: Time(now),
    };
    match conditions.iter_mut().find(|known| known.type_ == condition.type_) {
        Some(known) => {
            if known.status == condition.status {
                condition.last_transition_time = known.last_transition_time.clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_healthy_pods_can_be_spared() {
        let pod = |name: &str, ready: &str| -> Arc<Pod> {
            let value =
                json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
            Arc::new(serde_json::from_value(value).unwrap())
        };
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let pods = [pod("a", "True"), pod("b", "True"), pod("c", "False")];
        let check = |disrupted: serde_json::Value, desired, expect: (i32, i32, &str)| {
            let budget: PodDisruptionBudget =
                serde_json::from_value(json!({"metadata": {}, "status": {"disruptedPods": disrupted}})).unwrap();
            let (status, _) = status(&budget, &pods, 3, desired, now);
            let reason = status.conditions.unwrap()[0].reason.clone();
            assert_eq!((status.current_healthy.unwrap(), status.disruptions_allowed.unwrap(), reason.as_str()), expect);
        };
        check(json!({}), 1, (2, 1, "SufficientPods"));
        check(json!({}), 2, (2, 0, "InsufficientPods"));
        check(json!({"a": "2029-12-31T23:59:00Z"}), 1, (1, 0, "InsufficientPods"));
        check(json!({"a": "2029-12-31T23:00:00Z"}), 1, (2, 1, "SufficientPods"));
    }
}
