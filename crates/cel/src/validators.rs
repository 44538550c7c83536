//! What is checked of a well-typed expression besides (rule: cel-go `cel/validator.go`): literal arguments that cannot
//! work, and literals whose elements have several types.

use crate::ast::{Expr, Node};
use crate::error::Issue;

/// Functions whose literal argument is checked: name, which argument, and the check.
const LITERALS: &[(&str, fn(&str) -> bool)] =
    &[("duration", is_duration), ("timestamp", is_timestamp), ("matches", is_regex)];

/// Tells everything below `e`.
pub(crate) fn run(e: &Expr, issues: &mut Vec<Issue>) {
    let mut visit = |x: &Expr| run(x, issues);
    match &e.node {
        Node::Select { operand, .. } => visit(operand),
        Node::Call { function, target, args } => {
            if let Some(target) = target {
                visit(target);
            }
            args.iter().for_each(&mut visit);
            if let Some((name, check)) = LITERALS.iter().find(|l| l.0 == function)
                && let Some(Expr { at, node: Node::String(text) }) = args.last()
                && !check(text)
            {
                issues.push(Issue { at: *at, message: format!("invalid {name} argument") });
            }
        }
        Node::List(elements) => {
            elements.iter().for_each(|(x, _)| visit(x));
            same(elements.iter().map(|(x, _)| x), issues);
        }
        Node::Map(entries) => {
            for (key, value, _) in entries {
                visit(key);
                visit(value);
            }
            same(entries.iter().map(|(key, ..)| key), issues);
            same(entries.iter().map(|(_, value, _)| value), issues);
        }
        Node::Message { fields, .. } => fields.iter().for_each(|(_, _, value, _)| visit(value)),
        Node::Macro { range, args, .. } => {
            visit(range);
            args.iter().for_each(visit);
        }
        _ => {}
    }
}

/// The type that a literal shows by itself.
fn literal(e: &Expr) -> Option<&'static str> {
    Some(match e.node {
        Node::Bool => "bool",
        Node::Int => "int",
        Node::Uint => "uint",
        Node::Double => "double",
        Node::Bytes => "bytes",
        Node::String(_) => "string",
        _ => return None,
    })
}

/// Elements of one literal are of one type.
fn same<'a>(elements: impl Iterator<Item = &'a Expr>, issues: &mut Vec<Issue>) {
    let mut first = None;
    for e in elements {
        let Some(ty) = literal(e) else { continue };
        match first {
            None => first = Some(ty),
            Some(want) if want != ty => {
                issues.push(Issue { at: e.at, message: format!("expected type '{want}' but found '{ty}'") });
                return;
            }
            Some(_) => {}
        }
    }
}

fn is_regex(text: &str) -> bool {
    regex::Regex::new(text).is_ok()
}

fn is_timestamp(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok()
}

/// Go's durations: numbers with units, one after another.
fn is_duration(text: &str) -> bool {
    const UNITS: &[&str] = &["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut any = false;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let digits = &rest[..number];
        if digits.parse::<f64>().is_err() {
            return false;
        }
        rest = &rest[number..];
        let Some(unit) = UNITS.iter().filter(|u| rest.starts_with(**u)).max_by_key(|u| u.len()) else { return false };
        rest = &rest[unit.len()..];
        any = true;
    }
    any
}
