//! `resourceslices` (rule: `pkg/registry/resource/resourceslice`).

use super::{GROUP, columns, slice_validation};
use crate::cluster_scoped;
use crate::common::{age_cell, default_value, first_generation, next_generation, same};
use crate::fields::Fields;
use crate::shared::print;
use serde_json::Value;
use steersman_apimachinery::ErrorList;
use steersman_apimachinery::field::go_quote;
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = cluster_scoped(GROUP, "v1", "resourceslices", "resourceslice", "ResourceSlice");

/// Leaves out members behind gates that are off (`DRAListTypeAttributes`, `DRANodeAllocatableResources`), unless the
/// slice had them before (rule: `dropDisabledFields`).
fn drop_disabled(new: &mut Value, old: Option<&Value>) {
    const LISTS: &[&str] = &["bools", "ints", "strings", "versions"];
    const MAPPINGS: &str = "nodeAllocatableResourceMappings";
    let devices = old.map(|o| o.at("spec").items("devices")).unwrap_or_default();
    let lists =
        devices.iter().any(|d| d.entries("attributes").iter().any(|(_, a)| LISTS.iter().any(|l| a.sub(l).is_some())));
    let mappings = devices.iter().any(|d| d.has(MAPPINGS));
    let devices = new.pointer_mut("/spec/devices").and_then(Value::as_array_mut);
    for device in devices.into_iter().flatten().filter_map(Value::as_object_mut) {
        if !mappings {
            device.remove(MAPPINGS);
        }
        let attributes = device.get_mut("attributes").and_then(Value::as_object_mut).filter(|_| !lists);
        for attribute in attributes.into_iter().flat_map(|m| m.values_mut()).filter_map(Value::as_object_mut) {
            LISTS.iter().for_each(|list| {
                attribute.remove(*list);
            });
        }
    }
}

fn warn(ctx: &Context, obj: &Value) {
    let driver = obj.at("spec").s("driver");
    if driver != driver.to_lowercase() {
        let driver = go_quote(driver);
        ctx.warn(format!("spec.driver: driver names should be lowercase; {driver} contains uppercase characters"));
    }
}

/// The strategy of `resourceslices`.
pub struct ResourceSlices;

impl Strategy for ResourceSlices {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default().to_string();
        let devices = obj.pointer_mut("/spec/devices").and_then(Value::as_array_mut);
        for device in devices.into_iter().flatten() {
            for taint in device.get_mut("taints").and_then(Value::as_array_mut).into_iter().flatten() {
                default_value(taint, &["timeAdded"], now.as_str());
            }
        }
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        drop_disabled(obj, None);
        first_generation(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        drop_disabled(new, Some(old));
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        slice_validation::slice(obj, None)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        slice_validation::slice(new, Some(old))
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
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.driver", "spec.nodeName"]
    }
    fn selectable_field(&self, obj: &Value, field: &str) -> String {
        obj.at("spec").s(field.strip_prefix("spec.").unwrap_or_default()).to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        columns::RESOURCESLICES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = obj.at("spec");
        vec![
            print::name(obj),
            spec.opt_s("nodeName").unwrap_or("<unset>").into(),
            spec.s("driver").into(),
            spec.at("pool").s("name").into(),
            age_cell(obj, now),
        ]
    }
}
