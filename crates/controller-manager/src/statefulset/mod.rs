//! Runs pods with names, order and storage of their own (rule: `pkg/controller/statefulset`).

mod identity;
mod update;

use std::{collections::BTreeMap, sync::Arc};

use steersman_api::k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod},
};
use steersman_client::{
    Action, Client, Event, EventRecorder, EventType, Object, ObjectKey, Result, Store, WorkQueue, labels,
};

use crate::{
    context::{Context, Run, controller_index, index, namespace_index, orphans},
    dependants, history,
};

/// The label that names a revision by its hash.
const HASH: &str = "controller.kubernetes.io/hash";

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let sets = context.informers.get::<StatefulSet>();
    sets.add_index(index::NAMESPACE, namespace_index);
    let pods = context.pods();
    let claims = context.informers.get::<PersistentVolumeClaim>();
    let revisions = context.informers.get::<ControllerRevision>();
    revisions.add_index(index::CONTROLLER, controller_index);
    let queue = WorkQueue::<ObjectKey>::new();
    sets.add_handler({
        let queue = queue.clone();
        move |event| queue.add(event.object().key())
    });
    pods.add_handler({
        let (queue, sets) = (queue.clone(), sets.store().clone());
        move |event| pod_changed(event, &sets, &queue)
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        sets: sets.store().clone(),
        pods: pods.store().clone(),
        claims: claims.store().clone(),
        revisions: revisions.store().clone(),
    });
    let workers = context.workers("concurrent-statefulset-syncs");
    Ok(Some(
        context.work("statefulset", queue, workers, controller, |controller, key| async move {
            controller.sync(&key).await
        }),
    ))
}

fn selects(set: &StatefulSet, given: &BTreeMap<String, String>) -> bool {
    let selector = set.spec.as_ref().map(|spec| &spec.selector);
    selector.is_some_and(|selector| !labels::is_empty(selector) && labels::matches(selector, given))
}

fn owner_of(pod: &Pod, sets: &Store<StatefulSet>) -> Option<Arc<StatefulSet>> {
    let reference = pod.controller().filter(|reference| reference.kind == "StatefulSet")?;
    sets.find(pod.namespace(), &reference.name).filter(|owner| owner.uid() == reference.uid)
}

fn pod_changed(event: &Event<Pod>, sets: &Store<StatefulSet>, queue: &WorkQueue<ObjectKey>) {
    let pod = event.object();
    if let Event::Updated { old, .. } = event
        && let Some(former) = owner_of(old, sets)
    {
        queue.add(former.key());
    }
    if let Some(owner) = owner_of(pod, sets) {
        queue.add(owner.key());
    } else if pod.controller().is_none() && !matches!(event, Event::Deleted { .. }) {
        for set in sets.by_index(index::NAMESPACE, pod.namespace()) {
            if selects(&set, pod.labels()) {
                queue.add(set.key());
            }
        }
    }
}

struct Controller {
    client: Client,
    recorder: EventRecorder,
    sets: Store<StatefulSet>,
    pods: Store<Pod>,
    claims: Store<PersistentVolumeClaim>,
    revisions: Store<ControllerRevision>,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(set) = self.sets.get(key) else { return Ok(Action::Done) };
        let Some(spec) = &set.spec else { return Ok(Action::Done) };
        if labels::is_empty(&spec.selector) {
            let message = "This stateful set is selecting all pods. A non-empty selector is required.";
            self.recorder.event(&*set, EventType::Warning, "SelectingAll", message);
            return Ok(Action::Done);
        }
        let mut revisions = self.revisions.by_index(index::CONTROLLER, set.uid());
        revisions.extend(self.revisions.by_index(index::CONTROLLER, &orphans(set.namespace())));
        let revisions = dependants::claim(set.uid(), set.is_deleting(), revisions, |given| selects(&set, given));
        let revisions = revisions.settle(&self.client, &*set).await?;
        let mut candidates = self.pods.by_index(index::CONTROLLER, set.uid());
        candidates.extend(self.pods.by_index(index::CONTROLLER, &orphans(set.namespace())));
        candidates.retain(|pod| identity::ordinal(&set, pod.name()).is_some());
        let claim = dependants::claim(set.uid(), set.is_deleting(), candidates, |given| selects(&set, given));
        let mine = claim.settle(&self.client, &*set).await?;

        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let labels = spec.selector.match_labels.clone().unwrap_or_default();
        let history =
            history::sync(&self.client, &*set, &spec.template, &labels, HASH, revisions.clone(), collisions).await?;
        let named = set.status.as_ref().and_then(|status| status.current_revision.clone()).unwrap_or_default();
        let known = revisions.iter().chain(&history.old).find(|revision| revision.name() == named);
        let current = known.cloned().unwrap_or_else(|| history.current.clone());

        let mut run = update::Run::new(self, &set, &current, &history.current, history.collisions);
        let result = run.update(mine.clone()).await;
        let after = run.finish().await?;
        let mut live: ahash::HashSet<String> =
            mine.iter().filter_map(|pod| pod.labels().get(identity::REVISION).cloned()).collect();
        live.extend([current.name().to_owned(), history.current.name().to_owned()]);
        history::truncate(&self.client, &history.old, &live, spec.revision_history_limit).await?;
        result?;
        Ok(after)
    }
}
