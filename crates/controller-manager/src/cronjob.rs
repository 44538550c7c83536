//! Creates Jobs on a schedule (rule: `pkg/controller/cronjob/cronjob_controllerv2.go`).

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use steersman_api::k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use steersman_client::{
    Action, Client, DeleteOptions, EventRecorder, EventType, Object, ObjectKey, PropagationPolicy, Result, Store,
    WorkQueue,
};

use crate::{
    context::{Context, Run, index},
    cron_schedule::Schedule,
};

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// More missed times than this are suspicious: the clock may be wrong.
const MANY_MISSED: usize = 100;
/// A schedule is looked at a little late, never early (upstream: 100 ms).
const LATE: Duration = Duration::from_millis(100);

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let crons = context.informers.get::<CronJob>();
    let jobs = context.controlled::<Job>();
    let queue = WorkQueue::<ObjectKey>::new();
    crons.add_handler({
        let queue = queue.clone();
        move |event| queue.add(event.object().key())
    });
    jobs.add_handler({
        let (queue, crons) = (queue.clone(), crons.store().clone());
        move |event| {
            for job in [Some(event.object()), event.old()].into_iter().flatten() {
                if let Some(owner) = job.controller().filter(|owner| owner.kind == "CronJob")
                    && let Some(cron) = crons.find(job.namespace(), &owner.name)
                    && cron.uid() == owner.uid
                {
                    queue.add(cron.key());
                }
            }
        }
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        crons: crons.store().clone(),
        jobs: jobs.store().clone(),
    });
    let workers = context.workers("concurrent-cron-job-syncs");
    Ok(Some(
        context.work(
            "cronjob",
            queue,
            workers,
            controller,
            |controller, key| async move { controller.sync(&key).await },
        ),
    ))
}

/// What a schedule asks for at some moment.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    /// The latest time that has passed and was not acted on.
    missed: Option<Timestamp>,
    /// How many have passed.
    count: usize,
    /// The next time.
    next: Option<Timestamp>,
}

/// Looks at a schedule (rule: `mostRecentScheduleTime`).
fn due(schedule: &Schedule, since: Timestamp, now: Timestamp) -> Due {
    let mut due = Due { missed: None, count: 0, next: schedule.next(since) };
    while let Some(time) = due.next.filter(|time| *time <= now) {
        due.missed = Some(time);
        due.count += 1;
        due.next = schedule.next(time);
        // A long time away would take long to walk through: jump close to now.
        if due.count == 2 * MANY_MISSED {
            let step = due.next.map_or(0, |next| next.as_second() - time.as_second()).max(60);
            let skip = ((now.as_second() - time.as_second()) / step - MANY_MISSED as i64).max(0);
            if let Ok(ahead) = Timestamp::from_second(time.as_second() + skip * step) {
                due.next = schedule.next(ahead).filter(|next| *next > time).or(due.next);
            }
        }
    }
    due
}

fn condition(job: &Job, type_: &str) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

