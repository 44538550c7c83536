//! `persistentvolumeclaims` (rule: `pkg/registry/core/persistentvolumeclaim`).

use super::persistentvolumes::{access_modes, class, or_unset, phase};
use super::{columns, resource_names};
use crate::common::{age_cell, carry_over, default_str, object_subresource};
use crate::fields::Fields;
use crate::shared::pod::internal::CLAIM_SPEC;
use crate::shared::quantity::amount;
use crate::shared::rules::known_finalizers;
use crate::shared::{claim_template, internal, print, volume_warnings};
use crate::{checks, namespaced};
use serde_json::{Value, json};
use steersman_apimachinery::quantity::Format;
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["pvc"],
    ..namespaced("", "v1", "persistentvolumeclaims", "persistentvolumeclaim", "PersistentVolumeClaim")
};

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const SPEC_IMMUTABLE: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

fn defaults(obj: &mut Value) {
    default_str(obj, &["status", "phase"], "Pending");
    crate::shared::defaults::claim_spec(object::entry(obj, &["spec"]));
    for list in ["capacity", "allocatedResources"] {
        if let Some(list) = obj.pointer_mut("/status").and_then(|s| s.get_mut(list)).and_then(Value::as_object_mut) {
            crate::shared::defaults::resource_list(list);
        }
    }
}

fn usable(source: &Value) -> bool {
    let (group, kind) = (source.s("apiGroup"), source.s("kind"));
    (group.is_empty() && kind == "PersistentVolumeClaim")
        || (group == "snapshot.storage.k8s.io" && kind == "VolumeSnapshot")
}

/// Brings the older and the newer field for a data source in line (rule: `pkg/api/persistentvolumeclaim`).
fn align_data_sources(obj: &mut Value, old: Option<&Value>) {
    let was = |field: &str| old.is_some_and(|o| o.at("spec").sub(field).is_some());
    if !was("dataSourceRef") && !obj.at("spec").at("dataSourceRef").s("namespace").is_empty() {
        object::remove(obj, &["spec", "dataSourceRef"]);
    }
    if !was("dataSource")
        && !was("dataSourceRef")
        && obj.at("spec").sub("dataSource").is_some_and(|s| !usable(s))
        && obj.at("spec").sub("dataSourceRef").is_none()
    {
        object::remove(obj, &["spec", "dataSource"]);
    }
    let copy = |s: &Value| json!({"apiGroup": s.at("apiGroup"), "kind": s.s("kind"), "name": s.s("name")});
    match (obj.at("spec").sub("dataSource").map(copy), obj.at("spec").sub("dataSourceRef").map(copy)) {
        (Some(source), None) => object::set(obj, &["spec", "dataSourceRef"], source),
        (None, Some(source)) => object::set(obj, &["spec", "dataSource"], source),
        _ => {}
    }
}

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    known_finalizers(&mut e, obj);
    claim_template::claim_spec(&mut e, obj.at("spec"), &Path::new("spec"));
    e
}

fn storage(obj: &Value, path: &[&str]) -> Option<steersman_apimachinery::Quantity> {
    object::get(obj, path).and_then(amount)
}

/// A spec whose amounts are written in one form, so that equal ones compare as equal.
fn comparable(spec: &Value) -> Value {
    let mut spec = spec.clone();
    for list in ["/resources/requests", "/resources/limits"] {
        for value in spec.pointer_mut(list).and_then(Value::as_object_mut).into_iter().flat_map(|m| m.values_mut()) {
            if let Some(q) = amount(value) {
                *value = q.with_format(Format::DecimalSI).to_string().into();
            }
        }
    }
    spec
}

