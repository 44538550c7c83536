//! `configmaps` (rule: `pkg/registry/core/configmap`).

use super::columns;
use crate::common::age_cell;
use crate::fields::Fields;
use crate::namespaced;
use crate::shared::print;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo =
    ResourceInfo { short_names: &["cm"], ..namespaced("", "v1", "configmaps", "configmap", "ConfigMap") };

/// The most that all values of a ConfigMap or Secret may hold together, in bytes.
pub(super) const MAX_SIZE: usize = 1024 * 1024;

/// Bytes that a base64 text stands for.
pub(super) fn decoded_len(base64: &str) -> usize {
    let text = base64.trim_end_matches('=');
    text.len() * 3 / 4
}

/// What an immutable ConfigMap or Secret may not change (rule: core `ValidateConfigMapUpdate`, `ValidateSecretUpdate`).
pub(super) fn check_immutable(e: &mut ErrorList, new: &Value, old: &Value, fields: &[&str]) {
    if old.flag("immutable") != Some(true) {
        return;
    }
    const WHY: &str = "field is immutable when `immutable` is set";
    if new.flag("immutable") != Some(true) {
        e.forbidden(&Path::new("immutable"), WHY);
    }
    for field in fields {
        if !crate::checks::same_or_both_empty(new.at(field), old.at(field)) {
            e.forbidden(&Path::new(field), WHY);
        }
    }
}

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    crate::shared::rules::known_finalizers(&mut e, obj);
    let mut total = 0;
    let binary: BTreeSet<&str> = obj.entries("binaryData").into_iter().map(|(k, _)| k).collect();
    for (key, value) in obj.entries("data") {
        let path = Path::new("data").key(key);
        crate::checks::invalid_each(&mut e, &path, key, validation::config_map_key(key));
        if binary.contains(key) {
            e.invalid(&path, key, "duplicate of key present in binaryData");
        }
        total += value.as_str().map_or(0, str::len);
    }
    for (key, value) in obj.entries("binaryData") {
        let path = Path::new("binaryData").key(key);
        crate::checks::invalid_each(&mut e, &path, key, validation::config_map_key(key));
        total += value.as_str().map_or(0, decoded_len);
    }
    if total > MAX_SIZE {
        // Upstream names no field here, and prints it so.
        e.too_long(&Path::root().key(""), MAX_SIZE);
    }
    e
}

/// The strategy of `configmaps`.
pub struct ConfigMaps;

impl Strategy for ConfigMaps {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        crate::shared::rules::known_finalizers(&mut e, new);
        check_immutable(&mut e, new, old, &["data", "binaryData"]);
        e.extend(check(new));
        e
    }
    fn columns(&self) -> &'static [Column] {
        columns::CONFIGMAPS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let count = obj.entries("data").len() + obj.entries("binaryData").len();
        vec![print::name(obj), count.into(), age_cell(obj, now)]
    }
}
