//! Keeps bound volumes from disappearing (rule: `pkg/controller/volume/pvprotection`).

use std::sync::Arc;

use steersman_api::k8s_openapi::api::core::v1::PersistentVolume;
use steersman_client::{Action, Client, Event, Object, ObjectKey, Result, Store, WorkQueue};

use super::protect;
use crate::context::{Context, Run};

const FINALIZER: &str = "kubernetes.io/pv-protection";

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let volumes = context.informers.get::<PersistentVolume>();
    let queue = WorkQueue::<ObjectKey>::new();
    volumes.add_handler({
        let queue = queue.clone();
        move |event| {
            if !matches!(event, Event::Deleted { .. }) {
                queue.add(event.object().key());
            }
        }
    });
    let controller = Arc::new((context.client.clone(), volumes.store().clone()));
    Ok(Some(context.work("pvprotection", queue, 1, controller, |shared, key| async move {
        sync(&shared.0, &shared.1, &key).await
    })))
}

async fn sync(client: &Client, volumes: &Store<PersistentVolume>, key: &ObjectKey) -> Result<Action> {
    let Some(volume) = volumes.get(key) else { return Ok(Action::Done) };
    let bound = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    if !volume.is_deleting() || !bound {
        protect(client, &*volume, FINALIZER, !volume.is_deleting()).await?;
    }
    Ok(Action::Done)
}
