//! Autoscalers of `autoscaling/v2` (rule: `pkg/registry/autoscaling/horizontalpodautoscaler`).

use super::{conversion, print, validation};
use crate::common::{carry_over, object_subresource};
use crate::shared::defaults::{fill_absent, member};
use crate::{ALL, namespaced};
use serde_json::{Map, Value, json};
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["hpa"],
    categories: ALL,
    ..namespaced("autoscaling", "v2", "horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler")
};

/// The resource.
pub struct HorizontalPodAutoscalers;
/// Its status.
pub struct HorizontalPodAutoscalerStatus;

static SUBRESOURCES: &[Subresource] = &[object_subresource("status", &HorizontalPodAutoscalerStatus)];

/// The defaults (rule: `pkg/apis/autoscaling/v2` `SetDefaults_HorizontalPodAutoscaler`).
pub fn default(obj: &mut Value) {
    let spec = object::entry(obj, &["spec"]);
    fill_absent(spec, "minReplicas", 1);
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert("metrics".into(), json!([conversion::cpu_metric(80)]));
    }
    if let Some(behavior) = member(spec, "behavior") {
        let up = json!([
            { "type": "Pods", "value": 4, "periodSeconds": 15 },
            { "type": "Percent", "value": 100, "periodSeconds": 15 },
        ]);
        default_rules(behavior, "scaleUp", Some(0), up);
        default_rules(behavior, "scaleDown", None, json!([{ "type": "Percent", "value": 100, "periodSeconds": 15 }]));
    }
    let status = object::entry(obj, &["status"]);
    fill_absent(status, "currentMetrics", Value::Null);
    fill_absent(status, "desiredReplicas", 0);
}

fn default_rules(behavior: &mut Map<String, Value>, key: &str, window: Option<i64>, policies: Value) {
    fill_absent(behavior, key, json!({}));
    if let Some(rules) = member(behavior, key) {
        fill_absent(rules, "selectPolicy", "Max");
        fill_absent(rules, "policies", policies);
        if let Some(seconds) = window {
            fill_absent(rules, "stabilizationWindowSeconds", seconds);
        }
    }
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
        object::set(obj, &["status"], json!({ "currentMetrics": null, "desiredReplicas": 0 }));
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        validation::spec(obj, None)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        validation::spec(new, Some(old))
    }
    fn columns(&self) -> &'static [Column] {
        print::COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        print::cells(obj, now)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        SUBRESOURCES
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
        validation::status(new)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
