//! `resourceclaims` (rule: `pkg/registry/resource/resourceclaim`).

use super::{GROUP, admin_access, claim_validation, columns, status_access, status_validation};
use crate::common::{age_cell, carry_over, keep_metadata, object_subresource};
use crate::fields::Fields;
use crate::shared::internal::Show;
use crate::shared::print;
use crate::{checks, namespaced};
use async_trait::async_trait;
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_registry::{Cluster, Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = namespaced(GROUP, "v1", "resourceclaims", "resourceclaim", "ResourceClaim");

fn defaults(obj: &mut Value) {
    if let Some(spec) = obj.get_mut("spec") {
        claim_validation::default_spec(spec);
    }
}

fn state(obj: &Value) -> String {
    let (status, mut words) = (obj.at("status"), Vec::new());
    if object::is_deleting(obj) {
        words.push("deleted");
    }
    if status.sub("allocation").is_some() {
        words.push("allocated");
        if status.has("reservedFor") {
            words.push("reserved");
        }
    } else if !object::is_deleting(obj) {
        words.push("pending");
    }
    words.join(",")
}

/// The strategy of `resourceclaims`.
pub struct ResourceClaims;

#[async_trait]
impl Strategy for ResourceClaims {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({}));
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        claim_validation::spec(&mut e, &Path::new("spec"), obj.at("spec"));
        e
    }
    fn validate_update(&self, ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        let (is, was) = (new.at("spec"), old.at("spec"));
        checks::immutable_shown(&mut e, &Path::new("spec"), is, was, Show(claim_validation::SPEC, is));
        if e.is_empty() {
            e.extend(self.validate(ctx, new));
        }
        e
    }
    async fn forbidden(&self, _ctx: &Context, cluster: &dyn Cluster, new: &Value, old: Option<&Value>) -> ErrorList {
        admin_access::check_new(cluster, new, old, new.at("spec"))
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    fn columns(&self) -> &'static [Column] {
        columns::RESOURCECLAIMS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), state(obj).into(), age_cell(obj, now)]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[object_subresource("status", &ResourceClaimStatus)];
        SUBRESOURCES
    }
}

/// The strategy of `resourceclaims/status`.
pub struct ResourceClaimStatus;

#[async_trait]
impl Strategy for ResourceClaimStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
        keep_metadata(new, old);
        status_validation::drop_deallocated(new, old);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        status_validation::status(new, old)
    }
    async fn forbidden(&self, ctx: &Context, cluster: &dyn Cluster, new: &Value, old: Option<&Value>) -> ErrorList {
        let Some(old) = old else { return ErrorList::new() };
        let mut e = admin_access::check(cluster, new, admin_access::of_status(new, old));
        e.extend(status_access::check(ctx, cluster, new, old).await);
        e
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["metadata", "spec"]
    }
}
