//! What the scheduler writes: bindings, selected nodes of claims, conditions of pods, evictions. Each write runs in a
//! task of its own; the scheduling loop never waits for one.

use crate::informers::{Change, Changes};
use crate::pod::{PodInfo, Scheduled};
use crate::volumes::{SELECTED_NODE, Source};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use steersman_api::k8s_openapi::api::core::v1::{
    Binding, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod,
};
use steersman_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use steersman_client::{Client, DeleteOptions, Error, EventRecorder, EventType, ListOptions, Patch, WatchEvent};

/// How long claims may take to be bound once a node is chosen (upstream's `bindTimeoutSeconds`).
const CLAIM_TIMEOUT: Duration = Duration::from_secs(600);
/// One watch of a claim lasts no longer.
const CLAIM_WATCH_SECONDS: u32 = 60;

/// How a binding went.
#[derive(Debug)]
pub struct Bound {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// The node.
    pub node: String,
    /// When the attempt began.
    pub began: Instant,
    /// How often the pod was looked at, and when it first came.
    pub history: (u32, Instant),
    /// Why it was not bound.
    pub result: Result<(), String>,
    /// The pod is gone.
    pub gone: bool,
}

/// A pod that is to be bound.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Order {
    pub pod: Arc<PodInfo>,
    pub node: String,
    /// Storage to be set up for the node first.
    pub sources: Vec<Source>,
    pub began: Instant,
    pub history: (u32, Instant),
}

/// Writes to the apiserver; cheap to clone.
#[derive(Clone)]
pub struct Binder {
    client: Client,
    changes: Changes,
    recorder: EventRecorder,
}

impl Binder {
    /// Results go to `changes`.
    pub fn new(client: Client, changes: Changes, recorder: EventRecorder) -> Self {
        Self { client, changes, recorder }
    }

    /// Records an event about a pod, signed by its scheduler.
    pub fn event(&self, pod: &PodInfo, kind: EventType, reason: &str, message: String) {
        self.recorder.with_component(&pod.scheduler_name).event_ref(reference(pod), kind, reason, message);
    }

    /// Binds a pod in the background.
    pub fn bind(&self, order: Order) {
        let binder = self.clone();
        tokio::spawn(async move {
            let Order { pod, node, sources, began, history } = order;
            let result = binder.try_bind(&pod, &node, &sources).await;
            let gone = matches!(&result, Err(e) if e.is_not_found());
            let result = result.map_err(|e| e.to_string());
            // After shutdown nobody listens any more.
            let _ = binder.changes.send(Change::Bound(Bound { pod, node, began, history, result, gone }));
        });
    }

    async fn try_bind(&self, pod: &PodInfo, node: &str, sources: &[Source]) -> Result<(), Error> {
        for source in sources {
            self.reserve(pod, node, source).await?;
        }
        for source in sources {
            let (Source::Existing { claim, .. } | Source::Provisioned { claim }) = source;
            let wait = self.claim_bound(&pod.namespace, claim);
            match tokio::time::timeout(CLAIM_TIMEOUT, wait).await {
                Ok(result) => result?,
                Err(_) => return Err(Error::Config("binding volumes: context deadline exceeded".to_owned())),
            }
        }
        let target =
            ObjectReference { kind: Some("Node".into()), name: Some(node.to_owned()), ..ObjectReference::default() };
        let text = |s: &str| Some(s.to_owned());
        let metadata = ObjectMeta {
            name: text(&pod.name),
            namespace: text(&pod.namespace),
            uid: text(&pod.uid),
            ..ObjectMeta::default()
        };
        self.client.bind(&Binding { metadata, target }).await
    }

    /// Tells the volume controller, or the provisioner, which node was chosen.
    async fn reserve(&self, pod: &PodInfo, node: &str, source: &Source) -> Result<(), Error> {
        match source {
            Source::Provisioned { claim } => {
                let patch = Patch::Merge(json!({"metadata": {"annotations": {SELECTED_NODE: node}}}));
                self.client.patch::<PersistentVolumeClaim>(&pod.namespace, claim, &patch).await?;
            }
            Source::Existing { claim, volume } => {
                let found: PersistentVolumeClaim = self.client.get(&pod.namespace, claim).await?;
                let patch = Patch::Merge(json!({
                    "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
                    "spec": {"claimRef": {
                        "kind": "PersistentVolumeClaim",
                        "apiVersion": "v1",
                        "namespace": pod.namespace,
                        "name": claim,
                        "uid": found.metadata.uid,
                        "resourceVersion": found.metadata.resource_version,
                    }},
                }));
                self.client.patch::<PersistentVolume>("", volume, &patch).await?;
            }
        }
        Ok(())
    }

    /// Waits until a claim is bound.
    async fn claim_bound(&self, namespace: &str, name: &str) -> Result<(), Error> {
        loop {
            let claim: PersistentVolumeClaim = self.client.get(namespace, name).await?;
            if crate::volumes::Claim::new(&claim).bound {
                return Ok(());
            }
            let options = ListOptions {
                resource_version: claim.metadata.resource_version.unwrap_or_default(),
                timeout_seconds: CLAIM_WATCH_SECONDS,
                ..ListOptions::fields(format!("metadata.name={name}"))
            };
            let mut changes = self.client.watch::<PersistentVolumeClaim>(namespace, &options).await?;
            while let Some(change) = changes.next().await? {
                match change {
                    WatchEvent::Added(claim) | WatchEvent::Modified(claim)
                        if crate::volumes::Claim::new(&claim).bound =>
                    {
                        return Ok(());
                    }
                    WatchEvent::Deleted(_) => break,
                    _ => {}
                }
            }
        }
    }

