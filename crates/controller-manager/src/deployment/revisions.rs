//! The ReplicaSet of the current template, and those of earlier ones (rule: `deployment/sync.go`).

use std::collections::BTreeMap;

use steersman_api::k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use steersman_client::{DeleteOptions, EventType, Object, Result};

use super::{Sync, arithmetic::*, status};
use crate::hash;

const HASH_LABEL: &str = "pod-template-hash";
/// Annotations of a Deployment that mean nothing on its ReplicaSets.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
/// A longer history of revisions forgets its oldest.
const MAX_HISTORY: usize = 2000;

/// Whether a ReplicaSet has the Deployment's template, but for the hash that was added to it.
fn has_template(set: &ReplicaSet, wanted: &PodTemplateSpec) -> bool {
    let Some(template) = set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else { return false };
    let no_meta = ObjectMeta::default();
    let (a, b) = (template.metadata.as_ref().unwrap_or(&no_meta), wanted.metadata.as_ref().unwrap_or(&no_meta));
    let map = |map: &Option<BTreeMap<String, String>>| {
        let mut map = map.clone().unwrap_or_default();
        map.remove(HASH_LABEL);
        map
    };
    map(&a.labels) == map(&b.labels)
        && a.annotations.clone().unwrap_or_default() == b.annotations.clone().unwrap_or_default()
        && a.finalizers.clone().unwrap_or_default() == b.finalizers.clone().unwrap_or_default()
        && template.spec == wanted.spec
}

/// The oldest ReplicaSet that has the Deployment's template.
pub fn find_new<'a>(deployment: &Deployment, sets: &'a [ReplicaSet]) -> Option<&'a ReplicaSet> {
    let template = &deployment.spec.as_ref()?.template;
    let age = |set: &&ReplicaSet| (set.metadata.creation_timestamp.clone(), set.name().to_owned());
    sets.iter().filter(|set| has_template(set, template)).min_by_key(age)
}

/// Makes a ReplicaSet carry the Deployment's annotations, its revision, and what it was scaled to; whether that changed
/// anything (rule: `SetNewReplicaSetAnnotations`).
fn annotate(deployment: &Deployment, set: &mut ReplicaSet, new_revision: i64, exists: bool) -> bool {
    let annotations = set.metadata.annotations.get_or_insert_default();
    let before = annotations.clone();
    for (name, value) in deployment.annotations().iter().filter(|(name, _)| !NOT_COPIED.contains(&name.as_str())) {
        annotations.insert(name.clone(), value.clone());
    }
    let old_revision = annotations.get(REVISION).cloned();
    let old_number: i64 = old_revision.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
    if old_number < new_revision {
        annotations.insert(REVISION.to_owned(), new_revision.to_string());
        if let Some(old) = old_revision.filter(|old| !old.is_empty()) {
            let history = annotations.entry(REVISION_HISTORY.to_owned()).or_default();
            if !history.is_empty() {
                history.push(',');
            }
            history.push_str(&old);
            while history.len() > MAX_HISTORY {
                let Some(comma) = history.find(',') else { break };
                history.drain(..=comma);
            }
        }
    }
    if !exists {
        let wanted = replicas(deployment);
        annotations.insert(DESIRED.to_owned(), wanted.to_string());
        annotations.insert(MAX.to_owned(), (wanted + max_surge(deployment)).to_string());
    }
    *annotations != before
}

