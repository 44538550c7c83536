//! `ingresses` (rule: `pkg/registry/networking/ingress`, `pkg/apis/networking/validation`).

use super::{GROUP, columns, typed_reference};
use crate::common::{age_cell, carry_over, first_generation, next_generation, object_subresource, same};
use crate::core::service_validation::load_balancer_hostname;
use crate::core::services::load_balancer_addresses;
use crate::fields::Fields;
use crate::shared::print;
use crate::{checks, ip, namespaced};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["ing"],
    prefix: "ingress",
    ..namespaced(GROUP, "v1", "ingresses", "ingress", "Ingress")
};

const CLASS: &str = "kubernetes.io/ingress.class";

fn host(e: &mut ErrorList, path: &Path, host: &str) {
    let messages = if host.contains('*') {
        validation::wildcard_dns_subdomain(host)
    } else {
        validation::dns_subdomain(host, false)
    };
    checks::invalid_each(e, path, host, messages);
}

fn backend(e: &mut ErrorList, path: &Path, backend: &Value) {
    match (backend.sub("resource"), backend.sub("service")) {
        (Some(_), Some(_)) => e.invalid(path, "", "cannot set both resource and service backends"),
        (Some(resource), None) => typed_reference(e, &path.child("resource"), resource),
        (None, Some(service)) => {
            let at = path.child("service");
            match service.s("name") {
                "" => e.required(&at.child("name"), ""),
                name => checks::label(e, &at.child("name"), name),
            }
            let port = service.at("port");
            match (port.s("name"), port.int("number").unwrap_or(0)) {
                ("", 0) => e.required(path, "port name or number is required"),
                ("", number) => checks::port_number(e, &at.child("port").child("number"), number),
                (name, 0) => {
                    checks::invalid_each(e, &at.child("port").child("name"), name, validation::port_name(name));
                }
                _ => e.invalid(path, "", "cannot set both port name & port number"),
            }
        }
        (None, None) => e.invalid(path, "", "resource or service backend is required"),
    }
}

