//! Validation of events in the form of `v1` (rule: core validation `ValidateEventCreate`, `ValidateEventUpdate`).

use crate::common::same;
use crate::shared::internal::Type::Text;
use crate::shared::internal::{Field, Show};
use crate::shared::pod::say;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object, validation};

const OBJECT_REFERENCE: &[Field] = &[
    Field("kind", Text),
    Field("namespace", Text),
    Field("name", Text),
    Field("uid", Text),
    Field("apiVersion", Text),
    Field("resourceVersion", Text),
    Field("fieldPath", Text),
];
const SOURCE: &[Field] = &[Field("component", Text), Field("host", Text)];
const MAX_NAME: usize = 128;
const MAX_NOTE: usize = 1024;

/// The rules for all events; `reporting` is how the request's version names the reporting controller.
pub fn loose(e: &mut ErrorList, event: &Value, reporting: &str) {
    let text = |key: &str| object::str(event, &[key]);
    let namespace = object::namespace(event);
    let about = object::str(event, &["involvedObject", "namespace"]);
    let is_new_style = !text("eventTime").is_empty();
    let fits = match (about.is_empty(), is_new_style) {
        (true, false) => ["", "default"].contains(&namespace),
        (true, true) => ["default", "kube-system"].contains(&namespace),
        (false, false) => namespace == about,
        (false, true) => true,
    };
    if !fits {
        let at = Path::new("involvedObject").child("namespace");
        e.invalid(&at, about, "does not match event.namespace");
    }
    if is_new_style {
        let controller = text("reportingComponent");
        if controller.is_empty() {
            e.required(&Path::new(reporting), "");
        }
        say(e, || Path::new(reporting), controller, validation::qualified_name(controller));
        for (key, max) in [("reportingInstance", MAX_NAME), ("action", MAX_NAME), ("reason", MAX_NAME)] {
            let at = Path::new(key);
            if text(key).is_empty() {
                e.required(&at, "");
            }
            at_most(e, text(key), max, &at);
        }
        at_most(e, text("message"), MAX_NOTE, &Path::new("message"));
    }
    say(e, || Path::new("namespace"), namespace, validation::dns_subdomain(namespace, false));
}

fn at_most(e: &mut ErrorList, text: &str, max: usize, at: &Path) {
    if text.len() > max {
        e.invalid(at, "", format!("can have at most {max} characters"));
    }
}

/// What else holds for new events of `events.k8s.io/v1`.
pub fn strict_create(e: &mut ErrorList, event: &Value) {
    series(e, event);
    if object::str(event, &["eventTime"]).is_empty() {
        e.required(&Path::new("eventTime"), "");
    }
    let kind = object::str(event, &["type"]);
    if !["Normal", "Warning"].contains(&kind) {
        e.invalid(&Path::new("type"), "", format!("has invalid value: {kind}"));
    }
    let old_source = ["component", "host"].iter().any(|k| !object::str(event, &["source", k]).is_empty());
    for (key, is_set) in [
        ("firstTimestamp", !object::str(event, &["firstTimestamp"]).is_empty()),
        ("lastTimestamp", !object::str(event, &["lastTimestamp"]).is_empty()),
        ("count", object::int(event, &["count"]).unwrap_or(0) != 0),
        ("source", old_source),
    ] {
        if is_set {
            e.invalid(&Path::new(key), "", "needs to be unset");
        }
    }
}

fn series(e: &mut ErrorList, event: &Value) {
    let Some(series) = event.get("series") else { return };
    if object::int(series, &["count"]).unwrap_or(0) < 2 {
        e.invalid(&Path::new("series.count"), "", "should be at least 2");
    }
    if object::str(series, &["lastObservedTime"]).is_empty() {
        e.required(&Path::new("series.lastObservedTime"), "");
    }
}

/// What else holds for changed events of `events.k8s.io/v1`: nothing but the series changes.
pub fn strict_update(e: &mut ErrorList, new: &Value, old: &Value) {
    if !same(new, old, &["series"]) {
        series(e, new);
    }
    for key in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "reason",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ] {
        if same(new, old, &[key]) {
            continue;
        }
        let at = Path::new(if key == "reportingComponent" { "reportingController" } else { key });
        match (key, new.get(key)) {
            ("involvedObject" | "related", Some(v)) => {
                e.invalid(&at, Show(OBJECT_REFERENCE, v), validation::FIELD_IMMUTABLE);
            }
            ("source", Some(v)) => e.invalid(&at, Show(SOURCE, v), validation::FIELD_IMMUTABLE),
            ("firstTimestamp" | "lastTimestamp" | "eventTime" | "related", v) => {
                e.invalid(&at, v, validation::FIELD_IMMUTABLE);
            }
            ("count", v) => e.invalid(&at, v.and_then(Value::as_i64).unwrap_or(0), validation::FIELD_IMMUTABLE),
            (_, v) => e.invalid(&at, v.and_then(Value::as_str).unwrap_or_default(), validation::FIELD_IMMUTABLE),
        }
    }
}
