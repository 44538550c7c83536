//! What is wrong with claims of devices (rule: `pkg/apis/resource/validation`).

use crate::checks;
use crate::fields::Fields;
use crate::shared::cel;
use crate::shared::internal::{Field, Type};
use crate::shared::pod::volume_plugins::csi_driver_name;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// The most requests, constraints, configurations, selectors; tolerations of one.
pub(super) const MOST: usize = 32;
const MOST_SUBREQUESTS: usize = 8;
const MOST_TOLERATIONS: usize = 16;
/// The most bytes of opaque parameters and of an expression.
const LARGEST_PARAMETERS: usize = 10 * 1024;
const LONGEST_EXPRESSION: usize = 10 * 1024;
const UNKNOWN_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

pub(super) const TOLERATION: &[Field] = &[
    Field("key", Type::Text),
    Field("operator", Type::Text),
    Field("value", Type::Text),
    Field("effect", Type::Text),
    Field("tolerationSeconds", Type::Plain),
];
const SELECTOR: &[Field] = &[Field("cel", Type::Pointer(&[Field("expression", Type::Text)]))];
pub(super) const OPAQUE: &[Field] = &[Field("driver", Type::Text), Field("parameters", Type::Plain)];
const EXACTLY: &[Field] = &[
    Field("deviceClassName", Type::Text),
    Field("selectors", Type::List(SELECTOR)),
    Field("allocationMode", Type::Text),
    Field("count", Type::Int),
    Field("adminAccess", Type::Plain),
    Field("tolerations", Type::List(TOLERATION)),
    Field("capacity", Type::Plain),
];
const SUBREQUEST: &[Field] = &[
    Field("name", Type::Text),
    Field("deviceClassName", Type::Text),
    Field("selectors", Type::List(SELECTOR)),
    Field("allocationMode", Type::Text),
    Field("count", Type::Int),
    Field("tolerations", Type::List(TOLERATION)),
    Field("capacity", Type::Plain),
];
/// The spec of a claim as messages show it.
pub(super) const SPEC: &[Field] = &[Field(
    "devices",
    Type::Struct(&[
        Field(
            "requests",
            Type::List(&[
                Field("name", Type::Text),
                Field("exactly", Type::Pointer(EXACTLY)),
                Field("firstAvailable", Type::List(SUBREQUEST)),
            ]),
        ),
        Field(
            "constraints",
            Type::List(&[
                Field("requests", Type::Plain),
                Field("matchAttribute", Type::Plain),
                Field("distinctAttribute", Type::Plain),
            ]),
        ),
        Field("config", Type::List(&[Field("requests", Type::Plain), Field("opaque", Type::Pointer(OPAQUE))])),
    ]),
)];
/// How many devices, where a request does not say.
pub(super) fn default_spec(spec: &mut Value) {
    let requests = spec.pointer_mut("/devices/requests").and_then(Value::as_array_mut);
    for request in requests.into_iter().flatten() {
        if let Some(exact) = request.get_mut("exactly").filter(|e| e.is_object()) {
            default_amount(exact);
        }
        for sub in request.get_mut("firstAvailable").and_then(Value::as_array_mut).into_iter().flatten() {
            default_amount(sub);
        }
    }
}

fn default_amount(request: &mut Value) {
    crate::common::default_str(request, &["allocationMode"], "ExactCount");
    if request.s("allocationMode") == "ExactCount" && request.int("count").unwrap_or(0) == 0 {
        object::set(request, &["count"], 1);
    }
    for toleration in request.get_mut("tolerations").and_then(Value::as_array_mut).into_iter().flatten() {
        crate::common::default_str(toleration, &["operator"], "Equal");
    }
}

/// A list that may not be too long; returns whether it is fine.
pub(super) fn limit(e: &mut ErrorList, path: &Path, len: usize, most: usize) -> bool {
    if len > most {
        e.too_many(path, len, most);
    }
    len <= most
}

/// Selectors in CEL.
pub(super) fn selectors(e: &mut ErrorList, path: &Path, list: &[Value]) {
    if !limit(e, path, list.len(), MOST) {
        return;
    }
    for (i, selector) in list.iter().enumerate() {
        let at = path.index(i).child("cel");
        match selector.sub("cel").map(|c| c.s("expression")) {
            None => e.required(&at, ""),
            Some("") => e.required(&at.child("expression"), ""),
            Some(text) if text.len() > LONGEST_EXPRESSION => e.too_long(&at.child("expression"), LONGEST_EXPRESSION),
            Some(text) => cel::device_selector(e, &at.child("expression"), text),
        }
    }
}

