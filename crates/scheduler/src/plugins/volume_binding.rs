//! The pod's storage must be there, or be possible, on the node (rule: scheduler `volumebinding`).

use super::{Filter, Refusal};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::queue::Event;
use crate::snapshot::Snapshot;
use crate::volumes::{Volume, Volumes};
use std::sync::Arc;

struct VolumeBinding {
    /// Volumes of claims that are bound; `None` where one is bound to a volume that is gone.
    bound: Option<Vec<Arc<Volume>>>,
    /// Names of claims that wait for a node.
    waiting: Vec<String>,
    volumes: Arc<Volumes>,
}

/// Why no node at all does, or the names of claims that wait for a node.
pub fn waiting_claims(pod: &PodInfo, volumes: &Volumes) -> Result<Vec<String>, String> {
    let mut waiting = Vec::new();
    let mut immediate = false;
    for wanted in &pod.claims {
        let name = &wanted.name;
        let Some(claim) = volumes.claims.get(&format!("{}/{name}", pod.namespace)) else {
            return Err(if wanted.ephemeral {
                format!("waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\"")
            } else {
                format!("persistentvolumeclaim \"{name}\" not found")
            });
        };
        if claim.lost {
            return Err(format!(
                "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{}\"",
                claim.volume
            ));
        }
        if claim.deleting {
            return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        if wanted.ephemeral && !claim.owners.contains(&pod.uid) {
            return Err(format!(
                "PVC {}/{name} was not created for pod {} (pod is not owner)",
                pod.namespace,
                pod.key()
            ));
        }
        if claim.bound {
            continue;
        }
        // A claim that names its volume is bound by the volume controller, without us.
        let waits = claim.volume.is_empty() && volumes.classes.get(&claim.class).is_some_and(|c| c.waits);
        if waits {
            waiting.push(name.clone());
        } else {
            immediate = true;
        }
    }
    if immediate { Err("pod has unbound immediate PersistentVolumeClaims".to_owned()) } else { Ok(waiting) }
}

/// What keeps the pod from every node.
pub(super) fn veto(pod: &PodInfo, cluster: &Snapshot) -> Option<String> {
    waiting_claims(pod, &cluster.volumes).err()
}

pub(super) fn filter(pod: &PodInfo, cluster: &Snapshot) -> Option<Box<dyn Filter>> {
    if pod.claims.is_empty() {
        return None;
    }
    let volumes = cluster.volumes.clone();
    let waiting = waiting_claims(pod, &volumes).ok()?;
    let mut bound = Some(Vec::new());
    for claim in pod.claims.iter().filter(|c| !waiting.contains(&c.name)) {
        let name = volumes.claims.get(&format!("{}/{}", pod.namespace, claim.name)).map(|c| c.volume.as_str());
        match (name.and_then(|n| volumes.volumes.get(n)), &mut bound) {
            (Some(volume), Some(list)) => list.push(volume.clone()),
            _ => bound = None,
        }
    }
    Some(Box::new(VolumeBinding { bound, waiting, volumes }))
}

impl Filter for VolumeBinding {
    fn filter(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
        let Some(bound) = &self.bound else {
            return Some(Refusal::unresolvable(
                "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
            ));
        };
        let mut reasons = Vec::new();
        if !bound.iter().all(|v| v.reaches(&node.name, &node.labels)) {
            reasons.push("node(s) didn't match PersistentVolume's node affinity".into());
        }
        if self.volumes.sources(&pod.namespace, &self.waiting, &node.name, &node.labels).is_none() {
            reasons.push("node(s) didn't find available persistent volumes to bind".into());
        }
        if reasons.is_empty() { None } else { Some(Refusal { reasons, resolvable: false }) }
    }
}

pub(super) fn hint(pod: &PodInfo, event: &Event<'_>, _: &Snapshot) -> bool {
    match event {
        Event::ClaimChanged(key) => pod.claims.iter().any(|c| *key == format!("{}/{}", pod.namespace, c.name)),
        Event::VolumeChanged | Event::ClassAdded | Event::NodeAdded(_) => true,
        Event::NodeUpdated { old, new } => old.labels != new.labels,
        _ => false,
    }
}
