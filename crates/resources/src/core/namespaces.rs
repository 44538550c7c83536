//! `namespaces` (rule: `pkg/registry/core/namespace`).

use super::columns;
use crate::cluster_scoped;
use crate::common::{age_cell, carry_over, default_str, object_subresource};
use crate::fields::Fields;
use crate::shared::print;
use crate::shared::rules::known_finalizers;
use async_trait::async_trait;
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, SubBehaviour, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["ns"],
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    ..cluster_scoped("", "v1", "namespaces", "namespace", "Namespace")
};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const FINALIZER: &str = "kubernetes";

fn defaults(obj: &mut Value) {
    let name = object::name(obj).to_owned();
    if !name.is_empty() {
        object::set(obj, &["metadata", "labels", NAME_LABEL], name);
    }
    default_str(obj, &["status", "phase"], "Active");
}

fn holds(obj: &Value) -> bool {
    obj.at("spec").has("finalizers")
}

/// Checks the name of a finalizer that stands in a spec (rule: core `ValidateFinalizerName`).
fn check_finalizer(e: &mut ErrorList, path: &Path, name: &str) {
    crate::checks::qualified_name(e, path, name);
    if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
        e.invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

/// The strategy of `namespaces`.
pub struct Namespaces;

#[async_trait]
impl Strategy for Namespaces {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({"phase": "Active"}));
        let finalizers = object::entry(obj, &["spec"]).entry("finalizers").or_insert_with(|| json!([]));
        if let Some(list) = finalizers.as_array_mut()
            && !list.iter().any(|f| f == FINALIZER)
        {
            list.push(FINALIZER.into());
        }
        defaults(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec", "finalizers"]);
        carry_over(new, old, &["status"]);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        known_finalizers(&mut e, obj);
        let path = Path::new("spec").child("finalizers");
        for f in obj.at("spec").strings("finalizers") {
            check_finalizer(&mut e, &path, f);
        }
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
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        validation::dns_label(name, prefix)
    }
    fn holds_deletion(&self, obj: &Value) -> bool {
        holds(obj)
    }
    fn mark_deleting(&self, obj: &mut Value) {
        object::set(obj, &["status", "phase"], "Terminating");
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.phase"]
    }
    fn selectable_field(&self, obj: &Value, _field: &str) -> String {
        obj.at("status").s("phase").to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        columns::NAMESPACES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), obj.at("status").s("phase").into(), age_cell(obj, now)]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[
            Subresource {
                name: "finalize",
                kind: ("", "", "Namespace"),
                verbs: &["update"],
                behaviour: SubBehaviour::Object(&NamespaceFinalize),
            },
            object_subresource("status", &NamespaceStatus),
        ];
        SUBRESOURCES
    }
}

/// The strategy of `namespaces/status`.
pub struct NamespaceStatus;

impl Strategy for NamespaceStatus {
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
        let mut e = ErrorList::new();
        known_finalizers(&mut e, new);
        // Upstream names the field as Go does.
        let (path, phase) = (Path::new("status").child("Phase"), new.at("status").s("phase"));
        if object::is_deleting(new) {
            if phase != "Terminating" {
                e.invalid(&path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty");
            }
        } else if phase != "Active" {
            e.invalid(&path, phase, "may only be 'Active' if `deletionTimestamp` is empty");
        }
        e
    }
    fn holds_deletion(&self, obj: &Value) -> bool {
        holds(obj)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}

/// The strategy of `namespaces/finalize`.
pub struct NamespaceFinalize;

impl Strategy for NamespaceFinalize {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        known_finalizers(&mut e, new);
        let path = Path::new("spec").child("finalizers");
        for (i, f) in new.at("spec").strings("finalizers").into_iter().enumerate() {
            check_finalizer(&mut e, &path.index(i), f);
        }
        e
    }
    fn holds_deletion(&self, obj: &Value) -> bool {
        holds(obj)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
}
