//! Replica sets (rule: `pkg/registry/apps/replicaset`).

use crate::common::{
    AGE, NAME, age_cell, carry_over, column, first_generation, next_generation, object_subresource, same, wide,
};
use crate::shared::defaults::{fill_absent, pod_template};
use crate::shared::print::{self, CONTAINERS, IMAGES};
use crate::shared::workload::{self, SCALE_BY_SELECTOR};
use crate::{ALL, namespaced};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["rs"],
    categories: ALL,
    ..namespaced("apps", "v1", "replicasets", "replicaset", "ReplicaSet")
};

static COLUMNS: &[Column] = &[
    NAME,
    column(
        "Desired",
        "integer",
        "Replicas is the number of desired pods. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
    ),
    column(
        "Current",
        "integer",
        "Replicas is the most recently observed number of non-terminating pods. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset",
    ),
    column(
        "Ready",
        "integer",
        "The number of non-terminating pods targeted by this ReplicaSet with a Ready Condition.",
    ),
    AGE,
    CONTAINERS,
    IMAGES,
    wide(
        "Selector",
        "string",
        "Selector is a label query over pods that should match the replica count. Label keys and values that must match in order to be controlled by this replica set. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
    ),
];

/// The resource.
pub struct ReplicaSets;
/// Its status.
pub struct ReplicaSetStatus;

static SUBRESOURCES: &[Subresource] = &[SCALE_BY_SELECTOR, object_subresource("status", &ReplicaSetStatus)];

fn default(obj: &mut Value) {
    let spec = object::entry(obj, &["spec"]);
    fill_absent(spec, "replicas", 1);
    fill_absent(spec, "template", json!({}));
    pod_template(spec, "template");
}

impl Strategy for ReplicaSets {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        default(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({ "replicas": 0 }));
        first_generation(obj);
        workload::prepare_template(obj, None, &["spec", "template"]);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        workload::prepare_template(new, Some(old), &["spec", "template"]);
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, ctx: &Context, obj: &Value) -> ErrorList {
        super::validation::replica_set(ctx, obj, None)
    }
    fn validate_update(&self, ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        super::validation::replica_set(ctx, new, Some(old))
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        workload::warn_about_name(ctx, obj);
        workload::warn_about_template(ctx, obj, &["spec", "template"]);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, old: &Value) {
        if !same(new, old, &["metadata", "generation"]) {
            workload::warn_about_template(ctx, new, &["spec", "template"]);
        }
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let [containers, images] = print::containers(object::get(obj, &["spec", "template"]));
        vec![
            print::name(obj),
            print::number(obj, &["spec", "replicas"]),
            print::number(obj, &["status", "replicas"]),
            print::number(obj, &["status", "readyReplicas"]),
            age_cell(obj, now),
            containers,
            images,
            print::selector(object::get(obj, &["spec", "selector"])),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        SUBRESOURCES
    }
}

impl Strategy for ReplicaSetStatus {
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
        super::validation::replica_set_status(new)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
