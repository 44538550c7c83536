//! What is wrong with claims of devices (rule: `pkg/apis/resource/validation`).

use crate::checks;
use crate::fields::Fields;
use crate::shared::cel;
use crate::shared::internal::{Field, Show, Type};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// The most requests, constraints, configurations, selectors; tolerations of one; consumers.
const MOST: usize = 32;
const MOST_SUBREQUESTS: usize = 8;
const MOST_TOLERATIONS: usize = 16;
const MOST_CONSUMERS: usize = 256;
/// The most bytes of opaque parameters and of an expression.
const LARGEST_PARAMETERS: usize = 10 * 1024;
const LONGEST_EXPRESSION: usize = 10 * 1024;
const UNKNOWN_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

const TOLERATION: &[Field] = &[
    Field("key", Type::Text),
    Field("operator", Type::Text),
    Field("value", Type::Text),
    Field("effect", Type::Text),
    Field("tolerationSeconds", Type::Plain),
];
const SELECTOR: &[Field] = &[Field("cel", Type::Pointer(&[Field("expression", Type::Text)]))];
const OPAQUE: &[Field] = &[Field("driver", Type::Text), Field("parameters", Type::Plain)];
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
        let Some(opaque) = config.sub("opaque") else {
            e.required(&p.child("opaque"), "");
            continue;
        };
        driver(e, &p.child("opaque").child("driver"), opaque.s("driver"));
        let at = p.child("opaque").child("parameters");
        match opaque.sub("parameters") {
            None => e.required(&at, ""),
            Some(v) if v.to_string().len() > LARGEST_PARAMETERS => e.too_long(&at, LARGEST_PARAMETERS),
            Some(v) if !v.is_object() => e.invalid(&at, "<value omitted>", "must be a valid JSON object"),
            Some(_) => {}
        }
    }
}

