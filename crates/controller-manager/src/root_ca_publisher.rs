//! Publishes the cluster's root certificate in each namespace, as the ConfigMap `kube-root-ca.crt`
//! (rule: `pkg/controller/certificates/rootcacertpublisher`).

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use futures::FutureExt;
use steersman_api::k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use steersman_client::{Action, Client, Event, Object, ObjectKey, Result, WorkQueue, run_workers};

use crate::context::{Context, Run};

const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
);

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let certificate = match context.flags.path("root-ca-file") {
        Some(path) => std::fs::read_to_string(&path)
            .with_context(|| format!("error reading root-ca-file at {}", path.display()))?,
        None => String::from_utf8_lossy(&context.client.config().ca).into_owned(),
    };
    let certificate: Arc<str> = certificate.into();
    let (namespaces, maps) = (context.informers.get::<Namespace>(), context.config_maps());
    let queue = WorkQueue::<ObjectKey>::new();
    namespaces.add_handler({
        let queue = queue.clone();
        move |event| {
            if !matches!(event, Event::Deleted { .. }) && !event.object().is_deleting() {
                queue.add(event.object().key());
            }
        }
    });
    maps.add_handler({
        let queue = queue.clone();
        move |event| {
            if event.object().name() == NAME && !matches!(event, Event::Added(_)) {
                queue.add(ObjectKey::new("", event.object().namespace()));
            }
        }
    });
    let (client, shutdown) = (context.client.clone(), context.shutdown.clone());
    Ok(Some(
        async move {
            run_workers("root-ca-cert-publisher", &queue, 5, &shutdown, move |key| {
                let client = client.clone();
                let namespace = namespaces.store().get(&key);
                let known = maps.store().find(key.name(), NAME);
                let certificate = certificate.clone();
                async move {
                    match namespace {
                        Some(namespace) if !namespace.is_deleting() => {
                            sync(&client, key.name(), known.as_deref(), &certificate).await
                        }
                        _ => Ok(Action::Done),
                    }
                }
            })
            .await;
        }
        .boxed(),
    ))
}

async fn sync(client: &Client, namespace: &str, known: Option<&ConfigMap>, certificate: &str) -> Result<Action> {
    let data: BTreeMap<String, String> = [(KEY.to_owned(), certificate.to_owned())].into();
    let mut wanted = known.cloned().unwrap_or_default();
    wanted.data = Some(data);
    wanted.metadata.annotations.get_or_insert_default().insert(DESCRIPTION.0.to_owned(), DESCRIPTION.1.to_owned());
    let result = match known {
        None => {
            wanted.metadata.name = Some(NAME.to_owned());
            client.create(namespace, &wanted).await
        }
        Some(known) if *known == wanted => return Ok(Action::Done),
        Some(_) => client.update(&wanted).await,
    };
    match result {
        Err(error) if error.is_not_found() || error.is_namespace_terminating() || error.is_already_exists() => {
            Ok(Action::Done)
        }
        Err(error) => Err(error),
        Ok(_) => Ok(Action::Done),
    }
}
