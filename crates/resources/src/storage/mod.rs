//! `storage.k8s.io`.

mod columns;
pub mod csidrivers;
pub mod csinodes;
pub mod csistoragecapacities;
pub mod storageclasses;
pub mod volumeattachments;
pub mod volumeattributesclasses;

use crate::fields::Fields;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path};

/// The group's name.
pub(crate) const GROUP: &str = "storage.k8s.io";

/// The most parameters, and the most bytes of all together.
const MOST_PARAMETERS: usize = 512;
const LARGEST_PARAMETERS: usize = 256 * 1024;

/// Parameters for a driver (rule: storage `validateParameters`).
fn parameters(e: &mut ErrorList, obj: &Value, may_be_empty: bool) {
    let path = Path::new("parameters");
    let all = obj.entries("parameters");
    if all.len() > MOST_PARAMETERS {
        e.too_long(&path, MOST_PARAMETERS);
        return;
    }
    let mut size = 0;
    for (key, value) in &all {
        if key.is_empty() {
            e.invalid(&path, *key, "field can not be empty.");
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > LARGEST_PARAMETERS {
        e.too_long(&path, LARGEST_PARAMETERS);
    }
    if !may_be_empty && all.is_empty() {
        e.required(&path, "must contain at least one key/value pair");
    }
}
