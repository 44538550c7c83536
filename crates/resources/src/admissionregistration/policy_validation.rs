//! What is wrong with admission policies and their bindings (rule: `pkg/apis/admissionregistration/validation`).

use super::rule_validation as rules;
use crate::checks;
use crate::fields::Fields;
use crate::shared::cel::Admission;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::gvk::GroupVersion;
use steersman_apimachinery::{ErrorList, Path, validation};
use steersman_cel::{Type, is_identifier};

const NO_EXPRESSION: &str = "expression is not specified";
const NOTHING: &str = "validations or auditAnnotations must contain at least one rule";
/// The most audit annotations of one policy.
const MOST_ANNOTATIONS: usize = 20;

/// The expression of `holder`, unless it is missing, which is told.
fn expression<'a>(e: &mut ErrorList, path: &Path, holder: &'a Value) -> Option<&'a str> {
    let text = holder.s("expression");
    if text.trim().is_empty() {
        e.required(&path.child("expression"), NO_EXPRESSION);
        return None;
    }
    Some(text)
}

fn param_kind(e: &mut ErrorList, path: &Path, kind: &Value) {
    match kind.s("apiVersion") {
        "" => e.required(&path.child("apiVersion"), ""),
        text if GroupVersion::parse(text).is_none() => {
            e.invalid(&path.child("apiVersion"), text, format!("unexpected GroupVersion string: {text}"));
        }
        text => {
            let gv = GroupVersion::parse(text).unwrap_or_default();
            if !gv.group.is_empty() {
                checks::subdomain(e, &path.child("apiVersion"), &gv.group);
            }
            checks::invalid_each(e, &path.child("apiVersion"), text, validation::dns_label_1035(&gv.version, false));
        }
    }
    match kind.s("kind") {
        "" => e.required(&path.child("kind"), ""),
        text => {
            let messages = validation::dns_label_1035(&text.to_lowercase(), false);
            if !messages.is_empty() {
                let why = format!("may have mixed case, but should otherwise match: {}", messages.join(","));
                e.invalid(&path.child("kind"), text, why);
            }
        }
    }
}

/// What both kinds of policies have; returns the types of the variables.
fn common(e: &mut ErrorList, spec: &Value) -> Vec<(String, Type)> {
    let params = spec.sub("paramKind").is_some();
    let path = Path::new("spec");
    match spec.opt_s("failurePolicy") {
        None => e.required(&path.child("failurePolicy"), ""),
        Some(policy) => checks::one_of(e, &path.child("failurePolicy"), policy, &["Fail", "Ignore"]),
    }
    if let Some(kind) = spec.sub("paramKind") {
        param_kind(e, &path.child("paramKind"), kind);
    }
    let at = path.child("matchConstraints");
    match spec.sub("matchConstraints") {
        None => e.required(&at, ""),
        Some(m) => {
            rules::match_resources(e, &at, m);
            if !m.has("resourceRules") {
                e.required(&at.child("resourceRules"), "");
            }
        }
    }
    rules::conditions(e, &path, spec, params);
    let (mut names, mut known) = (BTreeSet::new(), Vec::new());
    for (i, v) in spec.items("variables").iter().enumerate() {
        let (p, name) = (path.child("variables").index(i), v.s("name"));
        if name.is_empty() {
            e.required(&p.child("name"), "name is not specified");
        } else {
            if !is_identifier(name) {
                e.invalid(&p.child("name"), name, "name is not a valid CEL identifier");
            }
            if !names.insert(name) {
                e.duplicate(&p.child("name"), name);
            }
        }
        let Some(text) = expression(e, &p, v) else { continue };
        let admission = Admission::new(params, true).with(&known);
        if let Some(ty) = admission.variable(e, &p.child("expression"), text) {
            known.push((name.to_owned(), ty));
        }
    }
    known
}

