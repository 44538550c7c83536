//! Creating, adopting, releasing and deleting what a controller owns
//! (rule: `pkg/controller/controller_ref_manager.go`, `slowStartBatch`).

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use steersman_api::k8s_openapi::{
    api::core::v1::{Pod, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use steersman_client::{Client, DeleteOptions, Error, EventRecorder, EventType, Object, Patch, Result};

use crate::pods;

/// At most so many pods are created or deleted in one sync of one owner.
pub const BURST: usize = 500;

/// What to do with each object that an owner has, or might have.
#[derive(Debug)]
pub struct Claim<K> {
    /// Owned, and rightly so.
    pub keep: Vec<Arc<K>>,
    /// Matches, and nobody controls it.
    pub adopt: Vec<Arc<K>>,
    /// Owned, but does not match any more.
    pub release: Vec<Arc<K>>,
}

/// Sorts objects into those to keep, adopt and release.
pub fn claim<K: Object>(
    owner_uid: &str,
    owner_deleting: bool,
    candidates: impl IntoIterator<Item = Arc<K>>,
    matches: impl Fn(&BTreeMap<String, String>) -> bool,
) -> Claim<K> {
    let mut claim = Claim { keep: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for object in candidates {
        match object.controller() {
            Some(controller) if controller.uid != owner_uid => {}
            Some(_) if matches(object.labels()) => claim.keep.push(object),
            Some(_) if owner_deleting => {}
            Some(_) => claim.release.push(object),
            None if owner_deleting || object.is_deleting() || !matches(object.labels()) => {}
            None => claim.adopt.push(object),
        }
    }
    claim
}

impl<K: Object> Claim<K> {
    /// Carries the claim out; returns what the owner now has. Before anything is adopted, the apiserver is asked
    /// whether the owner still exists: adoption by a deleted owner would be deletion.
    pub async fn settle<O: Object>(self, client: &Client, owner: &O) -> Result<Vec<Arc<K>>> {
        let mut kept = self.keep;
        if !self.adopt.is_empty() {
            let fresh: O = client.get(owner.namespace(), owner.name()).await?;
            if fresh.uid() == owner.uid() && !fresh.is_deleting() {
                for object in self.adopt {
                    match adopt(client, &*object, &owner.controller_reference()).await {
                        Ok(()) => kept.push(object),
                        // It is gone or has changed: its next event brings us back.
                        Err(error) if error.is_not_found() || error.is_invalid() || error.is_conflict() => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        for object in self.release {
            match release(client, &*object, owner.uid()).await {
                Ok(()) => {}
                Err(error) if error.is_not_found() || error.is_invalid() || error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(kept)
    }
}

async fn adopt<K: Object>(client: &Client, object: &K, owner: &OwnerReference) -> Result<()> {
    let patch = json!({"metadata": {"ownerReferences": [owner], "uid": object.uid()}});
    client.patch::<K>(object.namespace(), object.name(), &Patch::Strategic(patch)).await?;
    Ok(())
}

async fn release<K: Object>(client: &Client, object: &K, owner_uid: &str) -> Result<()> {
    let patch = json!({"metadata": {
        "ownerReferences": [{"$patch": "delete", "uid": owner_uid}],
        "uid": object.uid(),
    }});
    client.patch::<K>(object.namespace(), object.name(), &Patch::Strategic(patch)).await?;
    Ok(())
}

/// Calls `attempt` `count` times in batches of 1, 2, 4, ... and stops after the first batch with a failure, so that a
/// quota or a broken template costs few useless requests. Returns the number of successes and the first failure.
pub async fn slow_start<F, R>(count: usize, attempt: F) -> (usize, Option<Error>)
where
    F: Fn(usize) -> R,
    R: Future<Output = Result<()>>,
{
    let (mut done, mut batch) = (0, 1);
    while done < count {
        let size = batch.min(count - done);
        let results = futures::future::join_all((done..done + size).map(&attempt)).await;
        let failures: Vec<Error> = results.into_iter().filter_map(Result::err).collect();
        done += size - failures.len();
        if let Some(error) = failures.into_iter().next() {
            return (done, Some(error));
        }
        batch *= 2;
    }
    (done, None)
}

/// Writes the status of an object. The cached object is often older than our own last write: then the status goes onto
/// the newest state, once.
pub async fn write_status<K: Object>(client: &Client, object: &K, set: impl Fn(&mut K)) -> Result<K> {
    let mut changed = object.clone();
    set(&mut changed);
    match client.update_status(&changed).await {
        Err(error) if error.is_conflict() => {
            let mut fresh: K = client.get(object.namespace(), object.name()).await?;
            if fresh.uid() != object.uid() {
                return Err(error);
            }
            set(&mut fresh);
            client.update_status(&fresh).await
        }
        result => result,
    }
}

/// Creates and deletes pods and tells about it in events on the owner.
#[derive(Clone)]
pub struct PodControl {
    /// Makes the requests.
    pub client: Client,
    /// Records the events.
    pub recorder: EventRecorder,
}

impl PodControl {
    /// Creates a pod from a template.
    pub async fn create<O: Object>(&self, owner: &O, template: &PodTemplateSpec) -> Result<Pod> {
        self.create_pod(owner, &pods::from_template(template, owner.name(), owner.controller_reference())).await
    }

    /// Creates a pod as given.
    pub async fn create_pod<O: Object>(&self, owner: &O, pod: &Pod) -> Result<Pod> {
        match self.client.create(owner.namespace(), pod).await {
            Ok(created) => {
                let message = format!("Created pod: {}", created.name());
                self.recorder.event(owner, EventType::Normal, "SuccessfulCreate", message);
                Ok(created)
            }
            Err(error) => {
                if !error.is_namespace_terminating() {
                    let message = format!("Error creating: {error}");
                    self.recorder.event(owner, EventType::Warning, "FailedCreate", message);
                }
                Err(error)
            }
        }
    }

    /// Deletes a pod.
    pub async fn delete<O: Object>(&self, owner: &O, namespace: &str, name: &str) -> Result<()> {
        match self.client.delete::<Pod>(namespace, name, &DeleteOptions::default()).await {
            Ok(()) => {
                self.recorder.event(owner, EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
                Ok(())
            }
            Err(error) if error.is_not_found() => Err(error),
            Err(error) => {
                self.recorder.event(owner, EventType::Warning, "FailedDelete", format!("Error deleting: {error}"));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn slow_start_stops_at_the_first_failure() {
        let check = async |count, fails_from: usize, expect_calls, expect_done| {
            let calls = AtomicUsize::new(0);
            let (done, error) = slow_start(count, |n| {
                calls.fetch_add(1, Ordering::Relaxed);
                async move { if n >= fails_from { Err(Error::Config("no".to_owned())) } else { Ok(()) } }
            })
            .await;
            assert_eq!((calls.into_inner(), done), (expect_calls, expect_done));
            assert_eq!(error.is_some(), fails_from < count);
        };
        check(10, 100, 10, 10).await;
        check(10, 0, 1, 0).await;
        check(10, 4, 7, 4).await;
    }

    #[test]
    fn claims_what_matches_and_is_free() {
        let pod = |name: &str, app: &str, owner: Option<&str>, deleting: bool| {
            let mut pod = Pod::default();
            pod.metadata.name = Some(name.to_owned());
            pod.metadata.labels = Some([("app".to_owned(), app.to_owned())].into());
            pod.metadata.deletion_timestamp = deleting.then(crate::context::now);
            pod.metadata.owner_references = owner.map(|uid| {
                vec![OwnerReference { uid: uid.to_owned(), controller: Some(true), ..OwnerReference::default() }]
            });
            Arc::new(pod)
        };
        let all = [
            pod("mine", "web", Some("u"), false),
            pod("changed", "db", Some("u"), false),
            pod("free", "web", None, false),
            pod("dying", "web", None, true),
            pod("foreign", "web", Some("v"), false),
        ];
        let check = |deleting, expect: [&str; 3]| {
            let claim = claim("u", deleting, all.clone(), |labels| labels["app"] == "web");
            let names = |pods: &[Arc<Pod>]| pods.iter().map(|p| p.name().to_owned()).collect::<Vec<_>>().join(",");
            assert_eq!([names(&claim.keep), names(&claim.adopt), names(&claim.release)], expect);
        };
        check(false, ["mine", "free", "changed"]);
        check(true, ["mine", "", ""]);
    }
}
