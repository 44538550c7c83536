//! Mirror pods: what the API shows of static pods (rule: kubelet `pod/mirror_client.go`).

use std::sync::Arc;

use parking_lot::Mutex;
use steersman_client::{Action, DeleteOptions, WorkQueue, run_workers};

use super::spec::PodExt;
use crate::{
    api::*,
    kubelet::Kubelet,
    names::{CONFIG_HASH, CONFIG_MIRROR},
};

/// The static pods and what is to be done about their mirrors.
pub struct Mirrors {
    pods: Mutex<Vec<Arc<Pod>>>,
    /// Names of pods, as `namespace/name`.
    queue: WorkQueue<String>,
}

impl Default for Mirrors {
    fn default() -> Self {
        Mirrors { pods: Mutex::default(), queue: WorkQueue::new() }
    }
}

impl Mirrors {
    /// These are the static pods now.
    pub fn set(&self, k: &Arc<Kubelet>, pods: Vec<Arc<Pod>>) {
        for pod in self.pods.lock().iter().chain(&pods) {
            self.queue.add(key(pod));
        }
        *self.pods.lock() = pods;
        k.status_of_all_static();
    }

    /// The API has something new about a mirror pod.
    pub fn touch(&self, pod: &Pod) {
        self.queue.add(key(pod));
    }

    /// The static pods.
    pub fn list(&self) -> Vec<Arc<Pod>> {
        self.pods.lock().clone()
    }

    /// Creates, replaces and deletes mirrors until shutdown.
    pub async fn run(k: Arc<Kubelet>) {
        let (queue, stop) = (k.mirrors.queue.clone(), k.shutdown.clone());
        run_workers("mirrors", &queue, 1, &stop, move |key: String| {
            let k = k.clone();
            async move { reconcile(&k, &key).await }
        })
        .await;
    }
}

fn key(pod: &Pod) -> String {
    format!("{}/{}", pod.ns(), pod.name())
}

async fn reconcile(k: &Arc<Kubelet>, name: &str) -> steersman_client::Result<Action> {
    let Some(client) = &k.client else { return Ok(Action::Done) };
    let (ns, name) = name.split_once('/').unwrap_or(("default", name));
    let wanted = k.mirrors.pods.lock().iter().find(|p| p.ns() == ns && p.name() == name).cloned();
    let shown = client.get_opt::<Pod>(ns, name).await?;
    if let Some(shown) = &shown {
        let right = wanted.as_ref().is_some_and(|w| shown.annotation(CONFIG_HASH) == Some(w.uid()));
        if right && shown.metadata.deletion_timestamp.is_none() {
            return Ok(Action::Done);
        }
        // Only mirrors are ours to delete.
        if !shown.is_mirror() {
            return Ok(Action::Done);
        }
        let options = DeleteOptions::default().grace(0).uid(shown.uid());
        match client.delete::<Pod>(ns, name, &options).await {
            Err(e) if !e.is_not_found() && !e.is_conflict() => return Err(e),
            _ => {}
        }
    }
    let Some(pod) = wanted else { return Ok(Action::Done) };
    match client.create(ns, &mirror_of(&pod, k.node.current().as_deref())).await {
        Ok(_) => k.status.touch(pod.uid()),
        Err(e) if e.is_already_exists() => {}
        // A namespace that is going away takes no pods.
        Err(e) if e.is_forbidden() || e.is_invalid() => {
            tracing::warn!(pod = pod.full(), error = %e, "the API server refuses the mirror of a static pod");
        }
        Err(e) => return Err(e),
    }
    Ok(Action::Done)
}

fn mirror_of(pod: &Pod, node: Option<&Node>) -> Pod {
    let mut mirror = pod.clone();
    let meta = &mut mirror.metadata;
    let hash = meta.uid.take().unwrap_or_default();
    meta.annotations.get_or_insert_default().insert(CONFIG_MIRROR.into(), hash);
    meta.owner_references = node.map(|node| {
        vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: node.metadata.name.clone().unwrap_or_default(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]
    });
    mirror.status = None;
    mirror
}
