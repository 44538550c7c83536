//! Autoscalers of `autoscaling/v1`, kept as those of `v2` are.

use super::annotations::{CONDITIONS, CURRENT_METRICS};
use super::{conversion, print, v2, validation};
use crate::common::{carry_over, object_subresource};
use crate::{ALL, namespaced};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["hpa"],
    categories: ALL,
    stored_as: ("autoscaling", "v2", "HorizontalPodAutoscaler"),
    ..namespaced("autoscaling", "v1", "horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler")
};

/// The resource.
pub struct HorizontalPodAutoscalers;
/// Its status.
pub struct HorizontalPodAutoscalerStatus;

static SUBRESOURCES: &[Subresource] = &[object_subresource("status", &HorizontalPodAutoscalerStatus)];

/// The defaults are those of `v2`.
fn default(obj: &mut Value) {
    conversion::to_v2(obj);
    v2::default(obj);
    conversion::to_v1(obj);
}

fn as_v2(obj: &Value) -> Value {
    let mut v = obj.clone();
    conversion::to_v2(&mut v);
    v
}

/// Annotations that are really the status, which a write of the spec leaves as it was.
fn keep_status_annotations(new: &mut Value, old: &Value) {
    for key in [CONDITIONS, CURRENT_METRICS] {
        let path = ["metadata", "annotations", key];
        if object::get(new, &path).is_some() || object::get(old, &path).is_some() {
            carry_over(new, old, &path);
        }
    }
    drop_empty_annotations(new);
}

fn drop_empty_annotations(obj: &mut Value) {
    let annotations = object::get(obj, &["metadata", "annotations"]).and_then(Value::as_object);
    if annotations.is_some_and(serde_json::Map::is_empty) {
        object::remove(obj, &["metadata", "annotations"]);
    }
}

/// Cells come of `v2`; what `v1` has a field for comes first there.
fn cells(obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let mut v = as_v2(obj);
    let has_cpu = obj.get("spec").is_some_and(|s| s.get("targetCPUUtilizationPercentage").is_some());
    if has_cpu && let Some(list) = v["spec"]["metrics"].as_array_mut() {
        list.rotate_right(1);
    }
    print::cells(&v, now)
}

impl Strategy for HorizontalPodAutoscalers {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        default(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({ "currentReplicas": 0, "desiredReplicas": 0 }));
        keep_status_annotations(obj, &Value::Null);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        keep_status_annotations(new, old);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        validation::spec(&as_v2(obj), None)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        validation::spec(&as_v2(new), Some(&as_v2(old)))
    }
    fn columns(&self) -> &'static [Column] {
        print::COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        cells(obj, now)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        SUBRESOURCES
    }
    fn from_stored(&self, obj: &mut Value) {
        conversion::to_v1(obj);
    }
    fn to_stored(&self, obj: &mut Value) {
        conversion::to_v2(obj);
    }
    fn converts(&self) -> bool {
        true
    }
}

impl Strategy for HorizontalPodAutoscalerStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        default(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        validation::status(&as_v2(new))
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
    fn from_stored(&self, obj: &mut Value) {
        conversion::to_v1(obj);
    }
    fn to_stored(&self, obj: &mut Value) {
        conversion::to_v2(obj);
    }
    fn converts(&self) -> bool {
        true
    }
}
