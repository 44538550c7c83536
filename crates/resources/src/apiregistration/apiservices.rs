//! `apiservices` (rule: kube-aggregator `pkg/registry/apiservice`, `pkg/apis/apiregistration/validation`).

use super::columns;
use crate::common::{API_EXTENSIONS, age_cell, carry_over, default_value, object_subresource};
use crate::fields::Fields;
use crate::shared::print;
use crate::{checks, cluster_scoped};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    categories: API_EXTENSIONS,
    prefix: "apiregistration.k8s.io/apiservices",
    ..cluster_scoped("apiregistration.k8s.io", "v1", "apiservices", "apiservice", "APIService")
};

fn defaults(obj: &mut Value) {
    if obj.at("spec").sub("service").is_some() {
        default_value(obj, &["spec", "service", "port"], 443);
    }
}

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    let (group, version) = (spec.s("group"), spec.s("version"));
    let (name, required) = (object::name(obj), format!("{version}.{group}"));
    if name != required && checks::path_segment_messages(name).is_empty() {
        let why = format!("must be `spec.version+\".\"+spec.group`: \"{required}\"");
        e.invalid(&Path::new("metadata").child("name"), name, why);
    }
    if group.is_empty() {
        if version != "v1" {
            e.required(&path.child("group"), "only v1 may have an empty group and it better be legacy kube");
        }
    } else {
        checks::subdomain(&mut e, &path.child("group"), group);
    }
    checks::invalid_each(&mut e, &path.child("version"), version, validation::dns_label_1035(version, false));
    for (field, most) in [("groupPriorityMinimum", 20000), ("versionPriority", 1000)] {
        let value = spec.int(field).unwrap_or(0);
        if value <= 0 || value > most {
            e.invalid(&path.child(field), value, format!("must be positive and less than {most}"));
        }
    }
    let insecure = spec.flag("insecureSkipTLSVerify") == Some(true);
    let Some(service) = spec.sub("service") else {
        let bundle = spec.s("caBundle");
        if !bundle.is_empty() {
            let bytes = bundle.trim_end_matches('=').len() * 3 / 4;
            e.invalid(&path.child("caBundle"), format!("{bytes} bytes"), "local APIServices may not have a caBundle");
        }
        if insecure {
            e.invalid(
                &path.child("insecureSkipTLSVerify"),
                true,
                "local APIServices may not have insecureSkipTLSVerify",
            );
        }
        return e;
    };
    for field in ["namespace", "name"] {
        if service.s(field).is_empty() {
            e.required(&path.child("service").child(field), "");
        }
    }
    let port = service.int("port").unwrap_or(443);
    if !(1..=65535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        e.invalid(&path.child("service").child("port"), port, why);
    }
    if insecure && !spec.s("caBundle").is_empty() {
        e.invalid(&path.child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present");
    }
    e
}

/// The strategy of `apiservices`.
pub struct APIServices;

impl Strategy for APIServices {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_create(&self, ctx: &Context, obj: &mut Value) {
        let mut status = json!({});
        if obj.at("spec").sub("service").is_none() {
            let now = jiff::Timestamp::from_second(ctx.now.as_second()).unwrap_or_default().to_string();
            status = json!({"conditions": [{
                "type": "Available",
                "status": "True",
                "lastTransitionTime": now,
                "reason": "Local",
                "message": "Local APIServices are always available",
            }]});
        }
        object::set(obj, &["status"], status);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        check(new)
    }
    fn validate_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        checks::path_segment_messages(name)
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        columns::APISERVICES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let service = obj.at("spec").sub("service");
        let service = service.map_or_else(|| "Local".to_owned(), |s| format!("{}/{}", s.s("namespace"), s.s("name")));
        let available = obj.at("status").items("conditions").iter().find(|c| c.s("type") == "Available");
        let available = match available {
            None => "Unknown".to_owned(),
            Some(c) if c.s("status") == "True" || c.s("reason").is_empty() => c.s("status").to_owned(),
            Some(c) => format!("{} ({})", c.s("status"), c.s("reason")),
        };
        vec![print::name(obj), service.into(), available.into(), age_cell(obj, now)]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[object_subresource("status", &APIServiceStatus)];
        SUBRESOURCES
    }
}

/// The strategy of `apiservices/status`.
pub struct APIServiceStatus;

impl Strategy for APIServiceStatus {
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
        for (i, c) in new.at("status").items("conditions").iter().enumerate() {
            const KNOWN: &[&str] = &["True", "False", "Unknown"];
            if !KNOWN.contains(&c.s("status")) {
                let path = Path::new("status").child("conditions").index(i).child("status");
                checks::not_supported_in_order(&mut e, &path, c.s("status"), KNOWN);
            }
        }
        e
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
