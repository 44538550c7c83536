//! `resourcequotas` (rule: `pkg/registry/core/resourcequota`).

use super::{columns, resource_names};
use crate::common::{age_cell, carry_over, object_subresource};
use crate::fields::Fields;
use crate::namespaced;
use crate::shared::internal::{Field, Show, Type};
use crate::shared::print;
use crate::shared::quantity::amount;
use crate::shared::rules::known_finalizers;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["quota"],
    ..namespaced("", "v1", "resourcequotas", "resourcequota", "ResourceQuota")
};

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
const EXISTS_ONLY: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";

const SELECTOR: &[Field] = &[Field(
    "matchExpressions",
    Type::List(&[Field("scopeName", Type::Text), Field("operator", Type::Text), Field("values", Type::Plain)]),
)];

fn defaults(obj: &mut Value) {
    for path in ["/spec/hard", "/status/hard", "/status/used"] {
        if let Some(list) = obj.pointer_mut(path).and_then(Value::as_object_mut) {
            crate::shared::defaults::resource_list(list);
        }
    }
}

fn fits(scope: &str, resource: &str) -> bool {
    let compute =
        ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"].contains(&resource);
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            resource == "pods" || compute
        }
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn conflicting(scopes: &BTreeSet<&str>) -> usize {
    [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]]
        .iter()
        .filter(|pair| pair.iter().all(|s| scopes.contains(s)))
        .count()
}

fn check_lists(e: &mut ErrorList, path: &Path, list: &Value) {
    for (name, value) in list.as_object().into_iter().flatten() {
        resource_names::check_quota_name(e, &path.key(name), name);
        resource_names::check_amount(e, &path.key(name), name, value);
    }
}

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    known_finalizers(&mut e, obj);
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    check_lists(&mut e, &path.child("hard"), spec.at("hard"));
    let hard: Vec<&str> =
        spec.entries("hard").into_iter().map(|(k, _)| k).filter(|k| resource_names::is_standard_quota(k)).collect();

    let (scopes, shown, at) = (spec.strings("scopes"), spec.at("scopes"), path.child("scopes"));
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            e.invalid(&at, shown, "unsupported scope");
        }
        for _ in hard.iter().filter(|r| !fits(scope, r)) {
            e.invalid(&at, shown, "unsupported scope applied to resource");
        }
    }
    for _ in 0..conflicting(&scopes.into_iter().collect()) {
        e.invalid(&at, shown, "conflicting scopes");
    }

    let at = path.child("scopeSelector").child("matchExpressions");
    let mut seen = BTreeSet::new();
    for req in spec.at("scopeSelector").items("matchExpressions") {
        let (scope, operator) = (req.s("scopeName"), req.s("operator"));
        if !SCOPES.contains(&scope) {
            e.invalid(&at.child("scopeName"), scope, "unsupported scope");
        }
        for _ in hard.iter().filter(|r| !fits(scope, r)) {
            e.invalid(&at, Show(SELECTOR, spec.at("scopeSelector")), "unsupported scope applied to resource");
        }
        let plain = ["BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"];
        if plain.contains(&scope) && operator != "Exists" {
            e.invalid(&at.child("operator"), operator, EXISTS_ONLY);
        }
        match operator {
            "In" | "NotIn" => {
                if !req.has("values") {
                    let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                    e.required(&at.child("values"), why);
                }
            }
            "Exists" | "DoesNotExist" => {
                if req.has("values") {
                    let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                    e.invalid(&at.child("values"), req.at("values"), why);
                }
            }
            other => e.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        seen.insert(scope);
    }
    for _ in 0..conflicting(&seen) {
        e.invalid(&at, shown, "conflicting scopes");
    }
    e
}

/// The strategy of `resourcequotas`.
pub struct ResourceQuotas;

impl Strategy for ResourceQuotas {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
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
        check(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = check(new);
        let scopes =
            |o: &Value| -> BTreeSet<String> { o.at("spec").strings("scopes").into_iter().map(str::to_owned).collect() };
        if scopes(new) != scopes(old) {
            e.invalid(&Path::new("spec").child("scopes"), new.at("spec").at("scopes"), crate::checks::IMMUTABLE);
        }
        e
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        warn_of_requests_above_limits(ctx, obj.at("spec").at("hard"));
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    fn columns(&self) -> &'static [Column] {
        columns::RESOURCEQUOTAS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        let status = obj.at("status");
        for (name, hard) in status.entries("hard") {
            let used = status.at("used").sub(name).map_or_else(|| "0".to_owned(), resource_names::text);
            let line = format!("{name}: {used}/{}", resource_names::text(hard));
            if name.starts_with("limits.") { limits.push(line) } else { requests.push(line) }
        }
        vec![print::name(obj), requests.join(", ").into(), limits.join(", ").into(), age_cell(obj, now)]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[object_subresource("status", &ResourceQuotaStatus)];
        SUBRESOURCES
    }
}

/// Warns of requests that no limits can hold (rule: `WarningsOnCreate`); CPU and memory without a prefix are requests.
fn warn_of_requests_above_limits(ctx: &Context, hard: &Value) {
    for resource in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let (mut request, limit) = (format!("requests.{resource}"), format!("limits.{resource}"));
        if !hard.has(&request) && matches!(resource, "cpu" | "memory") {
            request = resource.to_owned();
        }
        let amounts = (hard.sub(&request).and_then(amount), hard.sub(&limit).and_then(amount));
        if let (Some(asked), Some(most)) = amounts
            && asked > most
        {
            ctx.warn(format!("ResourceQuota {request} ({asked}) should be less than {limit} ({most})"));
        }
    }
}

/// The strategy of `resourcequotas/status`.
pub struct ResourceQuotaStatus;

impl Strategy for ResourceQuotaStatus {
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
        for list in ["hard", "used"] {
            check_lists(&mut e, &Path::new("status").child(list), new.at("status").at(list));
        }
        e
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
