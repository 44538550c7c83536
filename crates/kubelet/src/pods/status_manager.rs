//! Reporting: only what differs is sent, one request at a time for each pod, repeated until it is accepted
//! (rule: kubelet `status/status_manager.go`).

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use steersman_client::{Action, Client, DeleteOptions, Patch, Store, WorkQueue, run_workers};
use tokio_util::sync::CancellationToken;

use super::{spec::PodExt, status::OWNED};
use crate::{api::*, names::CONFIG_HASH};

/// Requests that may be under way at once, for different pods.
const WORKERS: usize = 8;

/// Knows the status of every pod of this node and keeps the API informed.
#[derive(Clone)]
pub struct StatusManager {
    inner: Arc<Inner>,
}

struct Inner {
    client: Option<Client>,
    pods: Store<Pod>,
    queue: WorkQueue<String>,
    entries: Mutex<HashMap<String, Entry>>,
}

#[derive(Clone)]
struct Entry {
    namespace: String,
    name: String,
    is_static: bool,
    status: PodStatus,
    /// Nothing of the pod is left on the node.
    finished: bool,
    /// What the API answered last; it may be newer than what the watch has brought.
    latest: Option<Arc<Pod>>,
}

impl StatusManager {
    /// `pods` is the cache of what the API says.
    pub fn new(client: Option<Client>, pods: Store<Pod>) -> Self {
        StatusManager { inner: Arc::new(Inner { client, pods, queue: WorkQueue::new(), entries: Mutex::default() }) }
    }

    /// Sends until cancelled.
    pub async fn run(self, shutdown: CancellationToken) {
        let queue = self.inner.queue.clone();
        run_workers("status", &queue, WORKERS, &shutdown, move |uid: String| {
            let manager = self.clone();
            async move { manager.send(&uid).await }
        })
        .await;
    }

    /// Notes a new status; true if it differs from the one known before.
    pub fn set(&self, pod: &Pod, status: PodStatus) -> bool {
        let mut entries = self.inner.entries.lock();
        let entry = entries.entry(pod.uid().to_owned()).or_insert_with(|| Entry {
            namespace: pod.ns().to_owned(),
            name: pod.name().to_owned(),
            is_static: pod.is_static(),
            status: PodStatus::default(),
            finished: false,
            latest: None,
        });
        if entry.status == status {
            return false;
        }
        entry.status = status;
        drop(entries);
        self.inner.queue.add(pod.uid().to_owned());
        true
    }

    /// The status known last.
    pub fn get(&self, uid: &str) -> Option<PodStatus> {
        self.inner.entries.lock().get(uid).map(|e| e.status.clone())
    }

    /// Notes that nothing of the pod is left, so that the API may forget it too.
    pub fn finish(&self, uid: &str) {
        if let Some(entry) = self.inner.entries.lock().get_mut(uid) {
            entry.finished = true;
        }
        self.inner.queue.add(uid.to_owned());
    }

    /// Looks again at a pod, since the API has something new about it.
    pub fn touch(&self, uid: &str) {
        if self.inner.entries.lock().contains_key(uid) {
            self.inner.queue.add(uid.to_owned());
        }
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.inner.entries.lock().remove(uid);
    }

