//! Keeps as many pods as a ReplicaSet or a ReplicationController asks for (rule: `pkg/controller/replicaset`).

mod kind;
mod status;

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use jiff::Timestamp;
use steersman_api::k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Pod, ReplicationController},
};
use steersman_client::{Action, Client, Event, Object, ObjectKey, Result, Store, WorkQueue, run_workers};

use crate::{
    context::{Context, Run, index, namespace_index, now, orphans},
    dependants::{self, BURST, PodControl, slow_start},
    expectations::Expectations,
    pods,
};
use kind::{Failure, Replicated};

pub fn start_replica_sets(context: &Context) -> anyhow::Result<Option<Run>> {
    Ok(Some(start::<ReplicaSet>(context, "replicaset", context.workers("concurrent-replicaset-syncs"))))
}

pub fn start_replication_controllers(context: &Context) -> anyhow::Result<Option<Run>> {
    Ok(Some(start::<ReplicationController>(context, "replicationcontroller", context.workers("concurrent-rc-syncs"))))
}

struct Controller<K> {
    client: Client,
    control: PodControl,
    owners: Store<K>,
    pods: Store<Pod>,
    expectations: Arc<Expectations>,
}

fn start<K: Replicated>(context: &Context, name: &'static str, workers: usize) -> Run {
    let owners = context.controlled::<K>();
    owners.add_index(index::NAMESPACE, namespace_index);
    let pods = context.pods();
    let queue = WorkQueue::<ObjectKey>::new();
    let expectations = Arc::new(Expectations::default());
    owners.add_handler({
        let (queue, expectations) = (queue.clone(), expectations.clone());
        move |event| {
            if let Event::Deleted { last, .. } = event {
                expectations.forget(&last.key());
            }
            queue.add(event.object().key());
        }
    });
    pods.add_handler({
        let (queue, expectations, owners) = (queue.clone(), expectations.clone(), owners.store().clone());
        move |event| pod_changed(event, &owners, &expectations, &queue)
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        control: PodControl { client: context.client.clone(), recorder: context.recorder.clone() },
        owners: owners.store().clone(),
        pods: pods.store().clone(),
        expectations,
    });
    let shutdown = context.shutdown.clone();
    async move {
        run_workers(name, &queue, workers, &shutdown, move |key| {
            let controller = controller.clone();
            async move { controller.sync(&key).await }
        })
        .await;
    }
    .boxed()
}

/// The owner that controls a pod, if it is one of ours and still the same object.
fn owner_of<K: Replicated>(pod: &Pod, owners: &Store<K>) -> Option<Arc<K>> {
    let reference = pod.controller().filter(|reference| reference.kind == K::KIND)?;
    owners.find(pod.namespace(), &reference.name).filter(|owner| owner.uid() == reference.uid)
}

fn pod_changed<K: Replicated>(
    event: &Event<Pod>,
    owners: &Store<K>,
    expectations: &Expectations,
    queue: &WorkQueue<ObjectKey>,
) {
    let pod = event.object();
    // A pod that begins to be deleted counts as gone: it is replaced without waiting for its grace period.
    let is_gone = matches!(event, Event::Deleted { .. }) || pod.is_deleting();
    if let Event::Updated { old, .. } = event
        && old.controller().map(|c| &c.uid) != pod.controller().map(|c| &c.uid)
        && let Some(former) = owner_of(old, owners)
    {
        queue.add(former.key());
    }
    match owner_of(pod, owners) {
        Some(owner) => {
            let key = owner.key();
            if is_gone {
                expectations.deletion_observed(&key, &pod.key());
            } else if matches!(event, Event::Added(_)) {
                expectations.creation_observed(&key);
            }
            // Once more when a pod that has just become ready will count as available.
            if let Event::Updated { old, .. } = event
                && !pods::is_ready(old)
                && pods::is_ready(pod)
                && owner.min_ready_seconds() > 0
            {
                queue.add_after(key.clone(), Duration::from_secs(owner.min_ready_seconds() as u64 + 1));
            }
            queue.add(key);
        }
        None if pod.controller().is_some() || is_gone => {}
        None => {
            let relevant = match event {
                Event::Updated { old, .. } => old.labels() != pod.labels() || old.controller().is_some(),
                _ => true,
            };
            if relevant {
                let candidates = owners.by_index(index::NAMESPACE, pod.namespace());
                for owner in candidates.iter().filter(|owner| owner.selects(pod.labels())) {
                    queue.add(owner.key());
                }
            }
        }
    }
}

impl<K: Replicated> Controller<K> {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(owner) = self.owners.get(key) else {
            self.expectations.forget(key);
            return Ok(Action::Done);
        };
        let may_manage = self.expectations.satisfied(key);
        let mut candidates = self.pods.by_index(index::CONTROLLER, owner.uid());
        candidates.extend(self.pods.by_index(index::CONTROLLER, &orphans(owner.namespace())));
        let ended = candidates.iter().filter(|pod| !pods::is_terminal(pod)).cloned().collect::<Vec<_>>();
        let claim = dependants::claim(owner.uid(), owner.is_deleting(), ended, |labels| owner.selects(labels));
        let mine = claim.settle(&self.client, &*owner).await?;
        let (active, terminating): (Vec<_>, Vec<_>) = mine.into_iter().partition(|pod| pods::is_active(pod));

