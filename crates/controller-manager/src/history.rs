//! ControllerRevisions: the templates that a DaemonSet or StatefulSet has had (rule: `pkg/controller/history`).

use std::{collections::BTreeMap, sync::Arc};

use ahash::HashSet;
use serde_json::{Value, json};
use steersman_api::k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, runtime::RawExtension},
};
use steersman_client::{Client, DeleteOptions, Object, Patch, Result};

use crate::hash;

/// The revision of a template: `kubectl rollout undo` applies its data to the owner as a strategic merge patch.
fn data_of(template: &PodTemplateSpec) -> Result<Value> {
    // By way of bytes: another way to encode all of a pod would cost a megabyte of code.
    let mut template: Value = serde_json::from_slice(&serde_json::to_vec(template)?)?;
    template["$patch"] = "replace".into();
    Ok(json!({"spec": {"template": template}}))
}

/// The template that a revision holds.
pub fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let template = revision.data.as_ref()?.0.get("spec")?.get("template")?;
    serde_json::from_slice(&serde_json::to_vec(template).ok()?).ok()
}

/// What becomes of an owner's revisions.
pub struct Outcome {
    /// The revision of the current template.
    pub current: Arc<ControllerRevision>,
    /// All others, oldest first.
    pub old: Vec<Arc<ControllerRevision>>,
    /// How many collisions of names were met so far.
    pub collisions: Option<i32>,
}

/// Finds or creates the revision of `template`; it gets the highest number, also when it is an old one that comes back.
pub async fn sync<O: Object>(
    client: &Client,
    owner: &O,
    template: &PodTemplateSpec,
    labels: &BTreeMap<String, String>,
    hash_label: &str,
    known: Vec<Arc<ControllerRevision>>,
    collisions: Option<i32>,
) -> Result<Outcome> {
    let mut old = known;
    old.sort_by_key(|r| (r.revision, r.metadata.creation_timestamp.clone(), r.name().to_owned()));
    let next = old.last().map_or(0, |revision| revision.revision) + 1;
    let equal = old.iter().rposition(|revision| template_of(revision).is_some_and(|known| known == *template));
    if let Some(place) = equal {
        let found = old.remove(place);
        let current = if place == old.len() {
            found
        } else {
            let patch = Patch::Merge(json!({"revision": next}));
            Arc::new(client.patch(found.namespace(), found.name(), &patch).await?)
        };
        return Ok(Outcome { current, old, collisions });
    }
    let hash = hash::of(template, collisions);
    let mut with_hash = labels.clone();
    with_hash.insert(hash_label.to_owned(), hash.clone());
    let revision = ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", owner.name())),
            namespace: Some(owner.namespace().to_owned()),
            labels: Some(with_hash),
            owner_references: Some(vec![owner.controller_reference()]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data_of(template)?)),
        revision: next,
    };
    match client.create(owner.namespace(), &revision).await {
        Ok(created) => Ok(Outcome { current: Arc::new(created), old, collisions }),
        Err(error) if error.is_already_exists() => {
            let found: ControllerRevision = client.get(owner.namespace(), revision.name()).await?;
            let ours = found.controller().is_some_and(|controller| controller.uid == owner.uid());
            if ours && template_of(&found).is_some_and(|known| known == *template) {
                return Ok(Outcome { current: Arc::new(found), old, collisions });
            }
            let collisions = Some(collisions.unwrap_or(0) + 1);
            Box::pin(sync(client, owner, template, labels, hash_label, old, collisions)).await
        }
        Err(error) => Err(error),
    }
}

/// Deletes the oldest revisions beyond `limit` that no pod has.
pub async fn truncate(
    client: &Client,
    old: &[Arc<ControllerRevision>],
    live: &HashSet<String>,
    limit: Option<i32>,
) -> Result<()> {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    let dead: Vec<_> = old.iter().filter(|revision| !live.contains(revision.name())).collect();
    for revision in dead.iter().take(dead.len().saturating_sub(limit)) {
        let options = DeleteOptions::default();
        match client.delete::<ControllerRevision>(revision.namespace(), revision.name(), &options).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_a_patch_that_holds_the_template() {
        let template: PodTemplateSpec =
            serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "image": "i"}]}})).unwrap();
        let data = data_of(&template).unwrap();
        assert_eq!(data["spec"]["template"]["$patch"], "replace");
        let revision = ControllerRevision { data: Some(RawExtension(data)), ..ControllerRevision::default() };
        assert_eq!(template_of(&revision), Some(template));
    }
}
