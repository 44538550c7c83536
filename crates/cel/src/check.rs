//! The type checker (rule: cel-go `checker/checker.go`, `checker/types.go`).

use crate::ast::{Expr, Macro, Node};
use crate::env::Env;
use crate::error::{Issue, Issues};
use crate::parser::qualified;
use crate::types::Type;
use crate::validators;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write as _;

/// The type of an expression, or its mistakes.
pub(crate) fn check(env: &Env, source: &str, e: &Expr) -> Result<Type, Issues> {
    let mut checker = Checker {
        env,
        issues: Vec::new(),
        scopes: Vec::new(),
        bound: HashMap::new(),
        trail: Vec::new(),
        fresh: 0,
        budget: Cell::new(BUDGET),
    };
    let ty = checker.expr(e);
    let ty = checker.resolve(&ty, true);
    let mut issues = checker.issues;
    if checker.budget.get() == 0 {
        issues = vec![Issue { at: 0, message: "the types of the expression are too complex".into() }];
    } else if issues.is_empty() {
        validators::run(e, &mut issues);
    }
    if issues.is_empty() { Ok(ty) } else { Err(Issues::new(source, issues)) }
}

/// The most parts of types that are looked at for one expression: types share their parts, so a short expression can
/// have one whose parts, told one by one, have no end.
const BUDGET: u32 = 1 << 20;

/// What open types were found to be.
type Bound = HashMap<u32, Type>;

struct Checker<'a> {
    env: &'a Env,
    issues: Vec<Issue>,
    scopes: Vec<(String, Type)>,
    bound: Bound,
    /// What `bound` had where it was changed, newest last: so a signature that does not fit leaves nothing behind.
    trail: Vec<(u32, Option<Type>)>,
    fresh: u32,
    budget: Cell<u32>,
}

