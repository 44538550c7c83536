//! The fields that a configuration sets (rule: structured-merge-diff `typed/tofieldset.go`).

use super::items;
use super::shape::{Node, Relation, Shape};
use crate::fieldset::{FieldSet, Steps, is_member, node};
use serde_json::Value;
use std::collections::HashSet;
use steersman_schema::Kind;

/// All fields of an object: leaves, what is one value, elements of keyed lists and sets, entries of maps.
pub(crate) fn field_set(at: Node<'_>, value: &Value) -> FieldSet {
    FieldSet::from_steps(collect(at, value).1)
}

/// Whether the place itself is a field, and the fields below it.
fn collect(at: Node<'_>, value: &Value) -> (bool, Steps) {
    let mut below = Steps::new();
    match at.shape(Some(value)) {
        Shape::Scalar | Shape::AtomicMap | Shape::AtomicList => return (true, below),
        Shape::Map(here) => {
            for (key, v) in value.as_object().into_iter().flatten() {
                let (member, steps) = collect(here.member_or_deduced(key), v);
                let bare = v.is_null() || v.as_object().is_some_and(serde_json::Map::is_empty);
                if let Some(n) = node(member || bare || !here.names(key), steps) {
                    below.insert(format!("f:{key}"), n);
                }
            }
        }
        Shape::List(item, relation) => {
            elements(item, relation, value.as_array().map_or(&[], Vec::as_slice), &mut below);
        }
    }
    (false, below)
}

fn elements(item: &Kind, relation: Relation<'_>, list: &[Value], below: &mut Steps) {
    let mut duplicates: HashSet<String> = HashSet::new();
    for element in list {
        let Ok(step) = items::step(item, relation, element) else { continue };
        if duplicates.contains(&step) {
            continue;
        }
        // What stands in a list more than once is owned as one.
        if below.contains_key(&step) {
            below.insert(step.clone(), Value::Object(Steps::new()));
            duplicates.insert(step);
            continue;
        }
        let (_, steps) = collect(Node::of_kind(item), element);
        if let Some(n) = node(true, steps) {
            below.insert(step, n);
        }
    }
}

/// The set with every named field that leads to something in it (rule: `Set.EnsureNamedFieldsAreMembers`).
pub(crate) fn with_named_fields(at: Node<'_>, set: &FieldSet) -> FieldSet {
    FieldSet::from_steps(named(at, set.steps()))
}

fn named(at: Node<'_>, steps: &Steps) -> Steps {
    let mut out = Steps::new();
    for (key, n) in steps.iter().filter(|(k, _)| *k != ".") {
        let below = n.as_object().filter(|m| !m.is_empty());
        let field = key.strip_prefix("f:");
        let next = match (field, at) {
            (Some(name), _) => at.member_or_deduced(name),
            (None, Node::List { item, .. }) => Node::of_kind(item),
            (None, _) => Node::Deduced,
        };
        let member = is_member(n) || (below.is_some() && field.is_some_and(|f| at.names(f)));
        if let Some(n) = node(member, below.map(|m| named(next, m)).unwrap_or_default()) {
            out.insert(key.clone(), n);
        }
    }
    out
}