/// Configuration for drivers; `names` are the requests it may be about.
pub(super) fn configs(e: &mut ErrorList, path: &Path, list: &[Value], names: Option<&BTreeSet<String>>) {
    if !limit(e, path, list.len(), MOST) {
        return;
    }
    for (i, config) in list.iter().enumerate() {
        let p = path.index(i);
        if let Some(names) = names {
            references(e, &p.child("requests"), config, names);
        }
        self::config(e, &p, config);
    }
}

/// One configuration for a driver.
pub(super) fn config(e: &mut ErrorList, path: &Path, config: &Value) {
    let at = path.child("opaque");
    let Some(held) = config.sub("opaque") else {
        e.required(&at, "");
        return;
    };
    driver(e, &at.child("driver"), held.s("driver"));
    opaque(e, &at.child("parameters"), held.sub("parameters"), LARGEST_PARAMETERS);
}

/// An object that only a driver understands (rule: `validateRawExtension`).
pub(super) fn opaque(e: &mut ErrorList, path: &Path, value: Option<&Value>, most: usize) {
    match value {
        None => e.required(path, ""),
        Some(v) if v.to_string().len() > most => e.too_long(path, most),
        Some(v) if !v.is_object() => e.invalid(path, "<value omitted>", "must be a valid JSON object"),
        Some(_) => {}
    }
}

/// The name of a driver, which may be written with capitals, as that of a CSI driver may.
pub(super) fn driver(e: &mut ErrorList, path: &Path, name: &str) {
    csi_driver_name(e, name, path);
}

/// The name of a pool: subdomains with slashes between.
pub(super) fn pool(e: &mut ErrorList, path: &Path, name: &str) {
    if name.is_empty() {
        e.required(path, "");
        return;
    }
    if name.len() > 253 {
        e.too_long(path, 253);
    }
    for part in name.split('/') {
        checks::subdomain(e, path, part);
    }
}

/// The name of a device.
pub(super) fn device(e: &mut ErrorList, path: &Path, name: &str) {
    checks::label(e, path, name);
}

pub(super) fn references(e: &mut ErrorList, path: &Path, holder: &Value, names: &BTreeSet<String>) {
    let list = holder.strings("requests");
    if !limit(e, path, list.len(), MOST) {
        return;
    }
    for (i, name) in list.iter().enumerate() {
        reference(e, &path.index(i), name, names);
    }
    duplicates(e, path, list);
}

/// The name of a request, or of one and one of its alternatives (rule: `validateRequestNameRef`).
pub(super) fn reference(e: &mut ErrorList, path: &Path, name: &str, names: &BTreeSet<String>) {
    if name.split('/').count() > 2 {
        e.invalid(path, name, UNKNOWN_REQUEST);
        return;
    }
    for part in name.split('/') {
        checks::label(e, path, part);
    }
    if !names.contains(name) {
        e.invalid(path, name, UNKNOWN_REQUEST);
    }
}

/// Keys that stand more than once, each told where it comes again (rule: `validateSet`).
pub(super) fn duplicates<'a>(e: &mut ErrorList, path: &Path, keys: impl IntoIterator<Item = &'a str>) {
    let mut seen = BTreeSet::new();
    for (i, key) in keys.into_iter().enumerate() {
        if !seen.insert(key) {
            e.duplicate(&path.index(i), key);
        }
    }
}

pub(super) fn toleration(e: &mut ErrorList, path: &Path, t: &Value) {
    if !t.s("key").is_empty() {
        checks::qualified_name(e, &path.child("key"), t.s("key"));
    }
    match t.s("operator") {
        "" => e.required(&path.child("operator"), ""),
        "Exists" => {
            if !t.s("value").is_empty() {
                e.invalid(&path.child("value"), t.s("value"), "must be empty for operator `Exists`");
            }
        }
        "Equal" => {
            checks::label_value(e, &path.child("value"), t.s("value"));
        }
        other => e.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
    }
    if let Some(effect) = t.opt_s("effect").filter(|x| !x.is_empty()) {
        checks::one_of(e, &path.child("effect"), effect, &["NoExecute", "NoSchedule", "None"]);
    }
}

