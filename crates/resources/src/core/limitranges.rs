//! `limitranges` (rule: `pkg/registry/core/limitrange`).

use super::{columns, resource_names};
use crate::common::name_and_created;
use crate::fields::Fields;
use crate::shared::quantity::amount;
use crate::{checks, namespaced};
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, Quantity, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo =
    ResourceInfo { short_names: &["limits"], ..namespaced("", "v1", "limitranges", "limitrange", "LimitRange") };

/// Fills in what of a container's limits follows from the others (rule: core v1 `SetDefaults_LimitRangeItem`).
fn default_item(item: &mut Value) {
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        if let Some(list) = item.get_mut(list).and_then(Value::as_object_mut) {
            crate::shared::defaults::resource_list(list);
        }
    }
    if item.s("type") != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let Some(Value::Object(source)) = item.get(from).cloned() else { continue };
        let target = object::entry(item, &[to]);
        for (name, value) in source {
            target.entry(name).or_insert(value);
        }
    }
}

fn check_item(e: &mut ErrorList, path: &Path, item: &Value) {
    let kind = item.s("type");
    let before = e.0.len();
    checks::qualified_name(e, &path.child("type"), kind);
    // A name of the wrong form is not looked up as well (rule: core `validateLimitRangeTypeName`).
    if e.0.len() == before && !kind.contains('/') && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim") {
        e.invalid(&path.child("type"), kind, "must be a standard limit type or fully qualified");
    }
}

fn check_bounds(e: &mut ErrorList, path: &Path, item: &Value) {
    let kind = item.s("type");
    let mut keys = BTreeSet::new();
    let mut names = |e: &mut ErrorList, list: &str| {
        for (name, _) in item.entries(list) {
            let p = path.child(list).key(name);
            match kind {
                "Pod" | "Container" => resource_names::check_container_name(e, &p, name),
                _ => resource_names::check_name(e, &p, name),
            }
            keys.insert(name.to_owned());
        }
    };
    names(e, "max");
    names(e, "min");
    for list in ["default", "defaultRequest"] {
        if kind != "Pod" {
            names(e, list);
        } else if item.has(list) {
            e.forbidden(&path.child(list), "may not be specified when `type` is 'Pod'");
        }
    }
    if kind == "PersistentVolumeClaim"
        && item.at("min").sub("storage").is_none()
        && item.at("max").sub("storage").is_none()
    {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        e.required(&path.child("limits"), why);
    }
    names(e, "maxLimitRequestRatio");
    for name in &keys {
        check_one(e, path, item, name);
    }
}

fn check_one(e: &mut ErrorList, path: &Path, item: &Value, name: &str) {
    let pod = item.s("type") == "Pod";
    let get = |list: &str| -> Option<Quantity> {
        if pod && list.starts_with("default") { None } else { item.at(list).sub(name).and_then(amount) }
    };
    let at = |list: &str| path.child(list).key(name);
    let (min, max) = (get("min"), get("max"));
    let (default, request, ratio) = (get("default"), get("defaultRequest"), get("maxLimitRequestRatio"));
    if let (Some(min), Some(max)) = (&min, &max)
        && min > max
    {
        e.invalid(&at("min"), min.to_string(), format!("min value {min} is greater than max value {max}"));
    }
    if let (Some(request), Some(min)) = (&request, &min)
        && min > request
    {
        let why = format!("min value {min} is greater than default request value {request}");
        e.invalid(&at("defaultRequest"), request.to_string(), why);
    }
    if let (Some(request), Some(max)) = (&request, &max)
        && request > max
    {
        let why = format!("default request value {request} is greater than max value {max}");
        e.invalid(&at("defaultRequest"), request.to_string(), why);
    }
    if let (Some(request), Some(default)) = (&request, &default)
        && request > default
    {
        let why = format!("default request value {request} is greater than default limit value {default}");
        e.invalid(&at("defaultRequest"), request.to_string(), why);
    }
    if let (Some(default), Some(min)) = (&default, &min)
        && min > default
    {
        e.invalid(&at("default"), min.to_string(), format!("min value {min} is greater than default value {default}"));
    }
    if let (Some(default), Some(max)) = (&default, &max)
        && default > max
    {
        e.invalid(&at("default"), max.to_string(), format!("default value {default} is greater than max value {max}"));
    }
    if let Some(ratio) = &ratio {
        let path = at("maxLimitRequestRatio");
        if ratio.cmp_i64(1).is_lt() {
            e.invalid(&path, ratio.to_string(), format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (&min, &max) {
            let most = max.as_f64() / min.as_f64();
            if ratio.as_f64() > most {
                e.invalid(&path, ratio.to_string(), format!("ratio {ratio} is greater than max/min = {most:.6}"));
            }
        }
    }
    if let (Some(default), Some(request)) = (&default, &request)
        && !resource_names::is_overcommit_allowed(name)
        && default != request
    {
        let why = format!("default value {default} must equal to defaultRequest value {request} in {name}");
        e.invalid(&at("defaultRequest"), request.to_string(), why);
    }
}

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    crate::shared::rules::known_finalizers(&mut e, obj);
    let mut seen = BTreeSet::new();
    for (i, item) in obj.at("spec").items("limits").iter().enumerate() {
        let path = Path::new("spec").child("limits").index(i);
        check_item(&mut e, &path, item);
        if !seen.insert(item.s("type")) {
            e.duplicate(&path.child("type"), item.s("type"));
        }
        check_bounds(&mut e, &path, item);
    }
    e
}

/// The strategy of `limitranges`.
pub struct LimitRanges;

impl Strategy for LimitRanges {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        let limits = obj.pointer_mut("/spec/limits").and_then(Value::as_array_mut);
        limits.into_iter().flatten().for_each(default_item);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        if object::name(obj).is_empty() {
            object::set(obj, &["metadata", "name"], uuid::Uuid::new_v4().to_string());
        }
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        check(new)
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
    fn columns(&self) -> &'static [Column] {
        columns::LIMITRANGES
    }
    fn cells(&self, obj: &Value, _now: jiff::Timestamp) -> Vec<Value> {
        name_and_created(obj)
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use serde_json::json;

    #[test]
    fn types_are_checked_once() {
        for (kind, want) in [("Pod", &[][..]), ("example.com/Any", &[]), ("Foo", &["standard"]), ("", &["name part"])] {
            let e = check(&json!({"spec": {"limits": [{"type": kind}]}}));
            let found: Vec<&str> = e.0.iter().map(|e| e.body.as_str()).collect();
            // An empty name is both empty and of the wrong form; neither says that the type is unknown.
            let unknown = found.iter().filter(|m| m.contains("must be a standard limit type")).count();
            assert_eq!(unknown, usize::from(want == ["standard"]), "{kind}: {found:?}");
            assert_eq!(found.is_empty(), want.is_empty(), "{kind}: {found:?}");
        }
    }
}
