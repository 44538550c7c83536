//! `volumeattributesclasses` (rule: `pkg/registry/storage/volumeattributesclass`).

use super::{GROUP, columns, parameters};
use crate::checks::{self, same_or_both_empty};
use crate::cluster_scoped;
use crate::common::age_cell;
use crate::fields::Fields;
use crate::shared::print;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["vac"],
    ..cluster_scoped(GROUP, "v1", "volumeattributesclasses", "volumeattributesclass", "VolumeAttributesClass")
};

/// The strategy of `volumeattributesclasses`.
pub struct VolumeAttributesClasses;

impl Strategy for VolumeAttributesClasses {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        match obj.s("driverName") {
            "" => e.required(&Path::new("driverName"), ""),
            name => checks::qualified_name(&mut e, &Path::new("driverName"), &name.to_lowercase()),
        }
        parameters(&mut e, obj, false);
        e
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        for field in ["driverName", "parameters"] {
            if !same_or_both_empty(new.at(field), old.at(field)) {
                e.forbidden(&Path::new(field), format!("updates to {field} are forbidden."));
            }
        }
        e
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    fn columns(&self) -> &'static [Column] {
        columns::VOLUMEATTRIBUTESCLASSES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), obj.s("driverName").into(), age_cell(obj, now)]
    }
}
