//! `flowschemas` (rule: `pkg/registry/flowcontrol/flowschema`, `pkg/apis/flowcontrol/validation`).

use super::{GROUP, columns};
use crate::common::{age_cell, carry_over, first_generation, keep_metadata, next_generation, object_subresource, same};
use crate::fields::Fields;
use crate::shared::internal::{Field, Show, Type};
use crate::shared::print;
use crate::{checks, cluster_scoped};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = cluster_scoped(GROUP, "v1", "flowschemas", "flowschema", "FlowSchema");

const MAX_PRECEDENCE: i64 = 10000;
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

const NAME: Type = Type::Pointer(&[Field("name", Type::Text)]);
const SPEC: &[Field] = &[
    Field("priorityLevelConfiguration", Type::Struct(&[Field("name", Type::Text)])),
    Field("matchingPrecedence", Type::Int),
    Field("distinguisherMethod", Type::Pointer(DISTINGUISHER)),
    Field("rules", Type::List(RULE)),
];
const DISTINGUISHER: &[Field] = &[Field("type", Type::Text)];
const RULE: &[Field] = &[
    Field("subjects", Type::List(SUBJECT)),
    Field("resourceRules", Type::List(RESOURCE_RULE)),
    Field("nonResourceRules", Type::List(&[Field("verbs", Type::Plain), Field("nonResourceURLs", Type::Plain)])),
];
const SUBJECT: &[Field] = &[
    Field("kind", Type::Text),
    Field("user", NAME),
    Field("group", NAME),
    Field("serviceAccount", Type::Pointer(&[Field("namespace", Type::Text), Field("name", Type::Text)])),
];
const RESOURCE_RULE: &[Field] = &[
    Field("verbs", Type::Plain),
    Field("apiGroups", Type::Plain),
    Field("resources", Type::Plain),
    Field("clusterScope", Type::Bool),
    Field("namespaces", Type::Plain),
];

/// The specs of the schemas that may not differ (rule: `pkg/apis/flowcontrol/bootstrap`).
fn mandatory(name: &str) -> Option<Value> {
    let everything = |subjects: Value| {
        json!([{
            "subjects": subjects,
            "resourceRules": [{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true,
            }],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }])
    };
    let group = |name: &str| json!({"kind": "Group", "group": {"name": name}});
    match name {
        "exempt" => Some(json!({
            "priorityLevelConfiguration": {"name": "exempt"},
            "matchingPrecedence": 1,
            "rules": everything(json!([group("system:masters")])),
        })),
        "catch-all" => Some(json!({
            "priorityLevelConfiguration": {"name": "catch-all"},
            "matchingPrecedence": MAX_PRECEDENCE,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": everything(json!([group("system:unauthenticated"), group("system:authenticated")])),
        })),
        _ => None,
    }
}

