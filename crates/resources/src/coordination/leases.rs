//! Leases (rule: `pkg/registry/coordination/lease`).

use crate::common::{AGE, NAME, age_cell, column};
use crate::namespaced;
use crate::shared::pod::say;
use crate::shared::print;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = namespaced("coordination.k8s.io", "v1", "leases", "lease", "Lease");

static COLUMNS: &[Column] = &[
    NAME,
    column(
        "Holder",
        "string",
        "holderIdentity contains the identity of the holder of a current lease. If Coordinated Leader Election is used, the holder identity must be equal to the elected LeaseCandidate.metadata.name field.",
    ),
    AGE,
];

/// The resource.
pub struct Leases;

fn validate(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, at) = (obj.get("spec").unwrap_or(&Value::Null), Path::new("spec"));
    if let Some(n) = object::int(spec, &["leaseDurationSeconds"]).filter(|n| *n <= 0) {
        e.invalid(&at.child("leaseDurationSeconds"), n, "must be greater than 0");
    }
    if let Some(n) = object::int(spec, &["leaseTransitions"]).filter(|n| *n < 0) {
        e.invalid(&at.child("leaseTransitions"), n, "must be greater than or equal to 0");
    }
    let strategy = object::str(spec, &["strategy"]);
    if spec.get("strategy").is_some() {
        // Upstream says `strategy` twice in this path.
        let at = at.child("strategy").child("strategy");
        if strategy.contains('/') {
            say(&mut e, || at, strategy, validation::qualified_name(strategy));
        } else if strategy != "OldestEmulationVersion" {
            e.not_supported(&at, strategy, &["OldestEmulationVersion"]);
        }
    }
    if !object::str(spec, &["preferredHolder"]).is_empty() && strategy.is_empty() {
        e.forbidden(&at.child("preferredHolder"), "may only be specified if `strategy` is defined");
    }
    e
}

/// Coordinated leader election is off: its fields are kept only where they already are.
fn drop_coordinated(new: &mut Value, old: Option<&Value>) {
    for key in ["strategy", "preferredHolder"] {
        if old.is_none_or(|o| object::get(o, &["spec", key]).is_none()) {
            object::remove(new, &["spec", key]);
        }
    }
}

impl Strategy for Leases {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        drop_coordinated(obj, None);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        drop_coordinated(new, Some(old));
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        validate(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        validate(new)
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), object::str(obj, &["spec", "holderIdentity"]).into(), age_cell(obj, now)]
    }
}
