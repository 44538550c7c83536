//! Daemon sets (rule: `pkg/registry/apps/daemonset`).

use crate::common::{
    AGE, NAME, age_cell, carry_over, column, first_generation, next_generation, object_subresource, same, wide,
};
use crate::shared::defaults::{fill, fill_absent, member, pod_template};
use crate::shared::print::{self, CONTAINERS, IMAGES};
use crate::shared::workload;
use crate::{ALL, namespaced};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["ds"],
    categories: ALL,
    ..namespaced("apps", "v1", "daemonsets", "daemonset", "DaemonSet")
};

/// Where the generation of the template is kept: the field it once was is gone from `apps/v1`.
const TEMPLATE_GENERATION: &[&str] = &["metadata", "annotations", "deprecated.daemonset.template.generation"];

static COLUMNS: &[Column] = &[
    NAME,
    column(
        "Desired",
        "integer",
        "The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod). More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
    ),
    column(
        "Current",
        "integer",
        "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod. More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/",
    ),
    column(
        "Ready",
        "integer",
        "numberReady is the number of nodes that should be running the daemon pod and have one or more of the daemon pod running with a Ready Condition.",
    ),
    column("Up-to-date", "integer", "The total number of nodes that are running updated daemon pod"),
    column(
        "Available",
        "integer",
        "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available (ready for at least spec.minReadySeconds)",
    ),
    column(
        "Node Selector",
        "string",
        "NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must match a node's labels for the pod to be scheduled on that node. More info: https://kubernetes.io/docs/concepts/configuration/assign-pod-node/",
    ),
    AGE,
    CONTAINERS,
    IMAGES,
    wide(
        "Selector",
        "string",
        "A label query over pods that are managed by the daemon set. Must match in order to be controlled. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
    ),
];

/// The resource.
pub struct DaemonSets;
/// Its status.
pub struct DaemonSetStatus;

static SUBRESOURCES: &[Subresource] = &[object_subresource("status", &DaemonSetStatus)];

fn default(obj: &mut Value) {
    let spec = object::entry(obj, &["spec"]);
    fill_absent(spec, "updateStrategy", json!({}));
    if let Some(strategy) = member(spec, "updateStrategy") {
        fill(strategy, "type", "RollingUpdate");
        if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
            fill_absent(strategy, "rollingUpdate", json!({}));
            if let Some(rolling) = member(strategy, "rollingUpdate") {
                fill_absent(rolling, "maxUnavailable", 1);
                fill_absent(rolling, "maxSurge", 0);
            }
        }
    }
    fill_absent(spec, "revisionHistoryLimit", 10);
    fill_absent(spec, "template", json!({}));
    pod_template(spec, "template");
}

fn template_generation(obj: &Value) -> i64 {
    object::str(obj, TEMPLATE_GENERATION).parse().unwrap_or(0)
}

fn new_status() -> Value {
    json!({ "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0 })
}

impl Strategy for DaemonSets {
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
        object::set(obj, &["status"], new_status());
        first_generation(obj);
        let generation = template_generation(obj).max(1);
        object::set(obj, TEMPLATE_GENERATION, generation.to_string());
        workload::prepare_template(obj, None, &["spec", "template"]);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        workload::prepare_template(new, Some(old), &["spec", "template"]);
        let template_changed = !same(new, old, &["spec", "template"]);
        let generation = template_generation(old) + i64::from(template_changed);
        object::set(new, TEMPLATE_GENERATION, generation.to_string());
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, ctx: &Context, obj: &Value) -> ErrorList {
        super::validation::daemon_set(ctx, obj, None)
    }
    fn validate_update(&self, ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        super::validation::daemon_set(ctx, new, Some(old))
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
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
            print::number(obj, &["status", "desiredNumberScheduled"]),
            print::number(obj, &["status", "currentNumberScheduled"]),
            print::number(obj, &["status", "numberReady"]),
            print::number(obj, &["status", "updatedNumberScheduled"]),
            print::number(obj, &["status", "numberAvailable"]),
            print::labels(object::get(obj, &["spec", "template", "spec", "nodeSelector"])),
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

impl Strategy for DaemonSetStatus {
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
        carry_over(new, old, TEMPLATE_GENERATION);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        super::validation::daemon_set_status(new, old)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