    async fn send(&self, uid: &str) -> steersman_client::Result<Action> {
        let Some(client) = &self.inner.client else { return Ok(Action::Done) };
        let Some(entry) = self.inner.entries.lock().get(uid).cloned() else { return Ok(Action::Done) };
        let cached = self.inner.pods.find(&entry.namespace, &entry.name);
        let Some(base) = newer(cached, entry.latest.clone()) else { return Ok(Action::Done) };
        let same = if entry.is_static {
            base.is_mirror() && base.annotation(CONFIG_HASH).is_some_and(|hash| hash == uid)
        } else {
            base.uid() == uid
        };
        if !same {
            return Ok(Action::Done);
        }
        let mut current = base.clone();
        if let Some(patch) = difference(base.uid(), base.status.as_ref(), &entry.status) {
            match client.patch_status::<Pod>(&entry.namespace, &entry.name, &Patch::Strategic(patch)).await {
                Ok(pod) => {
                    current = Arc::new(pod);
                    if let Some(entry) = self.inner.entries.lock().get_mut(uid) {
                        entry.latest = Some(current.clone());
                    }
                }
                Err(e) if e.is_not_found() => return Ok(Action::Done),
                // Of a conflict, too: either others wrote at once, or the watch will show another pod of this name.
                Err(e) => return Err(e),
            }
        }
        let deleting = current.metadata.deletion_timestamp.is_some();
        if entry.finished && deleting && !entry.is_static {
            let options = DeleteOptions::default().grace(0).uid(current.uid());
            match client.delete::<Pod>(&entry.namespace, &entry.name, &options).await {
                Ok(()) => {}
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Action::Done)
    }

    /// Waits until everything noted for a pod is sent, or `patience` has passed.
    pub async fn flush(&self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        while !self.inner.queue.is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The later of two states of one pod, by resource version.
fn newer(a: Option<Arc<Pod>>, b: Option<Arc<Pod>>) -> Option<Arc<Pod>> {
    let version =
        |p: &Arc<Pod>| p.metadata.resource_version.as_deref().and_then(|v| v.parse::<u64>().ok()).unwrap_or(0);
    match (a, b) {
        (Some(a), Some(b)) if a.uid() == b.uid() && version(&b) > version(&a) => Some(b),
        (Some(a), _) => Some(a),
        // The watch saw it go.
        (None, _) => None,
    }
}

/// A strategic merge patch that turns one status into another; `None` if there is nothing to say. Conditions that the
/// kubelet does not own are left alone.
pub fn difference(uid: &str, from: Option<&PodStatus>, to: &PodStatus) -> Option<Value> {
    let value = |status: &PodStatus| match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let from = from.map(value).unwrap_or_default();
    let to = value(to);
    let mut patch = Map::new();
    for (key, new) in &to {
        let old = from.get(key).unwrap_or(&Value::Null);
        if old == new {
            continue;
        }
        match key.as_str() {
            "conditions" => {
                let changed = changed_conditions(old, new);
                if !changed.is_empty() {
                    patch.insert(key.clone(), changed.into());
                }
            }
            // These lists merge by address, so a changed one has to be replaced explicitly.
            "podIPs" | "hostIPs" => {
                let mut list = vec![json!({"$patch": "replace"})];
                list.extend(new.as_array().cloned().unwrap_or_default());
                patch.insert(key.clone(), list.into());
            }
            _ => {
                patch.insert(key.clone(), new.clone());
            }
        }
    }
    for key in from.keys().filter(|k| !to.contains_key(*k)) {
        // What others write into a status is not ours to remove.
        if matches!(key.as_str(), "reason" | "message" | "podIP" | "podIPs" | "ephemeralContainerStatuses") {
            patch.insert(key.clone(), Value::Null);
        }
    }
    (!patch.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": patch}))
}

fn changed_conditions(old: &Value, new: &Value) -> Vec<Value> {
    let kind = |c: &Value| c["type"].as_str().unwrap_or_default().to_owned();
    let before = |name: &str| old.as_array().into_iter().flatten().find(|c| kind(c) == name);
    let mut out = Vec::new();
    for condition in new.as_array().into_iter().flatten() {
        let name = kind(condition);
        let old = before(&name);
        let owned = OWNED.contains(&name.as_str()) || name == "DisruptionTarget";
        if !owned || old.is_some_and(|o| strip(o) == strip(condition)) {
            continue;
        }
        let mut changed = condition.clone();
        // A merge keeps what is not mentioned.
        if let (Some(Value::Object(old)), Value::Object(changed)) = (old, &mut changed) {
            for key in old.keys() {
                changed.entry(key.clone()).or_insert(Value::Null);
            }
        }
        out.push(changed);
    }
    // Conditions that come and go are taken away explicitly.
    let gone = old.as_array().into_iter().flatten().map(kind).filter(|name| {
        OWNED.contains(&name.as_str()) && !new.as_array().into_iter().flatten().any(|c| kind(c) == *name)
    });
    out.extend(gone.map(|name| json!({"$patch": "delete", "type": name})));
    out
}

fn strip(condition: &Value) -> Value {
    let mut out = condition.clone();
    if let Value::Object(fields) = &mut out {
        fields.retain(|_, v| !v.is_null());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_are_sent() {
        let check = |from: Value, to: Value, expect: Option<Value>| {
            let status = |v: Value| serde_json::from_value::<PodStatus>(v).unwrap();
            let patch = difference("u", Some(&status(from.clone())), &status(to.clone()));
            assert_eq!(patch.map(|p| p["status"].clone()), expect, "{from} -> {to}");
        };
        let ready = |status: &str, message: Option<&str>| {
            let mut c = json!({"type": "Ready", "status": status});
            if let Some(m) = message {
                c["message"] = json!(m);
            }
            c
        };
        check(json!({"phase": "Running"}), json!({"phase": "Running"}), None);
        check(json!({"phase": "Pending"}), json!({"phase": "Running"}), Some(json!({"phase": "Running"})));
        check(
            json!({"conditions": [ready("False", Some("why")), {"type": "Other", "status": "True"}]}),
            json!({"conditions": [ready("True", None)]}),
            Some(json!({"conditions": [{"type": "Ready", "status": "True", "message": null}]})),
        );
        check(json!({"conditions": [{"type": "Other", "status": "True"}]}), json!({"conditions": []}), None);
        check(
            json!({"conditions": [{"type": "PodResizePending", "status": "True"}]}),
            json!({"conditions": []}),
            Some(json!({"conditions": [{"$patch": "delete", "type": "PodResizePending"}]})),
        );
        check(
            json!({"podIP": "1.1.1.1", "podIPs": [{"ip": "1.1.1.1"}]}),
            json!({"podIP": "2.2.2.2", "podIPs": [{"ip": "2.2.2.2"}]}),
            Some(json!({"podIP": "2.2.2.2", "podIPs": [{"$patch": "replace"}, {"ip": "2.2.2.2"}]})),
        );
        check(json!({"message": "x", "resize": "y"}), json!({}), Some(json!({"message": null})));
    }
}
