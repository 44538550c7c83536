//! What is wrong with the status of a claim of devices (rule: `pkg/apis/resource/validation`).

use super::claim_validation::{
    MOST, OPAQUE, TOLERATION, device, driver, duplicates, limit, opaque, pool, reference, references, request_names,
    toleration,
};
use super::slice_validation::binding;
use crate::checks;
use crate::fields::Fields;
use crate::shared::internal::{Field, Show, Type};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// The most consumers; conditions, bytes of data and addresses of one device.
const MOST_CONSUMERS: usize = 256;
const MOST_CONDITIONS: usize = 8;
const LARGEST_DATA: usize = 10 * 1024;
const MOST_ADDRESSES: usize = 16;
/// The longest name and hardware address of an interface.
const LONGEST_INTERFACE: usize = 256;
const LONGEST_HARDWARE_ADDRESS: usize = 128;

const REQUIREMENT: &[Field] = &[Field("key", Type::Text), Field("operator", Type::Text), Field("values", Type::Plain)];
const RESULT: &[Field] = &[
    Field("request", Type::Text),
    Field("driver", Type::Text),
    Field("Pool", Type::Text),
    Field("device", Type::Text),
    Field("adminAccess", Type::Plain),
    Field("tolerations", Type::List(TOLERATION)),
    Field("bindingConditions", Type::Plain),
    Field("bindingFailureConditions", Type::Plain),
    Field("shareID", Type::Plain),
    Field("consumedCapacity", Type::Plain),
];
const ALLOCATION: &[Field] = &[
    Field(
        "devices",
        Type::Struct(&[
            Field("results", Type::List(RESULT)),
            Field(
                "config",
                Type::List(&[
                    Field("source", Type::Text),
                    Field("requests", Type::Plain),
                    Field("opaque", Type::Pointer(OPAQUE)),
                ]),
            ),
        ]),
    ),
    Field(
        "nodeSelector",
        Type::Pointer(&[Field(
            "nodeSelectorTerms",
            Type::List(&[
                Field("matchExpressions", Type::List(REQUIREMENT)),
                Field("matchFields", Type::List(REQUIREMENT)),
            ]),
        )]),
    ),
    Field("allocationTimestamp", Type::Plain),
];
const DEVICE_ID: &[Field] = &[
    Field("driver", Type::Text),
    Field("Pool", Type::Text),
    Field("device", Type::Text),
    Field("shareID", Type::Text),
];

/// The member `pool` under its Go name: elsewhere that JSON name stands for another Go field.
fn with_go_pool(v: &Value) -> Value {
    match v {
        Value::Object(m) => {
            m.iter().map(|(k, v)| (if k == "pool" { "Pool".to_owned() } else { k.clone() }, with_go_pool(v))).collect()
        }
        Value::Array(a) => a.iter().map(with_go_pool).collect(),
        other => other.clone(),
    }
}

/// What tells one allocated device from another.
fn id(d: &Value) -> Value {
    json!([d.s("driver"), d.s("pool"), d.s("device"), d.s("shareID")])
}

/// The status of a claim.
pub(super) fn status(new: &Value, old: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (status, was, path) = (new.at("status"), old.at("status"), Path::new("status"));
    let allocation = status.sub("allocation");
    consumers(&mut e, status);
    devices(&mut e, &path.child("devices"), status);
    reserved(&mut e, new, old);
    match (allocation, was.sub("allocation")) {
        (Some(is), Some(before)) => {
            if is != before {
                e.invalid(&path.child("allocation"), Show(ALLOCATION, &with_go_pool(is)), checks::IMMUTABLE);
            }
        }
        (Some(is), None) => allocated(&mut e, &path.child("allocation"), is, &request_names(new.at("spec"))),
        (None, _) => {}
    }
    e
}

fn devices(e: &mut ErrorList, path: &Path, status: &Value) {
    let results = status.at("allocation").at("devices").items("results");
    let list = status.items("devices");
    for (i, d) in list.iter().enumerate() {
        let p = path.index(i);
        driver(e, &p.child("driver"), d.s("driver"));
        pool(e, &p.child("pool"), d.s("pool"));
        device(e, &p.child("device"), d.s("device"));
        share(e, &p, d);
        if !results.iter().any(|r| id(r) == id(d)) {
            e.invalid(&p, Show(DEVICE_ID, &with_go_pool(d)), "must be an allocated device in the claim");
        }
        let (conditions, at) = (d.items("conditions"), p.child("conditions"));
        limit(e, &at, conditions.len(), MOST_CONDITIONS);
        validation::conditions(e, conditions, &at);
        if let Some(data) = d.sub("data") {
            opaque(e, &p.child("data"), Some(data), LARGEST_DATA);
        }
        if let Some(network) = d.sub("networkData") {
            network_data(e, &p.child("networkData"), network);
        }
    }
    let mut seen = BTreeSet::new();
    for (i, d) in list.iter().enumerate() {
        if !seen.insert(id(d).to_string()) {
            e.duplicate(&path.index(i), Show(DEVICE_ID, &with_go_pool(d)));
        }
    }
}