impl Sync<'_> {
    /// The ReplicaSets of earlier templates.
    pub fn old_sets(&self) -> Vec<ReplicaSet> {
        let new = self.new_set().map(|set| set.uid().to_owned());
        self.sets.iter().filter(|set| Some(set.uid()) != new.as_deref()).cloned().collect()
    }

    /// The ReplicaSet of the current template.
    pub fn new_set(&self) -> Option<&ReplicaSet> {
        find_new(&self.deployment, &self.sets)
    }

    /// Brings revisions up to date and, if wanted, creates the ReplicaSet of the current template.
    pub async fn sync_revision(&mut self, create: bool) -> Result<()> {
        let new_revision = self.old_sets().iter().map(revision).max().unwrap_or(0) + 1;
        let Some(existing) = self.new_set().cloned() else {
            return if create { self.create_set(new_revision).await } else { Ok(()) };
        };
        let mut wanted = existing.clone();
        let annotated = annotate(&self.deployment, &mut wanted, new_revision, true);
        let min_ready = self.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
        let spec = wanted.spec.get_or_insert_default();
        if annotated || spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0) {
            spec.min_ready_seconds = min_ready;
            wanted = self.controller.client.update(&wanted).await?;
            self.remember(wanted.clone());
        }
        let found = format!("Found new replica set \"{}\"", wanted.name());
        let number = revision(&wanted);
        self.note_revision(number, "FoundNewReplicaSet", found, false).await
    }

    /// Notes the revision on the Deployment, and a condition unless there is one that must stay.
    async fn note_revision(&mut self, number: i64, reason: &str, message: String, overwrite: bool) -> Result<()> {
        let annotations = self.deployment.metadata.annotations.get_or_insert_default();
        let mut changed = annotations.insert(REVISION.to_owned(), number.to_string()) != Some(number.to_string());
        let known = status::condition(&self.deployment, status::PROGRESSING).is_some();
        if status::has_deadline(&self.deployment) && (overwrite || !known) {
            let status = self.deployment.status.get_or_insert_default();
            status::set_condition(status, status::PROGRESSING, "True", reason, message);
            changed = true;
        }
        if changed { self.write_status().await } else { Ok(()) }
    }

    async fn create_set(&mut self, new_revision: i64) -> Result<()> {
        let deployment = &self.deployment;
        let Some(spec) = deployment.spec.clone() else { return Ok(()) };
        let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
        let hash = hash::template(&spec.template, collisions);
        let mut template = spec.template.clone();
        let meta = template.metadata.get_or_insert_default();
        meta.labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
        let labels = meta.labels.clone();
        let mut selector = spec.selector.clone();
        selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
        let name = format!("{}-{hash}", deployment.name());
        let size = new_size(deployment, total_size(&self.sets), 0);
        let mut set = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(deployment.namespace().to_owned()),
                owner_references: Some(vec![deployment.controller_reference()]),
                labels,
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                min_ready_seconds: spec.min_ready_seconds,
                replicas: Some(size),
                selector,
                template: Some(template),
            }),
            status: None,
        };
        annotate(deployment, &mut set, new_revision, false);
        let client = &self.controller.client;
        let (created, is_new) = match client.create(deployment.namespace(), &set).await {
            Ok(created) => (created, true),
            Err(error) if error.is_already_exists() => {
                let found: ReplicaSet = client.get(deployment.namespace(), &name).await?;
                let ours = found.controller().is_some_and(|owner| owner.uid == deployment.uid());
                if ours && has_template(&found, &spec.template) {
                    (found, false)
                } else {
                    // Another template has the same hash: the next attempt uses another one.
                    let status = self.deployment.status.get_or_insert_default();
                    status.collision_count = Some(collisions.unwrap_or(0) + 1);
                    self.write_status().await?;
                    return Err(error);
                }
            }
            Err(error) if error.is_namespace_terminating() => return Ok(()),
            Err(error) => {
                let message = format!("Failed to create new replica set \"{name}\": {error}");
                if status::has_deadline(&self.deployment) {
                    let status = self.deployment.status.get_or_insert_default();
                    let reason = "ReplicaSetCreateError";
                    status::set_condition(status, status::PROGRESSING, "False", reason, message.clone());
                    self.write_status().await?;
                }
                self.event(EventType::Warning, "ReplicaSetCreateError", message);
                return Err(error);
            }
        };
        self.sets.push(created);
        if !is_new {
            return self.note_revision(new_revision, "FoundNewReplicaSet", String::new(), false).await;
        }
        if size > 0 {
            let message = format!("Scaled up replica set {name} from 0 to {size}");
            self.event(EventType::Normal, "ScalingReplicaSet", message);
        }
        let message = format!("Created new replica set \"{name}\"");
        self.note_revision(new_revision, "NewReplicaSetCreated", message, true).await
    }

    /// Deletes what the revision history limit does not keep (rule: `cleanupDeployment`).
    pub async fn clean_up(&self) -> Result<()> {
        let Some(limit) = self.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit) else {
            return Ok(());
        };
        let mut old: Vec<_> = self.old_sets().into_iter().filter(|set| !set.is_deleting()).collect();
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.sort_by_key(|set| (revision(set), set.metadata.creation_timestamp.clone()));
        for set in old.iter().take(surplus) {
            let status = set.status.clone().unwrap_or_default();
            let observed = status.observed_generation.unwrap_or(0) >= set.generation();
            if status.replicas != 0 || size(set) != 0 || !observed {
                continue;
            }
            let options = DeleteOptions::default().uid(set.uid());
            match self.controller.client.delete::<ReplicaSet>(set.namespace(), set.name(), &options).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rollback_is_a_new_revision_of_an_old_set() {
        let deployment: Deployment =
            serde_json::from_value(json!({"metadata": {"annotations": {"team": "x"}}})).unwrap();
        let mut set: ReplicaSet =
            serde_json::from_value(json!({"metadata": {"annotations": {REVISION: "1", REVISION_HISTORY: "0"}}}))
                .unwrap();
        assert!(annotate(&deployment, &mut set, 4, true));
        let expect = [(REVISION, "4"), (REVISION_HISTORY, "0,1"), ("team", "x")];
        assert_eq!(*set.annotations(), expect.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert!(!annotate(&deployment, &mut set, 4, true));
    }

    #[test]
    fn finds_the_set_of_the_template() {
        let template = |image: &str| json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": image}]}});
        let deployment: Deployment =
            serde_json::from_value(json!({"spec": {"selector": {}, "template": template("v2")}})).unwrap();
        let set = |name: &str, image: &str| -> ReplicaSet {
            let mut template = template(image);
            template["metadata"]["labels"][HASH_LABEL] = name.into();
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"selector": {}, "template": template}}))
                .unwrap()
        };
        let sets = [set("a", "v1"), set("b", "v2")];
        assert_eq!(find_new(&deployment, &sets).map(Object::name), Some("b"));
        assert!(find_new(&deployment, &sets[..1]).is_none());
    }
}