    /// Writes the condition `PodScheduled: False` if it differs from what is known, and the nominated node if it is to
    /// change (empty: to be cleared).
    pub fn report(&self, pod: &Arc<PodInfo>, reason: &str, message: &str, nominated: Option<&str>) {
        let mut status = serde_json::Map::new();
        if let Some(condition) = condition(pod, reason, message) {
            status.insert("conditions".to_owned(), json!([condition]));
        }
        if let Some(node) = nominated.filter(|n| *n != pod.nominated) {
            let value = if node.is_empty() { Value::Null } else { node.into() };
            status.insert("nominatedNodeName".to_owned(), value);
        }
        if status.is_empty() {
            return;
        }
        let (binder, pod, patch) = (self.clone(), pod.clone(), Patch::Strategic(json!({"status": status})));
        tokio::spawn(async move { binder.patch_status(&pod, &patch).await });
    }

    /// Takes back the room that was made for a pod.
    pub fn clear_nomination(&self, pod: Arc<PodInfo>) {
        let binder = self.clone();
        let patch = Patch::Strategic(json!({"status": {"nominatedNodeName": null}}));
        tokio::spawn(async move { binder.patch_status(&pod, &patch).await });
    }

    async fn patch_status(&self, pod: &PodInfo, patch: &Patch) -> bool {
        match self.client.patch_status::<Pod>(&pod.namespace, &pod.name, patch).await {
            Ok(_) => true,
            Err(error) => {
                if !error.is_not_found() {
                    tracing::warn!(pod = pod.key(), %error, "the pod's status could not be written");
                }
                false
            }
        }
    }

    /// Evicts pods for another, in the background.
    pub fn evict(&self, victims: Vec<Arc<PodInfo>>, preemptor: Arc<PodInfo>, node: String) {
        let binder = self.clone();
        tokio::spawn(async move {
            for victim in victims {
                binder.evict_one(&victim, &preemptor, &node).await;
            }
        });
    }

    async fn evict_one(&self, victim: &PodInfo, preemptor: &PodInfo, node: &str) {
        let mut condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": format!("{}: preempting to accommodate a higher priority pod", preemptor.scheduler_name),
            "lastProbeTime": null,
            "lastTransitionTime": now(),
        });
        if let Some(generation) = victim.generation {
            condition["observedGeneration"] = generation.into();
        }
        if !self.patch_status(victim, &Patch::Strategic(json!({"status": {"conditions": [condition]}}))).await {
            return;
        }
        let options = DeleteOptions::default().uid(&victim.uid);
        match self.client.delete::<Pod>(&victim.namespace, &victim.name, &options).await {
            Ok(()) => {
                let message = format!("Preempted by pod {} on node {node}", preemptor.uid);
                self.recorder.with_component(&preemptor.scheduler_name).event_ref(
                    reference(victim),
                    EventType::Normal,
                    "Preempted",
                    message,
                );
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => tracing::warn!(pod = victim.key(), %error, "the pod could not be preempted"),
        }
    }
}

/// What events refer to.
fn reference(pod: &PodInfo) -> ObjectReference {
    let text = |s: &str| Some(s.to_owned()).filter(|s| !s.is_empty());
    ObjectReference {
        api_version: text("v1"),
        kind: text("Pod"),
        namespace: text(&pod.namespace),
        name: text(&pod.name),
        uid: text(&pod.uid),
        resource_version: text(&pod.resource_version),
        field_path: None,
    }
}

/// The condition to write; `None`: it is there already.
fn condition(pod: &PodInfo, reason: &str, message: &str) -> Option<Value> {
    let known = pod.scheduled.as_deref();
    if known.is_some_and(|k: &Scheduled| k.status == "False" && k.reason == reason && k.message == message) {
        return None;
    }
    // The time is that of the last change of the status, which only the first condition is.
    let since = known.filter(|k| k.status == "False").and_then(|k| k.since);
    let mut condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": message,
        "lastProbeTime": null,
        "lastTransitionTime": since.map_or_else(now, seconds),
    });
    if let Some(generation) = pod.generation {
        condition["observedGeneration"] = generation.into();
    }
    Some(condition)
}

fn now() -> String {
    seconds(jiff::Timestamp::now())
}

fn seconds(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_written_when_they_change() {
        let known = Scheduled {
            status: "False".into(),
            reason: "Unschedulable".into(),
            message: "a".into(),
            since: Some(jiff::Timestamp::UNIX_EPOCH),
        };
        let pod = PodInfo { scheduled: Some(Box::new(known)), generation: Some(2), ..PodInfo::default() };
        assert_eq!(condition(&pod, "Unschedulable", "a"), None);
        let written = condition(&pod, "Unschedulable", "b").expect("another message");
        assert_eq!(written["lastTransitionTime"], "1970-01-01T00:00:00Z", "the status has not changed");
        assert_eq!(written["observedGeneration"], 2);
        assert!(condition(&PodInfo::default(), "Unschedulable", "a").is_some());
    }
}
