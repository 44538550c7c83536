//! The Scale of a workload (rule: `pkg/registry/apps/*/storage`, autoscaling `ValidateScale`).

use crate::ScalePaths;
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_patch::managed::{scale_from_parent, scale_to_parent};

/// The Scale of an object, without managedFields.
pub(crate) fn of(parent: &Value, paths: &ScalePaths) -> Value {
    let mut scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {}, "spec": {}, "status": {}});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(v) = object::get(parent, &["metadata", field]) {
            object::set(&mut scale, &["metadata", field], v.clone());
        }
    }
    let wanted = object::int(parent, paths.spec_replicas).unwrap_or(0);
    if wanted != 0 {
        object::set(&mut scale, &["spec", "replicas"], wanted);
    }
    object::set(&mut scale, &["status", "replicas"], object::int(parent, paths.status_replicas).unwrap_or(0));
    let selector = object::get(parent, paths.selector).map(selector).unwrap_or_default();
    if !selector.is_empty() {
        object::set(&mut scale, &["status", "selector"], selector);
    }
    scale
}

/// The text of a LabelSelector, or of a plain map of labels.
fn selector(value: &Value) -> String {
    use steersman_apimachinery::selector::LabelSelector;
    let is_object = value.get("matchLabels").is_some_and(Value::is_object) || value.get("matchExpressions").is_some();
    if is_object {
        LabelSelector::from_object(Some(value)).map(|s| s.to_string()).unwrap_or_default()
    } else {
        LabelSelector::from_map_value(value).to_string()
    }
}

/// What is wrong with a Scale.
pub(crate) fn validate(scale: &Value) -> ErrorList {
    let null = Value::Null;
    let metadata = scale.get("metadata").unwrap_or(&null);
    let mut errors = validation::validate_object_meta(
        metadata,
        true,
        &|n, p| validation::dns_subdomain(n, p),
        &Path::new("metadata"),
    );
    let replicas = object::int(scale, &["spec", "replicas"]).unwrap_or(0);
    if replicas < 0 {
        errors.invalid(&Path::new("spec").child("replicas"), replicas, "must be greater than or equal to 0");
    }
    errors
}

/// Carries the managers of the replicas between the parent and its Scale.
pub(crate) struct Handler<'a> {
    /// The version of the parent.
    pub(crate) api_version: &'a str,
    pub(crate) paths: &'a ScalePaths,
}

impl Handler<'_> {
    fn mappings(&self) -> [(&str, &[&str]); 1] {
        [(self.api_version, self.paths.spec_replicas)]
    }
    /// Writes the managers of the parent's replicas into the Scale.
    pub(crate) fn to_scale(&self, parent: &Value, scale: &mut Value) {
        let managers = scale_from_parent(object::list(parent, &["metadata", "managedFields"]), &self.mappings());
        if !managers.is_empty() {
            object::set(scale, &["metadata", "managedFields"], managers);
        }
    }
    /// Writes the managers of the Scale back into the parent.
    pub(crate) fn to_parent(&self, scale: &Value, parent: &mut Value) {
        let list = |v| object::list(v, &["metadata", "managedFields"]);
        let managers = scale_to_parent(list(parent), list(scale), self.api_version, &self.mappings());
        if managers.is_empty() {
            object::remove(parent, &["metadata", "managedFields"]);
        } else {
            object::set(parent, &["metadata", "managedFields"], managers);
        }
    }
}
