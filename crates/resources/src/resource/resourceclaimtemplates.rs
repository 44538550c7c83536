//! `resourceclaimtemplates` (rule: `pkg/registry/resource/resourceclaimtemplate`).

use super::{GROUP, admin_access, claim_validation, columns};
use crate::checks::{self, Raw};
use crate::common::age_cell;
use crate::fields::Fields;
use crate::namespaced;
use crate::shared::internal::Show;
use crate::shared::print;
use async_trait::async_trait;
use serde_json::Value;
use steersman_apimachinery::field::Shown;
use steersman_apimachinery::{ErrorList, Path, validation};
use steersman_registry::{Cluster, Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo =
    namespaced(GROUP, "v1", "resourceclaimtemplates", "resourceclaimtemplate", "ResourceClaimTemplate");

/// A template's spec as messages show it: metadata and spec side by side.
fn shown(spec: &Value) -> Raw {
    let mut members: Vec<String> =
        spec.entries("metadata").into_iter().map(|(k, v)| format!("{}:{v}", Value::from(k))).collect();
    members.push(format!("\"Spec\":{}", Show(claim_validation::SPEC, spec.at("spec")).shown()));
    Raw(format!("{{{}}}", members.join(",")))
}

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    let (metadata, at) = (spec.at("metadata"), path.child("metadata"));
    validation::annotations(&mut e, metadata.sub("annotations"), &at.child("annotations"));
    validation::labels(&mut e, metadata.sub("labels"), &at.child("labels"));
    for (field, _) in spec.entries("metadata") {
        if !matches!(field, "annotations" | "labels") && metadata.has(field) {
            e.forbidden(&at.child(field), "cannot be set");
        }
    }
    claim_validation::spec(&mut e, &path.child("spec"), spec.at("spec"));
    e
}

/// The strategy of `resourceclaimtemplates`.
pub struct ResourceClaimTemplates;

#[async_trait]
impl Strategy for ResourceClaimTemplates {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        if let Some(spec) = obj.pointer_mut("/spec/spec") {
            claim_validation::default_spec(spec);
        }
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        let (is, was) = (new.at("spec"), old.at("spec"));
        checks::immutable_shown(&mut e, &Path::new("spec"), is, was, shown(is));
        e
    }
    async fn forbidden(&self, _ctx: &Context, cluster: &dyn Cluster, new: &Value, old: Option<&Value>) -> ErrorList {
        admin_access::check_new(cluster, new, old, new.at("spec").at("spec"))
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    fn columns(&self) -> &'static [Column] {
        columns::RESOURCECLAIMTEMPLATES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), age_cell(obj, now)]
    }
}
