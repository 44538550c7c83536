//! Binds claims to volumes, and recycles what was released (rule: `pkg/controller/volume/persistentvolume`).
//!
//! A binding has two halves: the volume names the claim, then the claim names the volume. Each half can be found done
//! or undone, and is done or undone accordingly; so a crash in between does no harm.

use std::sync::Arc;

use steersman_api::k8s_openapi::api::{
    core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use steersman_apimachinery::Quantity;
use steersman_client::{
    Action, Client, DeleteOptions, EventRecorder, EventType, Object, ObjectKey, Result, Store, WorkQueue, labels,
};

use super::pods_by_claim;
use crate::context::{Context, Run, index};

const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const BETA_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// Index of claims and volumes by storage class.
const BY_CLASS: &str = "class";

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Claim(ObjectKey),
    Volume(ObjectKey),
}

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let claims = context.informers.get::<PersistentVolumeClaim>();
    let volumes = context.informers.get::<PersistentVolume>();
    let classes = context.informers.get::<StorageClass>();
    let pods = pods_by_claim(context);
    claims.add_index(BY_CLASS, |claim| vec![class_of_claim(claim).unwrap_or("").to_owned()]);
    volumes.add_index(BY_CLASS, |volume| vec![class_of_volume(volume).to_owned()]);
    let queue = WorkQueue::<Key>::new();
    claims.add_handler({
        let (queue, volumes) = (queue.clone(), volumes.store().clone());
        move |event| {
            let claim = event.object();
            queue.add(Key::Claim(claim.key()));
            let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or("");
            if let Some(volume) = volumes.find("", volume) {
                queue.add(Key::Volume(volume.key()));
            }
        }
    });
    volumes.add_handler({
        let (queue, claims) = (queue.clone(), claims.store().clone());
        move |event| {
            let volume = event.object();
            queue.add(Key::Volume(volume.key()));
            match claim_of(volume) {
                Some((key, _)) => queue.add(Key::Claim(key)),
                None => {
                    // A new free volume is what some claim may be waiting for.
                    for claim in claims.by_index(BY_CLASS, class_of_volume(volume)) {
                        if volume_name(&claim).is_empty() {
                            queue.add(Key::Claim(claim.key()));
                        }
                    }
                }
            }
        }
    });
    classes.add_handler({
        let (queue, claims) = (queue.clone(), claims.store().clone());
        move |event| {
            for claim in claims.by_index(BY_CLASS, event.object().name()) {
                queue.add(Key::Claim(claim.key()));
            }
        }
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        claims: claims.store().clone(),
        volumes: volumes.store().clone(),
        classes: classes.store().clone(),
        pods: pods.store().clone(),
    });
    // One worker: two claims must not choose the same volume.
    Ok(Some(context.work("persistentvolume-binder", queue, 1, controller, |controller, key| async move {
        match key {
            Key::Claim(key) => controller.sync_claim(&key).await,
            Key::Volume(key) => controller.sync_volume(&key).await,
        }
    })))
}

fn class_of_claim(claim: &PersistentVolumeClaim) -> Option<&str> {
    let beta = claim.annotations().get(BETA_CLASS);
    beta.or_else(|| claim.spec.as_ref()?.storage_class_name.as_ref()).map(String::as_str)
}

fn class_of_volume(volume: &PersistentVolume) -> &str {
    let beta = volume.annotations().get(BETA_CLASS);
    beta.or_else(|| volume.spec.as_ref()?.storage_class_name.as_ref()).map_or("", String::as_str)
}

fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or("")
}

/// The claim that a volume names, with its uid if that is known.
fn claim_of(volume: &PersistentVolume) -> Option<(ObjectKey, Option<&str>)> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let key = ObjectKey::new(reference.namespace.as_deref().unwrap_or(""), reference.name.as_deref().unwrap_or(""));
    Some((key, reference.uid.as_deref().filter(|uid| !uid.is_empty())))
}

fn capacity(volume: &PersistentVolume) -> Option<Quantity> {
    volume.spec.as_ref()?.capacity.as_ref()?.get("storage")?.0.parse().ok()
}

fn request(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")?.0.parse().ok()
}

