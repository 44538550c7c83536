//! One pass over a StatefulSet's pods (rule: `statefulset/stateful_set_control.go`).

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::json;
use steersman_api::k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus},
    core::v1::{PersistentVolumeClaim, Pod},
};
use steersman_client::{Action, DeleteOptions, EventType, Object, Patch, Result};

use super::{Controller, identity};
use crate::{dependants, history, pods};

/// One pass: what it reads, and the status that it arrives at.
pub struct Run<'a> {
    controller: &'a Controller,
    set: &'a StatefulSet,
    current: &'a ControllerRevision,
    update: &'a ControllerRevision,
    status: StatefulSetStatus,
    after: Action,
}

/// Whether the pass goes on after a pod.
enum Flow {
    Next,
    Stop,
}

fn revision_of(pod: &Pod) -> &str {
    pod.labels().get(identity::REVISION).map_or("", String::as_str)
}

fn is_running_and_ready(pod: &Pod) -> bool {
    pods::phase(pod) == "Running" && pods::is_ready(pod)
}

impl<'a> Run<'a> {
    pub fn new(
        controller: &'a Controller,
        set: &'a StatefulSet,
        current: &'a ControllerRevision,
        update: &'a ControllerRevision,
        collisions: Option<i32>,
    ) -> Self {
        let status = StatefulSetStatus {
            observed_generation: Some(set.generation()),
            current_revision: Some(current.name().to_owned()),
            update_revision: Some(update.name().to_owned()),
            collision_count: Some(collisions.unwrap_or(0)),
            conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
            available_replicas: Some(0),
            ..StatefulSetStatus::default()
        };
        Self { controller, set, current, update, status, after: Action::Done }
    }

