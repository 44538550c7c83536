//! Field sets that were written when the type was another (rule: structured-merge-diff `typed/reconcile_schema.go`).

use super::shape::{Node, Relation};
use crate::fieldset::{FieldSet, Steps, is_member};
use serde_json::Value;

/// Where something has become one value since, the set owns it whole and none of its parts.
pub(crate) fn reconcile(node: Node<'_>, set: &mut FieldSet) {
    let mut steps = std::mem::take(set).into_steps();
    walk(node, &mut steps);
    *set = FieldSet::from_steps(steps);
}

fn walk(at: Node<'_>, steps: &mut Steps) {
    for (key, n) in steps.iter_mut().filter(|(k, _)| *k != ".") {
        let next = match (key.strip_prefix("f:"), at) {
            (Some(name), _) => at.member(name),
            (None, Node::List { item, .. }) => Some(Node::of_kind(item)),
            (None, _) => None,
        };
        let Some(next) = next else { continue };
        let Value::Object(below) = n else { continue };
        let atomic = match next {
            Node::Struct { atomic, .. } | Node::Map { atomic, .. } => atomic,
            Node::List { relation, .. } => matches!(relation, Relation::Atomic),
            Node::Scalar(_) | Node::Deduced => continue,
        };
        if atomic {
            below.clear();
        } else if !below.is_empty() {
            walk(next, below);
        }
        debug_assert!(is_member(n) || n.as_object().is_some_and(|m| !m.is_empty()), "a node says something");
    }
}
