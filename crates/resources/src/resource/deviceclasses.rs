//! `deviceclasses` (rule: `pkg/registry/resource/deviceclass`).

use super::{GROUP, claim_validation, columns};
use crate::cluster_scoped;
use crate::common::{age_cell, first_generation, next_generation, same};
use crate::core::resource_names;
use crate::fields::Fields;
use crate::shared::print;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = cluster_scoped(GROUP, "v1", "deviceclasses", "deviceclass", "DeviceClass");

/// The strategy of `deviceclasses`.
pub struct DeviceClasses;

impl Strategy for DeviceClasses {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        first_generation(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        let (spec, path) = (obj.at("spec"), Path::new("spec"));
        claim_validation::selectors(&mut e, &path.child("selectors"), spec.items("selectors"));
        claim_validation::configs(&mut e, &path.child("config"), spec.items("config"), None);
        if let Some(name) = spec.opt_s("extendedResourceName")
            && !resource_names::is_extended(name)
        {
            e.invalid(&path.child("extendedResourceName"), name, "must be a valid extended resource name");
        }
        e
    }
    fn validate_update(&self, ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        self.validate(ctx, new)
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    fn columns(&self) -> &'static [Column] {
        columns::DEVICECLASSES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), age_cell(obj, now)]
    }
}
