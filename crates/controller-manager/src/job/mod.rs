//! Runs pods until enough of them have succeeded (rule: `pkg/controller/job`).
//!
//! Every pod carries a finalizer until it was counted: first its uid goes into the status, then the finalizer goes, then
//! the uid becomes a number. A crash between any two steps loses and doubles nothing.

mod indexes;
mod pods;
mod policy;
mod tally;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ahash::{HashMap, HashSet};
use futures::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use steersman_api::k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobStatus, UncountedTerminatedPods},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use steersman_client::{
    Action, Client, Event, EventType, Object, ObjectKey, Patch, Result, Store, WorkQueue, labels, run_workers,
};

use crate::{
    context::{Context, Run, index, namespace_index, orphans},
    dependants::{self, BURST, PodControl, slow_start},
    expectations::Expectations,
    pods as podutil,
};
use pods::{is_indexed, is_tracked};
use tally::{Ending, Tally, condition};

/// After the n-th failure in a row, the next pod waits 10 s · 2ⁿ⁻¹, at most ten minutes.
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
const LAST_BACKOFF: Duration = Duration::from_secs(600);
const OURS: &str = "kubernetes.io/job-controller";
/// Pods counted with one status update: keeps the status small.
const COUNT_AT_ONCE: usize = 500;

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let jobs = context.informers.get::<Job>();
    jobs.add_index(index::NAMESPACE, namespace_index);
    let pods = context.pods();
    let (queue, released) = (WorkQueue::<ObjectKey>::new(), WorkQueue::<ObjectKey>::new());
    let expectations = Arc::new(Expectations::default());
    jobs.add_handler({
        let (queue, released, expectations, pods) =
            (queue.clone(), released.clone(), expectations.clone(), pods.store().clone());
        move |event| {
            if let Event::Deleted { last, .. } = event {
                expectations.forget(&last.key());
                for pod in pods.by_index(index::CONTROLLER, last.uid()) {
                    released.add(pod.key());
                }
            }
            queue.add(event.object().key());
        }
    });
    pods.add_handler({
        let (queue, released, jobs, expectations) =
            (queue.clone(), released.clone(), jobs.store().clone(), expectations.clone());
        move |event| pod_changed(event, &jobs, &expectations, &queue, &released)
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        control: PodControl { client: context.client.clone(), recorder: context.recorder.clone() },
        jobs: jobs.store().clone(),
        pods: pods.store().clone(),
        expectations,
        failures: Mutex::default(),
    });
    let (shutdown, workers) = (context.shutdown.clone(), context.workers("concurrent-job-syncs"));
    Ok(Some(
        async move {
            let sync = {
                let controller = controller.clone();
                move |key: ObjectKey| {
                    let controller = controller.clone();
                    async move { controller.sync(&key).await }
                }
            };
            let release = move |key: ObjectKey| {
                let controller = controller.clone();
                async move { controller.release_orphan(&key).await }
            };
            tokio::join!(
                run_workers("job", &queue, workers, &shutdown, sync),
                run_workers("job-orphans", &released, workers, &shutdown, release),
            );
        }
        .boxed(),
    ))
}

fn owner_of(pod: &Pod, jobs: &Store<Job>) -> Option<Arc<Job>> {
    let reference = pod.controller().filter(|reference| reference.kind == "Job")?;
    jobs.find(pod.namespace(), &reference.name).filter(|owner| owner.uid() == reference.uid)
}

fn pod_changed(
    event: &Event<Pod>,
    jobs: &Store<Job>,
    expectations: &Expectations,
    queue: &WorkQueue<ObjectKey>,
    released: &WorkQueue<ObjectKey>,
) {
    let pod = event.object();
    if let Event::Updated { old, .. } = event
        && old.controller().map(|c| &c.uid) != pod.controller().map(|c| &c.uid)
        && let Some(former) = owner_of(old, jobs)
    {
        queue.add(former.key());
    }
    match owner_of(pod, jobs) {
        Some(job) => {
            let key = job.key();
            if matches!(event, Event::Deleted { .. }) || pod.is_deleting() {
                expectations.deletion_observed(&key, &pod.key());
            } else if matches!(event, Event::Added(_)) {
                expectations.creation_observed(&key);
            }
            queue.add(key);
        }
        // Its Job is gone, or was never ours: nobody will count it. (Ask later: the Job may just not be known yet.)
        None if is_tracked(pod) && !matches!(event, Event::Deleted { .. }) => {
            released.add_after(pod.key(), Duration::from_secs(1));
        }
        None => {}
    }
}

