//! The status of a Deployment and its conditions (rule: `deployment/progress.go`, `calculateStatus`).

use std::time::Duration;

use jiff::Timestamp;
use steersman_api::k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::Time,
};
use steersman_client::{Action, Object, Result};

use super::{Sync, arithmetic::*, requeue, revisions::find_new};

pub const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const FAILURE: &str = "ReplicaFailure";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

pub fn condition<'a>(deployment: &'a Deployment, type_: &str) -> Option<&'a DeploymentCondition> {
    find(deployment.status.as_ref()?, type_)
}

fn find<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

/// Sets a condition; one that says the same already stays as it is, and its transition time changes only with the
/// status (rule: `SetDeploymentCondition`).
pub fn set_condition(
    status: &mut DeploymentStatus,
    type_: &str,
    value: &str,
    reason: &str,
    message: impl Into<String>,
) {
    let now = Some(Time(Timestamp::now()));
    let known = find(status, type_);
    if known.is_some_and(|known| known.status == value && known.reason.as_deref() == Some(reason)) {
        return;
    }
    let transition = match known {
        Some(known) if known.status == value => known.last_transition_time.clone(),
        _ => now.clone(),
    };
    remove_condition(status, type_);
    status.conditions.get_or_insert_default().push(DeploymentCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.into()),
        last_transition_time: transition,
        last_update_time: now,
    });
}

fn remove_condition(status: &mut DeploymentStatus, type_: &str) {
    status.conditions.get_or_insert_default().retain(|condition| condition.type_ != type_);
}

/// Whether the Deployment has a progress deadline; the largest number stands for none.
pub fn has_deadline(deployment: &Deployment) -> bool {
    let seconds = deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds);
    seconds.is_some_and(|seconds| seconds != i32::MAX)
}

fn deadline(deployment: &Deployment) -> i64 {
    deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds).map_or(i64::MAX, i64::from)
}

/// Whether all replicas are of the current template and available.
pub fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = replicas(deployment);
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation.unwrap_or(0) >= deployment.generation()
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let updated = |status: &DeploymentStatus| status.updated_replicas.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| status.replicas.unwrap_or(0) - updated(status);
    updated(new) > updated(old)
        || outdated(new) < outdated(old)
        || new.ready_replicas.unwrap_or(0) > old.ready_replicas.unwrap_or(0)
        || new.available_replicas.unwrap_or(0) > old.available_replicas.unwrap_or(0)
}

fn has_timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    let Some(condition) = find(status, PROGRESSING) else { return false };
    match condition.reason.as_deref() {
        Some(NEW_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => condition
            .last_update_time
            .as_ref()
            .is_some_and(|since| now.as_second() - since.0.as_second() > deadline(deployment)),
    }
}

/// The counts and the condition Available (rule: `calculateStatus`).
fn calculate(deployment: &Deployment, sets: &[ReplicaSet], new: Option<&ReplicaSet>) -> DeploymentStatus {
    let old = deployment.status.clone().unwrap_or_default();
    let sum = |value: &dyn Fn(&ReplicaSet) -> Option<i32>| sets.iter().filter_map(value).sum::<i32>();
    let total = sum(&|set| Some(set.status.as_ref()?.replicas));
    let available = sum(&|set| set.status.as_ref()?.available_replicas);
    let nonzero = |number: i32| (number != 0).then_some(number);
    let mut status = DeploymentStatus {
        observed_generation: Some(deployment.generation()),
        replicas: nonzero(total),
        updated_replicas: nonzero(new.and_then(|set| set.status.as_ref()).map_or(0, |status| status.replicas)),
        ready_replicas: nonzero(sum(&|set| set.status.as_ref()?.ready_replicas)),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((total - available).max(0)),
        terminating_replicas: Some(sum(&|set| set.status.as_ref()?.terminating_replicas)),
        collision_count: old.collision_count,
        conditions: old.conditions,
    };
    let wanted = replicas(deployment);
    if available >= wanted - max_unavailable(deployment) {
        let message = "Deployment has minimum availability.";
        set_condition(&mut status, AVAILABLE, "True", "MinimumReplicasAvailable", message);
    } else {
        let message = "Deployment does not have minimum availability.";
        set_condition(&mut status, AVAILABLE, "False", "MinimumReplicasUnavailable", message);
    }
    status
}

/// Updates the condition Progressing (rule: `syncRolloutStatus`).
fn judge_progress(deployment: &Deployment, status: &mut DeploymentStatus, new: Option<&ReplicaSet>, now: Timestamp) {
    if !has_deadline(deployment) {
        return remove_condition(status, PROGRESSING);
    }
    let current = condition(deployment, PROGRESSING).cloned();
    let was_complete = status.replicas == status.updated_replicas
        && current.as_ref().is_some_and(|condition| condition.reason.as_deref() == Some(NEW_AVAILABLE));
    if was_complete {
        return;
    }
    let subject = match new {
        Some(set) => format!("ReplicaSet \"{}\"", set.name()),
        None => format!("Deployment \"{}\"", deployment.name()),
    };
    let old = deployment.status.clone().unwrap_or_default();
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set_condition(status, PROGRESSING, "True", NEW_AVAILABLE, message);
    } else if has_progressed(&old, status) {
        // Each step of progress starts the deadline anew: the update time must change.
        let transition = current.filter(|known| known.status == "True").and_then(|known| known.last_transition_time);
        remove_condition(status, PROGRESSING);
        set_condition(status, PROGRESSING, "True", "ReplicaSetUpdated", format!("{subject} is progressing."));
        let set = status.conditions.iter_mut().flatten().find(|condition| condition.type_ == PROGRESSING);
        if let (Some(set), Some(transition)) = (set, transition) {
            set.last_transition_time = Some(transition);
        }
    } else if has_timed_out(deployment, status, now) {
        let message = format!("{subject} has timed out progressing.");
        set_condition(status, PROGRESSING, "False", TIMED_OUT, message);
    }
}

