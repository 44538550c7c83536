//! Claims that stand in other objects: ephemeral volumes of pods, templates of stateful sets
//! (rule: core validation `ValidatePersistentVolumeClaimTemplate`, `ValidatePersistentVolumeClaimSpec`).

use super::pod::resources::quantity_value;
use super::pod::say;
use super::quantity::amount;
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// Fields of metadata that a template may not have, in the order of upstream's struct.
const METADATA: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// A template with metadata and spec.
pub fn template(e: &mut ErrorList, template: &Value, at: &Path) {
    let path = at.child("metadata");
    validation::annotations(e, object::get(template, &["metadata", "annotations"]), &path.child("annotations"));
    validation::labels(e, object::get(template, &["metadata", "labels"]), &path.child("labels"));
    for key in METADATA {
        if object::get(template, &["metadata", key]).is_some_and(|v| !v.is_null()) {
            e.forbidden(&path.child(key), "cannot be set");
        }
    }
    claim_spec(e, template.get("spec").unwrap_or(&Value::Null), &at.child("spec"));
}

/// The spec of a claim.
pub fn claim_spec(e: &mut ErrorList, spec: &Value, at: &Path) {
    const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    let modes = object::list(spec, &["accessModes"]);
    if modes.is_empty() {
        e.required(&at.child("accessModes"), "at least 1 access mode is required");
    }
    validation::label_selector(e, spec.get("selector"), true, &at.child("selector"));
    let (mut once, mut other) = (false, false);
    for mode in modes.iter().filter_map(Value::as_str) {
        if !MODES.contains(&mode) {
            e.not_supported(&at.child("accessModes"), mode, MODES);
        }
        once |= mode == "ReadWriteOncePod";
        other |= mode != "ReadWriteOncePod" && MODES.contains(&mode);
    }
    if once && other {
        e.forbidden(&at.child("accessModes"), "may not use ReadWriteOncePod with other access modes");
    }
    storage(e, spec, &at.child("resources").key("storage"));
    let class = |e: &mut ErrorList, key: &str| {
        if let Some(name) = spec.get(key).and_then(Value::as_str).filter(|n| !n.is_empty()) {
            say(e, || at.child(key), name, validation::dns_subdomain(name, false));
        }
    };
    class(e, "storageClassName");
    if let Some(mode) = spec.get("volumeMode").and_then(Value::as_str)
        && !["Block", "Filesystem"].contains(&mode)
    {
        e.not_supported(&at.child("volumeMode"), mode, &["Block", "Filesystem"]);
    }
    for key in ["dataSource", "dataSourceRef"] {
        if let Some(source) = spec.get(key) {
            data_source(e, source, &at.child(key));
        }
    }
    let namespaced = !object::str(spec, &["dataSourceRef", "namespace"]).is_empty();
    if let (Some(a), Some(b)) = (spec.get("dataSource"), spec.get("dataSourceRef"))
        && (namespaced || ["apiGroup", "kind", "name"].iter().any(|f| object::str(a, &[f]) != object::str(b, &[f])))
    {
        let why = if namespaced {
            "may not be specified when dataSourceRef.namespace is specified"
        } else {
            "must match dataSourceRef"
        };
        // Upstream shows a path as the value, and its form has nothing in it.
        e.invalid(at, json!({}), why);
    }
    class(e, "volumeAttributesClassName");
}

fn storage(e: &mut ErrorList, spec: &Value, at: &Path) {
    match object::get(spec, &["resources", "requests", "storage"]).and_then(amount) {
        None => e.required(at, ""),
        Some(q) if q.sign() <= 0 => e.invalid(at, q.to_string(), "must be greater than zero"),
        Some(q) => quantity_value(e, "storage", &q, at),
    }
}

fn data_source(e: &mut ErrorList, source: &Value, at: &Path) {
    for key in ["name", "kind"] {
        if object::str(source, &[key]).is_empty() {
            e.required(&at.child(key), "");
        }
    }
    let group = object::str(source, &["apiGroup"]);
    if group.is_empty() && object::str(source, &["kind"]) != "PersistentVolumeClaim" {
        e.invalid(
            at,
            object::str(source, &["kind"]),
            "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        );
    }
    if !group.is_empty() {
        say(e, || at.child("apiGroup"), group, validation::dns_subdomain(group, false));
    }
}