        let failure = if may_manage && !owner.is_deleting() { self.manage(key, &owner, &active).await } else { None };
        let at = Timestamp::now();
        let status = status::calculate(&*owner, &active, terminating.len(), failure.as_ref(), at);
        if status != owner.status_view() || owner.observed_generation() != owner.generation() {
            let set = |owner: &mut K| owner.set_status(status.clone());
            match dependants::write_status(&self.client, &*owner, set).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        if let Some(Failure { error: Some(error), .. }) = failure {
            return Err(error);
        }
        let waiting = active.iter().filter_map(|pod| pods::available_in(pod, owner.min_ready_seconds(), at));
        Ok(match waiting.filter(|seconds| *seconds > 0).min() {
            Some(seconds) => Action::RequeueAfter(Duration::from_secs(seconds as u64)),
            None => Action::Done,
        })
    }

    /// Creates or deletes pods; what failed, if something did.
    async fn manage(&self, key: &ObjectKey, owner: &Arc<K>, active: &[Arc<Pod>]) -> Option<Failure> {
        let wanted = owner.replicas().max(0) as usize;
        if active.len() < wanted {
            let count = (wanted - active.len()).min(BURST);
            let template = owner.template()?;
            self.expectations.expect_creations(key, count);
            let (created, error) = slow_start(count, |_| async {
                match self.control.create(&**owner, template).await {
                    // Nothing can be created there any more: that is no failure of this owner.
                    Err(error) if error.is_namespace_terminating() => Ok(()),
                    Err(error) => Err(error),
                    Ok(_) => Ok(()),
                }
            })
            .await;
            self.expectations.creations_observed(key, count - created);
            return error.map(|error| Failure {
                reason: "FailedCreate",
                message: error.to_string(),
                error: Some(error),
            });
        }
        if active.len() > wanted {
            let count = (active.len() - wanted).min(BURST);
            let related = self.related(owner);
            let chosen = choose(active, &related, count, now().0);
            self.expectations.expect_deletions(key, chosen.iter().map(|pod| pod.key()));
            let results = futures::future::join_all(chosen.iter().map(|pod| async move {
                let result = self.control.delete(&**owner, pod.namespace(), pod.name()).await;
                match result {
                    Ok(()) => Ok(()),
                    Err(error) => {
                        self.expectations.deletion_observed(key, &pod.key());
                        if error.is_not_found() { Ok(()) } else { Err(error) }
                    }
                }
            }))
            .await;
            let error = results.into_iter().find_map(Result::err)?;
            return Some(Failure { reason: "FailedDelete", message: error.to_string(), error: Some(error) });
        }
        None
    }

    /// The active pods of all owners that share this one's own controller, such as the ReplicaSets of a Deployment.
    fn related(&self, owner: &Arc<K>) -> Vec<Arc<Pod>> {
        let siblings = match owner.controller() {
            Some(controller) => self.owners.by_index(index::CONTROLLER, &controller.uid),
            None => vec![owner.clone()],
        };
        let of = |sibling: &Arc<K>| self.pods.by_index(index::CONTROLLER, sibling.uid());
        siblings.iter().flat_map(of).filter(|pod| pods::is_active(pod)).collect()
    }
}

/// The `count` pods to delete: the least useful ones, and rather from nodes that have many related pods.
fn choose(active: &[Arc<Pod>], related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let mut on_node = ahash::HashMap::<&str, usize>::default();
    for pod in related.iter().filter(|pod| !pods::node(pod).is_empty()) {
        *on_node.entry(pods::node(pod)).or_default() += 1;
    }
    let mut ranked: Vec<_> =
        active.iter().map(|pod| (on_node.get(pods::node(pod)).copied().unwrap_or(0), pod)).collect();
    if count < active.len() {
        ranked.sort_by(|(a_rank, a), (b_rank, b)| pods::deletion_order(a, *a_rank, b, *b_rank, now));
    }
    ranked.into_iter().take(count).map(|(_, pod)| pod.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletes_where_most_pods_are() {
        let pod = |name: &str, node: &str| {
            let mut pod = Pod::default();
            pod.metadata.name = Some(name.to_owned());
            pod.metadata.uid = Some(name.to_owned());
            pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
            pod.status.get_or_insert_default().phase = Some("Running".to_owned());
            Arc::new(pod)
        };
        let all = [pod("a", "n1"), pod("b", "n2"), pod("c", "n2"), pod("d", "n2")];
        let chosen = choose(&all, &all, 2, Timestamp::UNIX_EPOCH);
        assert_eq!(chosen.iter().map(|pod| pod.name()).collect::<Vec<_>>(), ["b", "c"]);
    }
}
