//! Deletes pods that nobody else will (rule: `pkg/controller/podgc`): of nodes that are gone, terminating without ever
//! having been scheduled, on nodes that are out of service, and ended ones beyond a threshold.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use serde_json::json;
use steersman_api::k8s_openapi::api::core::v1::{Node, Pod};
use steersman_client::{
    Action, Client, DeleteOptions, Event, Object, ObjectKey, Patch, Result, Store, WorkQueue, run_workers,
};

use crate::{
    context::{Context, Run, index, now},
    pods,
};

/// A node that is gone for so long does not come back.
const QUARANTINE: Duration = Duration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// Index of ended pods, all under one value.
const ENDED: &str = "ended";
const WORKERS: usize = 5;

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let nodes = context.informers.get::<Node>();
    let pods = context.pods_by_node();
    pods.add_index(ENDED, |pod| if pods::is_terminal(pod) { vec![ENDED.to_owned()] } else { Vec::new() });
    let queue = WorkQueue::<ObjectKey>::new();
    nodes.add_handler({
        let (queue, pods) = (queue.clone(), pods.store().clone());
        move |event| {
            let node = event.object();
            let delay = match event {
                Event::Deleted { .. } => QUARANTINE,
                _ if is_out_of_service(node) => Duration::ZERO,
                _ => return,
            };
            pods.by_index(index::NODE, node.name()).iter().for_each(|pod| queue.add_after(pod.key(), delay));
        }
    });
    let threshold = usize::try_from(context.flags.int("terminated-pod-gc-threshold")).unwrap_or(0);
    pods.add_handler({
        let (queue, nodes, pods) = (queue.clone(), nodes.clone(), pods.store().clone());
        move |event| {
            let pod = event.object();
            if matches!(event, Event::Deleted { .. }) {
                return;
            }
            let node = pods::node(pod);
            if node.is_empty() {
                if pod.is_deleting() {
                    queue.add(pod.key());
                }
            } else if pod.is_deleting() {
                queue.add(pod.key());
            } else if !matches!(event, Event::Updated { old, .. } if pods::node(old) == node)
                && nodes.has_synced()
                && nodes.store().find("", node).is_none()
            {
                queue.add_after(pod.key(), QUARANTINE);
            }
            if threshold > 0 && pods::is_terminal(pod) && pods.count_by_index(ENDED, ENDED) > threshold {
                queue.add(pod.key());
            }
        }
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        nodes: nodes.store().clone(),
        pods: pods.store().clone(),
        threshold,
    });
    let shutdown = context.shutdown.clone();
    Ok(Some(
        async move {
            // Pods whose node went while nobody looked.
            for pod in controller.pods.list() {
                let node = pods::node(&pod);
                if !node.is_empty() && controller.nodes.find("", node).is_none() {
                    queue.add_after(pod.key(), QUARANTINE);
                }
            }
            run_workers("podgc", &queue, WORKERS, &shutdown, move |key| {
                let controller = controller.clone();
                async move { controller.sync(&key).await }
            })
            .await;
        }
        .boxed(),
    ))
}

fn is_out_of_service(node: &Node) -> bool {
    let tainted = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(|t| t.key == OUT_OF_SERVICE);
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True");
    tainted && !ready
}

struct Controller {
    client: Client,
    nodes: Store<Node>,
    pods: Store<Pod>,
    threshold: usize,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        self.delete_surplus().await?;
        let Some(pod) = self.pods.get(key) else { return Ok(Action::Done) };
        let node = pods::node(&pod);
        if node.is_empty() {
            if pod.is_deleting() {
                self.delete(&pod, None).await?;
            }
            return Ok(Action::Done);
        }
        match self.nodes.find("", node) {
            Some(found) if pod.is_deleting() && is_out_of_service(&found) => {
                self.delete(&pod, Some("PodGC: deleting pod on out-of-service node")).await?;
            }
            Some(_) => {}
            // The cache may lag: ask before anything is deleted by force.
            None => {
                if self.client.get_opt::<Node>("", node).await?.is_none() {
                    self.delete(&pod, Some("PodGC: node no longer exists")).await?;
                }
            }
        }
        Ok(Action::Done)
    }

    async fn delete_surplus(&self) -> Result<()> {
        let surplus = self.pods.count_by_index(ENDED, ENDED).saturating_sub(self.threshold);
        if self.threshold == 0 || surplus == 0 {
            return Ok(());
        }
        let mut ended = self.pods.by_index(ENDED, ENDED);
        let evicted = |pod: &Pod| pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted");
        ended.sort_by_key(|pod| {
            (!evicted(pod), pod.metadata.creation_timestamp.clone(), pod.namespace().to_owned(), pod.name().to_owned())
        });
        for pod in ended.into_iter().take(surplus) {
            self.delete(&pod, None).await?;
        }
        Ok(())
    }

    /// Deletes without grace; `why` marks a pod that had not ended as failed.
    async fn delete(&self, pod: &Pod, why: Option<&str>) -> Result<()> {
        if !pods::is_terminal(pod) {
            let mut status = json!({"phase": "Failed"});
            if let Some(message) = why {
                status["conditions"] = json!([{
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByPodGC",
                    "message": message,
                    "lastTransitionTime": now(),
                }]);
            }
            let patch = Patch::Strategic(json!({"metadata": {"uid": pod.uid()}, "status": status}));
            match self.client.patch_status::<Pod>(pod.namespace(), pod.name(), &patch).await {
                Err(error) if error.is_not_found() || error.is_conflict() => return Ok(()),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        let options = DeleteOptions::default().uid(pod.uid()).grace(0);
        match self.client.delete::<Pod>(pod.namespace(), pod.name(), &options).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }
}
