//! An object without some of its fields (rule: structured-merge-diff `typed/remove.go`).

use super::items;
use super::shape::{Node, Shape};
use crate::fieldset::{FieldSet, Steps, is_member};
use serde_json::{Map, Value};

/// Removes every field of the set; an object or list that becomes empty becomes null.
pub(crate) fn remove_items(node: Node<'_>, value: &Value, fields: &FieldSet) -> Value {
    if fields.is_empty() { value.clone() } else { remove(node, value, fields.steps()) }
}

fn remove(node: Node<'_>, value: &Value, fields: &Steps) -> Value {
    // `None` in place of a value: it goes; a set below it: parts of it go.
    let keep = |step: &str, v: &Value, next: Node<'_>| match fields.get(step) {
        None => Some(v.clone()),
        Some(n) if is_member(n) => None,
        Some(Value::Object(below)) => Some(remove(next, v, below)),
        Some(_) => Some(v.clone()),
    };
    match (node.shape(Some(value)), value) {
        (Shape::Scalar, v) => v.clone(),
        (Shape::Map(here), Value::Object(m)) => {
            let kept = m.iter().filter_map(|(k, v)| {
                let next = here.member_or_deduced(k);
                keep(&format!("f:{k}"), v, next).map(|v| (k.clone(), v))
            });
            let kept: Map<String, Value> = kept.collect();
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        (Shape::List(item, relation), Value::Array(list)) => {
            let next = Node::of_kind(item);
            let kept = list.iter().filter_map(|v| match items::step(item, relation, v) {
                Ok(step) => keep(&step, v, next),
                Err(_) => Some(v.clone()),
            });
            let kept: Vec<Value> = kept.collect();
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
        _ => Value::Null,
    }
}
