//! `validatingadmissionpolicies` (rule: `pkg/registry/admissionregistration/validatingadmissionpolicy`).

use super::{GROUP, columns, defaults, param_access, policy_validation};
use crate::cluster_scoped;
use crate::common::{
    API_EXTENSIONS, age_cell, carry_over, first_generation, keep_metadata, next_generation, object_subresource, same,
};
use crate::fields::Fields;
use crate::shared::print;
use async_trait::async_trait;
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Cluster, Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    categories: API_EXTENSIONS,
    ..cluster_scoped(
        GROUP,
        "v1",
        "validatingadmissionpolicies",
        "validatingadmissionpolicy",
        "ValidatingAdmissionPolicy",
    )
};

/// The strategy of `validatingadmissionpolicies`.
pub struct ValidatingAdmissionPolicies;

#[async_trait]
impl Strategy for ValidatingAdmissionPolicies {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn default(&self, obj: &mut Value) {
        defaults::policy(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({}));
        first_generation(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        policy_validation::validating(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        policy_validation::validating(new)
    }
    async fn forbidden(&self, ctx: &Context, cluster: &dyn Cluster, new: &Value, old: Option<&Value>) -> ErrorList {
        param_access::check_policy(ctx, cluster, self, new, old).await
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        columns::VALIDATINGADMISSIONPOLICIES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = obj.at("spec");
        let kind = spec.sub("paramKind").map(|k| format!("{}/{}", k.s("apiVersion"), k.s("kind")));
        vec![
            print::name(obj),
            spec.items("validations").len().into(),
            kind.unwrap_or_else(|| "<unset>".into()).into(),
            age_cell(obj, now),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[object_subresource("status", &ValidatingAdmissionPolicyStatus)];
        SUBRESOURCES
    }
}

/// The strategy of `validatingadmissionpolicies/status`.
pub struct ValidatingAdmissionPolicyStatus;

impl Strategy for ValidatingAdmissionPolicyStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn default(&self, obj: &mut Value) {
        defaults::policy(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
        keep_metadata(new, old);
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["metadata", "spec"]
    }
}
