//! `persistentvolumes` (rule: `pkg/registry/core/persistentvolume`).

use super::{columns, persistent_volume_validation as validation, resource_names};
use crate::cluster_scoped;
use crate::common::{age_cell, carry_over, default_str, default_value, object_subresource};
use crate::fields::Fields;
use crate::shared::pod_warnings::old_node_label;
use crate::shared::print;
use crate::shared::rules::known_finalizers;
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["pv"],
    ..cluster_scoped("", "v1", "persistentvolumes", "persistentvolume", "PersistentVolume")
};

/// Sets the defaults of a volume's spec.
pub(crate) fn default_spec(spec: &mut Value) {
    default_str(spec, &["persistentVolumeReclaimPolicy"], "Retain");
    default_value(spec, &["volumeMode"], "Filesystem");
    if let Some(spec) = spec.as_object_mut() {
        crate::shared::defaults::volume_plugin(spec);
        if let Some(capacity) = spec.get_mut("capacity").and_then(Value::as_object_mut) {
            crate::shared::defaults::resource_list(capacity);
        }
    }
}

fn defaults(obj: &mut Value) {
    default_str(obj, &["status", "phase"], "Pending");
    object::entry(obj, &["spec"]);
    if let Some(spec) = obj.get_mut("spec") {
        default_spec(spec);
    }
}

/// Access modes in their short form and fixed order (rule: `GetAccessModesAsString`).
pub(super) fn access_modes(modes: &[&str]) -> String {
    [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")]
        .iter()
        .filter(|(long, _)| modes.contains(long))
        .map(|(_, short)| *short)
        .collect::<Vec<_>>()
        .join(",")
}

/// The storage class of a volume or claim: the old annotation wins.
pub(super) fn class(obj: &Value) -> &str {
    object::annotation(obj, "volume.beta.kubernetes.io/storage-class")
        .unwrap_or_else(|| obj.at("spec").s("storageClassName"))
}

/// A field of the spec, `<unset>` where it is absent.
pub(super) fn or_unset(obj: &Value, field: &str) -> Value {
    obj.at("spec").opt_s(field).unwrap_or("<unset>").into()
}

/// `status.phase`, or that the object is going away.
pub(super) fn phase(obj: &Value) -> Value {
    if object::is_deleting(obj) { "Terminating".into() } else { obj.at("status").s("phase").into() }
}

/// The warnings about a volume (rule: `pkg/api/persistentvolume` `GetWarningsForPersistentVolume`).
fn warn(ctx: &Context, obj: &Value) {
    const OLD_ANNOTATIONS: &[(&str, &str)] = &[
        (
            "volume.beta.kubernetes.io/storage-class",
            "deprecated since v1.8; use \"storageClassName\" attribute instead",
        ),
        ("volume.beta.kubernetes.io/mount-options", "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ];
    const GONE: &[(&str, &str, &str)] = &[
        ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
        ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
        ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
        ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
        ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
    ];
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    for (annotation, why) in OLD_ANNOTATIONS {
        if object::annotation(obj, annotation).is_some() {
            ctx.warn(format!("metadata.annotations[{annotation}]: {why}"));
        }
    }
    if spec.s("persistentVolumeReclaimPolicy") == "Recycle" {
        ctx.warn(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
        );
    }
    let terms = spec.at("nodeAffinity").at("required").items("nodeSelectorTerms");
    for (i, term) in terms.iter().enumerate() {
        for (j, e) in term.items("matchExpressions").iter().enumerate() {
            if let Some(why) = old_node_label(e.s("key")) {
                let at = path.child("nodeAffinity").child("required").child("nodeSelectorTerms").index(i);
                ctx.warn(format!("{}: {} is {why}", at.child("matchExpressions").index(j).child("key"), e.s("key")));
            }
        }
    }
    for (kind, name, why) in GONE {
        if spec.sub(kind).is_some() {
            ctx.warn(format!("spec.{name}: {why}"));
        }
    }
}

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    known_finalizers(&mut e, obj);
    validation::spec(&mut e, obj.at("spec"), false, &Path::new("spec"));
    e
}

/// The strategy of `persistentvolumes`.
pub struct PersistentVolumes;

impl Strategy for PersistentVolumes {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_create(&self, ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({"phase": "Pending", "lastPhaseTransitionTime": second(ctx)}));
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        let mut e = check(obj);
        validation::mount_options(&mut e, obj);
        e
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn validate_update(&self, ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = self.validate(ctx, new);
        // Upstream checks all once more with the changes, and tells every mistake twice.
        e.extend(check(new));
        validation::update(&mut e, new, old);
        e
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
        columns::PERSISTENTVOLUMES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = obj.at("spec");
        let claim = spec.sub("claimRef").map(|c| format!("{}/{}", c.s("namespace"), c.s("name")));
        vec![
            print::name(obj),
            spec.at("capacity").sub("storage").map_or_else(|| "0".to_owned(), resource_names::text).into(),
            access_modes(&spec.strings("accessModes")).into(),
            spec.s("persistentVolumeReclaimPolicy").into(),
            phase(obj),
            claim.unwrap_or_default().into(),
            class(obj).into(),
            or_unset(obj, "volumeAttributesClassName"),
            obj.at("status").s("reason").into(),
            age_cell(obj, now),
            or_unset(obj, "volumeMode"),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[object_subresource("status", &PersistentVolumeStatus)];
        SUBRESOURCES
    }
}

fn second(ctx: &Context) -> String {
    jiff::Timestamp::from_second(ctx.now.as_second()).unwrap_or_default().to_string()
}

/// The strategy of `persistentvolumes/status`.
pub struct PersistentVolumeStatus;

impl Strategy for PersistentVolumeStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_update(&self, ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
        let (is, was) = (new.at("status"), old.at("status"));
        let same_time =
            !is.has("lastPhaseTransitionTime") || is.at("lastPhaseTransitionTime") == was.at("lastPhaseTransitionTime");
        if is.s("phase") != was.s("phase") && same_time {
            object::set(new, &["status", "lastPhaseTransitionTime"], second(ctx));
        }
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        known_finalizers(&mut e, new);
        e
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
