//! `csidrivers` (rule: `pkg/registry/storage/csidriver`).

use super::{GROUP, columns};
use crate::common::{age_cell, default_value, next_generation, same};
use crate::fields::Fields;
use crate::shared::print;
use crate::{checks, cluster_scoped};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = cluster_scoped(GROUP, "v1", "csidrivers", "csidriver", "CSIDriver");

fn token_requests(e: &mut ErrorList, spec: &Value) {
    let mut audiences = BTreeSet::new();
    for (i, request) in spec.items("tokenRequests").iter().enumerate() {
        let path = Path::new("spec").child("tokenRequests").index(i);
        let audience = request.s("audience");
        if !audiences.insert(audience) {
            e.duplicate(&path.child("audience"), audience);
            continue;
        }
        let Some(seconds) = request.int("expirationSeconds") else { continue };
        if seconds < 600 {
            e.invalid(&path.child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes");
        }
        if seconds > 1 << 32 {
            e.invalid(&path.child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds");
        }
    }
}

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    let policy = spec.s("fsGroupPolicy");
    checks::one_of(&mut e, &path.child("fsGroupPolicy"), policy, &["File", "None", "ReadWriteOnceWithFSType"]);
    token_requests(&mut e, spec);
    for mode in spec.strings("volumeLifecycleModes") {
        const MODES: &[&str] = &["Persistent", "Ephemeral"];
        if !MODES.contains(&mode) {
            checks::not_supported_in_order(&mut e, &path.child("volumeLifecycleModes"), mode, MODES);
        }
    }
    if let Some(seconds) = spec.int("nodeAllocatableUpdatePeriodSeconds").filter(|s| *s < 10) {
        let why = "must be greater than or equal to 10 seconds";
        e.invalid(&path.child("nodeAllocatableUpdatePeriodSeconds"), seconds, why);
    }
    if let Some(given) = spec.flag("serviceAccountTokenInSecrets").filter(|_| !spec.has("tokenRequests")) {
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        e.invalid(&path.child("serviceAccountTokenInSecrets"), given, why);
    }
    e
}

fn warn(ctx: &Context, obj: &Value) {
    let spec = obj.at("spec");
    if spec.has("tokenRequests") && spec.flag("serviceAccountTokenInSecrets").is_none() {
        ctx.warn(
            "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes",
        );
    }
}

/// The strategy of `csidrivers`.
pub struct CSIDrivers;

impl Strategy for CSIDrivers {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        default_value(obj, &["spec", "attachRequired"], true);
        for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            default_value(obj, &["spec", field], false);
        }
        default_value(obj, &["spec", "fsGroupPolicy"], "ReadWriteOnceWithFSType");
        if !obj.at("spec").has("volumeLifecycleModes") {
            steersman_apimachinery::object::set(obj, &["spec", "volumeLifecycleModes"], json!(["Persistent"]));
        }
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        let counted = ["tokenRequests", "requiresRepublish", "seLinuxMount"];
        let changed = counted.iter().any(|f| !same(new, old, &["spec", f]));
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        let path = Path::new("spec");
        for (field, name) in [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
        {
            checks::immutable(&mut e, &path.child(name), new.at("spec").at(field), old.at("spec").at(field));
        }
        e.extend(check(new));
        e
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        warn(ctx, obj);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, _old: &Value) {
        warn(ctx, new);
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        columns::CSIDRIVERS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = obj.at("spec");
        let flag = |name: &str| Value::from(spec.flag(name).unwrap_or(false));
        let audiences: Vec<&str> = spec.items("tokenRequests").iter().map(|t| t.s("audience")).collect();
        let modes = spec.strings("volumeLifecycleModes").join(",");
        vec![
            print::name(obj),
            spec.flag("attachRequired").unwrap_or(true).into(),
            flag("podInfoOnMount"),
            flag("storageCapacity"),
            if spec.has("tokenRequests") { audiences.join(",").into() } else { "<unset>".into() },
            flag("requiresRepublish"),
            print::or_none(&modes),
            age_cell(obj, now),
        ]
    }
}
