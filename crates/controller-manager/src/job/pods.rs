//! The pods of a Job: how they are made and which are chosen (rule: `job/job_controller.go`, `indexed_job_utils.go`).

use std::sync::Arc;

use ahash::HashMap;
use jiff::Timestamp;
use steersman_api::k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod},
};
use steersman_client::Object;

use super::indexes;
use crate::pods;

/// Keeps a finished pod until it was counted.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// How often an index has failed before, on the pod that tries it again.
pub const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const INDEX_ENV: &str = "JOB_COMPLETION_INDEX";
/// The longest name that leaves room for the index and a random part.
const MAX_PREFIX: usize = 57;

pub fn is_indexed(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.completion_mode.as_deref()) == Some("Indexed")
}

pub fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == TRACKING)
}

/// Whether a pod counts as failed: one that is being deleted does, unless the Job waits for pods to end.
pub fn has_failed(job: &Job, pod: &Pod) -> bool {
    match pods::phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => pod.is_deleting() && !replaces_only_failed(job),
    }
}

/// Whether a pod is replaced only when it has ended.
pub fn replaces_only_failed(job: &Job) -> bool {
    let Some(spec) = &job.spec else { return false };
    spec.pod_replacement_policy.as_deref() == Some("Failed")
        || (spec.pod_replacement_policy.is_none() && spec.pod_failure_policy.is_some())
}

/// The failures that a failed pod stands for: those before it, and its own.
pub fn failures_of(pod: &Pod) -> i32 {
    pod.annotations().get(FAILURES).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A new pod; `index` and its earlier failures are for indexed Jobs.
pub fn make(job: &Job, index: Option<i32>, failures: Option<i32>) -> Option<Pod> {
    let spec = job.spec.as_ref()?;
    let mut pod = pods::from_template(&spec.template, job.name(), job.controller_reference());
    pod.metadata.finalizers.get_or_insert_default().push(TRACKING.to_owned());
    if let Some(failures) = failures {
        pod.metadata.annotations.get_or_insert_default().insert(FAILURES.to_owned(), failures.to_string());
    }
    let Some(index) = index else { return Some(pod) };
    pod.metadata.annotations.get_or_insert_default().insert(indexes::INDEX.to_owned(), index.to_string());
    pod.metadata.labels.get_or_insert_default().insert(indexes::INDEX.to_owned(), index.to_string());
    let name = format!("{}-{index}", job.name());
    let mut prefix = format!("{name}-");
    if prefix.len() > MAX_PREFIX {
        let tail = format!("-{index}-");
        let head: String = job.name().chars().take(MAX_PREFIX.saturating_sub(tail.len())).collect();
        prefix = format!("{head}{tail}");
    }
    pod.metadata.generate_name = Some(prefix);
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = Some(name);
    pod_spec.containers.iter_mut().for_each(add_index);
    pod_spec.init_containers.iter_mut().flatten().for_each(add_index);
    Some(pod)
}

fn add_index(container: &mut Container) {
    let env = container.env.get_or_insert_default();
    if env.iter().any(|variable| variable.name == INDEX_ENV) {
        return;
    }
    env.push(EnvVar {
        name: INDEX_ENV.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: format!("metadata.labels['{}']", indexes::INDEX),
                api_version: None,
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    });
}

/// The pods to delete when there are too many: of indexed Jobs first those of the same index, then of the highest.
pub fn choose_surplus(job: &Job, active: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    let mut sorted = active.to_vec();
    let mut chosen = Vec::new();
    if is_indexed(job) {
        let mut by_index: HashMap<Option<i32>, Vec<Arc<Pod>>> = HashMap::default();
        for pod in active {
            by_index.entry(indexes::of(pod)).or_default().push(pod.clone());
        }
        sorted.clear();
        for (index, mut same) in by_index {
            same.sort_by(|a, b| pods::deletion_order(a, 0, b, 0, now));
            // Pods without a valid index are of no use at all.
            let keep = if index.is_some() { same.pop() } else { None };
            chosen.append(&mut same);
            sorted.extend(keep);
        }
        sorted.sort_by_key(|pod| std::cmp::Reverse(indexes::of(pod)));
    } else {
        sorted.sort_by(|a, b| pods::deletion_order(a, 0, b, 0, now));
    }
    chosen.extend(sorted);
    chosen.truncate(count);
    chosen
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn indexed_pods_know_their_index() {
        let job: Job = serde_json::from_value(json!({"metadata": {"name": "sum"}, "spec": {
            "completionMode": "Indexed", "template": {"spec": {"containers": [{"name": "c"}]}},
        }}))
        .unwrap();
        let pod = make(&job, Some(4), Some(2)).unwrap();
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("sum-4-"));
        assert_eq!((indexes::of(&pod), failures_of(&pod)), (Some(4), 2));
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(spec.hostname.as_deref(), Some("sum-4"));
        assert_eq!(spec.containers[0].env.as_ref().unwrap()[0].name, INDEX_ENV);
        assert!(is_tracked(&pod));
    }
}