fn subject(e: &mut ErrorList, path: &Path, subject: &Value) {
    let kind = subject.s("kind");
    const KINDS: &[(&str, &str)] = &[("User", "user"), ("Group", "group"), ("ServiceAccount", "serviceAccount")];
    let Some((_, own)) = KINDS.iter().find(|(k, _)| *k == kind) else {
        e.not_supported(&path.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
        return;
    };
    let at = path.child(own);
    match subject.sub(own) {
        None => e.required(&at, format!("{own} is required when subject kind is '{kind}'")),
        Some(s) => {
            let name = s.s("name");
            if name.is_empty() {
                e.required(&at.child("name"), "");
            } else if kind == "ServiceAccount" && name != "*" {
                checks::subdomain(e, &at.child("name"), name);
            }
            if kind == "ServiceAccount" {
                match s.s("namespace") {
                    "" => e.required(&at.child("namespace"), "must specify namespace for service account"),
                    ns => checks::label(e, &at.child("namespace"), ns),
                }
            }
        }
    }
    for (other, field) in KINDS.iter().filter(|(k, _)| *k != kind) {
        if subject.sub(field).is_some() {
            e.forbidden(&path.child(field), format!("{field} is forbidden when subject kind is not '{other}'"));
        }
    }
}

/// A list where `*` stands alone.
fn wildcard_alone(e: &mut ErrorList, path: &Path, rule: &Value, field: &str, what: &str) -> bool {
    let list = rule.strings(field);
    let wild = list.contains(&"*");
    if wild && list.len() > 1 {
        let why = format!("if '*' is present, must not specify other {what}");
        e.invalid(&path.child(field), rule.at(field), why);
    }
    wild
}

fn verbs(e: &mut ErrorList, path: &Path, rule: &Value) {
    if !rule.has("verbs") {
        e.required(&path.child("verbs"), "verbs must contain at least one value");
    } else if !wildcard_alone(e, path, rule, "verbs", "verbs")
        && rule.strings("verbs").iter().any(|v| !VERBS.contains(v))
    {
        e.not_supported(&path.child("verbs"), rule.at("verbs"), VERBS);
    }
}

fn resource_rule(e: &mut ErrorList, path: &Path, rule: &Value) {
    verbs(e, path, rule);
    for (field, one, many) in [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")] {
        if !rule.has(field) {
            e.required(&path.child(field), format!("resource rules must supply at least one {one}"));
        }
        wildcard_alone(e, path, rule, field, many);
    }
    let at = path.child("namespaces");
    if !rule.has("namespaces") {
        if rule.flag("clusterScope") != Some(true) {
            e.required(&at, "resource rules that are not cluster scoped must supply at least one namespace");
        }
    } else if !wildcard_alone(e, path, rule, "namespaces", "namespaces") {
        for (i, ns) in rule.strings("namespaces").into_iter().enumerate() {
            checks::label(e, &at.index(i), ns);
        }
    }
}

fn url(e: &mut ErrorList, path: &Path, url: &str) {
    if url.is_empty() {
        e.invalid(path, url, "must not be empty");
    } else if url == "/" {
    } else if !url.starts_with('/') {
        e.invalid(path, url, "must start with slash");
    } else if url.contains(' ') {
        e.invalid(path, url, "must not contain white-space");
    } else if url.contains("//") {
        e.invalid(path, url, "must not contain double slash");
    } else {
        let stars = url.matches('*').count();
        if stars > 1 || (stars == 1 && !url.ends_with("/*")) {
            e.invalid(path, url, "wildcard can only do suffix matching");
        }
    }
}

fn rule(e: &mut ErrorList, path: &Path, rule: &Value) {
    if !rule.has("subjects") {
        e.required(&path.child("subjects"), "subjects must contain at least one value");
    }
    for (i, s) in rule.items("subjects").iter().enumerate() {
        subject(e, &path.child("subjects").index(i), s);
    }
    if !rule.has("resourceRules") && !rule.has("nonResourceRules") {
        e.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (i, r) in rule.items("resourceRules").iter().enumerate() {
        resource_rule(e, &path.child("resourceRules").index(i), r);
    }
    for (i, r) in rule.items("nonResourceRules").iter().enumerate() {
        let p = path.child("nonResourceRules").index(i);
        verbs(e, &p, r);
        let at = p.child("nonResourceURLs");
        if !r.has("nonResourceURLs") {
            e.required(&at, "nonResourceURLs must contain at least one value");
        } else if !wildcard_alone(e, &p, r, "nonResourceURLs", "non-resource URLs") {
            for (j, u) in r.strings("nonResourceURLs").into_iter().enumerate() {
                url(e, &at.index(j), u);
            }
        }
    }
}

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path, name) = (obj.at("spec"), Path::new("spec"), object::name(obj));
    let (precedence, at) = (spec.int("matchingPrecedence").unwrap_or(0), path.child("matchingPrecedence"));
    if precedence <= 0 {
        e.invalid(&at, precedence, "must be a positive value");
    }
    if precedence > MAX_PRECEDENCE {
        e.invalid(&at, precedence, format!("must not be greater than {MAX_PRECEDENCE}"));
    }
    if precedence == 1 && name != "exempt" {
        e.invalid(&at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    if let Some(method) = spec.sub("distinguisherMethod") {
        const METHODS: &[&str] = &["ByNamespace", "ByUser"];
        if !METHODS.contains(&method.s("type")) {
            e.not_supported(&path.child("distinguisherMethod").child("type"), Show(DISTINGUISHER, method), METHODS);
        }
    }
    let at = path.child("priorityLevelConfiguration").child("name");
    match spec.at("priorityLevelConfiguration").s("name") {
        "" => e.required(&at, "must reference a priority level"),
        level => checks::subdomain(&mut e, &at, level),
    }
    for (i, r) in spec.items("rules").iter().enumerate() {
        rule(&mut e, &path.child("rules").index(i), r);
    }
    if mandatory(name).is_some_and(|m| &m != spec) {
        e.invalid(&path, Show(SPEC, spec), format!("spec of '{name}' must equal the fixed value"));
    }
    e
}

fn defaults(obj: &mut Value) {
    if obj.at("spec").int("matchingPrecedence").unwrap_or(0) == 0 {
        object::set(obj, &["spec", "matchingPrecedence"], 1000);
    }
}

/// The strategy of `flowschemas`.
pub struct FlowSchemas;

impl Strategy for FlowSchemas {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({}));
        first_generation(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        check(new)
    }
    fn columns(&self) -> &'static [Column] {
        columns::FLOWSCHEMAS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = obj.at("spec");
        let dangling = obj.at("status").items("conditions").iter().find(|c| c.s("type") == "Dangling");
        vec![
            print::name(obj),
            spec.at("priorityLevelConfiguration").s("name").into(),
            spec.int("matchingPrecedence").unwrap_or(0).into(),
            spec.sub("distinguisherMethod").map_or("<none>", |m| m.s("type")).into(),
            age_cell(obj, now),
            dangling.map_or("?", |c| c.s("status")).into(),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[object_subresource("status", &FlowSchemaStatus)];
        SUBRESOURCES
    }
}

/// The strategy of `flowschemas/status`.
pub struct FlowSchemaStatus;

impl Strategy for FlowSchemaStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
        keep_metadata(new, old);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        status(new)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["metadata", "spec"]
    }
}

/// Conditions have a type, each a different one (rule: `ValidateFlowSchemaStatus`).
pub(super) fn status(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let mut seen = std::collections::BTreeSet::new();
    for (i, c) in obj.at("status").items("conditions").iter().enumerate() {
        let path = Path::new("status").child("conditions").index(i).child("type");
        if !seen.insert(c.s("type")) {
            e.duplicate(&path, c.s("type"));
        }
        if c.s("type").is_empty() {
            e.required(&path, "");
        }
    }
    e
}
