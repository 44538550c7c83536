//! A live object with a configuration merged into it (rule: structured-merge-diff `typed/merge.go`).

use super::items;
use super::shape::{Node, Relation, Shape};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use steersman_schema::Kind;

/// Merges `config` into `live`; where both have a leaf, the configuration's stays.
pub(crate) fn merge(node: Node<'_>, live: &Value, config: &Value) -> Result<Value, String> {
    Ok(merge_place(node, Some(live), Some(config))?.unwrap_or(Value::Null))
}

fn leaf(live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    config.or(live).cloned()
}

fn merge_place(node: Node<'_>, live: Option<&Value>, config: Option<&Value>) -> Result<Option<Value>, String> {
    // What is not in the configuration stays as it is.
    let Some(given) = config else { return Ok(live.cloned()) };
    match node.shape(Some(given)) {
        Shape::Map(here) => {
            let (l, c) = (live.and_then(Value::as_object), given.as_object());
            if l.is_none_or(Map::is_empty) && c.is_none_or(Map::is_empty) {
                return Ok(leaf(live, config));
            }
            let mut out = Map::new();
            for (key, v) in l.into_iter().flatten() {
                let merged = merge_place(here.member_or_deduced(key), Some(v), c.and_then(|c| c.get(key)))?;
                out.extend(merged.map(|v| (key.clone(), v)));
            }
            for (key, v) in c.into_iter().flatten().filter(|(k, _)| l.is_none_or(|l| !l.contains_key(*k))) {
                let merged = merge_place(here.member_or_deduced(key), None, Some(v))?;
                out.extend(merged.map(|v| (key.clone(), v)));
            }
            Ok((!out.is_empty()).then_some(Value::Object(out)))
        }
        Shape::List(item, relation) => {
            let slice = |v: Option<&'_ Value>| v.and_then(Value::as_array).cloned().unwrap_or_default();
            let (l, c) = (slice(live), slice(config));
            if l.is_empty() && c.is_empty() {
                return Ok(leaf(live, config));
            }
            let out = merge_lists(item, relation, &l, &c)?;
            Ok((!out.is_empty()).then_some(Value::Array(out)))
        }
        Shape::Scalar | Shape::AtomicMap | Shape::AtomicList => Ok(leaf(live, config)),
    }
}

/// A list's elements in order, and by their steps.
struct Indexed<'a> {
    steps: Vec<String>,
    elements: Vec<&'a Value>,
    /// Where a step's element is; none where there are several: those are not merged with anything.
    index: HashMap<String, Option<usize>>,
}

impl<'a> Indexed<'a> {
    fn new(item: &Kind, relation: Relation<'_>, list: &'a [Value], duplicates: bool) -> Result<Self, String> {
        let mut index = HashMap::with_capacity(list.len());
        let mut steps = Vec::with_capacity(list.len());
        for (i, element) in list.iter().enumerate() {
            let step = items::step(item, relation, element).map_err(|e| format!("element {i}: {e}"))?;
            if index.insert(step.clone(), Some(i)).is_some() {
                if !duplicates {
                    return Err(format!("duplicate entries for key {}", crate::fieldset::show_step(&step)));
                }
                index.insert(step.clone(), None);
            }
            steps.push(step);
        }
        Ok(Self { steps, elements: list.iter().collect(), index })
    }
    fn has(&self, step: &str) -> bool {
        self.index.contains_key(step)
    }
    fn get(&self, step: &str) -> Option<&'a Value> {
        self.index.get(step).copied().flatten().map(|i| self.elements[i])
    }
}

/// Merges two lists: elements that both have follow the configuration's order, and live elements that only the live
/// list has keep their place among them.
fn merge_lists(item: &Kind, relation: Relation<'_>, live: &[Value], config: &[Value]) -> Result<Vec<Value>, String> {
    let new = Indexed::new(item, relation, config, false)?;
    let old = Indexed::new(item, relation, live, true)?;
    let node = Node::of_kind(item);
    let mut shared = new.steps.iter().filter(|s| old.has(s));
    let mut next_shared = shared.next();
    let mut merged: HashSet<&str> = HashSet::with_capacity(new.steps.len());
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let (mut o, mut n) = (0, 0);
    while o < old.steps.len() || n < new.steps.len() {
        if let (Some(ours), Some(theirs)) = (old.steps.get(o), new.steps.get(n)) {
            if ours == theirs {
                merged.insert(theirs);
                out.extend(merge_place(node, old.get(ours), new.get(theirs))?);
                (o, n) = (o + 1, n + 1);
                next_shared = shared.next();
                continue;
            }
            if new.has(ours) && next_shared.is_some_and(|s| s != ours) {
                // A shared element, but not the one whose turn it is.
                o += 1;
                continue;
            }
        }
        if let Some(ours) = old.steps.get(o) {
            if !new.has(ours) {
                out.extend(merge_place(node, Some(old.elements[o]), None)?);
                o += 1;
                continue;
            }
            if merged.contains(ours.as_str()) {
                o += 1;
            }
        }
        if let Some(theirs) = new.steps.get(n) {
            merged.insert(theirs);
            out.extend(merge_place(node, old.get(theirs), new.get(theirs))?);
            n += 1;
            if next_shared == Some(theirs) {
                next_shared = shared.next();
            }
        }
    }
    Ok(out)
}
