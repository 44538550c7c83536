//! Makes the claims of generic ephemeral volumes (rule: `pkg/controller/volume/ephemeral`).

use std::sync::Arc;

use steersman_api::k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use steersman_client::{Action, Client, Event, EventRecorder, EventType, Object, ObjectKey, Result, Store, WorkQueue};

use super::pods_by_claim;
use crate::{
    context::{Context, Run, index},
    pods,
};

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let pods = pods_by_claim(context);
    let claims = context.informers.get::<PersistentVolumeClaim>();
    let queue = WorkQueue::<ObjectKey>::new();
    pods.add_handler({
        let queue = queue.clone();
        move |event| {
            let pod = event.object();
            if matches!(event, Event::Added(_)) && !pod.is_deleting() && volumes(pod).next().is_some() {
                queue.add(pod.key());
            }
        }
    });
    claims.add_handler({
        let (queue, pods) = (queue.clone(), pods.store().clone());
        move |event| {
            if matches!(event, Event::Deleted { .. }) {
                for pod in pods.by_index(index::CLAIM, event.object().key().as_str()) {
                    queue.add(pod.key());
                }
            }
        }
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        pods: pods.store().clone(),
        claims: claims.store().clone(),
    });
    let workers = context.workers("concurrent-ephemeralvolume-syncs");
    Ok(Some(context.work("ephemeral-volume", queue, workers, controller, |controller, key| async move {
        controller.sync(&key).await
    })))
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).filter(|volume| volume.ephemeral.is_some())
}

struct Controller {
    client: Client,
    recorder: EventRecorder,
    pods: Store<Pod>,
    claims: Store<PersistentVolumeClaim>,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(pod) = self.pods.get(key).filter(|pod| !pod.is_deleting() && pods::is_active(pod)) else {
            return Ok(Action::Done);
        };
        for volume in volumes(&pod) {
            self.make(&pod, volume).await?;
        }
        Ok(Action::Done)
    }

    async fn make(&self, pod: &Pod, volume: &Volume) -> Result<()> {
        let name = format!("{}-{}", pod.name(), volume.name);
        let Some(template) = volume.ephemeral.as_ref().and_then(|e| e.volume_claim_template.as_ref()) else {
            return Ok(());
        };
        if let Some(claim) = self.claims.find(pod.namespace(), &name) {
            if claim.controller().is_none_or(|owner| owner.uid != pod.uid()) {
                let message = format!("PVC \"{name}\" was not created for pod \"{}\" (pod is not owner)", pod.name());
                self.recorder.event(pod, EventType::Warning, "EphemeralVolumeCreation", message);
            }
            return Ok(());
        }
        let meta = template.metadata.clone().unwrap_or_default();
        let mut claim = PersistentVolumeClaim { spec: Some(template.spec.clone()), ..Default::default() };
        claim.metadata.name = Some(name);
        claim.metadata.labels = meta.labels;
        claim.metadata.annotations = meta.annotations;
        claim.metadata.owner_references = Some(vec![pod.controller_reference()]);
        match self.client.create(pod.namespace(), &claim).await {
            Err(error) if error.is_already_exists() || error.is_namespace_terminating() => Ok(()),
            Err(error) => {
                let message = format!("ephemeral volume {}: create PVC: {error}", volume.name);
                self.recorder.event(pod, EventType::Warning, "EphemeralVolumeCreation", message);
                Err(error)
            }
            Ok(_) => Ok(()),
        }
    }
}
