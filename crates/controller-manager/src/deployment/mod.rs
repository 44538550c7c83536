//! Rolls Deployments out by scaling ReplicaSets (rule: `pkg/controller/deployment`).

mod arithmetic;
mod revisions;
mod rollout;
mod scale;
mod status;

pub use arithmetic::scaled;

use std::{sync::Arc, time::Duration};

use steersman_api::k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use steersman_client::{
    Action, Client, Event, EventRecorder, EventType, Object, ObjectKey, Result, Store, WorkQueue, labels,
};

use crate::{
    context::{Context, Run, index, namespace_index, orphans},
    dependants,
};

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let deployments = context.informers.get::<Deployment>();
    deployments.add_index(index::NAMESPACE, namespace_index);
    let sets = context.controlled::<ReplicaSet>();
    let pods = context.pods();
    let queue = WorkQueue::<ObjectKey>::new();
    deployments.add_handler({
        let queue = queue.clone();
        move |event| queue.add(event.object().key())
    });
    sets.add_handler({
        let (queue, deployments) = (queue.clone(), deployments.store().clone());
        move |event| replica_set_changed(event, &deployments, &queue)
    });
    pods.add_handler({
        let (queue, deployments, sets) = (queue.clone(), deployments.store().clone(), sets.store().clone());
        move |event| {
            // Recreate waits for the last old pod.
            if let Event::Deleted { last, .. } = event
                && let Some(set) = last.controller().and_then(|c| sets.find(last.namespace(), &c.name))
                && let Some(deployment) = owner_of(&set, &deployments)
                && !rollout::is_rolling(&deployment)
            {
                queue.add(deployment.key());
            }
        }
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        deployments: deployments.store().clone(),
        sets: sets.store().clone(),
        pods: pods.store().clone(),
    });
    let workers = context.workers("concurrent-deployment-syncs");
    Ok(Some(
        context.work(
            "deployment",
            queue,
            workers,
            controller,
            |controller, key| async move { controller.sync(&key).await },
        ),
    ))
}

fn owner_of(set: &ReplicaSet, deployments: &Store<Deployment>) -> Option<Arc<Deployment>> {
    let reference = set.controller().filter(|reference| reference.kind == "Deployment")?;
    deployments.find(set.namespace(), &reference.name).filter(|owner| owner.uid() == reference.uid)
}

fn replica_set_changed(event: &Event<ReplicaSet>, deployments: &Store<Deployment>, queue: &WorkQueue<ObjectKey>) {
    let set = event.object();
    if let Event::Updated { old, .. } = event
        && old.controller().map(|c| &c.uid) != set.controller().map(|c| &c.uid)
        && let Some(former) = owner_of(old, deployments)
    {
        queue.add(former.key());
    }
    match owner_of(set, deployments) {
        Some(owner) => queue.add(owner.key()),
        None if set.controller().is_some() || matches!(event, Event::Deleted { .. }) => {}
        None => {
            for deployment in deployments.by_index(index::NAMESPACE, set.namespace()) {
                if selects(&deployment, set.labels()) {
                    queue.add(deployment.key());
                }
            }
        }
    }
}

fn selects(deployment: &Deployment, given: &std::collections::BTreeMap<String, String>) -> bool {
    let selector = deployment.spec.as_ref().map(|spec| &spec.selector);
    selector.is_some_and(|selector| !labels::is_empty(selector) && labels::matches(selector, given))
}

struct Controller {
    client: Client,
    recorder: EventRecorder,
    deployments: Store<Deployment>,
    sets: Store<ReplicaSet>,
    pods: Store<Pod>,
}

/// One sync of one Deployment: what it read, and what it has written since.
struct Sync<'a> {
    controller: &'a Controller,
    deployment: Deployment,
    /// Its ReplicaSets.
    sets: Vec<ReplicaSet>,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(Action::Done) };
        let Some(spec) = &deployment.spec else { return Ok(Action::Done) };
        if labels::is_empty(&spec.selector) {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.event(&*deployment, EventType::Warning, "SelectingAll", message);
            return Ok(Action::Done);
        }
        let mut candidates = self.sets.by_index(index::CONTROLLER, deployment.uid());
        candidates.extend(self.sets.by_index(index::CONTROLLER, &orphans(deployment.namespace())));
        let claim = dependants::claim(deployment.uid(), deployment.is_deleting(), candidates, |given| {
            selects(&deployment, given)
        });
        let sets = claim.settle(&self.client, &*deployment).await?;
        let sets = sets.into_iter().map(|set| (*set).clone()).collect();
        Sync { controller: self, deployment: (*deployment).clone(), sets }.run().await
    }
}

impl Sync<'_> {
    async fn run(mut self) -> Result<Action> {
        if self.deployment.is_deleting() {
            return self.sync_status_only().await;
        }
        self.note_pause().await?;
        let paused = self.deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
        if paused || self.is_scaling_event() {
            return self.sync_scale(paused).await;
        }
        if rollout::is_rolling(&self.deployment) { self.roll().await } else { self.recreate().await }
    }

    fn event(&self, type_: EventType, reason: &str, message: String) {
        self.controller.recorder.event(&self.deployment, type_, reason, message);
    }

    /// Writes the status and goes on with what is stored then.
    async fn write_status(&mut self) -> Result<()> {
        self.deployment = self.controller.client.update_status(&self.deployment).await?;
        Ok(())
    }

    /// Puts a newer state of a ReplicaSet in the place of the older one.
    fn remember(&mut self, stored: ReplicaSet) {
        match self.sets.iter_mut().find(|set| set.uid() == stored.uid()) {
            Some(known) => *known = stored,
            None => self.sets.push(stored),
        }
    }
}

/// How soon to look again at a Deployment that may run out of its progress deadline.
fn requeue(after: Option<Duration>) -> Action {
    after.map_or(Action::Done, Action::RequeueAfter)
}
