//! Whether a configuration fits its type (rule: structured-merge-diff `typed/validate.go`).

use super::items;
use super::shape::{Node, Relation, Scalar};
use crate::fieldset::show_step;
use crate::go;
use serde_json::Value;
use std::collections::HashSet;

/// One mistake: its path, such as `.spec.replicas`, and what is wrong.
pub(crate) type Mistake = (String, String);

/// All mistakes as one message, in upstream's words.
pub(crate) fn explain(mistakes: &[Mistake]) -> String {
    let show = |(path, text): &Mistake| if path.is_empty() { text.clone() } else { format!("{path}: {text}") };
    match mistakes {
        [one] => show(one),
        many => {
            let lines: Vec<String> = many.iter().map(|m| format!("\n  {}", show(m))).collect();
            format!("errors:{}", lines.concat())
        }
    }
}

/// The mistakes of an object; duplicates in sets and keyed lists are among them unless `duplicates` are allowed.
pub(crate) fn validate(node: Node<'_>, value: &Value, duplicates: bool) -> Vec<Mistake> {
    let mut out = Vec::new();
    visit(node, value, "", duplicates, &mut out);
    out
}

fn visit(node: Node<'_>, value: &Value, path: &str, duplicates: bool, out: &mut Vec<Mistake>) {
    let mut say = |text: String| out.push((path.to_owned(), text));
    match (node, value) {
        (_, Value::Null) => {}
        (Node::Scalar(scalar), v) => {
            let wrong = match scalar {
                Scalar::Boolean if !v.is_boolean() => format!("expected boolean, got {}", pointer(v)),
                Scalar::Numeric if !v.is_number() => {
                    format!("expected numeric (int or float), got {}", go::type_name(v))
                }
                Scalar::String if !v.is_string() => {
                    format!("expected string, got &value.valueUnstructured{{Value:{}}}", go::print_syntax(v))
                }
                Scalar::Untyped if v.is_object() || v.is_array() => format!("expected any scalar, got {}", pointer(v)),
                _ => return,
            };
            say(wrong);
        }
        (Node::Struct { .. } | Node::Map { .. } | Node::Deduced, Value::Object(m)) => {
            for (key, v) in m {
                let path = format!("{path}.{key}");
                match node.member(key) {
                    Some(next) => visit(next, v, &path, duplicates, out),
                    None => {
                        // Upstream stops at the first field of an object that is not in its schema.
                        out.push((path, "field not declared in schema".to_owned()));
                        return;
                    }
                }
            }
        }
        (Node::List { item, relation }, Value::Array(list)) => {
            let mut seen = HashSet::with_capacity(list.len());
            for (i, element) in list.iter().enumerate() {
                let step = match relation {
                    Relation::Atomic => format!("i:{i}"),
                    _ => match items::step(item, relation, element) {
                        Ok(step) => step,
                        Err(why) => return out.push((path.to_owned(), format!("element {i}: {why}"))),
                    },
                };
                let shown = show_step(&step);
                if !seen.insert(step) && !duplicates {
                    out.push((path.to_owned(), format!("duplicate entries for key {shown}")));
                }
                visit(Node::of_kind(item), element, &format!("{path}{shown}"), duplicates, out);
            }
        }
        (Node::Struct { .. } | Node::Map { .. }, v) => say(format!("expected map, got {}", pointer(v))),
        (Node::List { .. }, v) => say(format!("expected list, got {}", pointer(v))),
        (Node::Deduced, Value::Array(list)) => {
            for (i, element) in list.iter().enumerate() {
                visit(Node::Deduced, element, &format!("{path}[{i}]"), duplicates, out);
            }
        }
        (Node::Deduced, _) => {}
    }
}

/// A value as Go prints the pointer to it.
fn pointer(v: &Value) -> String {
    format!("&{{{}}}", go::print(v))
}
