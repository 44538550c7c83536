//! What is wrong with slices of a pool of devices (rule: `pkg/apis/resource/validation`).

use super::claim_validation::{device, driver, identifier, limit, pool};
use crate::checks;
use crate::core::resource_names;
use crate::fields::Fields;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, validation};

/// The most devices of a slice, attributes and capacities of a device, bytes of a value, taints.
const MOST_DEVICES: usize = 128;
const MOST_ATTRIBUTES: usize = 32;
const LONGEST_VALUE: usize = 64;
const MOST_TAINTS: usize = 16;

/// Exactly one way of choosing nodes; `fields` are the ways there are.
fn one_way(e: &mut ErrorList, path: &Path, holder: &Value, fields: &[&str]) {
    let mut set = Vec::new();
    for field in fields {
        match holder.sub(field) {
            Some(Value::Bool(false)) => {
                e.invalid(&path.child(field), false, "must be either unset or set to true");
            }
            Some(Value::String(name)) if name.is_empty() => {
                e.invalid(&path.child(field), "", "must be either unset or set to a non-empty string");
            }
            Some(value) => {
                set.push(format!("`{field}`"));
                node(e, &path.child(field), value);
            }
            None => {}
        }
    }
    let names: Vec<String> = fields.iter().map(|n| format!("`{n}`")).collect();
    let words = format!("exactly one of {} is required", names.join(", "));
    match set.len() {
        1 => {}
        0 => e.required(path, words),
        _ => e.invalid(path, format!("{{{}}}", set.join(", ")), format!("{words}, but multiple fields are set")),
    }
}

/// A node's name, or a selector of nodes with one term.
fn node(e: &mut ErrorList, path: &Path, value: &Value) {
    match value {
        Value::String(name) => checks::subdomain(e, path, name),
        Value::Object(_) => {
            checks::node_selector(e, path, value);
            if value.items("nodeSelectorTerms").len() != 1 {
                let at = path.child("nodeSelectorTerms");
                e.invalid(&at, value.at("nodeSelectorTerms"), "must have exactly one node selector term");
            }
        }
        _ => {}
    }
}

fn qualified(e: &mut ErrorList, path: &Path, name: &str) {
    match name.split_once('/') {
        None => identifier(e, path, name),
        Some((domain, id)) => {
            driver(e, path, domain);
            identifier(e, path, id);
        }
    }
}

fn attribute(e: &mut ErrorList, path: &Path, value: &Value) {
    let set = ["bool", "int", "string", "version"].iter().filter(|k| value.sub(k).is_some()).count();
    match set {
        1 => {}
        0 => e.required(path, "exactly one value must be specified"),
        _ => e.invalid(path, value, "exactly one value must be specified"),
    }
    for key in ["string", "version"] {
        if value.s(key).len() > LONGEST_VALUE {
            e.too_long(&path.child(key), LONGEST_VALUE);
        }
    }
    if let Some(v) = value.opt_s("version")
        && !is_semver(v)
    {
        e.invalid(&path.child("version"), v, "must be a string compatible with semver.org spec 2.0.0");
    }
}

fn is_semver(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = core.split('.').collect();
    let number = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()) && (p == "0" || !p.starts_with('0'));
    parts.len() == 3 && parts.iter().all(|p| number(p))
}

fn one_device(e: &mut ErrorList, path: &Path, d: &Value, per_device: bool) {
    let (attributes, capacity) = (d.entries("attributes"), d.entries("capacity"));
    if attributes.len() + capacity.len() > MOST_ATTRIBUTES {
        let why = format!("the total number of attributes and capacities must not exceed {MOST_ATTRIBUTES}");
        let count = i64::try_from(attributes.len() + capacity.len()).unwrap_or(i64::MAX);
        e.invalid(path, count, why);
    }
    for (name, value) in attributes {
        let p = path.child("attributes").key(name);
        qualified(e, &p, name);
        attribute(e, &p, value);
    }
    for (name, value) in capacity {
        let p = path.child("capacity").key(name);
        qualified(e, &p, name);
        resource_names::check_amount(e, &p.child("value"), "", value.at("value"));
    }
    let taints = d.items("taints");
    if limit(e, &path.child("taints"), taints.len(), MOST_TAINTS) {
        for (i, t) in taints.iter().enumerate() {
            let p = path.child("taints").index(i);
            checks::qualified_name(e, &p.child("key"), t.s("key"));
            if !t.s("value").is_empty() {
                checks::label_value(e, &p.child("value"), t.s("value"));
            }
            match t.s("effect") {
                "" => e.required(&p.child("effect"), ""),
                effect => checks::one_of(e, &p.child("effect"), effect, &["NoExecute", "NoSchedule", "None"]),
            }
        }
    }
    if per_device {
        one_way(e, path, d, &["nodeName", "nodeSelector", "allNodes"]);
    }
}

/// A slice.
pub(super) fn slice(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    driver(&mut e, &path.child("driver"), spec.s("driver"));
    let (p, at) = (spec.at("pool"), path.child("pool"));
    pool(&mut e, &at.child("name"), p.s("name"));
    if p.int("resourceSliceCount").unwrap_or(0) <= 0 {
        e.invalid(
            &at.child("resourceSliceCount"),
            p.int("resourceSliceCount").unwrap_or(0),
            "must be greater than zero",
        );
    }
    if let Some(generation) = p.int("generation").filter(|g| *g < 0) {
        e.invalid(&at.child("generation"), generation, "must be greater than or equal to zero");
    }
    let per_device = spec.flag("perDeviceNodeSelection") == Some(true);
    one_way(&mut e, &path, spec, &["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"]);
    let devices = spec.items("devices");
    if limit(&mut e, &path.child("devices"), devices.len(), MOST_DEVICES) {
        let mut names = BTreeSet::new();
        for (i, d) in devices.iter().enumerate() {
            let p = path.child("devices").index(i);
            device(&mut e, &p.child("name"), d.s("name"));
            one_device(&mut e, &p, d, per_device);
            if !d.s("name").is_empty() && !names.insert(d.s("name")) {
                e.duplicate(&p.child("name"), d.s("name"));
            }
        }
    }
    e
}

/// What a slice may not change.
pub(super) fn update(new: &Value, old: &Value) -> ErrorList {
    let mut e = slice(new);
    let (is, was, path) = (new.at("spec"), old.at("spec"), Path::new("spec"));
    for field in ["driver", "nodeName", "nodeSelector", "allNodes"] {
        validation::immutable(&mut e, is.sub(field), was.sub(field), &path.child(field));
    }
    checks::immutable(&mut e, &path.child("pool").child("name"), is.at("pool").at("name"), was.at("pool").at("name"));
    e
}
