//! `csinodes` (rule: `pkg/registry/storage/csinode`).

use super::{GROUP, columns};
use crate::common::age_cell;
use crate::fields::Fields;
use crate::shared::internal::{Field, ShowList, Type};
use crate::shared::pod::volume_plugins::csi_driver_name;
use crate::shared::print;
use crate::{checks, cluster_scoped};
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = cluster_scoped(GROUP, "v1", "csinodes", "csinode", "CSINode");

/// The most bytes of a driver's name for a node (CSI specification).
const LONGEST_ID: usize = 192;
const DRIVER: &[Field] = &[
    Field("name", Type::Text),
    Field("nodeID", Type::Text),
    Field("topologyKeys", Type::Plain),
    Field("allocatable", Type::Pointer(&[Field("count", Type::Plain)])),
];

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let mut names = BTreeSet::new();
    for (i, driver) in obj.at("spec").items("drivers").iter().enumerate() {
        let path = Path::new("spec").child("drivers").index(i);
        let name = driver.s("name");
        csi_driver_name(&mut e, name, &path.child("name"));
        match driver.s("nodeID") {
            "" => e.required(&path.child("nodeID"), ""),
            id if id.len() > LONGEST_ID => {
                e.invalid(&path.child("nodeID"), id, format!("must be {LONGEST_ID} characters or less"));
            }
            _ => {}
        }
        if let Some(count) = driver.at("allocatable").int("count") {
            checks::not_negative(&mut e, &path.child("allocatable").child("count"), count);
        }
        if !names.insert(name) {
            e.duplicate(&path.child("name"), name);
        }
        let mut keys = BTreeSet::new();
        for key in driver.strings("topologyKeys") {
            if !keys.insert(key) {
                e.duplicate(&path.child("topologyKeys"), key);
            }
            checks::qualified_name(&mut e, &path.child("topologyKeys"), key);
        }
    }
    e
}

/// The strategy of `csinodes`.
pub struct CSINodes;

impl Strategy for CSINodes {
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
        check(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = check(new);
        // What a driver says of the node may not change, but how many volumes it can attach.
        let fixed = |d: &Value| {
            let mut d = d.clone();
            d.as_object_mut().map(|m| m.remove("allocatable"));
            d
        };
        let drivers = new.at("spec").items("drivers");
        for was in old.at("spec").items("drivers") {
            if drivers.iter().any(|d| d.s("name") == was.s("name") && fixed(d) != fixed(was)) {
                e.invalid(
                    &Path::new("CSINodeDriver"),
                    ShowList(DRIVER, new.at("spec").at("drivers")),
                    checks::IMMUTABLE,
                );
            }
        }
        e
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        columns::CSINODES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), obj.at("spec").items("drivers").len().into(), age_cell(obj, now)]
    }
}