/// Whether a volume can serve a claim, whoever else it may be for.
fn fits(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let (Some(spec), Some(wanted)) = (&volume.spec, &claim.spec) else { return false };
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    let large_enough = match (capacity(volume), request(claim)) {
        (Some(capacity), Some(request)) => capacity >= request,
        (_, None) => true,
        (None, Some(_)) => false,
    };
    !volume.is_deleting()
        && large_enough
        && class_of_volume(volume) == class_of_claim(claim).unwrap_or("")
        && wanted.access_modes.iter().flatten().all(|mode| modes.contains(mode))
        && mode(&spec.volume_mode) == mode(&wanted.volume_mode)
        && wanted.selector.as_ref().is_none_or(|selector| labels::matches(selector, volume.labels()))
        && spec.volume_attributes_class_name.as_deref().unwrap_or("")
            == wanted.volume_attributes_class_name.as_deref().unwrap_or("")
}

/// The best volume: one that is reserved for the claim, else the smallest free one that fits.
fn choose(volumes: Vec<Arc<PersistentVolume>>, claim: &PersistentVolumeClaim) -> Option<Arc<PersistentVolume>> {
    let reserved = volumes.iter().find(|volume| {
        claim_of(volume).is_some_and(|(key, uid)| key == claim.key() && uid.is_none_or(|uid| uid == claim.uid()))
            && fits(volume, claim)
    });
    if let Some(reserved) = reserved {
        return Some(reserved.clone());
    }
    let is_available = |volume: &PersistentVolume| {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Available") | None)
    };
    let mut free: Vec<_> =
        volumes.into_iter().filter(|v| claim_of(v).is_none() && is_available(v) && fits(v, claim)).collect();
    free.sort_by(|a, b| {
        let size = capacity(a).partial_cmp(&capacity(b)).unwrap_or(std::cmp::Ordering::Equal);
        size.then_with(|| a.name().cmp(b.name()))
    });
    free.into_iter().next()
}

struct Controller {
    client: Client,
    recorder: EventRecorder,
    claims: Store<PersistentVolumeClaim>,
    volumes: Store<PersistentVolume>,
    classes: Store<StorageClass>,
    pods: Store<Pod>,
}

