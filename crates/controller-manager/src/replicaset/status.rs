//! The status of what keeps a number of pods (rule: `replicaset/replica_set_utils.go`).

use std::sync::Arc;

use jiff::Timestamp;
use steersman_api::k8s_openapi::{
    api::{
        apps::v1::{ReplicaSetCondition, ReplicaSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use steersman_client::{Object, labels};

use super::kind::{Failure, Replicated};
use crate::pods;

const FAILURE: &str = "ReplicaFailure";

/// The status as the active pods show it. Zeroes are left out, as the apiserver stores them.
pub fn calculate<K: Replicated>(
    owner: &K,
    active: &[Arc<Pod>],
    terminating: usize,
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let old = owner.status_view();
    let no_labels = Default::default();
    let template_labels =
        owner.template().and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.as_ref()).unwrap_or(&no_labels);
    let count = |test: &dyn Fn(&Pod) -> bool| {
        let number = active.iter().filter(|pod| test(pod)).count() as i32;
        (number > 0).then_some(number)
    };
    let mut conditions = old.conditions.clone().unwrap_or_default();
    match failure {
        Some(failure) if !conditions.iter().any(|c| c.type_ == FAILURE) => conditions.push(ReplicaSetCondition {
            type_: FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(Time(now)),
        }),
        Some(_) => {}
        None => conditions.retain(|c| c.type_ != FAILURE),
    }
    ReplicaSetStatus {
        replicas: active.len() as i32,
        fully_labeled_replicas: count(&|pod| labels::matches_map(template_labels, pod.labels())),
        ready_replicas: count(&pods::is_ready),
        available_replicas: count(&|pod| pods::is_available(pod, owner.min_ready_seconds(), now)),
        terminating_replicas: K::COUNTS_TERMINATING.then_some(terminating as i32),
        observed_generation: Some(owner.generation()),
        conditions: Some(conditions).filter(|conditions| !conditions.is_empty()),
    }
}
