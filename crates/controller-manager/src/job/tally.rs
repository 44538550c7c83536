//! What has become of a Job's pods, and what follows for the Job: pure functions of a snapshot
//! (rule: `job/job_controller.go`, `syncJob`, `trackJobStatusAndRemoveFinalizers`).

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use steersman_api::k8s_openapi::api::{
    batch::v1::{Job, JobCondition, JobSpec, JobStatus},
    core::v1::Pod,
};
use steersman_client::Object;

use super::{
    indexes,
    pods::{failures_of, has_failed, is_indexed, is_tracked},
    policy::{self, Verdict},
};
use crate::pods;

/// How a Job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Whether it succeeded.
    pub succeeded: bool,
    pub reason: String,
    pub message: String,
}

impl Ending {
    fn new(succeeded: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { succeeded, reason: reason.to_owned(), message: message.into() }
    }
}

/// The counts of a Job.
#[derive(Debug, Default)]
pub struct Tally {
    pub active: Vec<Arc<Pod>>,
    /// Being deleted and not ended.
    pub terminating: Vec<Arc<Pod>>,
    /// Ended, and not counted before.
    pub new_succeeded: Vec<Arc<Pod>>,
    pub new_failed: Vec<Arc<Pod>>,
    /// Ended pods whose finalizer may go once the status is stored.
    pub to_release: Vec<Arc<Pod>>,
    pub succeeded: i32,
    pub failed: i32,
    pub succeeded_indexes: BTreeSet<i32>,
    /// Indexes that have failed for good; only with a limit for each index.
    pub failed_indexes: BTreeSet<i32>,
    /// Why the failure policy ends the Job.
    pub policy_failure: Option<String>,
    /// The base of the status: what was counted for good, and what waits for its finalizer to go.
    pub counted_succeeded: i32,
    pub counted_failed: i32,
    pub uncounted_succeeded: Vec<String>,
    pub uncounted_failed: Vec<String>,
}

/// Counts the pods that a Job has, on top of what its status says.
pub fn tally(job: &Job, all: &[Arc<Pod>]) -> Tally {
    let no_spec = JobSpec::default();
    let spec = job.spec.as_ref().unwrap_or(&no_spec);
    let status = job.status.clone().unwrap_or_default();
    let completions = spec.completions.unwrap_or(i32::MAX);
    let per_index = spec.backoff_limit_per_index;
    let mut tally = Tally {
        counted_succeeded: status.succeeded.unwrap_or(0),
        counted_failed: status.failed.unwrap_or(0),
        ..Tally::default()
    };
    if is_indexed(job) {
        tally.succeeded_indexes = indexes::parse(status.completed_indexes.as_deref().unwrap_or(""), completions);
        tally.failed_indexes = indexes::parse(status.failed_indexes.as_deref().unwrap_or(""), completions);
    }
    // What waited for its finalizer to go, and has none any more, is counted for good.
    let tracked: ahash::HashSet<&str> = all.iter().filter(|pod| is_tracked(pod)).map(|pod| pod.uid()).collect();
    let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
    for uid in uncounted.succeeded.unwrap_or_default() {
        if tracked.contains(uid.as_str()) {
            tally.uncounted_succeeded.push(uid);
        } else {
            tally.counted_succeeded += 1;
        }
    }
    for uid in uncounted.failed.unwrap_or_default() {
        if tracked.contains(uid.as_str()) {
            tally.uncounted_failed.push(uid);
        } else {
            tally.counted_failed += 1;
        }
    }
    for pod in all {
        let (succeeded, failed) = (pods::phase(pod) == "Succeeded", has_failed(job, pod));
        if !pods::is_terminal(pod) {
            if pod.is_deleting() { tally.terminating.push(pod.clone()) } else { tally.active.push(pod.clone()) }
        }
        if !is_tracked(pod) || !(succeeded || failed) {
            continue;
        }
        tally.to_release.push(pod.clone());
        let uid = pod.uid().to_owned();
        if succeeded {
            if is_indexed(job) {
                // Indexes count themselves: a second success of the same index adds nothing.
                if let Some(index) = indexes::of(pod).filter(|index| *index < completions)
                    && tally.succeeded_indexes.insert(index)
                {
                    tally.new_succeeded.push(pod.clone());
                }
            } else if !tally.uncounted_succeeded.contains(&uid) {
                tally.uncounted_succeeded.push(uid);
                tally.new_succeeded.push(pod.clone());
            }
            continue;
        }
        if tally.uncounted_failed.contains(&uid) {
            continue;
        }
        let verdict = policy::judge(spec, pod);
        if let Verdict::FailJob(why) = &verdict {
            tally.policy_failure.get_or_insert_with(|| why.clone());
        }
        let index = indexes::of(pod).filter(|index| *index < completions);
        if let (Some(limit), Some(index)) = (per_index, index)
            && (verdict == Verdict::FailIndex || (verdict != Verdict::Ignore && failures_of(pod) >= limit))
            && !tally.succeeded_indexes.contains(&index)
        {
            tally.failed_indexes.insert(index);
        }
        if verdict != Verdict::Ignore {
            tally.uncounted_failed.push(uid);
            tally.new_failed.push(pod.clone());
        }
    }
    tally.failed = tally.counted_failed + tally.uncounted_failed.len() as i32;
    tally.succeeded = if is_indexed(job) {
        tally.succeeded_indexes.len() as i32
    } else {
        tally.counted_succeeded + tally.uncounted_succeeded.len() as i32
    };
    tally
}