impl Controller {
    async fn sync_claim(&self, key: &ObjectKey) -> Result<Action> {
        let Some(claim) = self.claims.get(key) else { return Ok(Action::Done) };
        let name = volume_name(&claim);
        if !name.is_empty() {
            return self.sync_named(&claim, name).await;
        }
        if claim.is_deleting() {
            return Ok(Action::Done);
        }
        let class = class_of_claim(&claim).and_then(|class| self.classes.find("", class));
        let waits = class.as_ref().is_some_and(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
        let candidates = self.volumes.by_index(BY_CLASS, class_of_claim(&claim).unwrap_or(""));
        // With delayed binding the scheduler reserves a volume, or names a node for the provisioner.
        let chosen = choose(candidates, &claim).filter(|volume| !waits || claim_of(volume).is_some());
        if let Some(volume) = chosen {
            self.bind(&volume, &claim).await?;
            return Ok(Action::Done);
        }
        self.set_claim_phase(&claim, "Pending").await?;
        if waits && !claim.annotations().contains_key(SELECTED_NODE) {
            let (reason, message) = if self.pods.count_by_index(index::CLAIM, key.as_str()) > 0 {
                ("WaitForPodScheduled", "waiting for pod to be scheduled")
            } else {
                ("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
            };
            self.recorder.event(&*claim, EventType::Normal, reason, message);
            return Ok(Action::Done);
        }
        match class {
            Some(class) if class.provisioner != NO_PROVISIONER => self.hand_over(&claim, &class).await?,
            _ => {
                let message = "no persistent volumes available for this claim and no storage class is set";
                self.recorder.event(&*claim, EventType::Normal, "FailedBinding", message);
            }
        }
        Ok(Action::Done)
    }

    /// Tells an external provisioner that the claim is its own.
    async fn hand_over(&self, claim: &PersistentVolumeClaim, class: &StorageClass) -> Result<()> {
        if claim.annotations().get(PROVISIONER) != Some(&class.provisioner) {
            let mut handed = claim.clone();
            let annotations = handed.metadata.annotations.get_or_insert_default();
            for name in [PROVISIONER, BETA_PROVISIONER] {
                annotations.insert(name.to_owned(), class.provisioner.clone());
            }
            self.client.update(&handed).await?;
        }
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.",
            class.provisioner
        );
        self.recorder.event(claim, EventType::Normal, "ExternalProvisioning", message);
        Ok(())
    }

    /// A claim that names its volume: bound, to be bound, or lost.
    async fn sync_named(&self, claim: &PersistentVolumeClaim, name: &str) -> Result<Action> {
        let completed = claim.annotations().contains_key(BIND_COMPLETED);
        let Some(volume) = self.volumes.find("", name) else {
            if completed {
                let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
                self.recorder.event(claim, EventType::Warning, "ClaimLost", message);
                self.set_claim_phase(claim, "Lost").await?;
            } else {
                self.set_claim_phase(claim, "Pending").await?;
            }
            return Ok(Action::Done);
        };
        match claim_of(&volume) {
            Some((key, uid)) if key == claim.key() && uid.is_none_or(|uid| uid == claim.uid()) => {
                self.bind(&volume, claim).await?;
            }
            None if !claim.is_deleting() && (completed || fits(&volume, claim)) => self.bind(&volume, claim).await?,
            None => {
                let message = format!("Cannot bind to requested volume \"{name}\": it does not fit the claim");
                self.recorder.event(claim, EventType::Warning, "VolumeMismatch", message);
                self.set_claim_phase(claim, "Pending").await?;
            }
            Some(_) if completed => {
                let message = "Bound claim is bound to a volume that belongs to another claim. Data is lost!";
                self.recorder.event(claim, EventType::Warning, "ClaimMisbound", message);
                self.set_claim_phase(claim, "Lost").await?;
            }
            Some(_) => {
                let message = format!("volume \"{name}\" already bound to a different claim.");
                self.recorder.event(claim, EventType::Warning, "FailedBinding", message);
                self.set_claim_phase(claim, "Pending").await?;
            }
        }
        Ok(Action::Done)
    }

    /// Does whatever is missing of a binding.
    async fn bind(&self, volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<()> {
        let mut reserved = volume.clone();
        if claim_of(volume).and_then(|(_, uid)| uid) != Some(claim.uid()) {
            let mut bound = volume.clone();
            let was_reserved = claim_of(volume).is_some();
            let spec = bound.spec.get_or_insert_default();
            spec.claim_ref = Some(ObjectReference { field_path: None, ..steersman_client::object_reference(claim) });
            if !was_reserved {
                let annotations = bound.metadata.annotations.get_or_insert_default();
                annotations.insert(BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
            }
            reserved = self.client.update(&bound).await?;
        }
        self.set_volume_phase(&reserved, "Bound", "").await?;
        let mut current = claim.clone();
        let named = volume_name(claim) == volume.name();
        if !named || !claim.annotations().contains_key(BIND_COMPLETED) {
            let annotations = current.metadata.annotations.get_or_insert_default();
            annotations.insert(BIND_COMPLETED.to_owned(), "yes".to_owned());
            if !named {
                annotations.insert(BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
            }
            current.spec.get_or_insert_default().volume_name = Some(volume.name().to_owned());
            current = self.client.update(&current).await?;
        }
        let status = current.status.get_or_insert_default();
        let before = status.clone();
        status.phase = Some("Bound".to_owned());
        status.access_modes = volume.spec.as_ref().and_then(|spec| spec.access_modes.clone());
        if before.phase.as_deref() != Some("Bound") {
            status.capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.clone());
        }
        if *status != before {
            self.client.update_status(&current).await?;
        }
        Ok(())
    }

    async fn set_claim_phase(&self, claim: &PersistentVolumeClaim, phase: &str) -> Result<()> {
        if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase) {
            return Ok(());
        }
        let mut changed = claim.clone();
        changed.status.get_or_insert_default().phase = Some(phase.to_owned());
        self.client.update_status(&changed).await?;
        Ok(())
    }

    async fn set_volume_phase(&self, volume: &PersistentVolume, phase: &str, message: &str) -> Result<()> {
        let status = volume.status.as_ref();
        if status.and_then(|status| status.phase.as_deref()) == Some(phase)
            && status.and_then(|status| status.message.as_deref()).unwrap_or("") == message
        {
            return Ok(());
        }
        let mut changed = volume.clone();
        let status = changed.status.get_or_insert_default();
        status.phase = Some(phase.to_owned());
        status.message = Some(message.to_owned()).filter(|message| !message.is_empty());
        self.client.update_status(&changed).await?;
        Ok(())
    }

    async fn sync_volume(&self, key: &ObjectKey) -> Result<Action> {
        let Some(volume) = self.volumes.get(key) else { return Ok(Action::Done) };
        let Some((claim_key, uid)) = claim_of(&volume) else {
            self.set_volume_phase(&volume, "Available", "").await?;
            return Ok(Action::Done);
        };
        let Some(uid) = uid else {
            // Reserved, not yet claimed.
            self.set_volume_phase(&volume, "Available", "").await?;
            return Ok(Action::Done);
        };
        let claim = match self.claims.get(&claim_key) {
            Some(claim) if claim.uid() == uid => Some((*claim).clone()),
            // Reclaiming destroys data: ask before.
            _ => self.client.get_opt(claim_key.namespace(), claim_key.name()).await?,
        };
        match claim.filter(|claim: &PersistentVolumeClaim| claim.uid() == uid) {
            None => self.reclaim(&volume).await?,
            Some(claim) if volume_name(&claim) == volume.name() => {
                self.set_volume_phase(&volume, "Bound", "").await?;
            }
            Some(claim) if volume_name(&claim).is_empty() => {
                return self.sync_claim(&claim.key()).await;
            }
            // The claim went for another volume.
            Some(_) if volume.annotations().contains_key(BOUND_BY_CONTROLLER) => self.unbind(&volume).await?,
            Some(_) => self.reclaim(&volume).await?,
        }
        Ok(Action::Done)
    }

    async fn unbind(&self, volume: &PersistentVolume) -> Result<()> {
        let mut free = volume.clone();
        free.spec.get_or_insert_default().claim_ref = None;
        free.metadata.annotations.get_or_insert_default().remove(BOUND_BY_CONTROLLER);
        let free = self.client.update(&free).await?;
        self.set_volume_phase(&free, "Available", "").await
    }

    /// Keeps, deletes or leaves to its driver what no claim holds any more.
    async fn reclaim(&self, volume: &PersistentVolume) -> Result<()> {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("");
        if phase != "Released" {
            // The changed volume comes back to us; one that could not be deleted stays as it is.
            return if phase == "Failed" { Ok(()) } else { self.set_volume_phase(volume, "Released", "").await };
        }
        let spec = volume.spec.clone().unwrap_or_default();
        let policy = spec.persistent_volume_reclaim_policy.as_deref().unwrap_or("Retain");
        // What an external provisioner made, it deletes.
        if policy == "Delete" && !volume.annotations().contains_key(PROVISIONED_BY) && !volume.is_deleting() {
            let is_scratch = spec.host_path.as_ref().is_some_and(|source| source.path.starts_with("/tmp/"));
            if !is_scratch {
                let message = "error getting deleter volume plugin for volume: no deletable volume plugin matched";
                self.recorder.event(volume, EventType::Warning, "VolumeFailedDelete", message);
                return self.set_volume_phase(volume, "Failed", message).await;
            }
            let options = DeleteOptions::default().uid(volume.uid());
            return match self.client.delete::<PersistentVolume>("", volume.name(), &options).await {
                Err(error) if !error.is_not_found() => Err(error),
                _ => Ok(()),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_smallest_that_fits_wins_unless_one_is_reserved() {
        let volume = |name: &str, size: &str, more: serde_json::Value| -> Arc<PersistentVolume> {
            let mut spec = json!({"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"]});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            Arc::new(serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap())
        };
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": {"name": "c", "namespace": "n", "uid": "u"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "5Gi"}}},
        }))
        .unwrap();
        let check = |volumes: &[Arc<PersistentVolume>], expect: Option<&str>| {
            assert_eq!(choose(volumes.to_vec(), &claim).as_ref().map(|volume| volume.name()), expect);
        };
        let all = [
            volume("big", "100Gi", json!({})),
            volume("right", "6Gi", json!({})),
            volume("small", "1Gi", json!({})),
            volume("block", "5Gi", json!({"volumeMode": "Block"})),
            volume("classy", "5Gi", json!({"storageClassName": "fast"})),
            volume("taken", "5Gi", json!({"claimRef": {"namespace": "n", "name": "other"}})),
        ];
        check(&all, Some("right"));
        let reserved = volume("mine", "50Gi", json!({"claimRef": {"namespace": "n", "name": "c"}}));
        check(&[all[1].clone(), reserved], Some("mine"));
        check(&all[2..], None);
    }
}
