//! Priority classes (rule: `pkg/registry/scheduling/priorityclass`).

use crate::cluster_scoped;
use crate::common::{AGE, NAME, age_cell, column, first_generation, next_generation};
use crate::shared::defaults::fill_absent;
use crate::shared::pod::spec::preemption_policy;
use crate::shared::print;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, GroupResource, Path, Status, object};
use steersman_registry::{Cluster, Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["pc"],
    ..cluster_scoped("scheduling.k8s.io", "v1", "priorityclasses", "priorityclass", "PriorityClass")
};

static COLUMNS: &[Column] = &[
    NAME,
    column(
        "Value",
        "integer",
        "value represents the integer value of this priority class. This is the actual priority that pods receive when they have the name of this class in their pod spec.",
    ),
    column(
        "Global-Default",
        "boolean",
        "globalDefault specifies whether this PriorityClass should be considered as the default priority for pods that do not have any priority class. Only one PriorityClass can be marked as `globalDefault`. However, if more than one PriorityClasses exists with their `globalDefault` field set to true, the smallest value of such global default PriorityClasses will be used as the default priority.",
    ),
    AGE,
    column(
        "PreemptionPolicy",
        "string",
        "preemptionPolicy is the Policy for preempting pods with lower priority. One of Never, PreemptLowerPriority. Defaults to PreemptLowerPriority if unset.",
    ),
];

/// The classes of the system: names, values, descriptions.
pub const SYSTEM_CLASSES: &[(&str, i64, &str)] = &[
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];
/// The greatest value that users may give to a class.
const HIGHEST_USER_PRIORITY: i64 = 1_000_000_000;
const SYSTEM_PREFIX: &str = "system-";

/// The resource.
pub struct PriorityClasses;

fn validate(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (name, value) = (object::name(obj), object::int(obj, &["value"]).unwrap_or(0));
    if name.starts_with(SYSTEM_PREFIX) {
        if let Err(why) = is_known_system_class(obj) {
            let why = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
            );
            e.forbidden(&Path::new("metadata").child("name"), why);
        }
    } else if value > HIGHEST_USER_PRIORITY {
        let why = format!("maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}");
        e.forbidden(&Path::new("value"), why);
    }
    if let Some(policy) = obj.get("preemptionPolicy").and_then(Value::as_str) {
        preemption_policy(&mut e, policy, &Path::new("preemptionPolicy"));
    }
    e
}

fn is_known_system_class(obj: &Value) -> Result<(), String> {
    let name = object::name(obj);
    let Some((_, value, _)) = SYSTEM_CLASSES.iter().find(|(n, ..)| *n == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if object::int(obj, &["value"]) != Some(*value) {
        return Err(format!("value of {name} PriorityClass must be {value}"));
    }
    if object::bool(obj, &["globalDefault"]) {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}

#[async_trait::async_trait]
impl Strategy for PriorityClasses {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        fill_absent(object::entry(obj, &[]), "preemptionPolicy", "PreemptLowerPriority");
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        first_generation(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        next_generation(new, old, false);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        validate(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        for key in ["value", "preemptionPolicy"] {
            let of = |o: &Value| o.get(key).cloned();
            if of(new) != of(old) {
                e.forbidden(&Path::new(key), "may not be changed in an update.");
            }
        }
        e
    }
    async fn before_delete(&self, _ctx: &Context, _cluster: &dyn Cluster, obj: &Value) -> Result<(), Status> {
        let name = object::name(obj);
        if SYSTEM_CLASSES.iter().any(|(n, ..)| *n == name) {
            let gr = GroupResource::from_static("scheduling.k8s.io", "priorityclasses");
            return Err(Status::forbidden(&gr, name, "this is a system priority class and cannot be deleted"));
        }
        Ok(())
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![
            print::name(obj),
            print::number(obj, &["value"]),
            object::bool(obj, &["globalDefault"]).into(),
            age_cell(obj, now),
            object::str(obj, &["preemptionPolicy"]).into(),
        ]
    }
}