pub fn condition<'a>(status: &'a JobStatus, type_: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Whether the Job has ended for good.
pub fn is_finished(job: &Job) -> bool {
    let ended = |status| condition(status, "Complete").or(condition(status, "Failed")).is_some();
    job.status.as_ref().is_some_and(ended)
}

/// Whether, and how, the Job ends now.
pub fn ending(job: &Job, tally: &Tally, now: Timestamp) -> Option<Ending> {
    let spec = job.spec.as_ref()?;
    let status = job.status.clone().unwrap_or_default();
    // What was decided stays decided.
    for (type_, succeeded) in [("FailureTarget", false), ("SuccessCriteriaMet", true)] {
        if let Some(known) = condition(&status, type_) {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            return Some(Ending { succeeded, reason: text(&known.reason), message: text(&known.message) });
        }
    }
    if let Some(message) = &tally.policy_failure {
        return Some(Ending::new(false, "PodFailurePolicy", message.clone()));
    }
    if let Some(rule) = policy::succeeded_early(spec, &tally.succeeded_indexes) {
        return Some(Ending::new(true, "SuccessPolicy", format!("Matched rules at index {rule}")));
    }
    let limit = spec.backoff_limit.unwrap_or(6);
    if tally.failed > limit || restarts_exceed(spec, tally, limit) {
        return Some(Ending::new(false, "BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    if deadline_in(job, now).is_some_and(|left| left <= 0) {
        return Some(Ending::new(false, "DeadlineExceeded", "Job was active longer than specified deadline"));
    }
    let failed_indexes = tally.failed_indexes.len() as i32;
    if spec.max_failed_indexes.is_some_and(|max| failed_indexes > max) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(Ending::new(false, "MaxFailedIndexesExceeded", message));
    }
    if let Some(completions) = spec.completions {
        if failed_indexes > 0 && tally.succeeded + failed_indexes >= completions {
            return Some(Ending::new(false, "FailedIndexes", "Job has failed indexes"));
        }
        if tally.succeeded >= completions && (tally.active.is_empty() || completions > 0) {
            return Some(Ending::new(true, "CompletionsReached", "Reached expected number of succeeded pods"));
        }
        return None;
    }
    let done = tally.succeeded > 0 && tally.active.is_empty();
    done.then(|| Ending::new(true, "CompletionsReached", "Reached expected number of succeeded pods"))
}

/// With restartPolicy OnFailure, restarts in place count towards the limit.
fn restarts_exceed(spec: &JobSpec, tally: &Tally, limit: i32) -> bool {
    let policy = spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let restarts = |pod: &Arc<Pod>| {
        let Some(status) = &pod.status else { return 0 };
        let all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
        all.map(|container| container.restart_count).sum::<i32>()
    };
    let total: i32 = tally.active.iter().map(restarts).sum();
    if limit == 0 { total > 0 } else { total >= limit }
}

/// In how many seconds the Job's deadline passes.
pub fn deadline_in(job: &Job, now: Timestamp) -> Option<i64> {
    let spec = job.spec.as_ref()?;
    if spec.suspend == Some(true) {
        return None;
    }
    let start = job.status.as_ref()?.start_time.as_ref()?;
    Some(start.0.as_second() + spec.active_deadline_seconds? - now.as_second())
}

/// How many pods should be active now.
pub fn wanted_active(job: &Job, tally: &Tally) -> usize {
    let Some(spec) = &job.spec else { return 0 };
    if spec.suspend == Some(true) {
        return 0;
    }
    let parallelism = spec.parallelism.unwrap_or(1).max(0);
    let wanted = match spec.completions {
        // A work queue: once one has succeeded, no new ones start.
        None if tally.succeeded > 0 => (tally.active.len() as i32).min(parallelism),
        None => parallelism,
        Some(completions) => (completions - tally.succeeded - tally.failed_indexes.len() as i32).clamp(0, parallelism),
    };
    wanted as usize
}

/// The indexes that need a pod, lowest first.
pub fn missing_indexes(job: &Job, tally: &Tally, wait_for_terminating: bool, count: usize) -> Vec<i32> {
    let completions = job.spec.as_ref().and_then(|spec| spec.completions).unwrap_or(0);
    let waiting = if wait_for_terminating { tally.terminating.as_slice() } else { &[] };
    let busy: BTreeSet<i32> = tally.active.iter().chain(waiting).filter_map(|pod| indexes::of(pod)).collect();
    (0..completions)
        .filter(|index| {
            !busy.contains(index) && !tally.succeeded_indexes.contains(index) && !tally.failed_indexes.contains(index)
        })
        .take(count)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::job::pods::TRACKING;

    fn job(spec: Value, status: Value) -> Job {
        let mut base = json!({"template": {"spec": {"restartPolicy": "Never", "containers": []}}});
        base.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": {"name": "j"}, "spec": base, "status": status})).unwrap()
    }

    fn pod(uid: &str, phase: &str, tracked: bool, index: Option<i32>) -> Arc<Pod> {
        let finalizers = if tracked { vec![TRACKING] } else { vec![] };
        let annotations = index.map(|index| json!({indexes::INDEX: index.to_string()})).unwrap_or(json!({}));
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"uid": uid, "finalizers": finalizers, "annotations": annotations},
                "status": {"phase": phase},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn each_pod_counts_once() {
        let status = json!({"succeeded": 2, "uncountedTerminatedPods": {"succeeded": ["a", "b"], "failed": ["x"]}});
        let job = job(json!({"completions": 9}), status);
        // b has lost its finalizer, a has not yet; c is new; d was counted long ago.
        let pods = [
            pod("a", "Succeeded", true, None),
            pod("b", "Succeeded", false, None),
            pod("c", "Succeeded", true, None),
            pod("d", "Succeeded", false, None),
            pod("e", "Running", true, None),
        ];
        let tally = tally(&job, &pods);
        assert_eq!((tally.succeeded, tally.failed, tally.active.len()), (5, 1, 1));
        assert_eq!((tally.counted_succeeded, tally.counted_failed), (3, 1));
        assert_eq!(tally.uncounted_succeeded, ["a", "c"]);
    }

    #[test]
    fn endings() {
        let now: Timestamp = "2030-01-01T00:10:00Z".parse().unwrap();
        let check = |spec: Value, status: Value, pods: &[Arc<Pod>], expect: Option<&str>| {
            let job = job(spec, status);
            let ending = ending(&job, &tally(&job, pods), now);
            assert_eq!(ending.as_ref().map(|ending| ending.reason.as_str()), expect);
        };
        let one = json!({"completions": 1, "backoffLimit": 0});
        check(one.clone(), json!({}), &[pod("a", "Running", true, None)], None);
        check(one.clone(), json!({}), &[pod("a", "Succeeded", true, None)], Some("CompletionsReached"));
        check(one, json!({}), &[pod("a", "Failed", true, None)], Some("BackoffLimitExceeded"));
        let deadline = json!({"completions": 1, "activeDeadlineSeconds": 60});
        check(deadline, json!({"startTime": "2030-01-01T00:00:00Z"}), &[], Some("DeadlineExceeded"));
        let queue = json!({"parallelism": 2});
        check(queue.clone(), json!({}), &[pod("a", "Succeeded", true, None), pod("b", "Running", true, None)], None);
        check(queue, json!({}), &[pod("a", "Succeeded", true, None)], Some("CompletionsReached"));
        let indexed = json!({"completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 0});
        let mixed = [pod("a", "Succeeded", true, Some(0)), pod("b", "Failed", true, Some(1))];
        check(indexed, json!({}), &mixed, Some("FailedIndexes"));
        let decided =
            json!({"conditions": [{"type": "FailureTarget", "status": "True", "reason": "PodFailurePolicy"}]});
        check(json!({"completions": 1}), decided, &[pod("a", "Succeeded", true, None)], Some("PodFailurePolicy"));
    }
}
