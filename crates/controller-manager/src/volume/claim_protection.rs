//! Keeps claims that pods use from disappearing (rule: `pkg/controller/volume/pvcprotection`).

use std::sync::Arc;

use steersman_api::k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use steersman_client::{Action, Client, Event, ListOptions, Object, ObjectKey, Result, Store, WorkQueue};

use super::{claims_of, pods_by_claim, protect};
use crate::{
    context::{Context, Run, index},
    pods,
};

const FINALIZER: &str = "kubernetes.io/pvc-protection";

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let claims = context.informers.get::<PersistentVolumeClaim>();
    let pods = pods_by_claim(context);
    let queue = WorkQueue::<ObjectKey>::new();
    claims.add_handler({
        let queue = queue.clone();
        move |event| {
            if !matches!(event, Event::Deleted { .. }) {
                queue.add(event.object().key());
            }
        }
    });
    pods.add_handler({
        let (queue, claims) = (queue.clone(), claims.store().clone());
        move |event| {
            let pod = event.object();
            // Only an end of use can let a claim go.
            if matches!(event, Event::Deleted { .. }) || pods::is_terminal(pod) {
                for claim in claims_of(pod) {
                    let key = ObjectKey::new(pod.namespace(), &claim);
                    if claims.get(&key).is_some_and(|claim| claim.is_deleting()) {
                        queue.add(key);
                    }
                }
            }
        }
    });
    let controller = Arc::new((context.client.clone(), claims.store().clone(), pods.store().clone()));
    Ok(Some(context.work("pvcprotection", queue, 1, controller, |shared, key| async move {
        sync(&shared.0, &shared.1, &shared.2, &key).await
    })))
}

async fn sync(
    client: &Client,
    claims: &Store<PersistentVolumeClaim>,
    pods: &Store<Pod>,
    key: &ObjectKey,
) -> Result<Action> {
    let Some(claim) = claims.get(key) else { return Ok(Action::Done) };
    if !claim.is_deleting() {
        protect(client, &*claim, FINALIZER, true).await?;
        return Ok(Action::Done);
    }
    if !claim.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(Action::Done);
    }
    let uses = |pod: &Pod| !pods::is_terminal(pod) && claims_of(pod).iter().any(|name| name == claim.name());
    let cached = pods.by_index(index::CLAIM, key.as_str());
    if cached.iter().any(|pod| uses(pod) && !pods::node(pod).is_empty()) {
        return Ok(Action::Done);
    }
    // The cache may lag behind a pod that was scheduled a moment ago.
    let live = client.list::<Pod>(claim.namespace(), &ListOptions::default()).await?;
    if live.items.iter().any(|pod| uses(pod) && !pods::node(pod).is_empty()) {
        return Ok(Action::Requeue);
    }
    protect(client, &*claim, FINALIZER, false).await?;
    Ok(Action::Done)
}
