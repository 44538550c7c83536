//! `storageclasses` (rule: `pkg/registry/storage/storageclass`).

use super::{GROUP, columns, parameters};
use crate::common::{age_cell, default_value};
use crate::fields::Fields;
use crate::shared::pod_warnings::old_node_label;
use crate::{checks, cluster_scoped};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["sc"],
    ..cluster_scoped(GROUP, "v1", "storageclasses", "storageclass", "StorageClass")
};

fn topologies(e: &mut ErrorList, obj: &Value) {
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (i, term) in obj.items("allowedTopologies").iter().enumerate() {
        let path = Path::new("allowedTopologies").index(i).child("matchLabelExpressions");
        let mut map = BTreeMap::new();
        for (j, requirement) in term.items("matchLabelExpressions").iter().enumerate() {
            let p = path.index(j);
            let (key, values) = (requirement.s("key"), requirement.strings("values"));
            if values.is_empty() {
                e.required(&p.child("values"), "");
            }
            let mut set = BTreeSet::new();
            for (k, value) in values.into_iter().enumerate() {
                if !set.insert(value) {
                    e.duplicate(&p.child("values").index(k), value);
                }
            }
            checks::qualified_name(e, &p.child("key"), key);
            if map.insert(key, set).is_some() {
                e.duplicate(&p.child("key"), key);
            }
        }
        if seen.contains(&map) {
            e.duplicate(&path, "");
        }
        seen.push(map);
    }
}

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    match obj.s("provisioner") {
        "" => e.required(&Path::new("provisioner"), ""),
        name => checks::qualified_name(&mut e, &Path::new("provisioner"), &name.to_lowercase()),
    }
    parameters(&mut e, obj, true);
    if !obj.s("reclaimPolicy").is_empty() {
        checks::one_of(&mut e, &Path::new("reclaimPolicy"), obj.s("reclaimPolicy"), &["Delete", "Retain"]);
    }
    match obj.opt_s("volumeBindingMode") {
        None => e.required(&Path::new("volumeBindingMode"), ""),
        Some(mode) => {
            checks::one_of(&mut e, &Path::new("volumeBindingMode"), mode, &["Immediate", "WaitForFirstConsumer"]);
        }
    }
    topologies(&mut e, obj);
    e
}

/// Node labels out of use (rule: `pkg/api/storage` warnings).
fn warn(ctx: &Context, obj: &Value) {
    for (i, term) in obj.items("allowedTopologies").iter().enumerate() {
        for (j, e) in term.items("matchLabelExpressions").iter().enumerate() {
            if let Some(why) = old_node_label(e.s("key")) {
                let at = Path::new("allowedTopologies").index(i).child("matchLabelExpressions").index(j).child("key");
                ctx.warn(format!("{at}: {} is {why}", e.s("key")));
            }
        }
    }
}

/// The strategy of `storageclasses`.
pub struct StorageClasses;

impl Strategy for StorageClasses {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        default_value(obj, &["reclaimPolicy"], "Delete");
        default_value(obj, &["volumeBindingMode"], "Immediate");
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            checks::immutable(&mut e, &Path::new(field), new.at(field), old.at(field));
        }
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
    fn columns(&self) -> &'static [Column] {
        columns::STORAGECLASSES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let default =
            ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
                .iter()
                .any(|a| object::annotation(obj, a) == Some("true"));
        let name = object::name(obj);
        vec![
            if default { format!("{name} (default)").into() } else { name.into() },
            obj.s("provisioner").into(),
            obj.s("reclaimPolicy").into(),
            obj.s("volumeBindingMode").into(),
            obj.flag("allowVolumeExpansion").unwrap_or(false).into(),
            age_cell(obj, now),
        ]
    }
}
