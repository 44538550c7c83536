//! Judging objects, and acting on the verdict (rule: `garbagecollector.go`, `attemptToDeleteItem`).

use std::sync::Arc;

use serde_json::{Value, json};
use steersman_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use steersman_client::{
    Action, Client, DeleteOptions, Error, Object, PartialObjectMetadata, Patch, PropagationPolicy, Result,
};

use super::{FOREGROUND, ORPHAN, Shared, Uid, graph::Identity};
use crate::discovery::Resource;

/// What has become of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnerState {
    /// It exists and keeps its dependants.
    Solid,
    /// It is gone.
    Absent,
    /// It waits for its dependants to go.
    Waiting,
}

/// The resource of an object, and the namespace to look for it.
fn locate(shared: &Shared, identity: &Identity) -> Result<(Arc<Resource>, String)> {
    let resource =
        identity.resource.clone().or_else(|| shared.monitors.resource(&identity.api_version, &identity.kind));
    let Some(resource) = resource else {
        let (version, kind) = (&identity.api_version, &identity.kind);
        return Err(Error::Config(format!("no matches for kind \"{kind}\" in version \"{version}\"")));
    };
    let namespace = if resource.namespaced { identity.namespace.to_string() } else { String::new() };
    Ok((resource, namespace))
}

async fn live(client: &Client, path: &str) -> Result<Option<PartialObjectMetadata>> {
    match client.get_metadata_path(path).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes the object if it is garbage; lets it go if it only waited for its dependants.
pub async fn try_delete(shared: &Shared, client: &Client, uid: &Uid) -> Result<Action> {
    let (identity, foreground) = {
        let graph = shared.graph.lock();
        let Some(node) = graph.get(uid) else { return Ok(Action::Done) };
        if node.deleting && !node.foreground {
            return Ok(Action::Done);
        }
        if !node.is_virtual && !node.foreground && node.owners.is_empty() {
            return Ok(Action::Done);
        }
        (node.identity.clone(), node.foreground)
    };
    let (resource, namespace) = locate(shared, &identity)?;
    if resource.namespaced && namespace.is_empty() {
        // A cluster-scoped object cannot be owned by one in a namespace: nothing can be said about it.
        return Ok(Action::Done);
    }
    let path = resource.path.object(&namespace, &identity.name);
    let Some(object) = live(client, &path).await?.filter(|object| object.uid() == &**uid) else {
        // It was only known from references, or its deletion has not reached us yet.
        shared.change(|graph| graph.forget(uid));
        return Ok(Action::Done);
    };
    if foreground {
        return finish_foreground(shared, client, uid, &path, &object).await;
    }
    if object.owners().is_empty() || object.is_deleting() {
        return Ok(Action::Done);
    }
    let mut states = Vec::new();
    for owner in object.owners() {
        states.push((owner, state_of(shared, client, owner, object.namespace()).await?));
    }
    let any = |wanted| states.iter().any(|(_, state)| *state == wanted);
    if any(OwnerState::Solid) {
        if any(OwnerState::Absent) || any(OwnerState::Waiting) {
            let solid = states.iter().filter(|(_, state)| *state == OwnerState::Solid);
            let left: Vec<&OwnerReference> = solid.map(|(owner, _)| *owner).collect();
            patch(client, &path, &object, json!({"ownerReferences": left})).await?;
        }
        return Ok(Action::Done);
    }
    let (has_dependants, in_circle) = {
        let graph = shared.graph.lock();
        let has_dependants = graph.get(uid).is_some_and(|node| !node.dependants.is_empty());
        (has_dependants, graph.has_waiting_dependant(uid))
    };
    let has = |finalizer: &str| object.finalizers().iter().any(|f| f == finalizer);
    let policy = if any(OwnerState::Waiting) && has_dependants {
        if in_circle {
            let unblocked: Vec<OwnerReference> = object
                .owners()
                .iter()
                .map(|owner| OwnerReference { block_owner_deletion: Some(false), ..owner.clone() })
                .collect();
            patch(client, &path, &object, json!({"ownerReferences": unblocked})).await?;
        }
        PropagationPolicy::Foreground
    } else if has(ORPHAN) {
        PropagationPolicy::Orphan
    } else if has(FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    };
    tracing::debug!(%path, ?policy, "deleting, for its owners are gone");
    match client.delete_path(&path, &DeleteOptions::default().uid(uid).propagation(policy)).await {
        // After a conflict the object is judged anew: it may be another one, or it was only being written.
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(Action::Done),
    }
}

async fn state_of(shared: &Shared, client: &Client, owner: &OwnerReference, namespace: &str) -> Result<OwnerState> {
    let of = |waiting: bool| if waiting { OwnerState::Waiting } else { OwnerState::Solid };
    // What a watch has shown us exists, or its deletion will come by and bring us here again.
    if let Some(node) = shared.graph.lock().get(&Uid::from(owner.uid.as_str()))
        && !node.is_virtual
    {
        return Ok(of(node.deleting && node.foreground));
    }
    let identity = Identity {
        resource: None,
        api_version: owner.api_version.as_str().into(),
        kind: owner.kind.as_str().into(),
        namespace: namespace.into(),
        name: owner.name.as_str().into(),
    };
    let (resource, namespace) = locate(shared, &identity)?;
    if resource.namespaced && namespace.is_empty() {
        return Ok(OwnerState::Solid);
    }
    let path = resource.path.object(&namespace, &owner.name);
    Ok(match live(client, &path).await?.filter(|object| object.uid() == owner.uid) {
        None => OwnerState::Absent,
        Some(object) => of(object.is_deleting() && object.finalizers().iter().any(|f| f == FOREGROUND)),
    })
}

/// Lets an owner go whose blocking dependants are gone; otherwise sees to it that they go.
async fn finish_foreground(
    shared: &Shared,
    client: &Client,
    uid: &Uid,
    path: &str,
    object: &PartialObjectMetadata,
) -> Result<Action> {
    let blocking = shared.graph.lock().blocking(uid);
    if blocking.is_empty() {
        remove_finalizer(client, path, object, FOREGROUND).await?;
        return Ok(Action::Done);
    }
    let waiting: Vec<Uid> = {
        let graph = shared.graph.lock();
        blocking.into_iter().filter(|one| graph.get(one).is_some_and(|node| !node.foreground)).collect()
    };
    waiting.into_iter().for_each(|dependant| shared.to_delete.add(dependant));
    Ok(Action::Done)
}

/// Removes the references of all dependants to an owner, then lets the owner go.
pub async fn orphan(shared: &Shared, client: &Client, uid: &Uid) -> Result<Action> {
    let (identity, dependants) = {
        let graph = shared.graph.lock();
        let Some(node) = graph.get(uid) else { return Ok(Action::Done) };
        let of = |one: &Uid| Some((one.clone(), graph.get(one)?.identity.clone()));
        (node.identity.clone(), node.dependants.iter().filter_map(of).collect::<Vec<_>>())
    };
    let freed = futures::future::join_all(dependants.iter().map(|(one, identity)| async move {
        let (resource, namespace) = locate(shared, identity)?;
        let path = resource.path.object(&namespace, &identity.name);
        let Some(object) = live(client, &path).await?.filter(|object| object.uid() == &**one) else { return Ok(()) };
        let left: Vec<&OwnerReference> = object.owners().iter().filter(|owner| owner.uid != **uid).collect();
        if left.len() == object.owners().len() {
            return Ok(());
        }
        match patch(client, &path, &object, json!({"ownerReferences": left})).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }))
    .await;
    freed.into_iter().collect::<Result<()>>()?;
    let (resource, namespace) = locate(shared, &identity)?;
    let path = resource.path.object(&namespace, &identity.name);
    if let Some(object) = live(client, &path).await?.filter(|object| object.uid() == &**uid) {
        remove_finalizer(client, &path, &object, ORPHAN).await?;
    }
    Ok(Action::Done)
}

async fn remove_finalizer(client: &Client, path: &str, object: &PartialObjectMetadata, one: &str) -> Result<()> {
    let left: Vec<&String> = object.finalizers().iter().filter(|finalizer| *finalizer != one).collect();
    if left.len() == object.finalizers().len() {
        return Ok(());
    }
    match patch(client, path, object, json!({"finalizers": left})).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Merges into the metadata of the object, if it is still as it was read.
async fn patch(client: &Client, path: &str, object: &PartialObjectMetadata, metadata: Value) -> Result<()> {
    let mut metadata = metadata;
    metadata["uid"] = object.uid().into();
    metadata["resourceVersion"] = object.resource_version().into();
    client.patch_raw(path, "", &Patch::Merge(json!({"metadata": metadata}))).await?;
    Ok(())
}
