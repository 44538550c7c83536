//! Deletes the content of namespaces that are being deleted, then lets them go
//! (rule: `pkg/controller/namespace/deletion`; order of deletion: KEP-5080).

use std::{collections::BTreeMap, time::Duration};

use futures::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use serde_json::json;
use steersman_api::k8s_openapi::{
    api::core::v1::{Namespace, NamespaceCondition, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use steersman_client::{
    Action, Client, DeleteOptions, Error, Event, List, ListOptions, Object, ObjectKey, PartialObjectMetadata,
    PropagationPolicy, ResourcePath, Result, WorkQueue, run_workers,
};

use crate::{
    context::{Context, Run},
    discovery,
};

/// Collections that are worked on at the same time within one namespace.
const PARALLEL: usize = 8;
/// When finalizers hold content back, look again after so long: their removal is not watched here.
const FINALIZER_WAIT: Duration = Duration::from_secs(5);

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let namespaces = context.informers.get::<Namespace>();
    let queue = WorkQueue::<ObjectKey>::new();
    namespaces.add_handler({
        let queue = queue.clone();
        move |event| {
            if event.object().is_deleting() {
                queue.add(event.object().key());
            }
        }
    });
    // The rest of the content waits for the last pod.
    context.pods().add_handler({
        let (queue, namespaces) = (queue.clone(), namespaces.clone());
        move |event| {
            if let Event::Deleted { last, .. } = event {
                let key = ObjectKey::new("", last.namespace());
                if namespaces.store().get(&key).is_some_and(|namespace| namespace.is_deleting()) {
                    queue.add(key);
                }
            }
        }
    });
    let (client, shutdown) = (context.client.clone(), context.shutdown.clone());
    let workers = context.workers("concurrent-namespace-syncs");
    Ok(Some(
        async move {
            run_workers("namespace", &queue, workers, &shutdown, move |key| {
                let (client, cached) = (client.clone(), namespaces.store().get(&key));
                async move {
                    match cached {
                        Some(namespace) if namespace.is_deleting() => sync(&client, namespace.name()).await,
                        _ => Ok(Action::Done),
                    }
                }
            })
            .await;
        }
        .boxed(),
    ))
}

/// What an attempt to empty a namespace found.
#[derive(Debug, Default)]
struct Findings {
    /// Kinds could not be discovered.
    discovery: Vec<String>,
    /// Group versions could not be parsed or read.
    content: Vec<String>,
    /// Objects left for each `resource.group`.
    remaining: BTreeMap<String, usize>,
    /// Objects left for each finalizer.
    finalizers: BTreeMap<String, usize>,
    /// The longest grace period in seconds of a pod that is left.
    grace: i64,
}

impl Findings {
    fn is_empty(&self) -> bool {
        self.remaining.is_empty() && self.content.is_empty() && self.discovery.is_empty()
    }
}

async fn sync(client: &Client, name: &str) -> Result<Action> {
    let Some(mut namespace) = client.get_opt::<Namespace>("", name).await? else { return Ok(Action::Done) };
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
    if !namespace.is_deleting() || !finalizers.iter().any(|f| f == "kubernetes") {
        return Ok(Action::Done);
    }
    if namespace.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Terminating") {
        namespace.status.get_or_insert_default().phase = Some("Terminating".to_owned());
        namespace = client.update_status(&namespace).await?;
    }
    let findings = empty(client, name).await?;
    let conditions = namespace.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let updated = conditions_of(&conditions, &findings, Timestamp::now());
    if updated != conditions {
        namespace.status.get_or_insert_default().conditions = Some(updated);
        namespace = client.update_status(&namespace).await?;
    }
    if findings.is_empty() {
        let left: Vec<&String> = finalizers.iter().filter(|f| *f != "kubernetes").collect();
        let mut body: serde_json::Value = serde_json::from_slice(&serde_json::to_vec(&namespace)?)?;
        body["spec"]["finalizers"] = json!(left);
        let path = format!("/api/v1/namespaces/{name}/finalize");
        let finalized = client.json::<serde_json::Value>(http::Method::PUT, &path, "", Some(body.to_string().into()));
        return match finalized.await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(Action::Done),
        };
    }
    if !findings.discovery.is_empty() || !findings.content.is_empty() {
        tracing::info!(namespace = name, ?findings, "not all content could be deleted");
        return Ok(Action::Requeue);
    }
    // Pods leave when their grace period is over, the rest when its finalizers are done (upstream waits half of the
    // estimate and one second).
    let wait = if findings.grace > 0 {
        Duration::from_secs((findings.grace / 2 + 1).clamp(1, 15) as u64)
    } else {
        FINALIZER_WAIT
    };
    Ok(Action::RequeueAfter(wait.min(FINALIZER_WAIT)))
}

async fn empty(client: &Client, namespace: &str) -> Result<Findings> {
    let mut findings = Findings::default();
    let discovered = discovery::namespaced(client, &["delete"]).await?;
    findings.discovery = discovered.failures;
    // Pods go first: what they use must outlive them.
    let (pods, others): (Vec<_>, Vec<_>) =
        discovered.resources.into_iter().partition(|r| r.path.group.is_empty() && r.path.resource == "pods");
    for resource in &pods {
        let left = delete_all(client, namespace, resource).await;
        findings.add(&resource.path, left);
    }
    if findings.remaining.contains_key("pods.") || !findings.content.is_empty() {
        findings.grace = longest_grace(client, namespace).await?;
        return Ok(findings);
    }
    let results: Vec<_> = stream::iter(others)
        .map(|resource| async move {
            let left = delete_all(client, namespace, &resource).await;
            (resource, left)
        })
        .buffer_unordered(PARALLEL)
        .collect()
        .await;
    for (resource, left) in results {
        findings.add(&resource.path, left);
    }
    Ok(findings)
}