fn network_data(e: &mut ErrorList, path: &Path, network: &Value) {
    for (field, most) in [("interfaceName", LONGEST_INTERFACE), ("hardwareAddress", LONGEST_HARDWARE_ADDRESS)] {
        if network.s(field).len() > most {
            e.too_long(&path.child(field), most);
        }
    }
    let (ips, at) = (network.strings("ips"), path.child("ips"));
    if limit(e, &at, ips.len(), MOST_ADDRESSES) {
        for (i, ip) in ips.iter().enumerate() {
            validation::interface_address(e, &at.index(i), ip);
        }
        duplicates(e, &at, ips);
    }
}

/// The share of a device that several claims have a part of.
fn share(e: &mut ErrorList, path: &Path, holder: &Value) {
    let Some(uid) = holder.opt_s("shareID") else { return };
    let at = path.child("shareID");
    let hex = |c: char| c.is_ascii_hexdigit();
    let parts: Vec<&str> = uid.split('-').collect();
    let plain = parts.iter().map(|p| p.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(|p| p.chars().all(hex));
    if uid.len() != 36 && !matches!(uid.len(), 32 | 38 | 45) {
        e.invalid(&at, uid, format!("error validating uid: invalid UUID length: {}", uid.len()));
    } else if uid.len() == 36 && !plain {
        e.invalid(&at, uid, "error validating uid: invalid UUID format");
    } else if uid.len() != 36 || uid != uid.to_lowercase() {
        let why = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        e.invalid(&at, uid, why);
    }
}

fn allocated(e: &mut ErrorList, path: &Path, allocation: &Value, names: &BTreeSet<String>) {
    let (devices, at) = (allocation.at("devices"), path.child("devices"));
    let (list, results) = (devices.items("results"), at.child("results"));
    if limit(e, &results, list.len(), MOST) {
        for (i, r) in list.iter().enumerate() {
            let p = results.index(i);
            reference(e, &p.child("request"), r.s("request"), names);
            driver(e, &p.child("driver"), r.s("driver"));
            pool(e, &p.child("pool"), r.s("pool"));
            device(e, &p.child("device"), r.s("device"));
            binding(e, &p, r);
            for (j, t) in r.items("tolerations").iter().enumerate() {
                toleration(e, &p.child("tolerations").index(j), t);
            }
            share(e, &p, r);
        }
    }
    let (list, configs) = (devices.items("config"), at.child("config"));
    if limit(e, &configs, list.len(), 2 * MOST) {
        for (i, c) in list.iter().enumerate() {
            let p = configs.index(i);
            match c.s("source") {
                "" => e.required(&p.child("source"), ""),
                source => checks::one_of(e, &p.child("source"), source, &["FromClaim", "FromClass"]),
            }
            references(e, &p.child("requests"), c, names);
            super::claim_validation::config(e, &p, c);
        }
    }
    if let Some(selector) = allocation.sub("nodeSelector") {
        checks::node_selector(e, &path.child("nodeSelector"), selector);
    }
}

fn consumers(e: &mut ErrorList, status: &Value) {
    let path = Path::new("status").child("reservedFor");
    let list = status.items("reservedFor");
    if !limit(e, &path, list.len(), MOST_CONSUMERS) {
        return;
    }
    for (i, c) in list.iter().enumerate() {
        for field in ["resource", "name", "uid"] {
            if c.s(field).is_empty() {
                e.required(&path.index(i).child(field), "");
            }
        }
    }
    duplicates(e, &path, list.iter().map(|c| c.s("uid")));
}

/// Consumers need an allocation, and none comes to one that goes.
fn reserved(e: &mut ErrorList, new: &Value, old: &Value) {
    let (path, list) = (Path::new("status").child("reservedFor"), new.at("status").items("reservedFor"));
    if list.is_empty() {
        return;
    }
    if new.at("status").sub("allocation").is_none() {
        e.forbidden(&path, "may not be specified when `allocated` is not set");
    } else if object::is_deleting(new) {
        let before = old.at("status").items("reservedFor");
        if list.iter().any(|c| !before.contains(c)) {
            let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            e.forbidden(&path, why);
        }
    }
}

/// Leaves out what is said of devices that this change takes away (rule: `dropDeallocatedStatusDevices`).
pub(super) fn drop_deallocated(new: &mut Value, old: &Value) {
    let key = |d: &Value| ["driver", "pool", "device", "shareID"].map(|part| d.s(part).to_owned());
    let of = |o: &Value| -> BTreeSet<[String; 4]> {
        o.at("status").at("allocation").at("devices").items("results").iter().map(key).collect()
    };
    let (kept, before) = (of(new), of(old));
    if let Some(list) = new.pointer_mut("/status/devices").and_then(Value::as_array_mut) {
        list.retain(|d| kept.contains(&key(d)) || !before.contains(&key(d)));
        if list.is_empty() {
            object::remove(new, &["status", "devices"]);
        }
    }
}
