//! Which calls are macros (rule: cel-go `parser/macro.go`, `ext/comprehensions.go`, `ext/bindings.go`).

use crate::ast::{Expr, Macro, Node};
use crate::error::Issue;

/// Name, number of arguments, kind, number of variables.
const METHODS: &[(&str, usize, Macro, usize)] = &[
    ("all", 2, Macro::All, 1),
    ("all", 3, Macro::All, 2),
    ("exists", 2, Macro::Exists, 1),
    ("exists", 3, Macro::Exists, 2),
    ("exists_one", 2, Macro::ExistsOne, 1),
    ("existsOne", 2, Macro::ExistsOne, 1),
    ("existsOne", 3, Macro::ExistsOne, 2),
    ("filter", 2, Macro::Filter, 1),
    ("map", 2, Macro::Map, 1),
    ("map", 3, Macro::Map, 1),
    ("optMap", 2, Macro::OptMap, 1),
    ("optFlatMap", 2, Macro::OptFlatMap, 1),
    ("transformList", 3, Macro::TransformList, 2),
    ("transformList", 4, Macro::TransformList, 2),
    ("transformMap", 3, Macro::TransformMap, 2),
    ("transformMap", 4, Macro::TransformMap, 2),
    ("transformMapEntry", 3, Macro::TransformMapEntry, 2),
    ("transformMapEntry", 4, Macro::TransformMapEntry, 2),
];

/// A call of a method: a macro, or the call as it is.
pub(crate) fn method(target: Expr, function: String, args: Vec<Expr>, at: usize, issues: &mut Vec<Issue>) -> Expr {
    if function == "bind" && args.len() == 3 && matches!(&target.node, Node::Ident(n) if n == "cel") {
        let mut args = args.into_iter();
        let (Some(name), Some(value)) = (args.next(), args.next()) else { return target };
        let vars = vec![variable(&name, "cel.bind() variable names must be simple identifiers", issues)];
        let node = Node::Macro { kind: Macro::Bind, range: Box::new(value), vars, args: args.collect() };
        return Expr { at, node };
    }
    let found = METHODS.iter().find(|m| m.0 == function && m.1 == args.len());
    let Some((_, _, kind, count)) = found else {
        let node = Node::Call { function, target: Some(Box::new(target)), args };
        return Expr { at, node };
    };
    let mut args = args.into_iter();
    let why = if matches!(kind, Macro::OptMap) {
        "optMap() variable name must be a simple identifier"
    } else if matches!(kind, Macro::OptFlatMap) {
        "optFlatMap() variable name must be a simple identifier"
    } else {
        "argument must be a simple name"
    };
    let vars = args.by_ref().take(*count).map(|a| variable(&a, why, issues)).collect();
    let node = Node::Macro { kind: *kind, range: Box::new(target), vars, args: args.collect() };
    Expr { at, node }
}

/// A call of a function: `has`, or the call as it is.
pub(crate) fn function(function: String, mut args: Vec<Expr>, at: usize, issues: &mut Vec<Issue>) -> Expr {
    if function == "has" && args.len() == 1 {
        let arg = args.remove(0);
        if let Node::Select { operand, field, optional: false, .. } = arg.node {
            return Expr { at, node: Node::Select { operand, field, test: true, optional: false } };
        }
        issues.push(Issue { at: arg.at, message: "invalid argument to has() macro".into() });
        return Expr { at, node: Node::Bool };
    }
    Expr { at, node: Node::Call { function, target: None, args } }
}

fn variable(arg: &Expr, why: &str, issues: &mut Vec<Issue>) -> (String, usize) {
    if let Node::Ident(name) = &arg.node {
        if name == "__result__" {
            issues.push(Issue { at: arg.at, message: "iteration variable overwrites accumulator variable".into() });
        }
        return (name.clone(), arg.at);
    }
    issues.push(Issue { at: arg.at, message: why.to_owned() });
    ("_".into(), arg.at)
}
