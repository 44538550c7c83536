//! Pod disruption budgets (rule: `pkg/registry/policy/poddisruptionbudget`).

use crate::common::{
    AGE, NAME, age_cell, carry_over, column, first_generation, next_generation, object_subresource, same,
};
use crate::namespaced;
use crate::shared::internal::Type::{Plain, Selector};
use crate::shared::internal::{Field, Show};
use crate::shared::print;
use crate::shared::rules::{at_most_100_percent, int_or_percent, none_negative};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["pdb"],
    ..namespaced("policy", "v1", "poddisruptionbudgets", "poddisruptionbudget", "PodDisruptionBudget")
};

static COLUMNS: &[Column] = &[
    NAME,
    column("Min Available", "string", "The minimum number of pods that must be available."),
    column("Max Unavailable", "string", "The maximum number of pods that may be unavailable."),
    column("Allowed Disruptions", "integer", "Calculated number of pods that may be disrupted at this time."),
    AGE,
];

const SPEC: &[Field] = &[
    Field("minAvailable", Plain),
    Field("selector", Selector),
    Field("maxUnavailable", Plain),
    Field("unhealthyPodEvictionPolicy", Plain),
];

/// The resource.
pub struct PodDisruptionBudgets;
/// Its status.
pub struct PodDisruptionBudgetStatus;

static SUBRESOURCES: &[Subresource] = &[object_subresource("status", &PodDisruptionBudgetStatus)];

/// The label with which policy/v1beta1 told "all" from "none" in empty selectors.
const V1BETA1_LABEL: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

/// Takes requirements of that label out of selectors, unless it is the whole selector of one that matches nothing
/// (rule: `pkg/apis/policy/v1/conversion.go`).
fn default(obj: &mut Value) {
    let Some(selector) = object::get(obj, &["spec", "selector"]) else { return };
    let none = json!({"matchExpressions": [{"key": V1BETA1_LABEL, "operator": "Exists"}]});
    let is_ours = |e: &Value| object::str(e, &["key"]) == V1BETA1_LABEL;
    let expressions = object::list(selector, &["matchExpressions"]);
    if *selector == none || !expressions.iter().any(is_ours) {
        return;
    }
    let left: Vec<Value> = expressions.iter().filter(|e| !is_ours(e)).cloned().collect();
    let path = &["spec", "selector", "matchExpressions"];
    if left.is_empty() {
        object::remove(obj, path);
    } else {
        object::set(obj, path, left);
    }
}

fn validate(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, at) = (obj.get("spec").unwrap_or(&Value::Null), Path::new("spec"));
    if spec.get("minAvailable").is_some() && spec.get("maxUnavailable").is_some() {
        e.invalid(&at, Show(SPEC, spec), "minAvailable and maxUnavailable cannot be both set");
    }
    for key in ["minAvailable", "maxUnavailable"] {
        if let Some(v) = spec.get(key) {
            int_or_percent(&mut e, v, &at.child(key));
            at_most_100_percent(&mut e, v, &at.child(key));
        }
    }
    validation::label_selector(&mut e, spec.get("selector"), true, &at.child("selector"));
    if let Some(policy) = spec.get("unhealthyPodEvictionPolicy").and_then(Value::as_str)
        && !["AlwaysAllow", "IfHealthyBudget"].contains(&policy)
    {
        e.not_supported(&at.child("unhealthyPodEvictionPolicy"), policy, &["AlwaysAllow", "IfHealthyBudget"]);
    }
    e
}

impl Strategy for PodDisruptionBudgets {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn default(&self, obj: &mut Value) {
        default(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        let none = json!({ "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0 });
        object::set(obj, &["status"], none);
        first_generation(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        validate(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        validate(new)
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![
            print::name(obj),
            print::int_or_string(object::get(obj, &["spec", "minAvailable"])),
            print::int_or_string(object::get(obj, &["spec", "maxUnavailable"])),
            print::number(obj, &["status", "disruptionsAllowed"]),
            age_cell(obj, now),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        SUBRESOURCES
    }
}

impl Strategy for PodDisruptionBudgetStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn default(&self, obj: &mut Value) {
        default(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        let at = Path::new("status");
        let status = new.get("status").unwrap_or(&Value::Null);
        validation::conditions(&mut e, object::list(status, &["conditions"]), &at.child("conditions"));
        none_negative(&mut e, status, &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"], &at);
        e
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