fn check_update(new: &Value, old: &Value) -> ErrorList {
    // Upstream checks all once more with the changes, and tells every mistake twice.
    let mut e = check(new);
    known_finalizers(&mut e, new);
    e.extend(check(new));
    let (mut is, mut was) = (new.at("spec").clone(), old.at("spec").clone());
    let bound = new.at("status").s("phase") == "Bound";
    if was.s("volumeName").is_empty() {
        carry_over(&mut was, &is, &["volumeName"]);
    }
    let annotation = |o: &Value| object::annotation(o, CLASS_ANNOTATION).map(str::to_owned);
    let (before, after) = (annotation(old), annotation(new));
    let class = is.opt_s("storageClassName").map(str::to_owned);
    // A claim without a class may get one, and it has to be the one that its old annotation names.
    let may_get = was.opt_s("storageClassName").is_none() && (before.is_none() || before == class);
    if may_get && class.is_some() {
        object::remove(&mut is, &["storageClassName"]);
    }
    let moved = may_get && class.is_some() && before.is_some() && (after.is_none() || after == before);
    if !moved && before.as_deref().unwrap_or_default() != after.as_deref().unwrap_or_default() {
        let path = Path::new("metadata").child("annotations").child(CLASS_ANNOTATION);
        e.invalid(&path, after.unwrap_or_default(), checks::IMMUTABLE);
    }
    if bound && object::get(&is, &["resources", "requests"]).is_some() {
        carry_over(&mut is, &was, &["resources", "requests", "storage"]);
    }
    // A bound claim may change its attributes, but not lose them.
    if bound && is.opt_s("volumeAttributesClassName").is_some() {
        carry_over(&mut is, &was, &["volumeAttributesClassName"]);
    }
    if comparable(&is) != comparable(&was) {
        e.forbidden(&Path::new("spec"), format!("{SPEC_IMMUTABLE}\n{}", internal::diff(CLAIM_SPEC, &was, &is)));
    }
    let size = ["spec", "resources", "requests", "storage"];
    if let Some(b) = storage(old, &size) {
        // What asks for nothing any more shrinks too; what has no capacity yet may shrink to anything.
        let a = storage(new, &size).unwrap_or_default();
        let least = storage(old, &["status", "capacity", "storage"]).unwrap_or_default();
        if a < b && a <= least {
            let path = Path::new("spec").child("resources").child("requests").child("storage");
            e.forbidden(&path, "field can not be less than status.capacity");
        }
    }
    checks::immutable(
        &mut e,
        &Path::new("volumeMode"),
        new.at("spec").at("volumeMode"),
        old.at("spec").at("volumeMode"),
    );
    let class = |o: &Value| o.at("spec").opt_s("volumeAttributesClassName").map(str::to_owned);
    let path = Path::new("spec").child("volumeAttributesClassName");
    match (class(old), class(new)) {
        (Some(_), None) => e.forbidden(&path, "update from non-nil value to nil is forbidden"),
        (Some(o), Some(n)) if !o.is_empty() && n.is_empty() => {
            e.forbidden(&path, "update from non-nil value to an empty string is forbidden");
        }
        _ => {}
    }
    e
}

fn warn(ctx: &Context, obj: &Value) {
    if object::annotation(obj, CLASS_ANNOTATION).is_some() {
        let why = "deprecated since v1.8; use \"storageClassName\" attribute instead";
        ctx.warn(format!("metadata.annotations[{CLASS_ANNOTATION}]: {why}"));
    }
    volume_warnings::claim(ctx, obj.at("spec"), &Path::new("spec"));
}

/// What a resize of a claim may say about itself.
const RESIZE_STATUSES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizePending",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
];

/// A resource that a resize is about (rule: core `validatePersistentVolumeClaimResourceKey`).
fn check_resized(e: &mut ErrorList, path: &Path, name: &str) -> bool {
    let before = e.0.len();
    checks::qualified_name(e, path, name);
    if e.0.len() == before && resource_names::is_native(name) && name != "storage" {
        e.not_supported(path, name, &["storage"]);
    }
    e.0.len() == before
}

/// Checks a status (rule: core `ValidatePersistentVolumeClaimStatusUpdate`).
fn check_status(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    known_finalizers(&mut e, obj);
    if obj.at("spec").items("accessModes").is_empty() {
        e.required(&Path::new("Spec").child("accessModes"), "");
    }
    let (status, path) = (obj.at("status"), Path::new("status"));
    for (name, value) in status.entries("capacity") {
        resource_names::check_basic(&mut e, &path.child("capacity").key(name), value);
    }
    // Upstream leaves out the last letters of the field's name.
    let at = path.child("allocatedResourceStatus");
    for (name, value) in status.entries("allocatedResourceStatuses") {
        check_resized(&mut e, &at, name);
        if !value.as_str().is_some_and(|s| RESIZE_STATUSES.contains(&s)) {
            e.not_supported(&at, name, RESIZE_STATUSES);
        }
    }
    let at = path.child("allocatedResources");
    for (name, value) in status.entries("allocatedResources") {
        if check_resized(&mut e, &at, name) && resource_names::check_basic(&mut e, &at.key(name), value) {
            resource_names::check_amount(&mut e, &at.key(name), "storage", value);
        }
    }
    e
}

