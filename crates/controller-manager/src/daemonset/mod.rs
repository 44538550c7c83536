//! Runs one pod on each fitting node (rule: `pkg/controller/daemon`).

mod placement;
mod plan;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use ahash::{HashMap, HashSet};
use jiff::Timestamp;
use parking_lot::Mutex;
use steersman_api::k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{Node, Pod},
};
use steersman_client::{Action, Client, Event, EventType, Object, ObjectKey, Result, Store, WorkQueue, labels};

use crate::{
    context::{Context, Run, controller_index, index, namespace_index, orphans},
    dependants::{self, PodControl, slow_start},
    expectations::Expectations,
    history, pods,
};
use placement::HASH;

/// At most so many daemons are created, and deleted, in one sync.
const BURST: usize = 250;
/// How long a node waits for the next daemon after failures: doubling from the first to the last.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
const LAST_PATIENCE: Duration = Duration::from_secs(15 * 60);

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let sets = context.informers.get::<DaemonSet>();
    sets.add_index(index::NAMESPACE, namespace_index);
    let (pods, nodes) = (context.pods(), context.informers.get::<Node>());
    let revisions = context.informers.get::<ControllerRevision>();
    revisions.add_index(index::CONTROLLER, controller_index);
    let queue = WorkQueue::<ObjectKey>::new();
    let expectations = Arc::new(Expectations::default());
    sets.add_handler({
        let (queue, expectations) = (queue.clone(), expectations.clone());
        move |event| {
            if let Event::Deleted { last, .. } = event {
                expectations.forget(&last.key());
            }
            queue.add(event.object().key());
        }
    });
    pods.add_handler({
        let (queue, sets, expectations) = (queue.clone(), sets.store().clone(), expectations.clone());
        move |event| pod_changed(event, &sets, &expectations, &queue)
    });
    nodes.add_handler({
        let (queue, sets) = (queue.clone(), sets.store().clone());
        move |event| {
            let node = event.object();
            for set in sets.list() {
                let affected = match event {
                    Event::Updated { old, .. } => {
                        let unchanged = old.labels() == node.labels() && taints(old) == taints(node);
                        !unchanged && placement::of(&set, old) != placement::of(&set, node)
                    }
                    _ => placement::of(&set, node).stay,
                };
                if affected {
                    queue.add(set.key());
                }
            }
        }
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        control: PodControl { client: context.client.clone(), recorder: context.recorder.clone() },
        sets: sets.store().clone(),
        pods: pods.store().clone(),
        nodes: nodes.store().clone(),
        revisions: revisions.store().clone(),
        expectations,
        failures: Mutex::default(),
    });
    let workers = context.workers("concurrent-daemonset-syncs");
    Ok(Some(
        context.work(
            "daemonset",
            queue,
            workers,
            controller,
            |controller, key| async move { controller.sync(&key).await },
        ),
    ))
}

fn taints(node: &Node) -> Option<&Vec<steersman_api::k8s_openapi::api::core::v1::Taint>> {
    node.spec.as_ref()?.taints.as_ref()
}

fn selects(set: &DaemonSet, given: &BTreeMap<String, String>) -> bool {
    let selector = set.spec.as_ref().map(|spec| &spec.selector);
    selector.is_some_and(|selector| !labels::is_empty(selector) && labels::matches(selector, given))
}

fn owner_of<K: Object>(object: &K, sets: &Store<DaemonSet>) -> Option<Arc<DaemonSet>> {
    let reference = object.controller().filter(|reference| reference.kind == "DaemonSet")?;
    sets.find(object.namespace(), &reference.name).filter(|owner| owner.uid() == reference.uid)
}

fn pod_changed(event: &Event<Pod>, sets: &Store<DaemonSet>, expectations: &Expectations, queue: &WorkQueue<ObjectKey>) {
    let pod = event.object();
    if let Some(owner) = owner_of(&**pod, sets) {
        let key = owner.key();
        if matches!(event, Event::Deleted { .. }) || pod.is_deleting() {
            expectations.deletion_observed(&key, &pod.key());
        } else if matches!(event, Event::Added(_)) {
            expectations.creation_observed(&key);
        }
        let min_ready = owner.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        if let Event::Updated { old, .. } = event
            && min_ready > 0
            && !pods::is_ready(old)
            && pods::is_ready(pod)
        {
            queue.add_after(key.clone(), Duration::from_secs(min_ready as u64 + 1));
        }
        queue.add(key);
        return;
    }
    if let Event::Updated { old, .. } = event
        && let Some(former) = owner_of(&**old, sets)
    {
        queue.add(former.key());
    }
    if pod.controller().is_none() && !matches!(event, Event::Deleted { .. }) {
        for set in sets.by_index(index::NAMESPACE, pod.namespace()) {
            if selects(&set, pod.labels()) {
                queue.add(set.key());
            }
        }
    }
}

