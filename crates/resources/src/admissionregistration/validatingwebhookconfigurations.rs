//! `validatingwebhookconfigurations` (rule: `pkg/registry/admissionregistration/validatingwebhookconfiguration`).

use super::{GROUP, columns, defaults, webhook_validation};
use crate::cluster_scoped;
use crate::common::{API_EXTENSIONS, age_cell, first_generation, next_generation, same};
use crate::fields::Fields;
use crate::shared::print;
use serde_json::Value;
use steersman_apimachinery::ErrorList;
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = ResourceInfo {
    categories: API_EXTENSIONS,
    ..cluster_scoped(
        GROUP,
        "v1",
        "validatingwebhookconfigurations",
        "validatingwebhookconfiguration",
        "ValidatingWebhookConfiguration",
    )
};

/// The strategy of `validatingwebhookconfigurations`.
pub struct ValidatingWebhookConfigurations;

impl Strategy for ValidatingWebhookConfigurations {
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
        defaults::webhooks(obj, false);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        first_generation(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        let changed = !same(new, old, &["webhooks"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        webhook_validation::configuration(obj, None, false)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        webhook_validation::configuration(new, Some(old), false)
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        columns::VALIDATINGWEBHOOKCONFIGURATIONS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), obj.items("webhooks").len().into(), age_cell(obj, now)]
    }
}
