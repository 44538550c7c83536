//! What an object's change added, removed and modified (rule: structured-merge-diff `typed/compare.go`).
//!
//! This is on the path of every write: where the two sides agree it allocates nothing but the steps of keyed lists
//! that differ somewhere.

use super::items;
use super::shape::{Node, Relation, Shape};
use crate::fieldset::{self, FieldSet};
use serde_json::{Map, Value};
use std::collections::HashMap;
use steersman_schema::Kind;

/// The three sets; no field is in more than one of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    /// Fields that are gone.
    pub removed: FieldSet,
    /// Fields that have another value.
    pub modified: FieldSet,
    /// Fields that are new.
    pub added: FieldSet,
}

/// Compares two objects of one type.
pub(crate) fn compare(node: Node<'_>, old: &Value, new: &Value) -> Comparison {
    let mut walk = Walk { path: Vec::new(), out: Comparison::default() };
    walk.compare(node, Some(old), Some(new));
    walk.out
}

enum Step<'a> {
    Field(&'a str),
    Item(String),
}

struct Walk<'a> {
    path: Vec<Step<'a>>,
    out: Comparison,
}

impl<'a> Walk<'a> {
    fn keys(&self) -> Vec<String> {
        let key = |s: &Step| match s {
            Step::Field(name) => field_step(name),
            Step::Item(key) => key.clone(),
        };
        self.path.iter().map(key).collect()
    }
    fn add(&mut self) {
        let keys = self.keys();
        self.out.added.insert(&keys);
    }
    fn remove(&mut self) {
        let keys = self.keys();
        self.out.removed.insert(&keys);
    }
    fn modify(&mut self) {
        let keys = self.keys();
        self.out.modified.insert(&keys);
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, _) => self.add(),
            (_, None) => self.remove(),
            (Some(o), Some(n)) if o != n => self.modify(),
            _ => {}
        }
    }

    fn compare(&mut self, node: Node<'a>, old: Option<&'a Value>, new: Option<&'a Value>) {
        // What is new or gone is so with all that is below it: its part of the set is made in one go.
        match (old, new) {
            (None, Some(whole)) if !self.path.is_empty() => {
                let keys = self.keys();
                return self.out.added.graft(&keys, everything(node, whole));
            }
            (Some(whole), None) if !self.path.is_empty() => {
                let keys = self.keys();
                return self.out.removed.graft(&keys, everything(node, whole));
            }
            _ => {}
        }
        let shapes = (node.shape(old), node.shape(new));
        let leaf = match (old, new) {
            (_, None) => self.visit(shapes.0, old, new),
            (None, _) => self.visit(shapes.1, old, new),
            _ if std::mem::discriminant(&shapes.0) == std::mem::discriminant(&shapes.1) => {
                self.visit(shapes.1, old, new)
            }
            _ => {
                self.visit(shapes.0, old, new);
                self.visit(shapes.1, old, new)
            }
        };
        // What has parts is itself new or gone too.
        if !leaf && !self.path.is_empty() {
            match (old, new) {
                (None, _) => self.add(),
                (_, None) => self.remove(),
                _ => {}
            }
        }
    }

    /// Whether the place was taken as one value.
    fn visit(&mut self, shape: Shape<'a>, old: Option<&'a Value>, new: Option<&'a Value>) -> bool {
        match shape {
            Shape::Map(node) => {
                let (o, n) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
                let empty = |m: Option<&Map<String, Value>>| m.is_none_or(Map::is_empty);
                if empty(o) && empty(n) {
                    self.leaf(old, new);
                    return true;
                }
                self.members(node, o, n);
                false
            }
            Shape::List(item, relation) => {
                let (o, n) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
                let empty = |l: Option<&Vec<Value>>| l.is_none_or(Vec::is_empty);
                if empty(o) && empty(n) {
                    self.leaf(old, new);
                    return true;
                }
                if o != n {
                    let slice = |l: Option<&'a Vec<Value>>| l.map_or(&[][..], Vec::as_slice);
                    self.elements(item, relation, slice(o), slice(n));
                }
                false
            }
            Shape::Scalar | Shape::AtomicMap | Shape::AtomicList => {
                self.leaf(old, new);
                true
            }
        }
    }

    fn members(&mut self, node: Node<'a>, old: Option<&'a Map<String, Value>>, new: Option<&'a Map<String, Value>>) {
        for (key, o) in old.into_iter().flatten() {
            self.member(node, key, Some(o), new.and_then(|m| m.get(key)));
        }
        for (key, n) in new.into_iter().flatten() {
            if old.is_none_or(|m| !m.contains_key(key)) {
                self.member(node, key, None, Some(n));
            }
        }
    }

    fn member(&mut self, node: Node<'a>, key: &'a str, old: Option<&'a Value>, new: Option<&'a Value>) {
        // Most scalars are equal: decided before anything is looked up.
        if let (Some(o), Some(n)) = (old, new)
            && !o.is_object()
            && !o.is_array()
            && o == n
        {
            return;
        }
        self.path.push(Step::Field(key));
        self.compare(node.member_or_deduced(key), old, new);
        self.path.pop();
    }

    fn elements(&mut self, item: &'a Kind, relation: Relation<'a>, old: &'a [Value], new: &'a [Value]) {
        let mut pairs: HashMap<String, [Elements<'a>; 2]> = HashMap::with_capacity(old.len().max(new.len()));
        for (side, list) in [old, new].into_iter().enumerate() {
            for element in list {
                // An element that cannot be told apart is not tracked.
                if let Ok(step) = items::step(item, relation, element) {
                    pairs.entry(step).or_default()[side].push(element);
                }
            }
        }
        let node = Node::of_kind(item);
        for (step, [o, n]) in pairs {
            self.path.push(Step::Item(step));
            match (o.more.is_empty(), n.more.is_empty()) {
                (true, true) => self.compare(node, o.first, n.first),
                (false, false) if o != n => self.modify(),
                (false, false) => {}
                // Duplicates are tracked as one; once they are gone, what is left of them is new.
                (false, true) => {
                    if n.first.is_some() {
                        self.compare(node, None, n.first);
                    }
                    self.remove();
                }
                (true, false) => {
                    if o.first.is_some() {
                        self.compare(node, o.first, None);
                    }
                    self.add();
                }
            }
            self.path.pop();
        }
    }
}

