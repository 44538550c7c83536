//! The two kinds that keep a number of pods, seen as one.

use std::collections::BTreeMap;

use steersman_api::k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
    core::v1::{PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus},
};
use steersman_client::{Error, Object, labels};

/// Why pods could not be created or deleted.
#[derive(Debug)]
pub struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub reason: &'static str,
    /// For the condition.
    pub message: String,
    /// The failed request.
    pub error: Option<Error>,
}

/// A kind that keeps a number of pods. Its status is a [`ReplicaSetStatus`] in all but name.
pub trait Replicated: Object {
    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn template(&self) -> Option<&PodTemplateSpec>;
    fn selects(&self, labels: &BTreeMap<String, String>) -> bool;
    fn status_view(&self) -> ReplicaSetStatus;
    fn set_status(&mut self, status: ReplicaSetStatus);
    fn observed_generation(&self) -> i64;
    /// Whether the kind's status counts terminating pods.
    const COUNTS_TERMINATING: bool;
}

impl Replicated for ReplicaSet {
    const COUNTS_TERMINATING: bool = true;

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn selects(&self, given: &BTreeMap<String, String>) -> bool {
        // An empty selector is invalid here; were it stored nevertheless, it must not take every pod.
        let selector = self.spec.as_ref().map(|spec| &spec.selector);
        selector.is_some_and(|selector| !labels::is_empty(selector) && labels::matches(selector, given))
    }

    fn status_view(&self) -> ReplicaSetStatus {
        self.status.clone().unwrap_or_default()
    }

    fn set_status(&mut self, status: ReplicaSetStatus) {
        self.status = Some(status);
    }

    fn observed_generation(&self) -> i64 {
        self.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0)
    }
}

impl Replicated for ReplicationController {
    const COUNTS_TERMINATING: bool = false;

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn selects(&self, given: &BTreeMap<String, String>) -> bool {
        let selector = self.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| !selector.is_empty() && labels::matches_map(selector, given))
    }

    fn status_view(&self) -> ReplicaSetStatus {
        let status = self.status.clone().unwrap_or_default();
        ReplicaSetStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            terminating_replicas: None,
            conditions: status.conditions.map(|conditions| {
                let convert = |c: ReplicationControllerCondition| ReplicaSetCondition {
                    type_: c.type_,
                    status: c.status,
                    reason: c.reason,
                    message: c.message,
                    last_transition_time: c.last_transition_time,
                };
                conditions.into_iter().map(convert).collect()
            }),
        }
    }

    fn set_status(&mut self, status: ReplicaSetStatus) {
        self.status = Some(ReplicationControllerStatus {
            replicas: status.replicas,
            fully_labeled_replicas: status.fully_labeled_replicas,
            ready_replicas: status.ready_replicas,
            available_replicas: status.available_replicas,
            observed_generation: status.observed_generation,
            conditions: status.conditions.map(|conditions| {
                let convert = |c: ReplicaSetCondition| ReplicationControllerCondition {
                    type_: c.type_,
                    status: c.status,
                    reason: c.reason,
                    message: c.message,
                    last_transition_time: c.last_transition_time,
                };
                conditions.into_iter().map(convert).collect()
            }),
        });
    }

    fn observed_generation(&self) -> i64 {
        self.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0)
    }
}
