//! Validation of whole pods (rule: core validation `ValidatePodCreate`, `validatePodMetadataAndSpec`).

use crate::shared::pod::{Rules, annotations, containers, pod_spec};
use crate::shared::rules::known_finalizers;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object};

/// A new pod.
pub fn create(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let rules = Rules::for_pod(obj, None);
    metadata_and_spec(&mut e, obj, &rules);
    let (spec, at) = (obj.get("spec").unwrap_or(&Value::Null), Path::new("spec"));
    if !object::list(spec, &["ephemeralContainers"]).is_empty() {
        e.forbidden(&at.child("ephemeralContainers"), "cannot be set on create");
    }
    if !object::str(spec, &["nodeName"]).is_empty() && !object::list(spec, &["schedulingGates"]).is_empty() {
        e.forbidden(&at.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    annotations::seccomp_matches(&mut e, obj, spec, &at);
    annotations::apparmor_matches(&mut e, obj, spec, &at);
    e
}

/// Annotations and spec, of new and of changed pods.
pub fn metadata_and_spec(e: &mut ErrorList, obj: &Value, rules: &Rules<'_>) {
    let (spec, at) = (obj.get("spec").unwrap_or(&Value::Null), Path::new("spec"));
    known_finalizers(e, obj);
    annotations::pod_annotations(e, obj, spec, &Path::new("metadata").child("annotations"), rules);
    pod_spec(e, spec, &at, rules);
    if object::str(spec, &["serviceAccountName"]).is_empty() {
        for (i, volume) in object::list(spec, &["volumes"]).iter().enumerate() {
            for (j, source) in object::list(volume, &["projected", "sources"]).iter().enumerate() {
                if source.get("serviceAccountToken").is_some() {
                    let at = at.child("volumes").index(i).child("projected").child("sources").index(j);
                    let why = "must not be specified when serviceAccountName is not set";
                    e.forbidden(&at.child("serviceAccountToken"), why);
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for (i, c) in object::list(spec, &[list]).iter().enumerate() {
            let image = object::str(c, &["image"]);
            if image.trim().len() != image.len() {
                containers::image_is_trimmed(e, c, &at.child(list).index(i));
            }
        }
    }
}
