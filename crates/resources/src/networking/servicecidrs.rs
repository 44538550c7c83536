//! `servicecidrs` (rule: `pkg/registry/networking/servicecidr`).

use super::{GROUP, columns};
use crate::common::{age_cell, carry_over, object_subresource};
use crate::fields::Fields;
use crate::shared::internal::{Field, Show, Type};
use crate::shared::print;
use crate::{checks, cluster_scoped, ip};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = cluster_scoped(GROUP, "v1", "servicecidrs", "servicecidr", "ServiceCIDR");

const SPEC: &[Field] = &[Field("CIDRs", Type::Plain)];

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let path = Path::new("spec").child("cidrs");
    let cidrs = obj.at("spec").strings("cidrs");
    let shown = json!({"CIDRs": obj.at("spec").at("cidrs")});
    if cidrs.is_empty() {
        e.required(&path, "at least one CIDR required");
        return e;
    }
    if cidrs.len() > 2 {
        e.invalid(&path, Show(SPEC, &shown), "may only hold up to 2 values");
        return e;
    }
    let families: Option<BTreeSet<bool>> =
        cidrs.iter().map(|c| ip::parse_cidr_sloppy(c).map(|(net, _)| net.is_ipv4())).collect();
    if cidrs.len() == 2 && families.is_none_or(|f| f.len() != 2) {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96";
        e.invalid(&path, Show(SPEC, &shown), why);
        return e;
    }
    for (i, cidr) in cidrs.into_iter().enumerate() {
        validation::cidr(&mut e, &path.index(i), cidr);
    }
    e
}

/// The strategy of `servicecidrs`.
pub struct ServiceCIDRs;

impl Strategy for ServiceCIDRs {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
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
        let mut e = ErrorList::new();
        let path = Path::new("spec").child("cidrs");
        let (is, was) = (new.at("spec").strings("cidrs"), old.at("spec").strings("cidrs"));
        if is.len() < was.len() || was.is_empty() {
            checks::immutable(&mut e, &path, new.at("spec").at("cidrs"), old.at("spec").at("cidrs"));
            return e;
        }
        for (i, (a, b)) in is.iter().zip(&was).enumerate() {
            if a != b {
                e.invalid(&path.index(i), *a, checks::IMMUTABLE);
            }
        }
        if is.len() > was.len() {
            e.extend(check(new));
        }
        e
    }
    fn columns(&self) -> &'static [Column] {
        columns::SERVICECIDRS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), obj.at("spec").strings("cidrs").join(",").into(), age_cell(obj, now)]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[object_subresource("status", &ServiceCIDRStatus)];
        SUBRESOURCES
    }
}

/// The strategy of `servicecidrs/status`.
pub struct ServiceCIDRStatus;

impl Strategy for ServiceCIDRStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