impl Checker<'_> {
    fn tell(&mut self, at: usize, message: String) -> Type {
        self.issues.push(Issue { at, message });
        Type::Error
    }

    fn variable(&self, name: &str) -> Option<Type> {
        let local = self.scopes.iter().rev().find(|(n, _)| n == name).map(|(_, t)| t.clone());
        local
            .or_else(|| self.env.variable_type(name.strip_prefix('.').unwrap_or(name)).cloned())
            .or_else(|| type_name(name))
    }

    fn expr(&mut self, e: &Expr) -> Type {
        match &e.node {
            Node::Null => Type::Null,
            Node::Bool => Type::Bool,
            Node::Int => Type::Int,
            Node::Uint => Type::Uint,
            Node::Double => Type::Double,
            Node::Bytes => Type::Bytes,
            Node::String(_) => Type::String,
            Node::Ident(name) => match self.variable(name) {
                Some(ty) => ty,
                None => self.undeclared(e.at, name),
            },
            Node::Select { operand, field, test, optional } => {
                if !test
                    && !optional
                    && let Some(ty) =
                        qualified(e).filter(|_| self.root_is_free(e)).and_then(|name| self.variable(&name))
                {
                    return ty;
                }
                let of = self.expr(operand);
                let found = self.select(e.at, &of, field, *optional || of.in_optional().is_some());
                if *test { if found == Type::Error { found } else { Type::Bool } } else { found }
            }
            Node::Call { function, target, args } => self.call(e.at, function, target.as_deref(), args),
            Node::List(elements) => {
                let mut joined = None;
                for (element, optional) in elements {
                    let ty = self.element(element, *optional);
                    joined = Some(self.join(joined, ty));
                }
                Type::list(joined.unwrap_or_else(|| self.open("T")))
            }
            Node::Map(entries) => {
                let (mut keys, mut values) = (None, None);
                for (key, value, optional) in entries {
                    let ty = self.expr(key);
                    keys = Some(self.join(keys, ty));
                    let ty = self.element(value, *optional);
                    values = Some(self.join(values, ty));
                }
                Type::map(keys.unwrap_or_else(|| self.open("K")), values.unwrap_or_else(|| self.open("V")))
            }
            Node::Message { name, fields } => self.message(e.at, name, fields),
            Node::Macro { kind, range, vars, args } => self.comprehension(e.at, *kind, range, vars, args),
        }
    }

    /// Whether the name that a chain of fields begins with is no local variable, which would hide longer names.
    fn root_is_free(&self, e: &Expr) -> bool {
        let name = qualified(e).unwrap_or_default();
        let root = name.split('.').next().unwrap_or("");
        !self.scopes.iter().any(|(n, _)| n == root)
    }

    fn undeclared(&mut self, at: usize, name: &str) -> Type {
        self.tell(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn element(&mut self, e: &Expr, optional: bool) -> Type {
        let ty = self.expr(e);
        match ty.in_optional() {
            Some(of) if optional => of.clone(),
            None if optional && !ty.is_open() => {
                let ty = self.resolve(&ty, true);
                self.tell(e.at, format!("expected type 'optional_type({ty})' but found '{ty}'"))
            }
            _ => ty,
        }
    }

    /// The type of both of two elements; elements of several types are told by a validator later.
    fn join(&mut self, before: Option<Type>, ty: Type) -> Type {
        match before {
            None => ty,
            Some(before) if self.assignable(&before, &ty) => {
                if before.is_open() || !ty.is_open() {
                    before
                } else {
                    ty
                }
            }
            Some(_) => Type::Dyn,
        }
    }

    fn select(&mut self, at: usize, of: &Type, field: &str, optional: bool) -> Type {
        let of = self.resolve(of, false);
        let target = of.in_optional().cloned().unwrap_or(of);
        let found = match &target {
            Type::Error => Type::Error,
            Type::Map(of) => of.1.clone(),
            Type::Object(name) => match self.env.field_type(name, field) {
                Some(ty) => ty,
                None => return self.tell(at, format!("undefined field '{field}'")),
            },
            Type::Dyn | Type::Any | Type::Param(..) => Type::Dyn,
            other => return self.tell(at, format!("type '{other}' does not support field selection")),
        };
        if optional { Type::optional(found) } else { found }
    }

    fn call(&mut self, at: usize, function: &str, target: Option<&Expr>, args: &[Expr]) -> Type {
        if let Some(target) = target {
            // `a.b.f(x)` may be a function with a long name.
            if let Some(name) = qualified(target).map(|n| format!("{n}.{function}"))
                && self.env.functions.contains_key(&name)
                && self.root_is_free(target)
            {
                let types = args.iter().map(|a| self.expr(a)).collect();
                return self.overload(at, &name, types, false);
            }
            let mut types = vec![self.expr(target)];
            types.extend(args.iter().map(|a| self.expr(a)));
            return self.overload(at, function, types, true);
        }
        let name = function.strip_prefix('.').unwrap_or(function);
        let types = args.iter().map(|a| self.expr(a)).collect();
        self.overload(at, name, types, false)
    }

    fn overload(&mut self, at: usize, function: &str, args: Vec<Type>, method: bool) -> Type {
        let functions = self.env.functions.clone();
        let Some(overloads) = functions.get(function) else { return self.undeclared(at, function) };
        if args.contains(&Type::Error) {
            return Type::Error;
        }
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|o| o.method == method && o.args.len() == args.len()) {
            self.fresh += 1;
            let number = self.fresh;
            let mark = self.trail.len();
            let fits = overload.args.iter().zip(&args).all(|(want, have)| {
                let want = number_params(want, number);
                self.assignable(have, &want)
            });
            if !fits {
                self.undo(mark);
                continue;
            }
            let ty = self.resolve(&number_params(&overload.result, number), false);
            result = Some(match result {
                None => ty,
                Some(first) if first == ty || first.is_open() => first,
                Some(_) => Type::Dyn,
            });
            if args.iter().all(|a| !self.resolve(a, false).is_open()) {
                break;
            }
        }
        if let Some(result) = result {
            return result;
        }
        let mut shown = String::new();
        let types: Vec<Type> = args.iter().map(|a| self.resolve(a, true)).collect();
        let (first, rest) = if method { (types.first(), types.get(1..).unwrap_or(&[])) } else { (None, &types[..]) };
        if let Some(first) = first {
            let _ = write!(shown, "{first}.");
        }
        let list: Vec<String> = rest.iter().map(ToString::to_string).collect();
        let _ = write!(shown, "({})", list.join(", "));
        self.tell(at, format!("found no matching overload for '{function}' applied to '{shown}'"))
    }

    fn message(&mut self, at: usize, name: &str, fields: &[(String, usize, Expr, bool)]) -> Type {
        let name = name.strip_prefix('.').unwrap_or(name);
        if !self.env.is_object(name) {
            let ty = self.undeclared(at, name);
            for (_, _, value, _) in fields {
                self.expr(value);
            }
            return ty;
        }
        for (field, at, value, optional) in fields {
            let have = self.element(value, *optional);
            match self.env.field_type(name, field) {
                None => drop(self.tell(*at, format!("undefined field '{field}'"))),
                Some(want) if !self.assignable(&have, &want) => {
                    let have = self.resolve(&have, true);
                    self.tell(
                        *at,
                        format!("expected type of field '{field}' is '{want}' but provided type is '{have}'"),
                    );
                }
                Some(_) => {}
            }
        }
        Type::object(name)
    }

    fn comprehension(&mut self, at: usize, kind: Macro, range: &Expr, vars: &[(String, usize)], args: &[Expr]) -> Type {
        let over = self.expr(range);
        let over = self.resolve(&over, false);
        let types = match kind {
            Macro::Bind => vec![over.clone()],
            Macro::OptMap | Macro::OptFlatMap => match over.in_optional() {
                Some(of) => vec![of.clone()],
                None if over.is_open() => vec![Type::Dyn],
                None => {
                    let message = format!("found no matching overload for 'hasValue' applied to '{over}.()'");
                    return self.tell(at, message);
                }
            },
            _ => match &over {
                Type::List(of) if vars.len() == 2 => vec![Type::Int, (**of).clone()],
                Type::List(of) => vec![(**of).clone()],
                Type::Map(of) => vec![of.0.clone(), of.1.clone()],
                Type::Error => vec![Type::Error; 2],
                Type::Dyn | Type::Any | Type::Param(..) => vec![Type::Dyn, Type::Dyn],
                other => {
                    let message = format!(
                        "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                    );
                    self.tell(range.at, message);
                    vec![Type::Error; 2]
                }
            },
        };
        let scope = self.scopes.len();
        self.scopes.extend(vars.iter().map(|(name, _)| name.clone()).zip(types.iter().cloned()));
        let found: Vec<Type> = args.iter().map(|a| self.expr(a)).collect();
        self.scopes.truncate(scope);
        let last = found.last().cloned().unwrap_or(Type::Error);
        // The same calls that cel-go expands the macro to: so the same mistakes are told.
        match kind {
            Macro::All => self.overload(at, "_&&_", vec![Type::Bool, last], false),
            Macro::Exists => self.overload(at, "_||_", vec![Type::Bool, last], false),
            Macro::ExistsOne => {
                self.overload(at, "_?_:_", vec![last, Type::Int, Type::Int], false);
                Type::Bool
            }
            Macro::Filter => {
                let list = Type::list(types.first().cloned().unwrap_or(Type::Dyn));
                self.overload(at, "_?_:_", vec![last, list.clone(), list], false)
            }
            Macro::Map | Macro::TransformList => {
                let list = Type::list(last);
                self.filtered(at, &found, list)
            }
            Macro::TransformMap => {
                let key = types.first().cloned().unwrap_or(Type::Dyn);
                self.filtered(at, &found, Type::map(key, last))
            }
            Macro::TransformMapEntry => self.filtered(at, &found, last),
            Macro::Bind => last,
            Macro::OptMap => Type::optional(last),
            Macro::OptFlatMap if last.in_optional().is_some() || last.is_open() => last,
            Macro::OptFlatMap => {
                let none = Type::optional(last.clone());
                self.overload(at, "_?_:_", vec![Type::Bool, last, none], false)
            }
        }
    }

    /// A loop that makes `whole`, with a condition where it has one argument more.
    fn filtered(&mut self, at: usize, args: &[Type], whole: Type) -> Type {
        match args {
            [condition, _] => self.overload(at, "_?_:_", vec![condition.clone(), whole.clone(), whole], false),
            _ => whole,
        }
    }

    fn open(&mut self, name: &str) -> Type {
        self.fresh += 1;
        Type::Param(name.into(), self.fresh)
    }

    /// Whether a value of type `have` may stand where `want` is wanted; binds open types.
    fn assignable(&mut self, have: &Type, want: &Type) -> bool {
        if !self.look() {
            return true;
        }
        match (have, want) {
            (_, Type::Param(name, number)) => self.bind(name, *number, have, true),
            (Type::Param(name, number), _) => self.bind(name, *number, want, false),
            _ if have.is_open() || want.is_open() => true,
            // Null may stand for whatever may be absent.
            (Type::Null, Type::Object(_) | Type::Opaque(..) | Type::Duration | Type::Timestamp | Type::Null) => true,
            (Type::Object(_) | Type::Opaque(..) | Type::Duration | Type::Timestamp, Type::Null) => true,
            (Type::List(a), Type::List(b)) => self.assignable(a, b),
            (Type::Map(a), Type::Map(b)) => self.assignable(&a.0, &b.0) && self.assignable(&a.1, &b.1),
            (Type::Opaque(a, of), Type::Opaque(b, with)) => {
                a == b && of.len() == with.len() && of.iter().zip(with.iter()).all(|(a, b)| self.assignable(a, b))
            }
            (Type::Of(_), Type::Of(_)) => true,
            _ => have == want,
        }
    }

    fn bind(&mut self, name: &str, number: u32, other: &Type, other_first: bool) -> bool {
        let key = key(name, number);
        if let Type::Param(n, k) = other
            && self::key(n, *k) == key
        {
            return true;
        }
        match self.bound.get(&key).cloned() {
            Some(known) => {
                let fits = if other_first { self.assignable(other, &known) } else { self.assignable(&known, other) };
                if fits && known.is_open() && !other.is_open() && !matches!(other, Type::Param(..)) {
                    return true;
                }
                // A value known only later makes the whole open.
                if fits && other.is_open() {
                    self.set(key, other.clone());
                }
                fits
            }
            None => {
                let other = self.resolve(other, false);
                if matches!(&other, Type::Param(n, k) if self::key(n, *k) == key) {
                    return true;
                }
                // A type that holds itself is none (rule: cel-go `notReferencedIn`).
                if self.holds(&other, key) {
                    return false;
                }
                self.set(key, other);
                true
            }
        }
    }

    fn set(&mut self, key: u32, ty: Type) {
        let before = self.bound.insert(key, ty);
        self.trail.push((key, before));
    }

    /// Takes back what was bound since the trail had that length.
    fn undo(&mut self, mark: usize) {
        while self.trail.len() > mark {
            match self.trail.pop() {
                Some((key, Some(before))) => drop(self.bound.insert(key, before)),
                Some((key, None)) => drop(self.bound.remove(&key)),
                None => {}
            }
        }
    }

    /// Whether one more part of a type may be looked at.
    fn look(&self) -> bool {
        let left = self.budget.get();
        self.budget.set(left.saturating_sub(1));
        left > 0
    }

    /// Whether an open type stands within a resolved one.
    fn holds(&self, ty: &Type, wanted: u32) -> bool {
        self.look()
            && match ty {
                Type::Param(name, number) => key(name, *number) == wanted,
                Type::List(of) | Type::Of(of) => self.holds(of, wanted),
                Type::Map(of) => self.holds(&of.0, wanted) || self.holds(&of.1, wanted),
                Type::Opaque(_, of) => of.iter().any(|t| self.holds(t, wanted)),
                _ => false,
            }
    }

    /// The type with what is known of open types put in; those not known become `dyn` if `all`.
    fn resolve(&self, ty: &Type, all: bool) -> Type {
        if !self.look() {
            return Type::Dyn;
        }
        match ty {
            Type::Param(name, number) => match self.bound.get(&key(name, *number)) {
                Some(known) if known != ty => self.resolve(known, all),
                _ if all => Type::Dyn,
                _ => ty.clone(),
            },
            Type::List(of) => Type::list(self.resolve(of, all)),
            Type::Map(of) => Type::map(self.resolve(&of.0, all), self.resolve(&of.1, all)),
            Type::Of(of) => Type::Of(self.resolve(of, all).into()),
            Type::Opaque(name, of) => Type::Opaque(name.clone(), of.iter().map(|t| self.resolve(t, all)).collect()),
            _ => ty.clone(),
        }
    }
}

/// One number for an open type: its letter, and the use of the signature it stands in.
fn key(name: &str, number: u32) -> u32 {
    number * 128 + u32::from(name.bytes().next().unwrap_or(0) & 127)
}

fn number_params(ty: &Type, number: u32) -> Type {
    match ty {
        Type::Param(name, _) => Type::Param(name.clone(), number),
        Type::List(of) => Type::list(number_params(of, number)),
        Type::Map(of) => Type::map(number_params(&of.0, number), number_params(&of.1, number)),
        Type::Of(of) => Type::Of(number_params(of, number).into()),
        Type::Opaque(name, of) => Type::Opaque(name.clone(), of.iter().map(|t| number_params(t, number)).collect()),
        _ => ty.clone(),
    }
}

/// Names of types are values too.
fn type_name(name: &str) -> Option<Type> {
    let of = match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::String,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Of(Type::Dyn.into()),
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "optional_type" => Type::optional(Type::Dyn),
        "kubernetes.Quantity" | "kubernetes.URL" | "net.IP" | "net.CIDR" | "kubernetes.Semver" => {
            Type::Opaque(name.into(), [].into())
        }
        _ => return None,
    };
    Some(Type::Of(of.into()))
}
