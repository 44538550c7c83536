//! Deletes pods that do not tolerate a NoExecute taint of their node, at once or when their patience ends
//! (rule: `pkg/controller/tainteviction`).

use std::{sync::Arc, time::Duration};

use ahash::HashMap;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use steersman_api::k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use steersman_client::{
    Action, Client, DeleteOptions, Event, EventRecorder, EventType, Object, ObjectKey, Patch, Result, Store, WorkQueue,
};

use crate::{
    context::{Context, Run, index, now},
    pods,
};

const WORKERS: usize = 8;

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let nodes = context.informers.get::<Node>();
    let pods = context.pods_by_node();
    let queue = WorkQueue::<ObjectKey>::new();
    nodes.add_handler({
        let (queue, pods) = (queue.clone(), pods.store().clone());
        move |event| {
            let node = event.object();
            let before = match event {
                Event::Updated { old, .. } => evicting(old),
                Event::Deleted { .. } => return,
                Event::Added(_) => Vec::new(),
            };
            if before != evicting(node) {
                pods.by_index(index::NODE, node.name()).iter().for_each(|pod| queue.add(pod.key()));
            }
        }
    });
    pods.add_handler({
        let (queue, nodes) = (queue.clone(), nodes.store().clone());
        move |event| {
            let pod = event.object();
            let tolerations = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.tolerations.clone());
            let relevant = match event {
                Event::Updated { old, .. } => {
                    pods::node(old) != pods::node(pod) || old.uid() != pod.uid() || tolerations(old) != tolerations(pod)
                }
                Event::Added(_) => !pods::node(pod).is_empty(),
                Event::Deleted { .. } => false,
            };
            if relevant && nodes.find("", pods::node(pod)).is_some_and(|node| !evicting(&node).is_empty()) {
                queue.add(pod.key());
            }
        }
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        nodes: nodes.store().clone(),
        pods: pods.store().clone(),
        scheduled: Mutex::default(),
    });
    Ok(Some(context.work("tainteviction", queue, WORKERS, controller, |controller, key| async move {
        controller.sync(&key).await
    })))
}

fn evicting(node: &Node) -> Vec<Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

/// Whether a toleration bears a taint (rule: core `Toleration.ToleratesTaint`).
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or("");
    let key = toleration.key.as_deref().unwrap_or("");
    let value = || toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or("");
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("") {
        "" | "Equal" => value(),
        "Exists" => true,
        operator @ ("Lt" | "Gt") => match (number(toleration.value.as_deref()), number(taint.value.as_deref())) {
            (Some(limit), Some(value)) => {
                if operator == "Lt" {
                    value < limit
                } else {
                    value > limit
                }
            }
            _ => false,
        },
        _ => false,
    }
}

/// How long a pod may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// It tolerates everything.
    Endless,
    /// So many seconds; 0 if it does not tolerate some taint at all.
    Seconds(i64),
}

fn patience(tolerations: &[Toleration], taints: &[Taint]) -> Patience {
    let mut least = Patience::Endless;
    for taint in taints {
        let bearing: Vec<&Toleration> = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
        if bearing.is_empty() {
            return Patience::Seconds(0);
        }
        for seconds in bearing.iter().filter_map(|toleration| toleration.toleration_seconds) {
            let seconds = seconds.max(0);
            least = match least {
                Patience::Seconds(known) if known <= seconds => least,
                _ => Patience::Seconds(seconds),
            };
        }
    }
    least
}

struct Controller {
    client: Client,
    recorder: EventRecorder,
    nodes: Store<Node>,
    pods: Store<Pod>,
    /// Since when a pod's patience is tried, by its uid.
    scheduled: Mutex<HashMap<ObjectKey, (String, Timestamp)>>,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(pod) = self.pods.get(key).filter(|pod| !pod.is_deleting()) else {
            self.scheduled.lock().remove(key);
            return Ok(Action::Done);
        };
        let taints = self.nodes.find("", pods::node(&pod)).map(|node| evicting(&node)).unwrap_or_default();
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
        let wait = if taints.is_empty() { Patience::Endless } else { patience(tolerations, &taints) };
        let seconds = match wait {
            Patience::Endless => {
                if self.scheduled.lock().remove(key).is_some() {
                    let message = format!("Cancelling deletion of Pod {key}");
                    self.recorder.event(&*pod, EventType::Normal, "TaintManagerEviction", message);
                }
                return Ok(Action::Done);
            }
            Patience::Seconds(seconds) => seconds,
        };
        let now = Timestamp::now();
        let since = {
            let mut scheduled = self.scheduled.lock();
            let entry = scheduled.entry(key.clone()).or_insert_with(|| (pod.uid().to_owned(), now));
            if entry.0 != pod.uid() {
                *entry = (pod.uid().to_owned(), now);
            }
            entry.1
        };
        let left = since.as_millisecond() + seconds * 1000 - now.as_millisecond();
        if left > 0 {
            return Ok(Action::RequeueAfter(Duration::from_millis(left as u64)));
        }
        self.evict(&pod).await?;
        self.scheduled.lock().remove(key);
        Ok(Action::Done)
    }

    async fn evict(&self, pod: &Pod) -> Result<()> {
        let message = format!("Marking for deletion Pod {}", pod.key());
        self.recorder.event(pod, EventType::Normal, "TaintManagerEviction", message);
        let patch = Patch::Strategic(json!({
            "metadata": {"uid": pod.uid()},
            "status": {"conditions": [{
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByTaintManager",
                "message": "Taint manager: deleting due to NoExecute taint",
                "lastTransitionTime": now(),
            }]},
        }));
        match self.client.patch_status::<Pod>(pod.namespace(), pod.name(), &patch).await {
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) if !error.is_conflict() => return Err(error),
            _ => {}
        }
        let options = DeleteOptions::default().uid(pod.uid());
        match self.client.delete::<Pod>(pod.namespace(), pod.name(), &options).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_least_patience_counts() {
        let check = |tolerations: Value, taints: Value, expect: Patience| {
            let tolerations: Vec<Toleration> = serde_json::from_value(tolerations).unwrap();
            let taints: Vec<Taint> = serde_json::from_value(taints).unwrap();
            assert_eq!(patience(&tolerations, &taints), expect);
        };
        let a = json!([{"key": "a", "effect": "NoExecute"}]);
        check(json!([]), a.clone(), Patience::Seconds(0));
        check(json!([{"operator": "Exists"}]), a.clone(), Patience::Endless);
        check(json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 5}]), a.clone(), Patience::Seconds(5));
        check(json!([{"key": "a", "operator": "Exists", "tolerationSeconds": -5}]), a.clone(), Patience::Seconds(0));
        check(json!([{"key": "a", "value": "other"}]), a.clone(), Patience::Seconds(0));
        check(json!([{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]), a, Patience::Seconds(0));
        check(
            json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 9}, {"operator": "Exists", "tolerationSeconds": 3}]),
            json!([{"key": "a", "effect": "NoExecute"}, {"key": "b", "effect": "NoExecute"}]),
            Patience::Seconds(3),
        );
    }
}
