//! Deletes requests that have served their time (rule: `certificates/cleaner/cleaner.go`).

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use steersman_api::k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use steersman_client::{Action, Client, DeleteOptions, Event, Object, ObjectKey, Result, Store, WorkQueue};

use super::{condition, is_issued};
use crate::context::{Context, Run};

const HOUR: i64 = 3600;
const DECIDED: i64 = HOUR;
const PENDING: i64 = 24 * HOUR;

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let requests = context.informers.get::<CertificateSigningRequest>();
    let queue = WorkQueue::<ObjectKey>::new();
    requests.add_handler({
        let queue = queue.clone();
        move |event| {
            if !matches!(event, Event::Deleted { .. }) {
                queue.add(event.object().key());
            }
        }
    });
    let controller = Arc::new((context.client.clone(), requests.store().clone()));
    Ok(Some(
        context.work("csrcleaner", queue, 1, controller, |shared, key| async move {
            sync(&shared.0, &shared.1, &key).await
        }),
    ))
}

/// When a request may go, in seconds since the epoch: an hour after it was approved, denied or failed, a day after it
/// was made if nobody decides.
fn expires_at(csr: &CertificateSigningRequest) -> i64 {
    let created = csr.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    let decided = ["Approved", "Denied", "Failed"].iter().filter_map(|type_| condition(csr, type_));
    let decided = decided.filter_map(|condition| condition.last_update_time.as_ref()).map(|time| time.0.as_second());
    match decided.min() {
        Some(since) => since + DECIDED,
        None if is_issued(csr) => created + DECIDED,
        None => created + PENDING,
    }
}

async fn sync(client: &Client, requests: &Store<CertificateSigningRequest>, key: &ObjectKey) -> Result<Action> {
    let Some(csr) = requests.get(key) else { return Ok(Action::Done) };
    let left = expires_at(&csr) - Timestamp::now().as_second();
    if left > 0 {
        return Ok(Action::RequeueAfter(Duration::from_secs(left as u64)));
    }
    let options = DeleteOptions::default().uid(csr.uid());
    match client.delete::<CertificateSigningRequest>("", csr.name(), &options).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(Action::Done),
    }
}