/// A request, or one of several to choose from.
fn request(e: &mut ErrorList, path: &Path, r: &Value) {
    match r.s("deviceClassName") {
        "" => e.required(&path.child("deviceClassName"), ""),
        name => checks::subdomain(e, &path.child("deviceClassName"), name),
    }
    selectors(e, &path.child("selectors"), r.items("selectors"));
    let count = r.int("count").unwrap_or(0);
    match r.s("allocationMode") {
        "All" => {
            if count != 0 {
                e.invalid(&path.child("count"), count, "must not be specified when allocationMode is 'All'");
            }
        }
        "ExactCount" => {
            if count <= 0 {
                e.invalid(&path.child("count"), count, "must be greater than zero");
            }
        }
        other => e.not_supported(&path.child("allocationMode"), other, &["All", "ExactCount"]),
    }
    let tolerations = r.items("tolerations");
    if limit(e, &path.child("tolerations"), tolerations.len(), MOST_TOLERATIONS) {
        for (i, t) in tolerations.iter().enumerate() {
            toleration(e, &path.child("tolerations").index(i), t);
        }
    }
}

/// All names that constraints and configurations may refer to.
pub(super) fn request_names(spec: &Value) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for r in spec.at("devices").items("requests") {
        out.insert(r.s("name").to_owned());
        out.extend(r.items("firstAvailable").iter().map(|s| format!("{}/{}", r.s("name"), s.s("name"))));
    }
    out
}

/// The spec of a claim.
pub(super) fn spec(e: &mut ErrorList, path: &Path, spec: &Value) {
    let (devices, path) = (spec.at("devices"), path.child("devices"));
    let requests = devices.items("requests");
    let at = path.child("requests");
    if limit(e, &at, requests.len(), MOST) {
        for (i, r) in requests.iter().enumerate() {
            device_request(e, &at.index(i), r);
        }
        duplicates(e, &at, requests.iter().map(|r| r.s("name")));
    }
    let names = request_names(spec);
    constraints(e, &path.child("constraints"), devices.items("constraints"), &names);
    configs(e, &path.child("config"), devices.items("config"), Some(&names));
}

fn device_request(e: &mut ErrorList, path: &Path, r: &Value) {
    checks::label(e, &path.child("name"), r.s("name"));
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    let alternatives = r.items("firstAvailable");
    match (r.sub("exactly"), alternatives.is_empty()) {
        (None, true) => e.required(path, ONE),
        (Some(_), false) => e.invalid(path, Value::Null, format!("{ONE}, but multiple fields are set")),
        (Some(exactly), true) => request(e, &path.child("exactly"), exactly),
        (None, false) => {
            let at = path.child("firstAvailable");
            if limit(e, &at, alternatives.len(), MOST_SUBREQUESTS) {
                for (i, s) in alternatives.iter().enumerate() {
                    checks::label(e, &at.index(i).child("name"), s.s("name"));
                    request(e, &at.index(i), s);
                }
                duplicates(e, &at, alternatives.iter().map(|s| s.s("name")));
            }
        }
    }
}

fn constraints(e: &mut ErrorList, path: &Path, list: &[Value], names: &BTreeSet<String>) {
    if !limit(e, path, list.len(), MOST) {
        return;
    }
    for (i, c) in list.iter().enumerate() {
        let p = path.index(i);
        references(e, &p.child("requests"), c, names);
        match (c.opt_s("matchAttribute"), c.opt_s("distinctAttribute")) {
            (Some(a), _) => attribute(e, &p.child("matchAttribute"), a),
            (None, Some(a)) => attribute(e, &p.child("distinctAttribute"), a),
            _ => {
                let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
                e.required(&p, why);
            }
        }
    }
}

/// A fully qualified name of an attribute.
fn attribute(e: &mut ErrorList, path: &Path, name: &str) {
    qualified(e, path, name);
    if !name.contains('/') {
        e.invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

/// A name in C's form, with or without a domain before it (rule: `validateQualifiedName`).
pub(super) fn qualified(e: &mut ErrorList, path: &Path, name: &str) {
    let Some((domain, id)) = name.split_once('/') else {
        identifier(e, path, name);
        return;
    };
    if id.contains('/') {
        e.invalid(path, name, "must not contain more than one slash");
        return;
    }
    match domain {
        "" => e.invalid(path, "", "the domain must not be empty"),
        domain => driver(e, path, domain),
    }
    match id {
        "" => e.invalid(path, "", "the name must not be empty"),
        id => identifier(e, path, id),
    }
}

/// A name in C's form.
pub(super) fn identifier(e: &mut ErrorList, path: &Path, id: &str) {
    if id.len() > 32 {
        e.too_long(path, 32);
    }
    checks::invalid_each(e, path, id, validation::c_identifier(id));
}