struct Controller {
    client: Client,
    control: PodControl,
    jobs: Store<Job>,
    pods: Store<Pod>,
    expectations: Arc<Expectations>,
    /// By the Job's uid: the pods that failed in a row, and when the last was seen.
    failures: Mutex<HashMap<String, (HashSet<String>, Instant)>>,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(job) = self.jobs.get(key) else {
            self.expectations.forget(key);
            return Ok(Action::Done);
        };
        let Some(spec) = &job.spec else { return Ok(Action::Done) };
        if spec.managed_by.as_ref().is_some_and(|manager| manager != OURS) {
            return Ok(Action::Done);
        }
        let may_manage = self.expectations.satisfied(key);
        let pods = self.pods_of(&job).await?;
        if tally::is_finished(&job) {
            self.failures.lock().remove(job.uid());
            self.release(&pods).await?;
            return Ok(Action::Done);
        }
        let now = Timestamp::now();
        let mut tally = tally::tally(&job, &pods);
        self.note_failures(&job, &tally);
        let ending = tally::ending(&job, &tally, now);
        let suspended = spec.suspend == Some(true);

        let mut wait = None;
        let mut failure = None;
        if ending.is_some() || suspended {
            let doomed = tally.active.clone();
            if ending.is_none() {
                // Pods that go because the Job is suspended are no failures: nobody shall count them.
                self.release(&doomed).await?;
            }
            failure = self.delete(key, &job, &doomed).await.err();
            if failure.is_none() {
                tally.terminating.append(&mut tally.active);
            }
        } else if may_manage && !job.is_deleting() {
            match self.manage(key, &job, &mut tally).await {
                Ok(later) => wait = later,
                Err(error) => failure = Some(error),
            }
        }
        let status = self.status(&job, &tally, ending.as_ref(), now);
        let ended = tally::is_finished(&Job { status: Some(status.clone()), ..Job::default() });
        if job.status.as_ref() != Some(&status) {
            let mut changed = (*job).clone();
            changed.status = Some(status.clone());
            self.client.update_status(&changed).await?;
            self.announce(&job, &status);
        }
        self.release(&tally.to_release).await?;
        if let Some(error) = failure {
            return Err(error);
        }
        let deadline = tally::deadline_in(&Job { status: Some(status), ..(*job).clone() }, now);
        let deadline = deadline.filter(|_| !ended).map(|left| Duration::from_secs(left.max(0) as u64 + 1));
        Ok(wait.into_iter().chain(deadline).min().map_or(Action::Done, Action::RequeueAfter))
    }

    async fn pods_of(&self, job: &Arc<Job>) -> Result<Vec<Arc<Pod>>> {
        let Some(selector) = job.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else { return Ok(Vec::new()) };
        let mut candidates = self.pods.by_index(index::CONTROLLER, job.uid());
        candidates.extend(self.pods.by_index(index::CONTROLLER, &orphans(job.namespace())));
        let claim = dependants::claim(job.uid(), job.is_deleting(), candidates, |given| {
            !labels::is_empty(selector) && labels::matches(selector, given)
        });
        claim.settle(&self.client, &**job).await
    }

    fn note_failures(&self, job: &Job, tally: &Tally) {
        let mut failures = self.failures.lock();
        if !tally.new_succeeded.is_empty() {
            failures.remove(job.uid());
        }
        for pod in &tally.new_failed {
            let (failed, last) =
                failures.entry(job.uid().to_owned()).or_insert_with(|| (HashSet::default(), Instant::now()));
            // A sync that is repeated sees the same failures again.
            if failed.insert(pod.uid().to_owned()) {
                *last = Instant::now();
            }
        }
    }

    /// How long the next pod must wait for its failed predecessors.
    fn backoff(&self, job: &Job) -> Option<Duration> {
        let failures = self.failures.lock();
        let (failed, since) = failures.get(job.uid())?;
        let doublings = failed.len().saturating_sub(1).min(10) as u32;
        let wait = (FIRST_BACKOFF * 2_u32.pow(doublings)).min(LAST_BACKOFF);
        wait.checked_sub(since.elapsed()).filter(|left| !left.is_zero())
    }

    /// Creates or deletes pods; how long to wait before the next attempt, if that is what is due.
    async fn manage(&self, key: &ObjectKey, job: &Job, tally: &mut Tally) -> Result<Option<Duration>> {
        let now = Timestamp::now();
        let wanted = tally::wanted_active(job, tally);
        if tally.active.len() > wanted {
            let surplus = pods::choose_surplus(job, &tally.active, (tally.active.len() - wanted).min(BURST), now);
            self.release(&surplus).await?;
            self.delete(key, job, &surplus).await?;
            tally.active.retain(|pod| !surplus.iter().any(|gone| gone.uid() == pod.uid()));
            tally.terminating.extend(surplus);
            return Ok(None);
        }
        let patient = pods::replaces_only_failed(job);
        let present = tally.active.len() + if patient { tally.terminating.len() } else { 0 };
        let count = wanted.saturating_sub(present).min(BURST);
        if count == 0 {
            return Ok(None);
        }
        if let Some(left) = self.backoff(job) {
            return Ok(Some(left));
        }
        let targets: Vec<Option<i32>> = if is_indexed(job) {
            tally::missing_indexes(job, tally, patient, count).into_iter().map(Some).collect()
        } else {
            vec![None; count]
        };
        self.expectations.expect_creations(key, targets.len());
        let (created, error) = slow_start(targets.len(), |n| {
            let failures = targets[n].and_then(|index| self.failures_of_index(job, index));
            let pod = pods::make(job, targets[n], failures);
            async move {
                let Some(pod) = pod else { return Ok(()) };
                match self.control.create_pod(job, &pod).await {
                    Err(error) if error.is_namespace_terminating() => Ok(()),
                    Err(error) => Err(error),
                    Ok(_) => Ok(()),
                }
            }
        })
        .await;
        self.expectations.creations_observed(key, targets.len() - created);
        // They count as active at once, although the caches do not hold them yet.
        tally.active.extend(std::iter::repeat_with(|| Arc::new(Pod::default())).take(created));
        error.map_or(Ok(None), Err)
    }

    /// The failures of an index so far, if the Job limits them.
    fn failures_of_index(&self, job: &Job, wanted: i32) -> Option<i32> {
        let spec = job.spec.as_ref().filter(|spec| spec.backoff_limit_per_index.is_some())?;
        let mine = self.pods.by_index(index::CONTROLLER, job.uid());
        let failed = mine.iter().filter(|pod| indexes::of(pod) == Some(wanted) && pods::has_failed(job, pod));
        let count = |pod: &Arc<Pod>| {
            let ignored = policy::judge(spec, pod) == policy::Verdict::Ignore;
            pods::failures_of(pod) + i32::from(!ignored)
        };
        Some(failed.map(count).max().unwrap_or(0))
    }

    async fn delete(&self, key: &ObjectKey, job: &Job, doomed: &[Arc<Pod>]) -> Result<()> {
        if doomed.is_empty() {
            return Ok(());
        }
        self.expectations.expect_deletions(key, doomed.iter().map(|pod| pod.key()));
        let results = futures::future::join_all(doomed.iter().map(|pod| async move {
            match self.control.delete(job, pod.namespace(), pod.name()).await {
                Ok(()) => Ok(()),
                Err(error) => {
                    self.expectations.deletion_observed(key, &pod.key());
                    if error.is_not_found() { Ok(()) } else { Err(error) }
                }
            }
        }))
        .await;
        results.into_iter().collect()
    }

    fn status(&self, job: &Job, tally: &Tally, ending: Option<&Ending>, now: Timestamp) -> JobStatus {
        let spec = job.spec.clone().unwrap_or_default();
        let mut status = job.status.clone().unwrap_or_default();
        let nonzero = |number: i32| (number != 0).then_some(number);
        let list = |uids: &[String]| {
            let some: Vec<String> = uids.iter().take(COUNT_AT_ONCE).cloned().collect();
            Some(some).filter(|some| !some.is_empty())
        };
        status.active = nonzero(tally.active.len() as i32);
        status.ready = Some(tally.active.iter().filter(|pod| podutil::is_ready(pod)).count() as i32);
        status.terminating = Some(tally.terminating.iter().filter(|pod| !podutil::is_terminal(pod)).count() as i32);
        status.failed = nonzero(tally.counted_failed);
        if is_indexed(job) {
            status.succeeded = nonzero(tally.succeeded);
            let text = |set| Some(indexes::format(set));
            status.completed_indexes = text(&tally.succeeded_indexes).filter(|text| !text.is_empty());
            status.failed_indexes = spec.backoff_limit_per_index.and_then(|_| text(&tally.failed_indexes));
        } else {
            status.succeeded = nonzero(tally.counted_succeeded);
        }
        status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
            succeeded: list(&tally.uncounted_succeeded),
            failed: list(&tally.uncounted_failed),
        });
        let mut set = |type_: &str, value: &str, reason: &str, message: &str| -> bool {
            let conditions = status.conditions.get_or_insert_default();
            if conditions.iter().any(|known| known.type_ == type_ && known.status == value) {
                return false;
            }
            conditions.retain(|known| known.type_ != type_);
            conditions.push(JobCondition {
                type_: type_.to_owned(),
                status: value.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
                last_probe_time: Some(Time(now)),
                last_transition_time: Some(Time(now)),
            });
            true
        };
        let Some(ending) = ending else {
            let was_suspended = job
                .status
                .iter()
                .flat_map(|status| status.conditions.iter().flatten())
                .any(|condition| condition.type_ == "Suspended" && condition.status == "True");
            if spec.suspend == Some(true) {
                if set("Suspended", "True", "JobSuspended", "Job suspended") {
                    self.control.recorder.event(job, EventType::Normal, "Suspended", "Job suspended");
                }
                status.start_time = None;
            } else {
                if was_suspended && set("Suspended", "False", "JobResumed", "Job resumed") {
                    self.control.recorder.event(job, EventType::Normal, "Resumed", "Job resumed");
                }
                if status.start_time.is_none() {
                    status.start_time = Some(Time(now));
                }
            }
            return status;
        };
        let (interim, last) =
            if ending.succeeded { ("SuccessCriteriaMet", "Complete") } else { ("FailureTarget", "Failed") };
        set(interim, "True", &ending.reason, &ending.message);
        let all_counted = tally.uncounted_failed.is_empty() && tally.uncounted_succeeded.is_empty();
        let nothing_runs = tally.active.is_empty() && tally.terminating.iter().all(|pod| podutil::is_terminal(pod));
        if all_counted && nothing_runs {
            set(last, "True", &ending.reason, &ending.message);
            if ending.succeeded {
                status.completion_time = Some(Time(now));
            }
        }
        if status.start_time.is_none() {
            status.start_time = Some(Time(now));
        }
        status
    }

    fn announce(&self, job: &Job, status: &JobStatus) {
        if condition(status, "Complete").is_some() {
            self.control.recorder.event(job, EventType::Normal, "Completed", "Job completed");
        } else if let Some(failed) = condition(status, "Failed") {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            self.control.recorder.event(job, EventType::Warning, &text(&failed.reason), text(&failed.message));
        }
    }

    /// Removes the finalizer of pods that were counted, or that nobody will count.
    async fn release(&self, pods: &[Arc<Pod>]) -> Result<()> {
        let tracked = pods.iter().filter(|pod| is_tracked(pod)).take(COUNT_AT_ONCE);
        let results = futures::future::join_all(tracked.map(|pod| async move {
            let patch = Patch::Strategic(json!({"metadata": {
                "uid": pod.uid(),
                "$deleteFromPrimitiveList/finalizers": [pods::TRACKING],
            }}));
            match self.client.patch::<Pod>(pod.namespace(), pod.name(), &patch).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
                _ => Ok(()),
            }
        }))
        .await;
        results.into_iter().collect()
    }

    async fn release_orphan(&self, key: &ObjectKey) -> Result<Action> {
        let Some(pod) = self.pods.get(key).filter(|pod| is_tracked(pod)) else { return Ok(Action::Done) };
        if owner_of(&pod, &self.jobs).is_none() {
            // The cache may lag behind a Job that was created a moment ago.
            if let Some(owner) = pod.controller().filter(|owner| owner.kind == "Job")
                && let Some(job) = self.client.get_opt::<Job>(pod.namespace(), &owner.name).await?
                && job.uid() == owner.uid
            {
                return Ok(Action::Done);
            }
            self.release(&[pod]).await?;
        }
        Ok(Action::Done)
    }
}