struct Controller {
    client: Client,
    control: PodControl,
    sets: Store<DaemonSet>,
    pods: Store<Pod>,
    nodes: Store<Node>,
    revisions: Store<ControllerRevision>,
    expectations: Arc<Expectations>,
    /// By set and node: how long to wait after the last failure, and when that was.
    failures: Mutex<HashMap<(String, String), (Duration, Instant)>>,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(set) = self.sets.get(key) else {
            self.expectations.forget(key);
            return Ok(Action::Done);
        };
        let Some(spec) = &set.spec else { return Ok(Action::Done) };
        if labels::is_empty(&spec.selector) {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.control.recorder.event(&*set, EventType::Warning, "SelectingAll", message);
            return Ok(Action::Done);
        }
        if set.is_deleting() {
            return Ok(Action::Done);
        }
        let mut revisions = self.revisions.by_index(index::CONTROLLER, set.uid());
        revisions.extend(self.revisions.by_index(index::CONTROLLER, &orphans(set.namespace())));
        let revisions = dependants::claim(set.uid(), false, revisions, |given| selects(&set, given));
        let revisions = revisions.settle(&self.client, &*set).await?;
        let template_labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let history =
            history::sync(&self.client, &*set, &spec.template, &template_labels, HASH, revisions, collisions).await?;
        let hash = history.current.labels().get(HASH).cloned().unwrap_or_default();

        let mut candidates = self.pods.by_index(index::CONTROLLER, set.uid());
        candidates.extend(self.pods.by_index(index::CONTROLLER, &orphans(set.namespace())));
        let claim = dependants::claim(set.uid(), false, candidates, |given| selects(&set, given));
        let daemons = claim.settle(&self.client, &*set).await?;
        let nodes = self.nodes.list();
        let now = Timestamp::now();
        let map = plan::by_node(&daemons);

        let mut wait = None;
        let mut result = Ok(());
        if self.expectations.satisfied(key) {
            let patience = |node: &str| self.patience(set.uid(), node);
            let managed = plan::manage(&set, &nodes, &map, &hash, now, patience);
            wait = managed.wait;
            for pod in &managed.failed {
                self.note_failure(&set, pod);
            }
            result = self.carry_out(key, &set, managed, &hash).await;
        }
        if result.is_ok() && plan::is_rolling(&set) && self.expectations.satisfied(key) {
            let rolled = plan::roll(&set, &nodes, &map, &hash, now);
            result = self.carry_out(key, &set, rolled, &hash).await;
        }
        let live: HashSet<String> = daemons
            .iter()
            .filter_map(|pod| pod.labels().get(HASH))
            .map(|hash| format!("{}-{hash}", set.name()))
            .collect();
        history::truncate(&self.client, &history.old, &live, spec.revision_history_limit).await?;

        let status = plan::status(&set, &nodes, &map, &hash, history.collisions, now);
        if set.status.as_ref() != Some(&status) {
            dependants::write_status(&self.client, &*set, |set| set.status = Some(status.clone())).await?;
        }
        result?;
        let min_ready = spec.min_ready_seconds.unwrap_or(0);
        let ripening = daemons.iter().filter_map(|pod| pods::available_in(pod, min_ready, now));
        let soonest = ripening.filter(|seconds| *seconds > 0).map(|seconds| seconds as u64).chain(wait).min();
        Ok(soonest.map_or(Action::Done, |seconds| Action::RequeueAfter(Duration::from_secs(seconds))))
    }

    /// Seconds that a node must still wait for its next daemon.
    fn patience(&self, set: &str, node: &str) -> u64 {
        let failures = self.failures.lock();
        let Some((wait, since)) = failures.get(&(set.to_owned(), node.to_owned())) else { return 0 };
        wait.checked_sub(since.elapsed()).map_or(0, |left| left.as_secs() + 1)
    }

    fn note_failure(&self, set: &DaemonSet, pod: &Pod) {
        let node = placement::node_of(pod).unwrap_or("");
        let message = format!("Found failed daemon pod {} on node {node}, will try to kill it", pod.key());
        self.control.recorder.event(set, EventType::Warning, "FailedDaemonPod", message);
        let mut failures = self.failures.lock();
        let entry = failures.entry((set.uid().to_owned(), node.to_owned()));
        let next = match &entry {
            std::collections::hash_map::Entry::Occupied(known) => (known.get().0 * 2).min(LAST_PATIENCE),
            std::collections::hash_map::Entry::Vacant(_) => FIRST_PATIENCE,
        };
        entry.insert_entry((next, Instant::now()));
        failures.retain(|_, (wait, since)| since.elapsed() < *wait * 4);
    }

    async fn carry_out(&self, key: &ObjectKey, set: &DaemonSet, plan: plan::Plan, hash: &str) -> Result<()> {
        let create: Vec<_> = plan.create.into_iter().take(BURST).collect();
        let delete: Vec<_> = plan.delete.into_iter().take(BURST).collect();
        if create.is_empty() && delete.is_empty() {
            return Ok(());
        }
        self.expectations.expect(key, create.len(), delete.iter().map(|pod| pod.key()));
        let (created, error) = slow_start(create.len(), |n| {
            let pod = placement::pod_for(set, &create[n], hash);
            async move {
                let Some(pod) = pod else { return Ok(()) };
                match self.control.create_pod(set, &pod).await {
                    Err(error) if error.is_namespace_terminating() => Ok(()),
                    Err(error) => Err(error),
                    Ok(_) => Ok(()),
                }
            }
        })
        .await;
        self.expectations.creations_observed(key, create.len() - created);
        let deleted = futures::future::join_all(delete.iter().map(|pod| async move {
            match self.control.delete(set, pod.namespace(), pod.name()).await {
                Ok(()) => Ok(()),
                Err(error) => {
                    self.expectations.deletion_observed(key, &pod.key());
                    if error.is_not_found() { Ok(()) } else { Err(error) }
                }
            }
        }))
        .await;
        match error {
            Some(error) => Err(error),
            None => deleted.into_iter().collect(),
        }
    }
}
