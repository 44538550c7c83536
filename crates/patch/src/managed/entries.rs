//! The list of managers: decoding, ordering, writing back.

use super::ManagerContext;
use crate::fieldset::FieldSet;
use serde_json::{Map, Value};
use steersman_apimachinery::object;

/// Server-side apply's operation, and that of every other write.
pub(super) const APPLY: &str = "Apply";
pub(super) const UPDATE: &str = "Update";

/// One manager and what it owns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub manager: String,
    pub applied: bool,
    pub api_version: String,
    pub subresource: String,
    /// RFC 3339 in UTC, whole seconds; empty where unknown.
    pub time: String,
    pub fields: FieldSet,
}

impl Entry {
    /// An entry of this request's writer that owns nothing yet.
    pub fn new(ctx: &ManagerContext<'_>, applied: bool) -> Self {
        Self {
            manager: if ctx.manager.is_empty() { "unknown".to_owned() } else { ctx.manager.to_owned() },
            applied,
            api_version: ctx.api_version.to_owned(),
            subresource: ctx.subresource.to_owned(),
            time: String::new(),
            fields: FieldSet::default(),
        }
    }
    /// Whether both are the same manager: appliers are so whatever the version, all others in one version only.
    pub fn is_same_manager(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.applied == other.applied
            && self.subresource == other.subresource
            && (self.applied || self.api_version == other.api_version)
    }
    /// What upstream sorts managers by: its JSON identifier.
    pub fn identity(&self) -> (&str, bool, &str, &str) {
        let version = if self.applied { "" } else { self.api_version.as_str() };
        (&self.manager, !self.applied, version, &self.subresource)
    }
    fn order(&self) -> (bool, &str, &str, &str, &str) {
        (!self.applied, &self.time, &self.manager, &self.api_version, &self.subresource)
    }
    fn into_value(self) -> Value {
        let mut m = Map::new();
        m.insert("manager".into(), self.manager.into());
        m.insert("operation".into(), if self.applied { APPLY } else { UPDATE }.into());
        m.insert("apiVersion".into(), self.api_version.into());
        if !self.time.is_empty() {
            m.insert("time".into(), self.time.into());
        }
        m.insert("fieldsType".into(), "FieldsV1".into());
        m.insert("fieldsV1".into(), self.fields.into_value());
        if !self.subresource.is_empty() {
            m.insert("subresource".into(), self.subresource.into());
        }
        Value::Object(m)
    }
}

/// The managers of a stored list, whose field sets are canonical. `None`: the list is not valid.
pub(super) fn decode_stored(list: Vec<Value>) -> Option<Vec<Entry>> {
    decode(list, |fields| match fields {
        Value::Object(m) => Some(FieldSet::from_steps(m)),
        Value::Null => Some(FieldSet::default()),
        _ => None,
    })
}
/// The managers of a client's list. `None`: the list is not valid.
pub(super) fn decode_foreign(list: Vec<Value>) -> Option<Vec<Entry>> {
    decode(list, |fields| FieldSet::parse(&fields).ok())
}

fn decode(list: Vec<Value>, fields: impl Fn(Value) -> Option<FieldSet>) -> Option<Vec<Entry>> {
    let mut out: Vec<Entry> = Vec::with_capacity(list.len());
    for value in list {
        let Value::Object(mut m) = value else { return None };
        let mut text = |key: &str| match m.remove(key) {
            Some(Value::String(s)) => s,
            _ => String::new(),
        };
        let operation = text("operation");
        let (api_version, kind) = (text("apiVersion"), text("fieldsType"));
        if ![APPLY, UPDATE].contains(&operation.as_str()) || api_version.is_empty() || kind != "FieldsV1" {
            return None;
        }
        let entry = Entry {
            manager: text("manager"),
            applied: operation == APPLY,
            api_version,
            subresource: text("subresource"),
            time: text("time"),
            fields: fields(m.remove("fieldsV1").unwrap_or(Value::Null))?,
        };
        // Of two entries of one manager, upstream keeps the later.
        out.retain(|e| !e.is_same_manager(&entry));
        out.push(entry);
    }
    Some(out)
}

/// Whether a client asks to have the list cleared: it is empty, or holds one empty entry.
pub(super) fn is_reset(list: &[Value]) -> bool {
    match list {
        [] => true,
        [one] => one.as_object().is_some_and(|m| m.values().all(|v| v.is_null() || v.as_str() == Some(""))),
        _ => false,
    }
}

/// Takes the list out of an object.
pub(super) fn take(object: &mut Value) -> Option<Vec<Value>> {
    match object::remove(object, &["metadata", "managedFields"]) {
        Some(Value::Array(a)) => Some(a),
        _ => None,
    }
}

/// Writes the managers that own something into an object, in upstream's order.
pub(super) fn put(object: &mut Value, entries: Vec<Entry>) {
    let list = encode(entries);
    if !list.is_empty() {
        object::set(object, &["metadata", "managedFields"], Value::Array(list));
    }
}

/// The entries as the object carries them.
pub(super) fn encode(mut entries: Vec<Entry>) -> Vec<Value> {
    entries.sort_by(|a, b| a.order().cmp(&b.order()));
    entries.into_iter().map(Entry::into_value).collect()
}

/// The time of the request as entries carry it.
pub(super) fn stamp(ctx: &ManagerContext<'_>) -> String {
    ctx.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An object that differs from the stored one in nothing but the times of its managers takes those times back, so that
/// writing it changes nothing (rule: `IgnoreManagedFieldsTimestampsTransformer`).
pub fn revert_timestamps(stored: &Value, new: &mut Value) {
    let list = |v| object::get(v, &["metadata", "managedFields"]).and_then(Value::as_array);
    let (Some(old), Some(now)) = (list(stored), list(new)) else { return };
    if old.len() != now.len() || !old.iter().zip(now).all(|(a, b)| equal_but(a, b, &["time"])) || old == now {
        return;
    }
    // Everything else must be equal, but for what the storage or the request sets.
    let null = Value::Null;
    let metadata = |v| object::get(v, &["metadata"]).unwrap_or(&null);
    if equal_but(stored, new, &["metadata", "apiVersion", "kind"])
        && equal_but(metadata(stored), metadata(new), &["managedFields", "resourceVersion"])
    {
        let old = Value::Array(old.clone());
        object::set(new, &["metadata", "managedFields"], old);
    }
}

/// Whether two objects have the same members, but for some.
fn equal_but(a: &Value, b: &Value, skip: &[&str]) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    let wanted = |m: &(&String, &Value)| !skip.contains(&m.0.as_str());
    a.iter().filter(wanted).eq(b.iter().filter(wanted))
}