    fn spec(&self) -> &'a steersman_api::k8s_openapi::api::apps::v1::StatefulSetSpec {
        self.set.spec.as_ref().expect("sync returns before this when there is no specification")
    }

    fn is_parallel(&self) -> bool {
        self.spec().pod_management_policy.as_deref() == Some("Parallel")
    }

    fn is_rolling(&self) -> bool {
        let strategy = self.spec().update_strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate") == "RollingUpdate"
    }

    fn partition(&self) -> i32 {
        let strategy = self.spec().update_strategy.as_ref();
        strategy.and_then(|strategy| strategy.rolling_update.as_ref()).and_then(|r| r.partition).unwrap_or(0)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        is_running_and_ready(pod)
            && pods::is_available(pod, self.spec().min_ready_seconds.unwrap_or(0), Timestamp::now())
    }

    /// Looks again when a ready pod will have become available.
    fn wait_for(&mut self, pod: &Pod) {
        let seconds = pods::available_in(pod, self.spec().min_ready_seconds.unwrap_or(0), Timestamp::now());
        if let Some(seconds) = seconds.filter(|seconds| *seconds > 0) {
            self.after = Action::RequeueAfter(Duration::from_secs(seconds as u64));
        }
    }

    fn count(&mut self, pods: &[Arc<Pod>]) {
        let count = |test: &dyn Fn(&Pod) -> bool| pods.iter().filter(|pod| test(pod)).count() as i32;
        let (current, update) = (self.current.name().to_owned(), self.update.name().to_owned());
        let nonzero = |number: i32| (number != 0).then_some(number);
        self.status.replicas = pods.len() as i32;
        self.status.ready_replicas = nonzero(count(&is_running_and_ready));
        self.status.available_replicas = Some(count(&|pod| self.is_available(pod)));
        let created = |pod: &Pod| !pods::is_terminal(pod) && !pod.is_deleting();
        self.status.current_replicas = nonzero(count(&|pod| created(pod) && revision_of(pod) == current));
        self.status.updated_replicas = nonzero(count(&|pod| created(pod) && revision_of(pod) == update));
    }

    /// Creates, replaces and deletes pods, one step at a time unless the pods may be managed in parallel.
    pub async fn update(&mut self, mut pods: Vec<Arc<Pod>>) -> Result<()> {
        let set = self.set;
        let ordinal = |pod: &Arc<Pod>| identity::ordinal(set, pod.name()).unwrap_or(0);
        pods.sort_by_key(ordinal);
        self.count(&pods);
        if set.is_deleting() {
            return Ok(());
        }
        let start = identity::first_ordinal(set);
        let end = start + self.spec().replicas.unwrap_or(1).max(0);
        let (wanted, mut condemned): (Vec<_>, Vec<_>) =
            pods.into_iter().partition(|pod| (start..end).contains(&ordinal(pod)));
        let find = |number: i32| wanted.iter().find(|pod| ordinal(pod) == number).cloned();
        let first_unhealthy = wanted
            .iter()
            .chain(&condemned)
            .find(|pod| !is_running_and_ready(pod) || pod.is_deleting())
            .map(|pod| pod.name().to_owned());

        let mut all_there = true;
        for number in start..end {
            let existing = find(number);
            all_there &= existing.is_some();
            match self.process(number, existing).await? {
                Flow::Stop if !self.is_parallel() => return Ok(()),
                _ => {}
            }
        }
        for pod in &condemned {
            self.sync_claim_owners(pod, true).await?;
        }
        condemned.reverse();
        for pod in &condemned {
            if pod.is_deleting() {
                if self.is_parallel() { continue } else { return Ok(()) }
            }
            let blocked = !is_running_and_ready(pod) && first_unhealthy.as_deref() != Some(pod.name());
            if blocked && !self.is_parallel() {
                return Ok(());
            }
            self.delete(pod).await?;
            if !self.is_parallel() {
                return Ok(());
            }
        }
        if !self.is_rolling() || !all_there {
            return Ok(());
        }
        let lowest = start + self.partition();
        for number in (lowest..end).rev() {
            let Some(pod) = find(number) else { return Ok(()) };
            if revision_of(&pod) != self.update.name() && !pod.is_deleting() {
                return self.delete(&pod).await;
            }
            if !self.is_available(&pod) {
                self.wait_for(&pod);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sees to one wanted pod.
    async fn process(&mut self, number: i32, existing: Option<Arc<Pod>>) -> Result<Flow> {
        let Some(pod) = existing else {
            self.create(number).await?;
            return Ok(Flow::Stop);
        };
        if pods::is_terminal(&pod) {
            if !pod.is_deleting() {
                let reason =
                    if pods::phase(&pod) == "Failed" { "RecreatingFailedPod" } else { "RecreatingTerminatedPod" };
                let message = format!("StatefulSet {} is recreating terminated Pod {}", self.set.key(), pod.name());
                self.controller.recorder.event(self.set, EventType::Warning, reason, message);
                self.delete(&pod).await?;
            }
            return Ok(Flow::Stop);
        }
        self.create_claims(&pod).await?;
        if pod.is_deleting() || !is_running_and_ready(&pod) {
            return Ok(Flow::Stop);
        }
        if !self.is_available(&pod) {
            self.wait_for(&pod);
            return Ok(Flow::Stop);
        }
        self.sync_claim_owners(&pod, false).await?;
        if !identity::has_identity(&pod) {
            let labels: serde_json::Map<_, _> =
                identity::identity_labels(self.set, &pod).into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
            let patch = Patch::Merge(json!({"metadata": {"labels": labels, "uid": pod.uid()}}));
            self.controller.client.patch::<Pod>(pod.namespace(), pod.name(), &patch).await?;
        }
        Ok(Flow::Next)
    }

    async fn create(&mut self, number: i32) -> Result<()> {
        let set = self.set;
        // Below the partition, and while an update is under way, pods come back as they were.
        let start = identity::first_ordinal(set);
        let by_count = self.partition() == 0 && {
            let known = set.status.as_ref().and_then(|status| status.current_replicas).unwrap_or(0);
            number < start + known
        };
        let keep_old = self.is_rolling() && (by_count || (self.partition() > 0 && number < start + self.partition()));
        let revision = if keep_old { self.current } else { self.update };
        let Some(template) = history::template_of(revision) else { return Ok(()) };
        let pod = identity::pod_for(set, &template, revision.name(), number);
        self.create_claims(&pod).await?;
        match self.controller.client.create(set.namespace(), &pod).await {
            Ok(created) => {
                let message = format!("create Pod {} in StatefulSet {} successful", pod.name(), set.name());
                self.controller.recorder.event(set, EventType::Normal, "SuccessfulCreate", message);
                self.status.replicas += 1;
                let slot = |name: &str| revision.name() == name;
                if slot(self.current.name()) {
                    *self.status.current_replicas.get_or_insert_default() += 1;
                }
                if slot(self.update.name()) {
                    *self.status.updated_replicas.get_or_insert_default() += 1;
                }
                self.sync_claim_owners(&created, false).await
            }
            Err(error) if error.is_already_exists() || error.is_namespace_terminating() => Ok(()),
            Err(error) => {
                let message = format!("create Pod {} in StatefulSet {} failed error: {error}", pod.name(), set.name());
                self.controller.recorder.event(set, EventType::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    async fn delete(&mut self, pod: &Pod) -> Result<()> {
        let set = self.set;
        let options = DeleteOptions::default().uid(pod.uid());
        match self.controller.client.delete::<Pod>(pod.namespace(), pod.name(), &options).await {
            Ok(()) => {
                let message = format!("delete Pod {} in StatefulSet {} successful", pod.name(), set.name());
                self.controller.recorder.event(set, EventType::Normal, "SuccessfulDelete", message);
            }
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        let revision = revision_of(pod).to_owned();
        let less = |count: &mut Option<i32>| *count = count.map(|number| number - 1).filter(|number| *number > 0);
        if revision == self.current.name() {
            less(&mut self.status.current_replicas);
        }
        if revision == self.update.name() {
            less(&mut self.status.updated_replicas);
        }
        Ok(())
    }

    async fn create_claims(&self, pod: &Pod) -> Result<()> {
        for claim in identity::claims(self.set, pod.name()) {
            if self.controller.claims.get(&claim.key()).is_some() {
                continue;
            }
            let about = format!("Claim {} Pod {} in StatefulSet {}", claim.name(), pod.name(), self.set.name());
            match self.controller.client.create(claim.namespace(), &claim).await {
                Ok(_) => {
                    let message = format!("create {about} success");
                    self.controller.recorder.event(self.set, EventType::Normal, "SuccessfulCreate", message);
                }
                Err(error) if error.is_already_exists() => {}
                Err(error) => {
                    let message = format!("create {about} failed error: {error}");
                    self.controller.recorder.event(self.set, EventType::Warning, "FailedCreate", message);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Lets claims be deleted with the set or with their pod, as the retention policy says.
    async fn sync_claim_owners(&self, pod: &Pod, condemned: bool) -> Result<()> {
        let retention = identity::retention(self.set, condemned);
        for wanted in identity::claims(self.set, pod.name()) {
            let Some(claim) = self.controller.claims.get(&wanted.key()) else { continue };
            let owners = identity::claim_owners(&claim, self.set, pod, retention);
            if owners != claim.owners() {
                let patch = Patch::Merge(json!({"metadata": {
                    "ownerReferences": owners, "uid": claim.uid(), "resourceVersion": claim.resource_version(),
                }}));
                let client = &self.controller.client;
                client.patch::<PersistentVolumeClaim>(claim.namespace(), claim.name(), &patch).await?;
            }
        }
        Ok(())
    }

    /// Writes the status; what should happen next.
    pub async fn finish(mut self) -> Result<Action> {
        let status = &mut self.status;
        if self.set.spec.is_some() && status.update_revision != status.current_revision {
            let updated = status.updated_replicas.unwrap_or(0);
            let complete = updated == status.replicas && status.ready_replicas.unwrap_or(0) == status.replicas;
            let strategy = self.set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
            let rolling = strategy.and_then(|s| s.type_.as_deref()).unwrap_or("RollingUpdate") == "RollingUpdate";
            if rolling && complete {
                status.current_replicas = status.updated_replicas;
                status.current_revision = status.update_revision.clone();
            }
        }
        if self.set.status.as_ref() != Some(status) {
            let set = |set: &mut StatefulSet| set.status = Some(status.clone());
            match dependants::write_status(&self.controller.client, self.set, set).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(self.after)
    }
}
