//! Scaling ReplicaSets (rule: `deployment/sync.go`).

use steersman_api::k8s_openapi::api::apps::v1::ReplicaSet;
use steersman_client::{Action, EventType, Object, Result};

use super::{Sync, arithmetic::*, rollout::is_rolling};

impl Sync<'_> {
    /// Whether the Deployment's size changed since its ReplicaSets were last scaled.
    pub fn is_scaling_event(&self) -> bool {
        let wanted = replicas(&self.deployment);
        self.sets
            .iter()
            .filter(|set| size(set) > 0)
            .any(|set| annotation_number(set, DESIRED).is_some_and(|desired| desired != wanted))
    }

    /// Follows a change of size, without rolling out anything.
    pub async fn sync_scale(mut self, paused: bool) -> Result<Action> {
        self.sync_revision(false).await?;
        self.rescale().await?;
        if paused {
            self.clean_up().await?;
        }
        self.sync_status_only().await
    }

    async fn rescale(&mut self) -> Result<()> {
        let wanted = replicas(&self.deployment);
        let new = self.new_set().cloned();
        let active: Vec<ReplicaSet> = self.sets.iter().filter(|set| size(set) > 0).cloned().collect();
        if let Some(only) = active_or_latest(new.as_ref(), &active, &self.sets) {
            let only = only.clone();
            self.resize(&only, wanted).await?;
            return Ok(());
        }
        if let Some(new) = &new
            && annotation_number(new, DESIRED) == Some(wanted)
            && size(new) == wanted
            && available(new) == wanted
        {
            for old in active.iter().filter(|set| set.uid() != new.uid()) {
                self.resize(old, 0).await?;
            }
            return Ok(());
        }
        if is_rolling(&self.deployment) {
            for (n, to) in proportional_sizes(&self.deployment, &active) {
                self.set_size(&active[n], to).await?;
            }
        }
        Ok(())
    }

    /// Scales a ReplicaSet unless it has that size already; whether it was scaled.
    pub async fn resize(&mut self, set: &ReplicaSet, to: i32) -> Result<bool> {
        if size(set) == to { Ok(false) } else { self.set_size(set, to).await }
    }

    /// Scales a ReplicaSet and notes what the Deployment's size was then.
    async fn set_size(&mut self, set: &ReplicaSet, to: i32) -> Result<bool> {
        let from = size(set);
        let wanted = replicas(&self.deployment);
        let notes = [(DESIRED, wanted), (MAX, wanted + max_surge(&self.deployment))];
        if from == to && notes.iter().all(|(name, value)| annotation_number(set, name) == Some(*value)) {
            return Ok(false);
        }
        let mut changed = set.clone();
        changed.spec.get_or_insert_default().replicas = Some(to);
        for (name, value) in notes {
            changed.metadata.annotations.get_or_insert_default().insert(name.to_owned(), value.to_string());
        }
        let stored = self.controller.client.update(&changed).await?;
        self.remember(stored);
        if from != to {
            let direction = if from < to { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {} from {from} to {to}", set.name());
            self.event(EventType::Normal, "ScalingReplicaSet", message);
        }
        Ok(from != to)
    }
}

/// The only ReplicaSet that counts: the active one if there is one, the newest if there is none, nothing if several are
/// active (rule: `FindActiveOrLatest`).
fn active_or_latest<'a>(
    new: Option<&'a ReplicaSet>,
    active: &'a [ReplicaSet],
    all: &'a [ReplicaSet],
) -> Option<&'a ReplicaSet> {
    match active {
        [] => new.or_else(|| all.iter().max_by_key(|set| set.metadata.creation_timestamp.clone())),
        [only] => Some(only),
        _ => None,
    }
}