struct Controller {
    client: Client,
    recorder: EventRecorder,
    crons: Store<CronJob>,
    jobs: Store<Job>,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(cron) = self.crons.get(key) else { return Ok(Action::Done) };
        let spec = &cron.spec;
        let jobs = self.jobs.by_index(index::CONTROLLER, cron.uid());
        let mut status = cron.status.clone().unwrap_or_default();
        self.follow_jobs(&cron, &mut status, &jobs);
        self.clean_up(&cron, spec, &jobs).await?;
        let action = if cron.is_deleting() || spec.suspend == Some(true) {
            Action::Done
        } else {
            self.schedule(&cron, spec, &mut status).await?
        };
        if cron.status.as_ref() != Some(&status) {
            let changed = CronJob { status: Some(status), ..(*cron).clone() };
            self.client.update_status(&changed).await?;
        }
        Ok(action)
    }

    fn event(&self, cron: &CronJob, type_: EventType, reason: &str, message: String) {
        self.recorder.event(cron, type_, reason, message);
    }

    /// Updates the list of active Jobs and the time of the last success.
    fn follow_jobs(&self, cron: &CronJob, status: &mut CronJobStatus, jobs: &[Arc<Job>]) {
        let mut active = status.active.take().unwrap_or_default();
        for job in jobs {
            let listed = active.iter().any(|reference| reference.uid.as_deref() == Some(job.uid()));
            let finished = condition(job, "Complete") || condition(job, "Failed");
            if !listed && !finished {
                active.push(reference(job));
            } else if listed && finished {
                active.retain(|reference| reference.uid.as_deref() != Some(job.uid()));
                let how = if condition(job, "Complete") { "Complete" } else { "Failed" };
                let message = format!("Saw completed job: {}, condition: {how}", job.name());
                self.event(cron, EventType::Normal, "SawCompletedJob", message);
            }
            if condition(job, "Complete")
                && let Some(ended) = job.status.as_ref().and_then(|status| status.completion_time.clone())
                && status.last_successful_time.as_ref().is_none_or(|last| ended > *last)
            {
                status.last_successful_time = Some(ended);
            }
        }
        active.retain(|reference| {
            let known = jobs.iter().any(|job| reference.uid.as_deref() == Some(job.uid()));
            // One that was created a moment ago may not be in the cache yet.
            let young = status
                .last_schedule_time
                .as_ref()
                .is_some_and(|last| Timestamp::now().as_second() - last.0.as_second() < 10);
            if !known && !young {
                let name = reference.name.as_deref().unwrap_or("");
                self.event(cron, EventType::Normal, "MissingJob", format!("Active job went missing: {name}"));
            }
            known || young
        });
        status.active = Some(active).filter(|active| !active.is_empty());
    }

    async fn clean_up(&self, cron: &CronJob, spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Result<()> {
        let limits = [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
        for (kind, limit) in limits {
            let Some(limit) = limit else { continue };
            let mut ended: Vec<_> = jobs.iter().filter(|job| condition(job, kind)).collect();
            ended.sort_by_key(|job| (job.status.as_ref().and_then(|s| s.start_time.clone()), job.name().to_owned()));
            let surplus = ended.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
            for job in ended.into_iter().take(surplus).filter(|job| !job.is_deleting()) {
                self.delete(cron, job).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, cron: &CronJob, job: &Job) -> Result<()> {
        let options = DeleteOptions::default().uid(job.uid()).propagation(PropagationPolicy::Background);
        match self.client.delete::<Job>(job.namespace(), job.name(), &options).await {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => {
                self.event(cron, EventType::Warning, "FailedDelete", format!("Deleted job: {error}"));
                Err(error)
            }
            Ok(()) => {
                self.event(cron, EventType::Normal, "SuccessfulDelete", format!("Deleted job {}", job.name()));
                Ok(())
            }
        }
    }

    /// Creates a Job if one is due; when to look again.
    async fn schedule(&self, cron: &CronJob, spec: &CronJobSpec, status: &mut CronJobStatus) -> Result<Action> {
        let schedule = match Schedule::parse(&spec.schedule, spec.time_zone.as_deref()) {
            Ok(schedule) => schedule,
            Err(error) => {
                let (reason, what) = if error.starts_with("unknown time zone") {
                    ("UnknownTimeZone", "invalid timeZone")
                } else {
                    ("UnparseableSchedule", "unparseable schedule")
                };
                let message = format!("{what}: {:?} : {error}", spec.schedule);
                self.event(cron, EventType::Warning, reason, message);
                return Ok(Action::Done);
            }
        };
        let now = Timestamp::now();
        let created = cron.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        let mut since = status.last_schedule_time.as_ref().map_or(created, |time| time.0);
        if let Some(deadline) = spec.starting_deadline_seconds {
            let earliest = Timestamp::from_second(now.as_second() - deadline).unwrap_or(since);
            since = since.max(earliest);
        }
        let due = due(&schedule, since, now);
        let later = match due.next {
            Some(next) => {
                let wait = Duration::from_millis((next.as_millisecond() - now.as_millisecond()).max(0) as u64);
                Action::RequeueAfter(wait + LATE)
            }
            None => Action::Done,
        };
        if due.count > MANY_MISSED {
            let message = format!(
                "too many missed start times: {}. Set or decrease .spec.startingDeadlineSeconds or check clock skew",
                due.count
            );
            self.event(cron, EventType::Warning, "TooManyMissedTimes", message);
        }
        let Some(time) = due.missed else { return Ok(later) };
        // A Job is named after its time, so that no time is served twice.
        let name = format!("{}-{}", cron.name(), time.as_second() / 60);
        let listed = |name: &str| status.active.iter().flatten().any(|job| job.name.as_deref() == Some(name));
        if listed(&name) || status.last_schedule_time.as_ref().is_some_and(|last| last.0 == time) {
            return Ok(later);
        }
        let active = status.active.clone().unwrap_or_default();
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if !active.is_empty() => {
                let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.event(cron, EventType::Normal, "JobAlreadyActive", message.to_owned());
                return Ok(later);
            }
            Some("Replace") => {
                for reference in &active {
                    let name = reference.name.as_deref().unwrap_or("");
                    if let Some(job) = self.client.get_opt::<Job>(cron.namespace(), name).await? {
                        self.delete(cron, &job).await?;
                    }
                }
                status.active = None;
            }
            _ => {}
        }
        match self.client.create(cron.namespace(), &job_for(cron, spec, name, time)).await {
            Ok(job) => {
                self.event(cron, EventType::Normal, "SuccessfulCreate", format!("Created job {}", job.name()));
                status.active.get_or_insert_default().push(reference(&job));
                status.last_schedule_time = Some(Time(time));
                Ok(later)
            }
            Err(error) if error.is_already_exists() => {
                status.last_schedule_time = Some(Time(time));
                Ok(later)
            }
            Err(error) if error.is_namespace_terminating() => Ok(Action::Done),
            Err(error) => {
                self.event(cron, EventType::Warning, "FailedCreate", format!("Error creating job: {error}"));
                Err(error)
            }
        }
    }
}

fn reference(job: &Job) -> ObjectReference {
    steersman_client::object_reference(job)
}

fn job_for(cron: &CronJob, spec: &CronJobSpec, name: String, time: Timestamp) -> Job {
    let meta = spec.job_template.metadata.clone().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED_AT.to_owned(), time.to_string());
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(cron.namespace().to_owned()),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![cron.controller_reference()]),
            ..ObjectMeta::default()
        },
        spec: spec.job_template.spec.clone(),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_missed() {
        let schedule = Schedule::parse("0 * * * *", None).unwrap();
        let check = |since: &str, now: &str, missed: Option<&str>, count, next: &str| {
            let due = due(&schedule, since.parse().unwrap(), now.parse().unwrap());
            let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
            assert_eq!(
                (text(due.missed).as_deref(), due.count, text(due.next).as_deref()),
                (missed, count, Some(next))
            );
        };
        check("2030-01-01T00:30:00Z", "2030-01-01T00:59:59Z", None, 0, "2030-01-01T01:00:00Z");
        check("2030-01-01T00:30:00Z", "2030-01-01T03:10:00Z", Some("2030-01-01T03:00:00Z"), 3, "2030-01-01T04:00:00Z");
        let long = due(&schedule, "2020-01-01T00:00:00Z".parse().unwrap(), "2030-01-01T00:30:00Z".parse().unwrap());
        assert_eq!(long.missed.unwrap().to_string(), "2030-01-01T00:00:00Z");
        assert!(long.count > MANY_MISSED && long.count < 1000);
    }
}
