//! Persistent volumes and claims: binding, protection, and claims of ephemeral volumes.

pub mod binder;
pub mod claim_protection;
pub mod ephemeral;
pub mod volume_protection;

use steersman_client::{Client, Object, Result};

use crate::context::Context;
use steersman_api::k8s_openapi::api::core::v1::Pod;

/// Adds or removes one finalizer.
pub async fn protect<K: Object>(client: &Client, object: &K, finalizer: &str, wanted: bool) -> Result<()> {
    let has = object.finalizers().iter().any(|known| known == finalizer);
    if has == wanted {
        return Ok(());
    }
    let mut changed = object.clone();
    let finalizers = changed.metadata_mut().finalizers.get_or_insert_default();
    if wanted {
        finalizers.push(finalizer.to_owned());
    } else {
        finalizers.retain(|known| known != finalizer);
    }
    match client.update(&changed).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// The claims that a pod's volumes name, also those that are made for it.
fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => Some(source.claim_name.clone()),
            (None, Some(_)) => Some(format!("{}-{}", pod.name(), volume.name)),
            (None, None) => None,
        })
        .collect()
}

/// All pods, with an index by claim.
fn pods_by_claim(context: &Context) -> steersman_client::Informer<Pod> {
    let pods = context.pods();
    pods.add_index(crate::context::index::CLAIM, |pod| {
        claims_of(pod).into_iter().map(|claim| format!("{}/{claim}", pod.namespace())).collect()
    });
    pods
}