fn http_path(e: &mut ErrorList, path: &Path, rule: &Value) {
    let (text, at) = (rule.s("path"), path.child("path"));
    let Some(kind) = rule.opt_s("pathType") else {
        e.required(&path.child("pathType"), "pathType must be specified");
        return;
    };
    let absolute = text.starts_with('/');
    match kind {
        "Exact" | "Prefix" => {
            if !absolute {
                e.invalid(&at, text, "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.contains(part) {
                    e.invalid(&at, text, format!("must not contain '{part}'"));
                }
            }
            for end in ["/..", "/."] {
                if text.ends_with(end) {
                    e.invalid(&at, text, format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !absolute {
                e.invalid(&at, text, "must be an absolute path");
            }
        }
        other => e.not_supported(&path.child("pathType"), other, &["Exact", "ImplementationSpecific", "Prefix"]),
    }
    backend(e, &path.child("backend"), rule.at("backend"));
}

fn rule_value(e: &mut ErrorList, path: &Path, rule: &Value) {
    let Some(http) = rule.sub("http") else { return };
    let paths = path.child("http").child("paths");
    if !http.has("paths") {
        e.required(&paths, "");
    }
    for (j, rule) in http.items("paths").iter().enumerate() {
        http_path(e, &paths.index(j), rule);
    }
}

/// Whether what is stored has a secret's name that is none: then such names are passed over.
fn has_bad_secret(spec: &Value) -> bool {
    let names = spec.items("tls").iter().map(|t| t.s("secretName"));
    names.filter(|n| !n.is_empty()).any(|n| !validation::dns_subdomain(n, false).is_empty())
}

/// Whether what is stored has a wrong rule of a wildcard host: then such rules are passed over.
fn has_bad_wildcard_rule(spec: &Value) -> bool {
    spec.items("rules").iter().filter(|r| r.s("host").contains('*')).any(|r| {
        let mut e = ErrorList::new();
        rule_value(&mut e, &Path::root(), r);
        !e.is_empty()
    })
}

fn check(obj: &Value, old: Option<&Value>) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    let any_secret = old.is_some_and(|o| has_bad_secret(o.at("spec")));
    let any_wildcard_rule = old.is_some_and(|o| has_bad_wildcard_rule(o.at("spec")));
    if !spec.has("rules") && spec.sub("defaultBackend").is_none() {
        e.invalid(&path, Value::Null, "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(b) = spec.sub("defaultBackend") {
        backend(&mut e, &path.child("defaultBackend"), b);
    }
    for (i, rule) in spec.items("rules").iter().enumerate() {
        let p = path.child("rules").index(i);
        let name = rule.s("host");
        if !name.is_empty() {
            if ip::parse_sloppy(name).is_some() {
                e.invalid(&p.child("host"), name, "must be a DNS name, not an IP address");
            }
            host(&mut e, &p.child("host"), name);
        }
        if !(any_wildcard_rule && name.contains('*')) {
            rule_value(&mut e, &p, rule);
        }
    }
    for (i, tls) in spec.items("tls").iter().enumerate() {
        let p = path.child("tls").index(i);
        for (j, name) in tls.strings("hosts").into_iter().enumerate() {
            host(&mut e, &p.child("hosts").index(j), name);
        }
        if !tls.s("secretName").is_empty() && !any_secret {
            checks::subdomain(&mut e, &p.child("secretName"), tls.s("secretName"));
        }
    }
    if let Some(class) = spec.opt_s("ingressClassName") {
        checks::subdomain(&mut e, &path.child("ingressClassName"), class);
    }
    e
}

fn hosts(spec: &Value) -> String {
    const MOST: usize = 3;
    let rules = spec.items("rules");
    let (mut list, mut more) = (Vec::new(), false);
    for rule in rules {
        more |= list.len() == MOST;
        if !more && !rule.s("host").is_empty() {
            list.push(rule.s("host"));
        }
    }
    match (list.is_empty(), more) {
        (true, _) => "*".into(),
        (false, true) => format!("{} + {} more...", list.join(","), rules.len() - MOST),
        (false, false) => list.join(","),
    }
}

/// The strategy of `ingresses`.
pub struct Ingresses;

impl Strategy for Ingresses {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({"loadBalancer": {}}));
        first_generation(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        let mut e = check(obj, None);
        let class = obj.at("spec").opt_s("ingressClassName");
        if let (Some(annotation), Some(class)) = (object::annotation(obj, CLASS), class)
            && annotation != class
        {
            let path = Path::new("annotations").child(CLASS);
            e.invalid(&path, annotation, "must match `ingressClassName` when both are specified");
        }
        e
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        check(new, Some(old))
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        if object::annotation(obj, CLASS).is_some() && obj.at("spec").opt_s("ingressClassName").is_none() {
            ctx.warn(format!("annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"));
        }
    }
    fn columns(&self) -> &'static [Column] {
        columns::INGRESSES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = obj.at("spec");
        vec![
            print::name(obj),
            spec.opt_s("ingressClassName").unwrap_or("<none>").into(),
            hosts(spec).into(),
            load_balancer_addresses(obj).join(",").into(),
            if spec.has("tls") { "80, 443" } else { "80" }.into(),
            age_cell(obj, now),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[object_subresource("status", &IngressStatus)];
        SUBRESOURCES
    }
}

/// The strategy of `ingresses/status`.
pub struct IngressStatus;

impl Strategy for IngressStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        let was = old.at("status").at("loadBalancer").items("ingress");
        let existing: Vec<&str> = was.iter().map(|i| i.s("ip")).collect();
        let path = Path::new("status").child("loadBalancer").child("ingress");
        for (i, item) in new.at("status").at("loadBalancer").items("ingress").iter().enumerate() {
            let p = path.index(i);
            if !item.s("ip").is_empty() {
                ip::check_ip_legacy(&mut e, &p.child("ip"), item.s("ip"), &existing);
            }
            load_balancer_hostname(&mut e, &p.child("hostname"), item.s("hostname"));
        }
        e
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, _old: &Value) {
        ip::warn_of_load_balancer(ctx, new);
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
