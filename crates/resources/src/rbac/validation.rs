//! Rules of roles and subjects of bindings (rule: `pkg/apis/rbac/validation`, defaults: `pkg/apis/rbac/v1`).

use super::GROUP;
use crate::checks;
use crate::fields::Fields;
use crate::shared::internal::{Field, Show, Type};
use crate::shared::print;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object};

/// All rules of a role.
pub(super) fn rules(obj: &Value, namespaced: bool) -> ErrorList {
    let mut e = ErrorList::new();
    for (i, rule) in obj.items("rules").iter().enumerate() {
        let path = Path::new("rules").index(i);
        if !rule.has("verbs") {
            e.required(&path.child("verbs"), "verbs must contain at least one value");
        }
        if rule.has("nonResourceURLs") {
            let (urls, at) = (rule.at("nonResourceURLs"), path.child("nonResourceURLs"));
            if namespaced {
                e.invalid(&at, urls, "namespaced rules cannot apply to non-resource URLs");
            }
            if rule.has("apiGroups") || rule.has("resources") || rule.has("resourceNames") {
                e.invalid(&at, urls, "rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if !rule.has("apiGroups") {
            e.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
        }
        if !rule.has("resources") {
            e.required(&path.child("resources"), "resource rules must supply at least one resource");
        }
    }
    e
}

/// Groups that a binding leaves out.
pub(super) fn default_binding(obj: &mut Value) {
    let group = object::entry(obj, &["roleRef"]).entry("apiGroup").or_insert_with(|| GROUP.into());
    if group.as_str().is_none_or(str::is_empty) {
        *group = GROUP.into();
    }
    for subject in obj.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        if subject.s("apiGroup").is_empty() && matches!(subject.s("kind"), "User" | "Group") {
            object::set(subject, &["apiGroup"], GROUP);
        }
    }
}

/// A binding; `kinds` are those it may refer to.
pub(super) fn binding(obj: &Value, kinds: &[&str], namespaced: bool) -> ErrorList {
    let mut e = ErrorList::new();
    let (role, path) = (obj.at("roleRef"), Path::new("roleRef"));
    checks::one_of(&mut e, &path.child("apiGroup"), role.s("apiGroup"), &[GROUP]);
    if !kinds.contains(&role.s("kind")) {
        checks::not_supported_in_order(&mut e, &path.child("kind"), role.s("kind"), kinds);
    }
    if role.s("name").is_empty() {
        e.required(&path.child("name"), "");
    } else {
        checks::path_segment(&mut e, &path.child("name"), role.s("name"));
    }
    for (i, s) in obj.items("subjects").iter().enumerate() {
        subject(&mut e, &Path::new("subjects").index(i), s, namespaced);
    }
    e
}

fn subject(e: &mut ErrorList, path: &Path, subject: &Value, namespaced: bool) {
    let (name, group) = (subject.s("name"), subject.s("apiGroup"));
    if name.is_empty() {
        e.required(&path.child("name"), "");
    }
    match subject.s("kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                checks::subdomain(e, &path.child("name"), name);
            }
            if !group.is_empty() {
                e.not_supported(&path.child("apiGroup"), group, &[""]);
            }
            if !namespaced && subject.s("namespace").is_empty() {
                e.required(&path.child("namespace"), "");
            }
        }
        kind @ ("User" | "Group") => {
            if name.is_empty() {
                e.invalid(&path.child("name"), name, format!("{} name cannot be empty", kind.to_lowercase()));
            }
            checks::one_of(e, &path.child("apiGroup"), group, &[GROUP]);
        }
        other => {
            checks::not_supported_in_order(e, &path.child("kind"), other, &["ServiceAccount", "User", "Group"]);
        }
    }
}

const ROLE_REF: &[Field] = &[Field("apiGroup", Type::Text), Field("kind", Type::Text), Field("name", Type::Text)];

/// What a binding may not change.
pub(super) fn binding_update(e: &mut ErrorList, new: &Value, old: &Value) {
    if new.at("roleRef") != old.at("roleRef") {
        e.invalid(&Path::new("roleRef"), Show(ROLE_REF, new.at("roleRef")), "cannot change roleRef");
    }
}

/// The cells of a binding.
pub(super) fn binding_cells(obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let subjects = |kind: &str| {
        let of_kind = obj.items("subjects").iter().filter(|s| s.s("kind") == kind);
        let text = |s: &Value| match kind {
            "ServiceAccount" => format!("{}/{}", s.s("namespace"), s.s("name")),
            _ => s.s("name").to_owned(),
        };
        Value::from(of_kind.map(text).collect::<Vec<_>>().join(", "))
    };
    let role = obj.at("roleRef");
    vec![
        print::name(obj),
        format!("{}/{}", role.s("kind"), role.s("name")).into(),
        crate::common::age_cell(obj, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}
