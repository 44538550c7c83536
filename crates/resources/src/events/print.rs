//! The table of events (rule: printers `printEvent`).

use crate::common::{NAME, column, wide};
use serde_json::Value;
use steersman_apimachinery::object;
use steersman_registry::{Column, age};

/// The columns.
pub static COLUMNS: &[Column] = &[
    column("Last Seen", "string", "The time at which the most recent occurrence of this event was recorded."),
    column("Type", "string", "Type of this event (Normal, Warning), new types could be added in the future"),
    column(
        "Reason",
        "string",
        "This should be a short, machine understandable string that gives the reason for the transition into the object's current status.",
    ),
    column("Object", "string", "The object that this event is about."),
    wide(
        "Subobject",
        "string",
        "If referring to a piece of an object instead of an entire object, this string should contain a valid JSON/Go field access statement, such as desiredState.manifest.containers[2]. For example, if the object reference is to a container within a pod, this would take on a value like: \"spec.containers{name}\" (where \"name\" refers to the name of the container that triggered the event) or if no container name is specified \"spec.containers[2]\" (container with index 2 in this pod). This syntax is chosen only to have some well-defined way of referencing a part of an object.",
    ),
    wide("Source", "string", "The component reporting this event. Should be a short machine understandable string."),
    column("Message", "string", "A human-readable description of the status of this operation."),
    wide(
        "First Seen",
        "string",
        "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)",
    ),
    wide("Count", "string", "The number of times this event has occurred."),
    Column { priority: 1, ..NAME },
];

/// The cells of an event in the form of `v1`.
pub fn cells(event: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let text = |path: &[&str]| object::str(event, path).to_owned();
    let event_time = text(&["eventTime"]);
    let (first, last) = (text(&["firstTimestamp"]), text(&["lastTimestamp"]));
    let first_seen = age(if first.is_empty() { &event_time } else { &first }, now);
    let mut last_seen = age(&last, now);
    if last.is_empty() {
        last_seen = first_seen.clone();
    }
    let mut count = object::int(event, &["count"]).unwrap_or(0);
    if let Some(series) = event.get("series") {
        last_seen = age(object::str(series, &["lastObservedTime"]), now);
        count = object::int(series, &["count"]).unwrap_or(0);
    } else if count == 0 {
        count = 1;
    }
    let (kind, name) = (text(&["involvedObject", "kind"]).to_lowercase(), text(&["involvedObject", "name"]));
    let target = if name.is_empty() { kind } else { format!("{kind}/{name}") };
    vec![
        last_seen.into(),
        text(&["type"]).into(),
        text(&["reason"]).into(),
        target.into(),
        text(&["involvedObject", "fieldPath"]).into(),
        source(event).into(),
        text(&["message"]).trim().into(),
        first_seen.into(),
        count.into(),
        object::name(event).into(),
    ]
}

/// Where it comes from: the old source, or else the reporting controller (rule: printers `formatEventSource`).
fn source(event: &Value) -> String {
    let or = |old: &str, new: &str| match object::str(event, &["source", old]) {
        "" => object::str(event, &[new]).to_owned(),
        v => v.to_owned(),
    };
    let (component, host) = (or("component", "reportingComponent"), or("host", "reportingInstance"));
    if host.is_empty() { component } else { format!("{component}, {host}") }
}
