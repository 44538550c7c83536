//! `volumeattachments` (rule: `pkg/registry/storage/volumeattachment`).

use super::{GROUP, columns};
use crate::common::{age_cell, carry_over, keep_metadata, object_subresource};
use crate::core::persistent_volume_validation;
use crate::fields::Fields;
use crate::shared::internal::{Field, Show, Type};
use crate::shared::pod::volume_plugins::csi_driver_name;
use crate::shared::print;
use crate::{checks, cluster_scoped};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = cluster_scoped(GROUP, "v1", "volumeattachments", "volumeattachment", "VolumeAttachment");

/// The most bytes of an error's message, and of all attachment metadata.
const LONGEST_MESSAGE: usize = 1024;
const LARGEST_METADATA: usize = 256 * 1024;

const SPEC: &[Field] = &[
    Field("attacher", Type::Text),
    Field(
        "source",
        Type::Struct(&[Field("persistentVolumeName", Type::Plain), Field("inlineVolumeSpec", Type::Plain)]),
    ),
    Field("nodeName", Type::Text),
];

fn defaults(obj: &mut Value) {
    if let Some(inline) = obj.pointer_mut("/spec/source/inlineVolumeSpec") {
        crate::core::persistentvolumes::default_spec(inline);
    }
}

fn source(e: &mut ErrorList, path: &Path, source: &Value) {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (source.sub("inlineVolumeSpec"), source.opt_s("persistentVolumeName")) {
        (None, None) => e.required(path, ONE),
        (Some(_), Some(_)) => e.forbidden(path, ONE),
        (None, Some(name)) => {
            if name.is_empty() {
                e.required(&path.child("persistentVolumeName"), "must specify non empty persistentVolumeName");
            }
        }
        (Some(inline), None) => {
            persistent_volume_validation::spec(e, inline, true, &path.child("inlineVolumeSpec"));
        }
    }
}

fn status(e: &mut ErrorList, status: &Value) {
    let path = Path::new("status");
    let mut size = 0;
    for (key, value) in status.entries("attachmentMetadata") {
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > LARGEST_METADATA {
        e.too_long(&path.child("attachmentMetadata"), LARGEST_METADATA);
    }
    for field in ["attachError", "detachError"] {
        if status.at(field).s("message").len() > LONGEST_MESSAGE {
            e.too_long(&path.child(field).child("message"), LONGEST_MESSAGE);
        }
    }
}

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    if spec.s("attacher").is_empty() {
        e.required(&path.child("attacher"), "");
    } else {
        csi_driver_name(&mut e, spec.s("attacher"), &path.child("attacher"));
    }
    checks::subdomain(&mut e, &path.child("nodeName"), spec.s("nodeName"));
    source(&mut e, &path.child("source"), spec.at("source"));
    status(&mut e, obj.at("status"));
    e
}

/// The strategy of `volumeattachments`.
pub struct VolumeAttachments;

impl Strategy for VolumeAttachments {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({"attached": false}));
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        let mut e = check(obj);
        let spec = obj.at("spec");
        if let Some(name) = spec.at("source").opt_s("persistentVolumeName")
            && spec.at("source").sub("inlineVolumeSpec").is_none()
        {
            checks::subdomain(&mut e, &Path::new("spec").child("source").child("persistentVolumeName"), name);
        }
        e
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = check(new);
        let (is, was) = (new.at("spec"), old.at("spec"));
        checks::immutable_shown(&mut e, &Path::new("spec"), is, was, Show(SPEC, is));
        e
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        columns::VOLUMEATTACHMENTS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = obj.at("spec");
        vec![
            print::name(obj),
            spec.s("attacher").into(),
            spec.at("source").s("persistentVolumeName").into(),
            spec.s("nodeName").into(),
            obj.at("status").flag("attached").unwrap_or(false).into(),
            age_cell(obj, now),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[object_subresource("status", &VolumeAttachmentStatus)];
        SUBRESOURCES
    }
}

/// The strategy of `volumeattachments/status`.
pub struct VolumeAttachmentStatus;

impl Strategy for VolumeAttachmentStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
        keep_metadata(new, old);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        check(new)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["metadata", "spec"]
    }
}
