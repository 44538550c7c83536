//! `customresourcedefinitions` (rule: apiextensions `pkg/registry/customresourcedefinition`).

use super::{columns, crd_formats, crd_validation};
use crate::cluster_scoped;
use crate::common::{
    API_EXTENSIONS, carry_over, default_str, default_value, first_generation, name_and_created, next_generation,
    object_subresource, same,
};
use crate::fields::Fields;
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["crd", "crds"],
    categories: API_EXTENSIONS,
    prefix: "apiextensions.k8s.io/customresourcedefinitions",
    ..cluster_scoped(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "customresourcedefinition",
        "CustomResourceDefinition",
    )
};

fn defaults(obj: &mut Value) {
    let kind = obj.at("spec").at("names").s("kind").to_owned();
    if !kind.is_empty() {
        default_str(obj, &["spec", "names", "singular"], &kind.to_lowercase());
        default_str(obj, &["spec", "names", "listKind"], &format!("{kind}List"));
    }
    default_value(obj, &["spec", "conversion"], json!({"strategy": "None"}));
    if obj.pointer("/spec/conversion/webhook/clientConfig/service").is_some_and(Value::is_object) {
        default_value(obj, &["spec", "conversion", "webhook", "clientConfig", "service", "port"], 443);
    }
}

/// Remembers the version that objects are stored in from now on.
fn remember_storage_version(obj: &mut Value) {
    let storage = obj.at("spec").items("versions").iter().find(|v| v.flag("storage") == Some(true));
    let Some(version) = storage.map(|v| v.s("name").to_owned()) else { return };
    if !obj.at("status").strings("storedVersions").contains(&version.as_str()) {
        let status = object::entry(obj, &["status"]);
        let stored = status.entry("storedVersions").or_insert_with(|| json!([]));
        match stored.as_array_mut() {
            Some(list) => list.push(version.into()),
            None => *stored = json!([version]),
        }
    }
}

/// The strategy of `customresourcedefinitions`.
pub struct CustomResourceDefinitions;

impl Strategy for CustomResourceDefinitions {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        let empty = json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": []});
        object::set(obj, &["status"], empty);
        remember_storage_version(obj);
        first_generation(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        remember_storage_version(new);
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        crd_validation::definition(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        crd_validation::update(new, old)
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        crd_formats::warn(ctx, obj, None);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, old: &Value) {
        crd_formats::warn(ctx, new, Some(old));
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        columns::CUSTOMRESOURCEDEFINITIONS
    }
    fn cells(&self, obj: &Value, _now: jiff::Timestamp) -> Vec<Value> {
        name_and_created(obj)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[object_subresource("status", &CustomResourceDefinitionStatus)];
        SUBRESOURCES
    }
}

/// The strategy of `customresourcedefinitions/status`. Unlike that of other kinds it lets the metadata change too, as
/// upstream's does: the clean-up of a definition's objects takes its finalizer away with the status.
pub struct CustomResourceDefinitionStatus;

impl Strategy for CustomResourceDefinitionStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        crd_validation::status(new)
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
