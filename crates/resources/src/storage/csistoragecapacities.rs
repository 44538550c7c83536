//! `csistoragecapacities` (rule: `pkg/registry/storage/csistoragecapacity`).

use super::{GROUP, columns};
use crate::common::name_and_created;
use crate::core::resource_names;
use crate::fields::Fields;
use crate::shared::pod_warnings::old_node_label;
use crate::{checks, namespaced};
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = namespaced(GROUP, "v1", "csistoragecapacities", "csistoragecapacity", "CSIStorageCapacity");

fn warn(ctx: &Context, obj: &Value) {
    let (at, topology) = (Path::new("nodeTopology"), obj.at("nodeTopology"));
    for (i, expression) in topology.items("matchExpressions").iter().enumerate() {
        let key = expression.s("key");
        if let Some(why) = old_node_label(key) {
            ctx.warn(format!("{}: {key} is {why}", at.child("matchExpressions").index(i).child("key")));
        }
    }
    for (label, _) in topology.entries("matchLabels") {
        if let Some(why) = old_node_label(label) {
            ctx.warn(format!("{}: {why}", at.child("matchLabels").child(label)));
        }
    }
}

/// The strategy of `csistoragecapacities`.
pub struct CSIStorageCapacities;

impl Strategy for CSIStorageCapacities {
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
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        checks::label_selector(&mut e, &Path::new("nodeTopology"), obj.sub("nodeTopology"));
        checks::subdomain(&mut e, &Path::new("storageClassName"), obj.s("storageClassName"));
        if let Some(capacity) = obj.sub("capacity") {
            resource_names::check_amount(&mut e, &Path::new("capacity"), "", capacity);
        }
        e
    }
    fn validate_update(&self, ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = self.validate(ctx, new);
        for field in ["nodeTopology", "storageClassName"] {
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
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        columns::CSISTORAGECAPACITIES
    }
    fn cells(&self, obj: &Value, _now: jiff::Timestamp) -> Vec<Value> {
        name_and_created(obj)
    }
}
