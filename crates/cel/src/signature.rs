//! Reading the lines of the tables of functions.

use crate::types::Type;

/// One way to call a function.
#[derive(Clone, Debug)]
pub(crate) struct Overload {
    /// Whether the first argument stands before the dot.
    pub(crate) method: bool,
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
}

/// Reads `name(arg, …) result` or `target.name(arg, …) result`: the name and the overload. Capital letters are open
/// types; names that are no types of CEL are types that only functions look into.
pub(crate) fn signature(line: &str) -> Option<(String, Overload)> {
    let mut reader = Reader { rest: line };
    // A method's target ends at the last dot before the arguments, outside brackets.
    let open = arguments(line)?;
    let head = &line[..open];
    let (target, name) = match head.rfind(").") {
        Some(dot) => (Some(&head[..=dot]), &head[dot + 2..]),
        None => match head.rsplit_once('.').filter(|(target, _)| is_type(target)) {
            Some((target, name)) => (Some(target), name),
            None => (None, head),
        },
    };
    let mut args = Vec::new();
    if let Some(target) = target {
        args.push(Reader { rest: target }.ty()?);
    }
    reader.rest = &line[open + 1..];
    while !reader.eat(")") {
        args.push(reader.ty()?);
        reader.eat(", ");
    }
    reader.eat(" ");
    let result = reader.ty()?;
    Some((name.to_owned(), Overload { method: target.is_some(), args, result }))
}

/// Where the arguments of the function begin: the first bracket, closed before a blank, that stands within no other.
fn arguments(line: &str) -> Option<usize> {
    let mut open = Vec::new();
    for (i, c) in line.char_indices() {
        match c {
            '(' => open.push(i),
            ')' => {
                let begin = open.pop()?;
                if open.is_empty() && line[i + 1..].starts_with(' ') {
                    return Some(begin);
                }
            }
            _ => {}
        }
    }
    None
}

/// Namespaced functions have names like `sets.contains`; these words are no types.
const NAMESPACES: &[&str] = &["sets", "optional", "math", "format", "jsonpatch", "base64", "lists", "ip", "strings"];

fn is_type(text: &str) -> bool {
    !NAMESPACES.contains(&text)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest.strip_prefix(text);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn ty(&mut self) -> Option<Type> {
        let end =
            self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let mut of = Vec::new();
        if self.eat("(") {
            while !self.eat(")") {
                of.push(self.ty()?);
                self.eat(", ");
            }
        }
        let first = || of.first().cloned();
        Some(match name {
            "" => return None,
            "dyn" => Type::Dyn,
            "null" => Type::Null,
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "duration" => Type::Duration,
            "timestamp" => Type::Timestamp,
            "list" => Type::list(first()?),
            "map" => Type::map(first()?, of.get(1)?.clone()),
            "type" => Type::Of(first()?.into()),
            name if name.len() == 1 => Type::Param(name.into(), 0),
            name => Type::Opaque(name.into(), of.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |line: &str, name: &str, method: bool, args: &[&str], result: &str| {
            let (found, o) = signature(line).unwrap_or_else(|| panic!("{line} does not read"));
            let shown: Vec<String> = o.args.iter().map(ToString::to_string).collect();
            assert_eq!((found.as_str(), o.method, o.result.to_string().as_str()), (name, method, result), "{line}");
            assert_eq!(shown, args, "{line}");
        };
        check("_+_(int, int) int", "_+_", false, &["int", "int"], "int");
        check("string.startsWith(string) bool", "startsWith", true, &["string", "string"], "bool");
        check("list(A).indexOf(A) int", "indexOf", true, &["list(A)", "A"], "int");
        check("sets.contains(list(T), list(T)) bool", "sets.contains", false, &["list(T)", "list(T)"], "bool");
        check("map(A, B).size() int", "size", true, &["map(A, B)"], "int");
        check(
            "optional_type(V).or(optional_type(V)) optional_type(V)",
            "or",
            true,
            &["optional_type(V)", "optional_type(V)"],
            "optional_type(V)",
        );
        check("_[_](map(A, B), A) B", "_[_]", false, &["map(A, B)", "A"], "B");
        check("net.IP.family() int", "family", true, &["net.IP"], "int");
        check("type(A) type(A)", "type", false, &["A"], "type(A)");
    }
}
