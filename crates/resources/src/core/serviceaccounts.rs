//! `serviceaccounts` (rule: `pkg/registry/core/serviceaccount`).

use super::columns;
use super::service_account_tokens::Tokens;
use crate::common::age_cell;
use crate::fields::Fields;
use crate::namespaced;
use crate::shared::print;
use crate::shared::rules::known_finalizers;
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, SubBehaviour, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["sa"],
    ..namespaced("", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount")
};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// Of references to secrets only the name counts.
fn clean(obj: &mut Value) {
    if let Some(list) = obj.get_mut("secrets").and_then(Value::as_array_mut) {
        for s in list {
            let name = s.s("name");
            *s = if name.is_empty() { json!({}) } else { json!({"name": name}) };
        }
    }
}

fn warn(ctx: &Context, obj: &Value) {
    if object::annotation(obj, ENFORCE).is_some() {
        ctx.warn(format!(
            "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        ));
    }
}

/// The strategy of `serviceaccounts`.
pub struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        clean(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, _old: &Value) {
        clean(new);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        known_finalizers(&mut e, obj);
        e
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn validate_update(&self, ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        let mut e = self.validate(ctx, new);
        known_finalizers(&mut e, new);
        e
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        warn(ctx, obj);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, old: &Value) {
        if object::annotation(old, ENFORCE).is_none() {
            warn(ctx, new);
        }
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    fn columns(&self) -> &'static [Column] {
        columns::SERVICEACCOUNTS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), age_cell(obj, now)]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[Subresource {
            name: "token",
            kind: ("authentication.k8s.io", "v1", "TokenRequest"),
            verbs: &["create"],
            behaviour: SubBehaviour::Create(&Tokens),
        }];
        SUBRESOURCES
    }
}