/// The strategy of `persistentvolumeclaims`.
pub struct PersistentVolumeClaims;

impl Strategy for PersistentVolumeClaims {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({"phase": "Pending"}));
        align_data_sources(obj, None);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        align_data_sources(new, Some(old));
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        check_update(new, old)
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        warn(ctx, obj);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, _old: &Value) {
        warn(ctx, new);
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    fn columns(&self) -> &'static [Column] {
        columns::PERSISTENTVOLUMECLAIMS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let volume = obj.at("spec").s("volumeName");
        let (mut capacity, mut modes) = (String::new(), String::new());
        if !volume.is_empty() {
            let status = obj.at("status");
            capacity = status.at("capacity").sub("storage").map_or_else(|| "0".to_owned(), resource_names::text);
            modes = access_modes(&status.strings("accessModes"));
        }
        vec![
            print::name(obj),
            phase(obj),
            volume.into(),
            capacity.into(),
            modes.into(),
            class(obj).into(),
            or_unset(obj, "volumeAttributesClassName"),
            age_cell(obj, now),
            or_unset(obj, "volumeMode"),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[object_subresource("status", &PersistentVolumeClaimStatus)];
        SUBRESOURCES
    }
}

/// The strategy of `persistentvolumeclaims/status`.
pub struct PersistentVolumeClaimStatus;

impl Strategy for PersistentVolumeClaimStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        check_status(new)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}

#[cfg(test)]
mod tests {
    use super::{check_status, check_update};
    use serde_json::{Value, json};

    fn text(e: &steersman_apimachinery::ErrorList) -> String {
        e.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn statuses() {
        let check = |status: Value, expect: &str| {
            let found = text(&check_status(&json!({"spec": {"accessModes": ["ReadWriteOnce"]}, "status": status})));
            assert!(found.starts_with(expect) && found.is_empty() == expect.is_empty(), "{found}");
        };
        check(json!({"allocatedResourceStatuses": {"storage": "NodeResizePending"}}), "");
        check(json!({"allocatedResourceStatuses": {"example.com/x": "NodeResizePending"}}), "");
        check(
            json!({"allocatedResourceStatuses": {"storage": "foo"}}),
            "status.allocatedResourceStatus: Unsupported value: \"storage\": supported values: \"ControllerResize",
        );
        check(
            json!({"allocatedResources": {"cpu": "1"}}),
            "status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"",
        );
        check(json!({"allocatedResources": {"storage": "-1"}}), "status.allocatedResources[storage]: Invalid value");
    }

    #[test]
    fn updates() {
        let claim = |class: Option<&str>, annotation: Option<&str>, size: &str, attributes: Option<&str>| {
            let mut claim = json!({
                "metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": annotation}},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": size}},
                    "storageClassName": class,
                    "volumeAttributesClassName": attributes,
                },
                "status": {"phase": "Bound"},
            });
            for part in ["/spec", "/metadata/annotations"] {
                let part = claim.pointer_mut(part).and_then(Value::as_object_mut);
                part.expect("the claim has both").retain(|_, v| !v.is_null());
            }
            claim
        };
        let check = |new: Value, old: Value, expect: &[&str]| {
            let found: Vec<String> = check_update(&new, &old).0.iter().map(|e| e.field.to_string()).collect();
            assert_eq!(found, expect);
        };
        check(claim(Some("a"), Some("a"), "1Gi", None), claim(None, Some("a"), "1Gi", None), &[]);
        check(claim(Some("b"), Some("a"), "1Gi", None), claim(None, Some("a"), "1Gi", None), &["spec"]);
        check(claim(None, None, "1Gi", None), claim(None, None, "2Gi", None), &[]);
        check(
            claim(None, None, "1Gi", None),
            claim(None, None, "1Gi", Some("x")),
            &["spec", "spec.volumeAttributesClassName"],
        );
    }
}
