//! Deployments (rule: `pkg/registry/apps/deployment`, `pkg/apps/v1` `SetDefaults_Deployment`).

use crate::common::{
    AGE, NAME, age_cell, carry_over, column, first_generation, next_generation, object_subresource, same, wide,
};
use crate::shared::defaults::{fill, fill_absent, member, pod_template};
use crate::shared::print::{self, CONTAINERS, IMAGES};
use crate::shared::workload::{self, SCALE_BY_SELECTOR};
use crate::{ALL, namespaced};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["deploy"],
    categories: ALL,
    ..namespaced("apps", "v1", "deployments", "deployment", "Deployment")
};

static COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "string", "Number of the pod with ready state"),
    column(
        "Up-to-date",
        "string",
        "Total number of non-terminating pods targeted by this deployment that have the desired template spec.",
    ),
    column(
        "Available",
        "string",
        "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment.",
    ),
    AGE,
    CONTAINERS,
    IMAGES,
    wide(
        "Selector",
        "string",
        "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by this deployment. It must match the pod template's labels.",
    ),
];

/// The resource.
pub struct Deployments;
/// Its status.
pub struct DeploymentStatus;

static SUBRESOURCES: &[Subresource] = &[SCALE_BY_SELECTOR, object_subresource("status", &DeploymentStatus)];

fn default(obj: &mut Value) {
    let spec = object::entry(obj, &["spec"]);
    fill_absent(spec, "replicas", 1);
    fill_absent(spec, "strategy", json!({}));
    if let Some(strategy) = member(spec, "strategy") {
        fill(strategy, "type", "RollingUpdate");
        if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
            fill_absent(strategy, "rollingUpdate", json!({}));
            if let Some(rolling) = member(strategy, "rollingUpdate") {
                fill_absent(rolling, "maxUnavailable", "25%");
                fill_absent(rolling, "maxSurge", "25%");
            }
        }
    }
    fill_absent(spec, "revisionHistoryLimit", 10);
    fill_absent(spec, "progressDeadlineSeconds", 600);
    fill_absent(spec, "template", json!({}));
    pod_template(spec, "template");
}

impl Strategy for Deployments {
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
        object::set(obj, &["status"], json!({}));
        first_generation(obj);
        workload::prepare_template(obj, None, &["spec", "template"]);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        workload::prepare_template(new, Some(old), &["spec", "template"]);
        let changed = !same(new, old, &["spec"]) || !same(new, old, &["metadata", "annotations"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, ctx: &Context, obj: &Value) -> ErrorList {
        super::validation::deployment(ctx, obj, None)
    }
    fn validate_update(&self, ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        super::validation::deployment(ctx, new, Some(old))
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
        let ready = object::int(obj, &["status", "readyReplicas"]).unwrap_or(0);
        let desired = object::int(obj, &["spec", "replicas"]).unwrap_or(0);
        let [containers, images] = print::containers(object::get(obj, &["spec", "template"]));
        vec![
            print::name(obj),
            format!("{ready}/{desired}").into(),
            print::number(obj, &["status", "updatedReplicas"]),
            print::number(obj, &["status", "availableReplicas"]),
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

impl Strategy for DeploymentStatus {
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
        carry_over(new, old, &["metadata", "labels"]);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        super::validation::deployment_status(new, old)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec", "metadata.labels"]
    }
}