/// The node of a set in which a value and all its parts are.
fn everything(node: Node<'_>, value: &Value) -> Value {
    let mut steps = Map::new();
    match (node.shape(Some(value)), value) {
        (Shape::Map(node), Value::Object(members)) => {
            for (key, value) in members {
                steps.insert(field_step(key), everything(node.member_or_deduced(key), value));
            }
        }
        (Shape::List(item, relation), Value::Array(elements)) => {
            let node = Node::of_kind(item);
            for element in elements {
                // An element that cannot be told apart is not tracked; duplicates are tracked as one.
                let Ok(step) = items::step(item, relation, element) else { continue };
                let part =
                    if steps.contains_key(&step) { Value::Object(Map::new()) } else { everything(node, element) };
                steps.insert(step, part);
            }
        }
        _ => {}
    }
    fieldset::node(true, steps).unwrap_or_default()
}

fn field_step(name: &str) -> String {
    let mut step = String::with_capacity(name.len() + 2);
    step.push_str("f:");
    step.push_str(name);
    step
}

/// The elements of a list that share a step: one, but for duplicates.
#[derive(Default, PartialEq)]
struct Elements<'a> {
    first: Option<&'a Value>,
    more: Vec<&'a Value>,
}

impl<'a> Elements<'a> {
    fn push(&mut self, element: &'a Value) {
        match self.first {
            None => self.first = Some(element),
            Some(_) => self.more.push(element),
        }
    }
}
