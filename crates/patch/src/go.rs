//! JSON values as Go's `fmt` prints them: upstream's messages show them so.

use serde_json::{Number, Value};
use std::fmt::Write;
use steersman_apimachinery::field::go_quote;

/// As `%v` prints: `map[a:1 b:[x y]]`.
pub fn print(v: &Value) -> String {
    let mut out = String::new();
    write_plain(&mut out, v);
    out
}

fn write_plain(out: &mut String, v: &Value) {
    match v {
        Value::Null => out.push_str("<nil>"),
        Value::String(s) => out.push_str(s),
        Value::Number(n) => out.push_str(&number(n)),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                write_plain(out, item);
            }
            out.push(']');
        }
        Value::Object(m) => {
            out.push_str("map[");
            for (i, (k, v)) in m.iter().enumerate() {
                let _ = write!(out, "{}{k}:", if i > 0 { " " } else { "" });
                write_plain(out, v);
            }
            out.push(']');
        }
    }
}

/// As `%#v` prints.
pub fn print_syntax(v: &Value) -> String {
    match v {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(s) => go_quote(s),
        Value::Number(n) => number(n),
        Value::Bool(b) => b.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(print_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(m) => {
            let items: Vec<String> = m.iter().map(|(k, v)| format!("{}:{}", go_quote(k), print_syntax(v))).collect();
            format!("map[string]interface {{}}{{{}}}", items.join(", "))
        }
    }
}

/// As `%T` prints the type that Go decodes the value to.
pub fn type_name(v: &Value) -> &'static str {
    match v {
        Value::Null => "<nil>",
        Value::String(_) => "string",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::Bool(_) => "bool",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A number as `%v` prints it.
fn number(n: &Number) -> String {
    match n.as_f64() {
        Some(f) if n.is_f64() => {
            let size = f.abs();
            if size != 0.0 && !(1e-4..1e21).contains(&size) {
                // Go writes at least two digits of the exponent, and its sign.
                let text = format!("{f:e}");
                let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
                return format!("{mantissa}e{sign}{digits:0>2}");
            }
            f.to_string()
        }
        _ => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn prints() {
        let v = json!({"b": ["x", 1, null, {"c": true}], "a": 1.5, "e": 1e21});
        assert_eq!(print(&v), "map[a:1.5 b:[x 1 <nil> map[c:true]] e:1e+21]");
        assert_eq!(print_syntax(&json!({"a": ["x"]})), "map[string]interface {}{\"a\":[]interface {}{\"x\"}}");
    }
}