/// The name of a driver.
pub(super) fn driver(e: &mut ErrorList, path: &Path, name: &str) {
    if name.is_empty() {
        e.required(path, "");
        return;
    }
    if name.len() > 63 {
        e.too_long(path, 63);
    }
    checks::subdomain(e, path, name);
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

fn references(e: &mut ErrorList, path: &Path, holder: &Value, names: &BTreeSet<String>) {
    let mut seen = BTreeSet::new();
    for (i, name) in holder.strings("requests").into_iter().enumerate() {
        if !names.contains(name) {
            e.invalid(&path.index(i), name, UNKNOWN_REQUEST);
        }
        if !seen.insert(name) {
            e.duplicate(&path.index(i), name);
        }
    }
}

fn toleration(e: &mut ErrorList, path: &Path, t: &Value) {
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
            if t.s("key").is_empty() {
                e.required(&path.child("key"), "must not be empty when `operator` is `Equal`");
            }
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

/// Names that stand more than once.
fn duplicate_names(e: &mut ErrorList, path: &Path, list: &[Value]) {
    let mut seen = BTreeSet::new();
    for (i, item) in list.iter().enumerate() {
        if !seen.insert(item.s("name")) {
            e.duplicate(&path.index(i).child("name"), item.s("name"));
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
        duplicate_names(e, &at, requests);
    }
    let names = request_names(spec);
    constraints(e, &path.child("constraints"), devices.items("constraints"), &names);
    configs(e, &path.child("config"), devices.items("config"), Some(&names));
}

fn device_request(e: &mut ErrorList, path: &Path, r: &Value) {
    checks::label(e, &path.child("name"), r.s("name"));
    let alternatives = r.items("firstAvailable");
    let at = path.child("firstAvailable");
    if limit(e, &at, alternatives.len(), MOST_SUBREQUESTS) {
        for (i, s) in alternatives.iter().enumerate() {
            checks::label(e, &at.index(i).child("name"), s.s("name"));
            request(e, &at.index(i), s);
        }
        duplicate_names(e, &at, alternatives);
    }
    let exactly = r.sub("exactly");
    if let Some(exactly) = exactly {
        request(e, &path.child("exactly"), exactly);
    }
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    match (exactly.is_some(), alternatives.is_empty()) {
        (false, true) => e.required(path, ONE),
        (true, false) => e.invalid(path, Value::Null, format!("{ONE}, but multiple fields are set")),
        _ => {}
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
            (Some(a), None) => attribute(e, &p.child("matchAttribute"), a),
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
    if name.is_empty() {
        e.required(path, "name required");
        return;
    }
    let Some((domain, id)) = name.split_once('/') else {
        e.invalid(path, name, "a fully qualified name must be a domain and a name separated by a slash");
        return;
    };
    if domain.is_empty() {
        e.required(path, "the domain must not be empty");
    } else {
        driver(e, path, domain);
    }
    if id.is_empty() { e.required(path, "the name must not be empty") } else { identifier(e, path, id) }
}

/// A name in C's form.
pub(super) fn identifier(e: &mut ErrorList, path: &Path, id: &str) {
    if id.len() > 32 {
        e.too_long(path, 32);
    }
    checks::invalid_each(e, path, id, validation::c_identifier(id));
}

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

/// The status of a claim.
pub(super) fn status(new: &Value, old: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (status, was, path) = (new.at("status"), old.at("status"), Path::new("status"));
    let names = request_names(new.at("spec"));
    let allocation = status.sub("allocation");
    if let (Some(is), Some(before)) = (allocation, was.sub("allocation")) {
        if is != before {
            e.invalid(&path.child("allocation"), Show(ALLOCATION, &with_go_pool(is)), checks::IMMUTABLE);
        }
    } else if let Some(is) = allocation {
        allocated(&mut e, &path.child("allocation"), is, &names);
    }
    consumers(&mut e, new, old);
    let devices = path.child("devices");
    let results = allocation.map(|a| a.at("devices").items("results")).unwrap_or_default();
    for (i, d) in status.items("devices").iter().enumerate() {
        let id = |x: &Value| json!([x.s("driver"), x.s("pool"), x.s("device"), x.s("shareID")]);
        if !results.iter().any(|r| id(r) == id(d)) {
            e.invalid(&devices.index(i), Show(DEVICE_ID, &with_go_pool(d)), "must be an allocated device in the claim");
        }
        validation::conditions(&mut e, d.items("conditions"), &devices.index(i).child("conditions"));
        for (j, ip) in d.at("networkData").strings("ips").into_iter().enumerate() {
            let at = devices.index(i).child("networkData").child("ips").index(j);
            validation::interface_address(&mut e, &at, ip);
        }
    }
    e
}

fn allocated(e: &mut ErrorList, path: &Path, allocation: &Value, names: &BTreeSet<String>) {
    let results = path.child("devices").child("results");
    for (i, r) in allocation.at("devices").items("results").iter().enumerate() {
        let p = results.index(i);
        if !names.contains(r.s("request")) {
            e.invalid(&p.child("request"), r.s("request"), UNKNOWN_REQUEST);
        }
        driver(e, &p.child("driver"), r.s("driver"));
        pool(e, &p.child("pool"), r.s("pool"));
        device(e, &p.child("device"), r.s("device"));
    }
    configs(e, &path.child("devices").child("config"), allocation.at("devices").items("config"), Some(names));
    if let Some(selector) = allocation.sub("nodeSelector") {
        checks::node_selector(e, &path.child("nodeSelector"), selector);
    }
}

fn consumers(e: &mut ErrorList, new: &Value, old: &Value) {
    let path = Path::new("status").child("reservedFor");
    let list = new.at("status").items("reservedFor");
    limit(e, &path, list.len(), MOST_CONSUMERS);
    let mut seen = BTreeSet::new();
    for (i, c) in list.iter().enumerate() {
        let p = path.index(i);
        for field in ["resource", "name", "uid"] {
            if c.s(field).is_empty() {
                e.required(&p.child(field), "");
            }
        }
        if !c.s("uid").is_empty() && !seen.insert(c.s("uid")) {
            e.duplicate(&p, c.s("uid"));
        }
    }
    if list.is_empty() {
        return;
    }
    if new.at("status").sub("allocation").is_none() {
        e.forbidden(&path, "may not be specified when `allocated` is not set");
    } else if object::is_deleting(new) {
        let before: BTreeSet<&str> = old.at("status").items("reservedFor").iter().map(|c| c.s("uid")).collect();
        if list.iter().any(|c| !before.contains(c.s("uid"))) {
            let why =
                "new entries may not be added while `deallocationRequested` or `metadata.deletionTimestamp` are set";
            e.forbidden(&path, why);
        }
    }
}
