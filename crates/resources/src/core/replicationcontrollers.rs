//! Replication controllers, what replica sets were before them (rule: `pkg/registry/core/replicationcontroller`).

use crate::apps::validation::{replica_set_status, replica_template};
use crate::common::{
    AGE, NAME, age_cell, carry_over, column, first_generation, next_generation, object_subresource, same, wide,
};
use crate::shared::defaults::{fill_absent, pod_template};
use crate::shared::print::{self, CONTAINERS, IMAGES};
use crate::shared::rules::{does_not_match, not_negative};
use crate::shared::workload::{self, SCALE_BY_SELECTOR};
use crate::{ALL, namespaced};
use serde_json::{Map, Value, json};
use steersman_apimachinery::selector::LabelSelector;
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_registry::{Column, Context, DefaultGc, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["rc"],
    categories: ALL,
    prefix: "controllers",
    ..namespaced("", "v1", "replicationcontrollers", "replicationcontroller", "ReplicationController")
};

static COLUMNS: &[Column] = &[
    NAME,
    column(
        "Desired",
        "integer",
        "Replicas is the number of desired replicas. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
    ),
    column(
        "Current",
        "integer",
        "Replicas is the most recently observed number of replicas. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller",
    ),
    column("Ready", "integer", "The number of ready replicas for this replication controller."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide(
        "Selector",
        "string",
        "Selector is a label query over pods that should match the Replicas count. If Selector is empty, it is defaulted to the labels present on the Pod template. Label keys and values that must match in order to be controlled by this replication controller, if empty defaulted to labels on Pod template. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
    ),
];

const TEMPLATE: &[&str] = &["spec", "template"];

/// The resource.
pub struct ReplicationControllers;
/// Its status.
pub struct ReplicationControllerStatus;

static SUBRESOURCES: &[Subresource] = &[SCALE_BY_SELECTOR, object_subresource("status", &ReplicationControllerStatus)];

fn default(obj: &mut Value) {
    let labels = object::get(obj, &["spec", "template", "metadata", "labels"])
        .and_then(Value::as_object)
        .filter(|l| !l.is_empty())
        .cloned();
    let spec = object::entry(obj, &["spec"]);
    fill_absent(spec, "replicas", 1);
    pod_template(spec, "template");
    let Some(labels) = labels else { return };
    for path in [["spec", "selector"], ["metadata", "labels"]] {
        if object::get(obj, &path).and_then(Value::as_object).is_none_or(Map::is_empty) {
            object::set(obj, &path, labels.clone());
        }
    }
}

fn validate(obj: &Value, old: Option<&Value>) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, at) = (obj.get("spec").unwrap_or(&Value::Null), Path::new("spec"));
    not_negative(&mut e, spec, "minReadySeconds", &at);
    let selector = spec.get("selector").filter(|s| s.as_object().is_some_and(|m| !m.is_empty()));
    if selector.is_none() {
        e.required(&at.child("selector"), "");
    }
    not_negative(&mut e, spec, "replicas", &at);
    let at = at.child("template");
    let Some(template) = spec.get("template") else {
        e.required(&at, "");
        return e;
    };
    let labels = object::get(template, &["metadata", "labels"]);
    if selector.is_some_and(|s| !LabelSelector::from_map_value(s).matches_map(labels)) {
        does_not_match(&mut e, template, &at);
    }
    let before = e.0.len();
    replica_template(&mut e, template, old.and_then(|o| object::get(o, TEMPLATE)), &at);
    for error in &mut e.0[before..] {
        error.body = error.body.replace("in ReplicaSet is not", "in ReplicationController is not");
    }
    e
}

impl Strategy for ReplicationControllers {
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
        workload::prepare_template(obj, None, TEMPLATE);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        workload::prepare_template(new, Some(old), TEMPLATE);
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        validate(obj, None)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        // Upstream checks a changed one twice, and tells its mistakes twice.
        let mut e = validate(new, Some(old));
        e.extend(e.clone());
        e
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        workload::warn_about_name(ctx, obj);
        workload::warn_about_template(ctx, obj, TEMPLATE);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, old: &Value) {
        if !same(new, old, &["metadata", "generation"]) {
            workload::warn_about_template(ctx, new, TEMPLATE);
        }
    }
    fn default_gc(&self) -> DefaultGc {
        DefaultGc::Orphan
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }
    fn selectable_field(&self, obj: &Value, _field: &str) -> String {
        object::int(obj, &["status", "replicas"]).unwrap_or(0).to_string()
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let [containers, images] = print::containers(object::get(obj, TEMPLATE));
        vec![
            print::name(obj),
            print::number(obj, &["spec", "replicas"]),
            print::number(obj, &["status", "replicas"]),
            print::number(obj, &["status", "readyReplicas"]),
            age_cell(obj, now),
            containers,
            images,
            print::labels(object::get(obj, &["spec", "selector"])),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        SUBRESOURCES
    }
}

impl Strategy for ReplicationControllerStatus {
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
        replica_set_status(new)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
