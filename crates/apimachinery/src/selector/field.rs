//! Field selectors: `metadata.name=x,status.phase!=Running` (rule: apimachinery `pkg/fields`).

use std::fmt;

/// One term: a field that must, or must not, have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    /// As selectors name it, e.g. `spec.nodeName`.
    pub field: String,
    /// The value, unescaped.
    pub value: String,
    /// True for `!=`.
    pub negated: bool,
}

/// A parsed field selector; empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Selects everything.
    pub const fn everything() -> Self {
        Self { requirements: Vec::new() }
    }
    /// `field=value`.
    pub fn equals(field: &str, value: &str) -> Self {
        Self { requirements: vec![FieldRequirement { field: field.into(), value: value.into(), negated: false }] }
    }
    /// Parses; the error is upstream's message.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let mut requirements = Vec::new();
        for term in terms.into_iter().filter(|t| !t.is_empty()) {
            let Some((field, negated, value)) = split_term(term) else {
                return Err(format!("invalid selector: '{text}'; can't understand '{term}'"));
            };
            requirements.push(FieldRequirement { field: field.to_owned(), value: unescape(value)?, negated });
        }
        let mut parsed = Self { requirements };
        parsed.drop_void();
        Ok(parsed)
    }
    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
    /// The terms, all of which must hold.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }
    /// The value `field` must have, where the selector pins it down.
    pub fn requires_exact(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| !r.negated && r.field == field).map(|r| r.value.as_str())
    }
    /// Whether an object matches; `lookup` gives a field's value, empty where it has none.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> &'a str) -> bool {
        self.requirements.iter().all(|r| (lookup(&r.field) == r.value) != r.negated)
    }
    /// The selector with every term passed through `f`, which may rename fields, rewrite values or refuse.
    pub fn transform<E>(&self, mut f: impl FnMut(&str, &str) -> Result<(String, String), E>) -> Result<Self, E> {
        let mut requirements = Vec::with_capacity(self.requirements.len());
        for r in &self.requirements {
            let (field, value) = f(&r.field, &r.value)?;
            requirements.push(FieldRequirement { field, value, negated: r.negated });
        }
        let mut out = Self { requirements };
        out.drop_void();
        Ok(out)
    }

    /// A term without field and value restricts nothing.
    fn drop_void(&mut self) {
        self.requirements.retain(|r| !(r.field.is_empty() && r.value.is_empty()));
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            let (comma, op) = (if i > 0 { "," } else { "" }, if r.negated { "!=" } else { "=" });
            write!(f, "{comma}{}{op}{}", r.field, escape(&r.value))?;
        }
        Ok(())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let (mut out, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let (i, op) = term
        .char_indices()
        .find_map(|(i, _)| ["!=", "==", "="].into_iter().find(|op| term[i..].starts_with(op)).map(|op| (i, op)))?;
    Some((&term[..i], op == "!=", &term[i + op.len()..]))
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let c = other.map(String::from).unwrap_or_default();
                    return Err(format!("invalid field selector: invalid escape sequence: \\{c}"));
                }
            },
            ',' | '=' => {
                return Err(format!("invalid field selector: unescaped character in value: {}", c as u32));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_prints_and_refuses() {
        let ok = |text: &str, want: &str| assert_eq!(FieldSelector::parse(text).unwrap().to_string(), want, "{text}");
        ok("", "");
        ok("=", "");
        ok("b==2,a=1", "a=1,b=2");
        ok("a!=x\\,y", "a!=x\\,y");
        let err = |text: &str, want: &str| assert_eq!(FieldSelector::parse(text).unwrap_err(), want, "{text}");
        err("metadata.name>a", "invalid selector: 'metadata.name>a'; can't understand 'metadata.name>a'");
        err("a=b=c", "invalid field selector: unescaped character in value: 61");
        err("a=\\b", "invalid field selector: invalid escape sequence: \\b");
    }

    #[test]
    fn matches_and_pins() {
        let s = FieldSelector::parse("metadata.name=x,status.phase!=Running").unwrap();
        assert_eq!(s.requires_exact("metadata.name"), Some("x"));
        assert_eq!(s.requires_exact("status.phase"), None);
        assert!(s.matches(|f| if f == "metadata.name" { "x" } else { "" }));
        assert!(!s.matches(|f| if f == "metadata.name" { "x" } else { "Running" }));
    }
}
