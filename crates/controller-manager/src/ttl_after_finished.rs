//! Deletes finished Jobs when their time to live has passed (rule: `pkg/controller/ttlafterfinished`).

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use steersman_api::k8s_openapi::api::batch::v1::Job;
use steersman_client::{
    Action, Client, DeleteOptions, Event, Object, ObjectKey, PropagationPolicy, Result, Store, WorkQueue,
};

use crate::context::{Context, Run};

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let jobs = context.informers.get::<Job>();
    let queue = WorkQueue::<ObjectKey>::new();
    jobs.add_handler({
        let queue = queue.clone();
        move |event| {
            if !matches!(event, Event::Deleted { .. }) && expires_at(event.object()).is_some() {
                queue.add(event.object().key());
            }
        }
    });
    let controller = Arc::new((context.client.clone(), jobs.store().clone()));
    let workers = context.workers("concurrent-ttl-after-finished-syncs");
    Ok(Some(context.work("ttlafterfinished", queue, workers, controller, |shared, key| async move {
        sync(&shared.0, &shared.1, &key).await
    })))
}

/// When a finished Job's time is over, in seconds since the epoch.
fn expires_at(job: &Job) -> Option<i64> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let finished =
        job.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| {
            matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
        })?;
    Some(finished.last_transition_time.as_ref()?.0.as_second() + i64::from(ttl))
}

async fn sync(client: &Client, jobs: &Store<Job>, key: &ObjectKey) -> Result<Action> {
    let Some(job) = jobs.get(key).filter(|job| !job.is_deleting()) else { return Ok(Action::Done) };
    let Some(end) = expires_at(&job) else { return Ok(Action::Done) };
    let left = end - Timestamp::now().as_second();
    if left > 0 {
        return Ok(Action::RequeueAfter(Duration::from_secs(left as u64)));
    }
    // The time to live may just have been changed: the cache alone is no reason to delete.
    let Some(fresh) = client.get_opt::<Job>(key.namespace(), key.name()).await? else { return Ok(Action::Done) };
    if fresh.uid() != job.uid() || expires_at(&fresh) != Some(end) {
        return Ok(Action::Requeue);
    }
    let options = DeleteOptions::default()
        .uid(fresh.uid())
        .resource_version(fresh.resource_version())
        .propagation(PropagationPolicy::Foreground);
    match client.delete::<Job>(key.namespace(), key.name(), &options).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(Action::Done),
    }
}
