//! `validatingadmissionpolicybindings` (rule: `pkg/registry/admissionregistration/validatingadmissionpolicybinding`).

use super::{GROUP, columns, defaults, param_access, policy_validation};
use crate::cluster_scoped;
use crate::common::{API_EXTENSIONS, age_cell, first_generation, next_generation, same};
use crate::fields::Fields;
use crate::shared::print;
use async_trait::async_trait;
use serde_json::Value;
use steersman_apimachinery::ErrorList;
use steersman_registry::{Cluster, Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = ResourceInfo {
    categories: API_EXTENSIONS,
    ..cluster_scoped(
        GROUP,
        "v1",
        "validatingadmissionpolicybindings",
        "validatingadmissionpolicybinding",
        "ValidatingAdmissionPolicyBinding",
    )
};

/// The strategy of `validatingadmissionpolicybindings`.
pub struct ValidatingAdmissionPolicyBindings;

#[async_trait]
impl Strategy for ValidatingAdmissionPolicyBindings {
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
        defaults::binding(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        first_generation(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        policy_validation::binding(obj, true)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        policy_validation::binding(new, true)
    }
    async fn forbidden(&self, ctx: &Context, cluster: &dyn Cluster, new: &Value, old: Option<&Value>) -> ErrorList {
        param_access::check_binding(ctx, cluster, self, "validatingadmissionpolicies", new, old).await
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        columns::VALIDATINGADMISSIONPOLICYBINDINGS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = obj.at("spec");
        let param = spec.sub("paramRef").map(|p| match (p.s("namespace"), p.s("name")) {
            (_, "") => "<unset>".to_owned(),
            ("", name) => name.to_owned(),
            (ns, name) => format!("{ns}/{name}"),
        });
        vec![
            print::name(obj),
            spec.s("policyName").into(),
            param.unwrap_or_else(|| "<unset>".into()).into(),
            age_cell(obj, now),
        ]
    }
}
