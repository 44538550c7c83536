//! Controller revisions (rule: `pkg/registry/apps/controllerrevision`).

use crate::common::{AGE, NAME, age_cell, column};
use crate::namespaced;
use crate::shared::print;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = namespaced("apps", "v1", "controllerrevisions", "controllerrevision", "ControllerRevision");

static COLUMNS: &[Column] = &[
    NAME,
    column("Controller", "string", "Controller of the object"),
    column("Revision", "string", "Revision indicates the revision of the state represented by Data."),
    AGE,
];

/// The resource.
pub struct ControllerRevisions;

impl Strategy for ControllerRevisions {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        super::validation::controller_revision(obj, None)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        super::validation::controller_revision(new, Some(old))
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), print::or_none(&controller(obj)), print::number(obj, &["revision"]), age_cell(obj, now)]
    }
}

/// The owner that controls the object, as `statefulset.apps/web`.
fn controller(obj: &Value) -> String {
    let Some(owner) =
        object::list(obj, &["metadata", "ownerReferences"]).iter().find(|o| object::bool(o, &["controller"]))
    else {
        return String::new();
    };
    let group = match object::str(owner, &["apiVersion"]).split_once('/') {
        Some((group, _)) => format!(".{group}"),
        None => String::new(),
    };
    format!("{}{group}/{}", object::str(owner, &["kind"]).to_lowercase(), object::str(owner, &["name"]))
}
