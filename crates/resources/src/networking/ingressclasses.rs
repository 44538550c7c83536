//! `ingressclasses` (rule: `pkg/registry/networking/ingressclass`).

use super::{GROUP, columns, typed_reference};
use crate::common::{age_cell, default_value, first_generation, next_generation, same};
use crate::fields::Fields;
use crate::shared::print;
use crate::{checks, cluster_scoped};
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = cluster_scoped(GROUP, "v1", "ingressclasses", "ingressclass", "IngressClass");

const LONGEST: usize = 250;

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    if spec.s("controller").len() > LONGEST {
        e.too_long(&path.child("controller"), LONGEST);
    }
    validation::domain_prefixed_path(&mut e, &path.child("controller"), spec.s("controller"));
    let Some(parameters) = spec.sub("parameters") else { return e };
    let at = path.child("parameters");
    typed_reference(&mut e, &at, parameters);
    let namespace = parameters.opt_s("namespace");
    match parameters.s("scope") {
        "" => e.required(&at.child("scope"), ""),
        "Namespace" => match namespace {
            None => e.required(&at.child("namespace"), "`parameters.scope` is set to 'Namespace'"),
            Some(n) => checks::label(&mut e, &at.child("namespace"), n),
        },
        "Cluster" => {
            if namespace.is_some() {
                e.forbidden(&at.child("namespace"), "`parameters.scope` is set to 'Cluster'");
            }
        }
        other => e.not_supported(&at.child("scope"), other, &["Cluster", "Namespace"]),
    }
    e
}

/// The strategy of `ingressclasses`.
pub struct IngressClasses;

impl Strategy for IngressClasses {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        if obj.at("spec").sub("parameters").is_some() {
            default_value(obj, &["spec", "parameters", "scope"], "Cluster");
        }
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        first_generation(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        let path = Path::new("spec").child("controller");
        checks::immutable(&mut e, &path, new.at("spec").at("controller"), old.at("spec").at("controller"));
        e.extend(check(new));
        e
    }
    fn columns(&self) -> &'static [Column] {
        columns::INGRESSCLASSES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = obj.at("spec");
        let parameters = spec.sub("parameters").map(|p| {
            let group = p.opt_s("apiGroup").map(|g| format!(".{g}")).unwrap_or_default();
            format!("{}{group}/{}", p.s("kind"), p.s("name"))
        });
        let default = object::annotation(obj, "ingressclass.kubernetes.io/is-default-class") == Some("true");
        vec![
            if default { format!("{} (default)", object::name(obj)).into() } else { print::name(obj) },
            spec.s("controller").into(),
            parameters.unwrap_or_else(|| "<none>".into()).into(),
            age_cell(obj, now),
        ]
    }
}