impl Findings {
    fn add(&mut self, resource: &ResourcePath, left: Result<List<PartialObjectMetadata>>) {
        match left {
            Ok(left) => {
                let group = format!("{}.{}", resource.resource, resource.group);
                if !left.items.is_empty() {
                    self.remaining.insert(group, left.items.len());
                }
                for finalizer in left.items.iter().flat_map(Object::finalizers) {
                    *self.finalizers.entry(finalizer.clone()).or_default() += 1;
                }
            }
            Err(error) => self.content.push(format!("{}.{}: {error}", resource.resource, resource.group)),
        }
    }
}

/// Deletes one collection and returns what is left of it.
async fn delete_all(
    client: &Client,
    namespace: &str,
    resource: &discovery::Resource,
) -> Result<List<PartialObjectMetadata>> {
    let path = resource.path.collection(namespace);
    let gone = |error: &Error| error.is_not_found() || error.code() == 405;
    let background = DeleteOptions::default().propagation(PropagationPolicy::Background);
    let all = ListOptions::default();
    let list = || client.list_path::<PartialObjectMetadata>(&path, true, &all);
    if resource.can("deletecollection") {
        match client.delete_path(&path, &background).await {
            Err(error) if !gone(&error) => return Err(error),
            _ => {}
        }
    } else if resource.can("list") {
        let items = match list().await {
            Ok(list) => list.items,
            Err(error) if gone(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        for item in items {
            let uid = background.clone().uid(item.uid());
            match client.delete_path(&resource.path.object(namespace, item.name()), &uid).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
    }
    if !resource.can("list") {
        return Ok(List { metadata: Default::default(), items: Vec::new() });
    }
    match list().await {
        Err(error) if gone(&error) => Ok(List { metadata: Default::default(), items: Vec::new() }),
        answer => answer,
    }
}

async fn longest_grace(client: &Client, namespace: &str) -> Result<i64> {
    let pods = client.list::<Pod>(namespace, &ListOptions::default()).await?;
    Ok(pods.items.iter().filter_map(|pod| pod.metadata.deletion_grace_period_seconds).max().unwrap_or(0))
}

/// The five conditions of a namespace that is being deleted.
fn conditions_of(old: &[NamespaceCondition], findings: &Findings, now: Timestamp) -> Vec<NamespaceCondition> {
    let count = |all: &BTreeMap<String, usize>, one: &str| {
        all.iter().map(|(name, count)| format!("{name} has {count} {one}")).collect::<Vec<_>>().join(", ")
    };
    let entry = |type_: &'static str, bad: Option<(&'static str, String)>, good: (&'static str, &'static str)| {
        let status = if bad.is_some() { "True" } else { "False" };
        let (reason, message) = bad.unwrap_or((good.0, good.1.to_owned()));
        (type_, status, reason, message)
    };
    let failed = |list: &[String], reason: &'static str, prefix: &str| {
        (!list.is_empty()).then(|| (reason, format!("{prefix}{}", list.join(", "))))
    };
    let entries = [
        entry(
            "NamespaceDeletionDiscoveryFailure",
            failed(&findings.discovery, "DiscoveryFailed", "Discovery failed for some groups: "),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        entry(
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        entry(
            "NamespaceDeletionContentFailure",
            failed(&findings.content, "ContentDeletionFailed", "Failed to delete all resource types: "),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        entry(
            "NamespaceContentRemaining",
            (!findings.remaining.is_empty()).then(|| {
                let all = count(&findings.remaining, "resource instances");
                ("SomeResourcesRemain", format!("Some resources are remaining: {all}"))
            }),
            ("ContentRemoved", "All content successfully removed"),
        ),
        entry(
            "NamespaceFinalizersRemaining",
            (!findings.finalizers.is_empty()).then(|| {
                let all = findings
                    .finalizers
                    .iter()
                    .map(|(name, count)| format!("{name} in {count} resource instances"))
                    .collect::<Vec<_>>()
                    .join(", ");
                ("SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {all}"))
            }),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ];
    let mut conditions = old.to_vec();
    for (type_, status, reason, message) in entries {
        let new = NamespaceCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        };
        match conditions.iter_mut().find(|condition| condition.type_ == type_) {
            Some(known) if known.status == new.status && known.reason == new.reason && known.message == new.message => {
            }
            Some(known) => *known = new,
            None => conditions.push(new),
        }
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_is_left_and_keep_still() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let mut findings = Findings::default();
        findings.remaining.insert("pods.".to_owned(), 2);
        let conditions = conditions_of(&[], &findings, now);
        let message = |type_: &str| {
            let found = conditions.iter().find(|c| c.type_ == type_).unwrap();
            format!("{} {}", found.status, found.message.as_deref().unwrap())
        };
        assert_eq!(
            message("NamespaceContentRemaining"),
            "True Some resources are remaining: pods. has 2 resource instances"
        );
        assert_eq!(message("NamespaceFinalizersRemaining"), "False All content-preserving finalizers finished");
        let later = "2030-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(conditions_of(&conditions, &findings, later), conditions);
    }
}
