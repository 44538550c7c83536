//! Rules that say which requests a webhook or policy is about
//! (rule: `pkg/apis/admissionregistration/validation` `validateRuleWithOperations`, `validateMatchResources`).

use crate::checks;
use crate::fields::Fields;
use crate::shared::cel::Admission;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, validation};
use steersman_cel::Type;

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// The most conditions of one webhook or policy.
const MOST_CONDITIONS: usize = 64;

/// A list that must not be empty, and where `*` stands alone.
fn list(e: &mut ErrorList, path: &Path, rule: &Value, field: &str, what: &str) {
    let (values, at) = (rule.strings(field), path.child(field));
    if values.is_empty() {
        e.required(&at, "");
    }
    if values.len() > 1 && values.contains(&"*") {
        e.invalid(&at, rule.at(field), format!("if '*' is present, must not specify other {what}"));
    }
}

fn resources(e: &mut ErrorList, path: &Path, rule: &Value) {
    let (values, at) = (rule.strings("resources"), path.child("resources"));
    if values.is_empty() {
        e.required(&at, "");
    }
    let (mut whole, mut everywhere) = (BTreeSet::new(), BTreeSet::new());
    let (mut double, mut single, mut plain) = (false, false, false);
    for (i, text) in values.iter().enumerate() {
        if text.is_empty() {
            e.required(&at.index(i), "");
            continue;
        }
        double |= *text == "*/*";
        single |= *text == "*";
        let Some((resource, sub)) = text.split_once('/') else {
            plain = *text != "*";
            continue;
        };
        if whole.contains(resource) {
            let why = format!("if '{resource}/*' is present, must not specify {text}");
            e.invalid(&at.index(i), *text, why);
        }
        if everywhere.contains(sub) {
            let why = format!("if '*/{sub}' is present, must not specify {text}");
            e.invalid(&at.index(i), *text, why);
        }
        if sub == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            everywhere.insert(sub);
        }
    }
    if values.len() > 1 && double {
        e.invalid(&at, rule.at("resources"), "if '*/*' is present, must not specify other resources");
    }
    if single && plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        e.invalid(&at, rule.at("resources"), why);
    }
}

/// A rule with operations.
pub(super) fn rule(e: &mut ErrorList, path: &Path, rule: &Value) {
    list(e, path, rule, "operations", "operations");
    for (i, op) in rule.strings("operations").into_iter().enumerate() {
        checks::one_of(e, &path.child("operations").index(i), op, OPERATIONS);
    }
    list(e, path, rule, "apiGroups", "API groups");
    list(e, path, rule, "apiVersions", "API versions");
    for (i, version) in rule.strings("apiVersions").into_iter().enumerate() {
        if version.is_empty() {
            e.required(&path.child("apiVersions").index(i), "");
        }
    }
    resources(e, path, rule);
    if let Some(scope) = rule.opt_s("scope") {
        checks::one_of(e, &path.child("scope"), scope, &["*", "Cluster", "Namespaced"]);
    }
}

/// Whether a selector or policy of matching is sound.
pub(super) fn matching(e: &mut ErrorList, path: &Path, holder: &Value) {
    if let Some(policy) = holder.opt_s("matchPolicy") {
        checks::one_of(e, &path.child("matchPolicy"), policy, &["Equivalent", "Exact"]);
    }
}

/// The selectors of namespaces and objects.
pub(super) fn selectors(e: &mut ErrorList, path: &Path, holder: &Value) {
    for field in ["namespaceSelector", "objectSelector"] {
        checks::label_selector(e, &path.child(field), holder.sub(field));
    }
}

/// What a policy or binding matches.
pub(super) fn match_resources(e: &mut ErrorList, path: &Path, m: &Value) {
    if m.sub("namespaceSelector").is_none() {
        e.required(&path.child("namespaceSelector"), "");
    }
    if m.sub("objectSelector").is_none() {
        e.required(&path.child("objectSelector"), "");
    }
    selectors(e, path, m);
    for field in ["resourceRules", "excludeResourceRules"] {
        for (i, r) in m.items(field).iter().enumerate() {
            let p = path.child(field).index(i);
            rule(e, &p, r);
            let mut seen = BTreeSet::new();
            for (j, name) in r.strings("resourceNames").into_iter().enumerate() {
                let at = p.child("resourceNames").index(j);
                checks::invalid_each(e, &at, name, validation::path_segment_name(name, false));
                if !seen.insert(name) {
                    e.duplicate(&at, name);
                }
            }
        }
    }
    matching(e, path, m);
}

/// Conditions in CEL; `params`: whether they may use parameters.
pub(super) fn conditions(e: &mut ErrorList, path: &Path, holder: &Value, params: bool) {
    let admission = Admission::new(params, true);
    let (all, at) = (holder.items("matchConditions"), path.child("matchConditions"));
    if all.len() > MOST_CONDITIONS {
        e.too_many(&at, all.len(), MOST_CONDITIONS);
    }
    let mut names = BTreeSet::new();
    for (i, c) in all.iter().enumerate() {
        let p = at.index(i);
        let name = c.s("name");
        if c.s("expression").trim().is_empty() {
            e.required(&p.child("expression"), "");
        } else {
            admission.expression(e, &p.child("expression"), c.s("expression"), &[Type::Bool]);
        }
        if name.is_empty() {
            e.required(&p.child("name"), "");
        } else {
            checks::qualified_name(e, &p.child("name"), name);
            if !names.insert(name) {
                e.duplicate(&p.child("name"), name);
            }
        }
    }
}