/// A ValidatingAdmissionPolicy.
pub(super) fn validating(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    let (variables, params) = (common(&mut e, spec), spec.sub("paramKind").is_some());
    if !spec.has("validations") && !spec.has("auditAnnotations") {
        e.required(&path.child("validations"), NOTHING);
        e.required(&path.child("auditAnnotations"), NOTHING);
        return e;
    }
    let admission = Admission::new(params, true).with(&variables);
    let for_messages = Admission::new(true, false).with(&variables);
    for (i, v) in spec.items("validations").iter().enumerate() {
        let p = path.child("validations").index(i);
        if let Some(text) = expression(&mut e, &p, v) {
            admission.expression(&mut e, &p.child("expression"), text, &[Type::Bool]);
        }
        let (said, at) = (v.s("messageExpression"), p.child("messageExpression"));
        if !said.is_empty() && said.trim().is_empty() {
            e.invalid(&at, said, "must be non-empty if specified");
        } else if !said.is_empty() {
            for_messages.expression(&mut e, &at, said, &[Type::String]);
        }
        let (message, trimmed) = (v.s("message"), v.s("message").trim());
        if !message.is_empty() && trimmed.is_empty() {
            e.invalid(&p.child("message"), message, "message must be non-empty if specified");
        } else if trimmed.contains('\n') {
            e.invalid(&p.child("message"), message, "message must not contain line breaks");
        } else if v.s("expression").trim().contains('\n') && trimmed.is_empty() {
            e.required(&p.child("message"), "message must be specified if expression contains line breaks");
        }
        if let Some(reason) = v.opt_s("reason") {
            const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
            checks::one_of(&mut e, &p.child("reason"), reason, REASONS);
        }
    }
    let annotations = spec.items("auditAnnotations");
    if annotations.len() > MOST_ANNOTATIONS {
        e.too_many(&path.child("auditAnnotations"), annotations.len(), MOST_ANNOTATIONS);
    }
    let mut keys = BTreeSet::new();
    for (i, a) in annotations.iter().enumerate() {
        let p = path.child("auditAnnotations").index(i);
        let key = a.s("key");
        if key.is_empty() {
            e.required(&p.child("key"), "");
        } else {
            checks::qualified_name(
                &mut e,
                &p.child("key"),
                &format!("{}/{key}", steersman_apimachinery::object::name(obj)),
            );
        }
        if a.s("valueExpression").trim().is_empty() {
            e.required(&p.child("valueExpression"), "valueExpression is not specified");
        } else {
            let (text, types) = (a.s("valueExpression"), [Type::String, Type::Null]);
            admission.expression(&mut e, &p.child("valueExpression"), text, &types);
        }
        if !keys.insert(key) {
            e.duplicate(&p.child("key"), key);
        }
    }
    e
}

/// A MutatingAdmissionPolicy.
pub(super) fn mutating(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    let (variables, params) = (common(&mut e, spec), spec.sub("paramKind").is_some());
    if !spec.has("mutations") {
        e.required(&path.child("mutations"), "mutations must contain at least one item");
    }
    let admission = Admission::new(params, true).with(&variables).with_patches();
    for (i, m) in spec.items("mutations").iter().enumerate() {
        let p = path.child("mutations").index(i);
        let (field, other, ty) = match m.s("patchType") {
            "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Type::object("Object")),
            "JSONPatch" => ("jsonPatch", "applyConfiguration", Type::list(Type::object("JSONPatch"))),
            "" => {
                e.required(&p.child("patchType"), "");
                continue;
            }
            kind => {
                e.not_supported(&p.child("patchType"), kind, &["ApplyConfiguration", "JSONPatch"]);
                continue;
            }
        };
        match m.sub(field) {
            None => {
                let why = format!("must be specified when patchType is {}", m.s("patchType"));
                e.required(&p.child(field), why);
            }
            Some(patch) => {
                let at = p.child(field);
                if let Some(text) = expression(&mut e, &at, patch) {
                    admission.expression(&mut e, &at.child("expression"), text.trim(), &[ty]);
                }
            }
        }
        if m.sub(other).is_some() {
            let why = format!("must not be specified when patchType is {}", m.s("patchType"));
            e.invalid(&p.child(other), format!("{{{other}}}"), why);
        }
    }
    match spec.s("reinvocationPolicy") {
        "" => e.required(&path.child("reinvocationPolicy"), ""),
        policy => checks::one_of(&mut e, &path.child("reinvocationPolicy"), policy, &["IfNeeded", "Never"]),
    }
    e
}

/// A binding; `actions` says whether it must name what a failed validation does.
pub(super) fn binding(obj: &Value, actions: bool) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    match spec.s("policyName") {
        "" => e.required(&path.child("policyName"), ""),
        name => checks::subdomain(&mut e, &path.child("policyName"), name),
    }
    if let Some(reference) = spec.sub("paramRef") {
        param_ref(&mut e, &path.child("paramRef"), reference);
    }
    if let Some(m) = spec.sub("matchResources") {
        rules::match_resources(&mut e, &path.child("matchResources"), m);
    }
    if actions {
        let (list, at) = (spec.strings("validationActions"), path.child("validationActions"));
        if list.is_empty() {
            e.required(&at, "");
        }
        let mut seen = BTreeSet::new();
        for (i, action) in list.iter().enumerate() {
            checks::one_of(&mut e, &at.index(i), action, &["Audit", "Deny", "Warn"]);
            if !seen.insert(*action) {
                e.duplicate(&at.index(i), *action);
            }
        }
        if seen.contains("Deny") && seen.contains("Warn") {
            let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
            e.invalid(&at, spec.at("validationActions"), why);
        }
    }
    e
}

fn param_ref(e: &mut ErrorList, path: &Path, reference: &Value) {
    let (name, selector) = (reference.s("name"), reference.sub("selector"));
    if !name.is_empty() {
        checks::path_segment(e, &path.child("name"), name);
        if selector.is_some() {
            e.forbidden(&path.child("name"), "name and selector are mutually exclusive");
        }
    }
    if selector.is_some() {
        checks::label_selector(e, &path.child("selector"), selector);
    }
    if name.is_empty() && selector.is_none() {
        e.required(path, "one of name or selector must be specified");
    }
    match reference.opt_s("parameterNotFoundAction") {
        None => e.required(&path.child("parameterNotFoundAction"), ""),
        Some(action) => checks::one_of(e, &path.child("parameterNotFoundAction"), action, &["Allow", "Deny"]),
    }
}