/// Takes over why pods cannot be made (rule: `getReplicaFailures`).
fn take_failure(status: &mut DeploymentStatus, sets: &[ReplicaSet], new: Option<&ReplicaSet>) {
    let failure_of = |set: &ReplicaSet| {
        set.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == FAILURE).cloned()
    };
    match new.and_then(failure_of).or_else(|| sets.iter().find_map(failure_of)) {
        Some(failure) => set_condition(
            status,
            FAILURE,
            &failure.status,
            failure.reason.as_deref().unwrap_or(""),
            failure.message.unwrap_or_default(),
        ),
        None => remove_condition(status, FAILURE),
    }
}

/// When to look again for a deadline that passes without an event (rule: `requeueStuckDeployment`).
fn next_check(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    let condition = find(status, PROGRESSING)?;
    if !has_deadline(deployment)
        || is_complete(deployment, status)
        || matches!(condition.reason.as_deref(), Some(TIMED_OUT | NEW_AVAILABLE))
    {
        return None;
    }
    let since = condition.last_update_time.as_ref()?;
    let left = since.0.as_second() + deadline(deployment) - now.as_second();
    Some(Duration::from_secs(left.max(0) as u64 + 1))
}

impl Sync<'_> {
    /// Writes counts and availability, nothing of the rollout.
    pub async fn sync_status_only(mut self) -> Result<Action> {
        let status = calculate(&self.deployment, &self.sets, find_new(&self.deployment, &self.sets));
        self.store(status).await?;
        Ok(Action::Done)
    }

    /// Writes counts, availability and progress.
    pub async fn sync_rollout_status(mut self) -> Result<Action> {
        let now = Timestamp::now();
        let new = find_new(&self.deployment, &self.sets);
        let mut status = calculate(&self.deployment, &self.sets, new);
        judge_progress(&self.deployment, &mut status, new, now);
        take_failure(&mut status, &self.sets, new);
        self.store(status).await?;
        let status = self.deployment.status.clone().unwrap_or_default();
        Ok(requeue(next_check(&self.deployment, &status, now)))
    }

    async fn store(&mut self, status: DeploymentStatus) -> Result<()> {
        if self.deployment.status.as_ref() == Some(&status) {
            return Ok(());
        }
        self.deployment.status = Some(status);
        self.write_status().await
    }

    /// Pausing stops the clock of the progress deadline (rule: `checkPausedConditions`).
    pub async fn note_pause(&mut self) -> Result<()> {
        let deployment = &self.deployment;
        let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
        let reason = condition(deployment, PROGRESSING).and_then(|condition| condition.reason.as_deref());
        let noted = reason == Some("DeploymentPaused");
        if !has_deadline(deployment) || reason == Some(TIMED_OUT) || paused == noted {
            return Ok(());
        }
        let (reason, message) = if paused {
            ("DeploymentPaused", "Deployment is paused")
        } else {
            ("DeploymentResumed", "Deployment is resumed")
        };
        let status = self.deployment.status.get_or_insert_default();
        set_condition(status, PROGRESSING, "Unknown", reason, message);
        self.write_status().await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployment(status: Value) -> Deployment {
        serde_json::from_value(json!({"metadata": {"name": "web", "generation": 2}, "spec": {
            "replicas": 2, "selector": {}, "template": {}, "progressDeadlineSeconds": 600,
        }, "status": status}))
        .unwrap()
    }

    #[test]
    fn progress_has_three_outcomes() {
        let now: Timestamp = "2030-01-01T01:00:00Z".parse().unwrap();
        let progressing = |since: &str| json!({"conditions": [{"type": PROGRESSING, "status": "True", "reason": "ReplicaSetUpdated", "lastUpdateTime": since}]});
        let check = |old: Value, ready: i32, expect: &str| {
            let deployment = deployment(old);
            let set: ReplicaSet =
                serde_json::from_value(json!({"metadata": {"name": "web-1"}, "spec": {"replicas": 2, "selector": {}},
                "status": {"replicas": 2, "readyReplicas": ready, "availableReplicas": ready}}))
                .unwrap();
            let mut status = calculate(&deployment, std::slice::from_ref(&set), Some(&set));
            judge_progress(&deployment, &mut status, Some(&set), now);
            let condition = find(&status, PROGRESSING).unwrap();
            assert_eq!(format!("{} {}", condition.status, condition.message.as_deref().unwrap_or("")), expect);
        };
        let mut stuck = progressing("2030-01-01T00:00:00Z");
        stuck["replicas"] = 2.into();
        stuck["updatedReplicas"] = 2.into();
        check(stuck, 0, "False ReplicaSet \"web-1\" has timed out progressing.");
        check(progressing("2030-01-01T00:00:00Z"), 1, "True ReplicaSet \"web-1\" is progressing.");
        check(progressing("2030-01-01T00:00:00Z"), 2, "True ReplicaSet \"web-1\" has successfully progressed.");
    }
}
