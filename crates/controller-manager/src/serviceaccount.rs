//! Ensures that each namespace has the service account `default` (rule: `serviceaccounts_controller.go`).

use futures::FutureExt;
use steersman_api::k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use steersman_client::{Action, Error, Event, Object, ObjectKey, WorkQueue, run_workers};

use crate::context::{Context, Run};

const NAME: &str = "default";

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let (namespaces, accounts) = (context.informers.get::<Namespace>(), context.informers.get::<ServiceAccount>());
    let queue = WorkQueue::<ObjectKey>::new();
    namespaces.add_handler({
        let queue = queue.clone();
        move |event| {
            if !matches!(event, Event::Deleted { .. }) {
                queue.add(event.object().key());
            }
        }
    });
    accounts.add_handler({
        let queue = queue.clone();
        move |event| {
            if matches!(event, Event::Deleted { .. }) && event.object().name() == NAME {
                queue.add(ObjectKey::new("", event.object().namespace()));
            }
        }
    });
    let (client, shutdown) = (context.client.clone(), context.shutdown.clone());
    Ok(Some(
        async move {
            run_workers("serviceaccount", &queue, 1, &shutdown, move |key| {
                let namespace = namespaces.store().get(&key);
                let exists = accounts.store().find(key.name(), NAME).is_some();
                let client = client.clone();
                async move {
                    let Some(namespace) = namespace else { return Ok(Action::Done) };
                    let active = namespace.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Terminating");
                    if exists || !active || namespace.is_deleting() {
                        return Ok(Action::Done);
                    }
                    let mut account = ServiceAccount::default();
                    account.metadata.name = Some(NAME.to_owned());
                    match client.create(key.name(), &account).await {
                        Err(error)
                            if !error.is_already_exists()
                                && !error.is_namespace_terminating()
                                && !error.is_not_found() =>
                        {
                            Err(error)
                        }
                        _ => Ok::<_, Error>(Action::Done),
                    }
                }
            })
            .await;
        }
        .boxed(),
    ))
}
