//! YAML to JSON values, with what a strict reader says of repeated keys (rule: sigs.k8s.io/yaml `YAMLToJSON`,
//! goyaml.v2 `decode.go`). Anchors expand within a bound.

use super::resolve;
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Value};
use std::collections::HashMap;
use steersman_apimachinery::field::go_quote;

/// Deeper documents are refused.
const MAX_DEPTH: usize = 250;

/// The part of goyaml that finds an error.
enum By {
    Reader,
    Scanner,
    Parser,
}

/// What goyaml misses in a flow collection.
fn unclosed(open: char) -> &'static str {
    if open == '[' { "did not find expected ',' or ']'" } else { "did not find expected ',' or '}'" }
}

/// The first document of a text.
#[derive(Debug, PartialEq)]
pub struct Yaml {
    /// Its value; `null` where there is no document.
    pub value: Value,
    /// Repeated keys: `line 7: key "a" already set in map`.
    pub duplicates: Vec<String>,
}

/// Reads the first document. The error begins with `yaml: `, in goyaml's words.
pub fn read(text: &[u8]) -> Result<Yaml, String> {
    let text = std::str::from_utf8(text).map_err(|e| {
        let line = text[..e.valid_up_to()].iter().filter(|c| **c == b'\n').count();
        match line {
            0 => "yaml: invalid leading UTF-8 octet".to_owned(),
            line => format!("yaml: line {}: invalid leading UTF-8 octet", line + 1),
        }
    })?;
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        text,
        anchors: HashMap::new(),
        duplicates: Vec::new(),
        nodes: 0,
        expanded: 0,
    };
    let value = reader.document()?;
    Ok(Yaml { value, duplicates: reader.duplicates })
}

struct Reader<'t> {
    events: Parser<'t, granit_parser::StrInput<'t>>,
    text: &'t str,
    anchors: HashMap<usize, (Value, usize)>,
    duplicates: Vec<String>,
    /// Nodes made so far, and how many of them came from aliases.
    nodes: usize,
    expanded: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), String> {
        loop {
            match self.events.next_event() {
                None => return Ok((Event::StreamEnd, Span::default())),
                Some(Err(error)) => return Err(self.message(&error)),
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok(next)) => return Ok(next),
            }
        }
    }

    fn document(&mut self) -> Result<Value, String> {
        loop {
            match self.next()? {
                (Event::StreamEnd | Event::DocumentEnd, _) => return Ok(Value::Null),
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (event, span) => {
                    let value = self.node(event, &span, 0)?;
                    // What follows within the document may still be wrong.
                    self.next()?;
                    return Ok(value);
                }
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err("yaml: exceeded max depth".into());
        }
        self.nodes += 1;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref())?;
                self.keep(anchor, &value, 1);
                Ok(value)
            }
            Event::SequenceStart(_, anchor, _) => {
                let before = self.nodes;
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, &span, depth + 1)?),
                    }
                }
                let value = Value::Array(items);
                self.keep(anchor, &value, self.nodes - before + 1);
                Ok(value)
            }
            Event::MappingStart(_, anchor, _) => {
                let before = self.nodes;
                let value = Value::Object(self.mapping(depth)?);
                self.keep(anchor, &value, self.nodes - before + 1);
                Ok(value)
            }
            Event::Alias(id) => {
                let Some((value, size)) = self.anchors.get(&id) else {
                    return Err(format!("yaml: unknown anchor '{}' referenced", self.name(span)));
                };
                self.nodes += size;
                self.expanded += size;
                if self.expanded > 100 && self.nodes > 1000 && self.expanded > self.allowed() {
                    return Err("yaml: document contains excessive aliasing".into());
                }
                Ok(value.clone())
            }
            _ => Err("yaml: did not find expected node content".into()),
        }
    }

    /// How many of the nodes may come from aliases: nearly all of a small document, a tenth of a large one.
    fn allowed(&self) -> usize {
        const SMALL: usize = 400_000;
        const LARGE: usize = 4_000_000;
        match self.nodes {
            n if n <= SMALL => n / 100 * 99,
            n if n >= LARGE => n / 10,
            n => n / 100 * (99 - 89 * (n - SMALL) / (LARGE - SMALL)),
        }
    }

    fn keep(&mut self, anchor: usize, value: &Value, size: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), size));
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Map<String, Value>, String> {
        let mut entries = Map::new();
        let mut merged: Vec<Value> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let is_merge = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let line = span.start.line();
            let key = self.node(event, &span, depth + 1)?;
            let (event, span) = self.next()?;
            let value_line = if span.start.line() == 0 { line } else { span.start.line() };
            let value = self.node(event, &span, depth + 1)?;
            if is_merge {
                match value {
                    Value::Object(_) => merged.push(value),
                    Value::Array(items) if items.iter().all(Value::is_object) => merged.extend(items),
                    _ => return Err("yaml: map merge requires map or sequence of maps as the value".into()),
                }
                continue;
            }
            let (name, shown) = key_text(&key)?;
            if entries.insert(name, value).is_some() {
                self.duplicates.push(format!("line {value_line}: key {shown} already set in map"));
            }
        }
        for source in merged {
            if let Value::Object(source) = source {
                for (key, value) in source {
                    entries.entry(key).or_insert(value);
                }
            }
        }
        Ok(entries)
    }

    fn name(&self, span: &Span) -> &str {
        span.slice(self.text).map_or("", |s| s.trim_start_matches('*'))
    }

    /// A syntax error in goyaml's words, as far as there are words for it (rule: goyaml.v2 `decode.go` fail). Lines
    /// count from nought there, and the first is not named; what its scanner finds is told one line more.
    fn message(&self, error: &ScanError) -> String {
        use ErrorKind as E;
        let last = self.text.matches('\n').count();
        let mut line = error.marker().line().saturating_sub(1);
        let (by, words) = match error.kind() {
            E::UnknownAnchor => return format!("yaml: unknown anchor '{}' referenced", self.alias_at(line + 1)),
            E::UnclosedFlowCollection { open } => {
                // Found at the end of the text only.
                line = last;
                (By::Parser, unclosed(*open))
            }
            E::MismatchedFlowCollectionEnd { open, .. } => (By::Parser, unclosed(*open)),
            E::UnexpectedEofFlowSequence | E::ExpectedFlowSequenceSeparator => (By::Parser, unclosed('[')),
            E::UnexpectedEofFlowMapping | E::UnexpectedEofImplicitFlowMapping | E::ExpectedFlowMappingSeparator => {
                (By::Parser, unclosed('{'))
            }
            E::UnexpectedEofBlockSequence | E::ExpectedBlockSequenceEntry => {
                (By::Parser, "did not find expected '-' indicator")
            }
            E::UnexpectedEofBlockMapping | E::ExpectedBlockMappingKey | E::InvalidIndentation => {
                (By::Parser, "did not find expected key")
            }
            E::ExpectedNodeContent | E::MisplacedFlowCollectionEnd => {
                (By::Parser, "did not find expected node content")
            }
            E::ExpectedDocumentStart => (By::Parser, "did not find expected <document start>"),
            E::UndeclaredTagHandle => (By::Parser, "found undefined tag handle"),
            E::UnsupportedYamlMajorVersion => (By::Parser, "found incompatible YAML document"),
            E::DuplicateVersionDirective => (By::Parser, "found duplicate %YAML directive"),
            E::DuplicateTagDirective => (By::Parser, "found duplicate %TAG directive"),
            E::UnexpectedCharacter { character } if character.is_control() => {
                (By::Reader, "control characters are not allowed")
            }
            E::UnexpectedCharacter { .. }
            | E::TabNotAllowed
            | E::TabInBlockIndentation
            | E::TabInIndentation
            | E::TabInPlainScalar => (By::Scanner, "found character that cannot start any token"),
            E::MappingValueNotAllowed | E::InvalidColonPlacement => {
                (By::Scanner, "mapping values are not allowed in this context")
            }
            E::MappingKeyNotAllowed => (By::Scanner, "mapping keys are not allowed in this context"),
            E::SimpleKeyExpected | E::InvalidSimpleKey => (By::Scanner, "could not find expected ':'"),
            E::BlockSequenceEntryNotAllowed | E::BlockEntryInFlowCollection => {
                (By::Scanner, "block sequence entries are not allowed in this context")
            }
            // Goyaml reads on over any indentation, to the end.
            E::UnclosedQuotedScalar | E::InvalidQuotedScalarIndent => {
                line = last;
                (By::Scanner, "found unexpected end of stream")
            }
            E::DocumentIndicatorInQuotedScalar => (By::Scanner, "found unexpected document indicator"),
            E::UnknownQuotedScalarEscape => (By::Scanner, "found unknown escape character"),
            E::InvalidQuotedScalarHexEscape => (By::Scanner, "did not find expected hexdecimal number"),
            E::InvalidLowSurrogateHexEscape
            | E::InvalidLowSurrogate
            | E::MissingLowSurrogate
            | E::UnpairedLowSurrogate
            | E::InvalidUnicodeEscape => (By::Scanner, "found invalid Unicode character escape code"),
            E::InvalidBlockScalarHeader => (By::Scanner, "did not find expected comment or line break"),
            E::ZeroBlockScalarIndent => (By::Scanner, "found an indentation indicator equal to 0"),
            E::MissingAnchorOrAliasName => (By::Scanner, "did not find expected alphabetic or numeric character"),
            E::MissingDirectiveName => (By::Scanner, "could not find expected directive name"),
            E::MissingYamlVersion => (By::Scanner, "did not find expected version number"),
            _ => return format!("yaml: line {}: {}", line + 1, error.info()),
        };
        match (by, line) {
            (By::Reader, _) | (_, 0) => format!("yaml: {words}"),
            (By::Parser, line) => format!("yaml: line {line}: {words}"),
            (By::Scanner, line) => format!("yaml: line {}: {words}", line + 1),
        }
    }

    fn alias_at(&self, line: usize) -> &str {
        let line = self.text.lines().nth(line.saturating_sub(1)).unwrap_or("");
        let name = line.split('*').nth(1).unwrap_or("");
        let end = name.find(|c: char| c.is_whitespace() || ",]}".contains(c)).unwrap_or(name.len());
        &name[..end]
    }
}

/// The name a key gets in JSON, and how goyaml shows it.
fn key_text(key: &Value) -> Result<(String, String), String> {
    match key {
        Value::String(s) => Ok((s.clone(), go_quote(s))),
        Value::Bool(b) => Ok((b.to_string(), b.to_string())),
        Value::Number(n) => Ok((n.to_string(), n.to_string())),
        Value::Null => Ok(("null".into(), "<nil>".into())),
        Value::Array(_) | Value::Object(_) => Err("yaml: invalid map key".into()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let core = tag.and_then(Tag::core_suffix);
    Ok(match (core, style) {
        (Some("str"), _) => Value::String(text.to_owned()),
        (Some("binary"), _) => {
            let clean: String = text.split_whitespace().collect();
            let bytes =
                crate::scalar::base64_decode(&clean).ok_or("yaml: !!binary value contains invalid base64 data")?;
            Value::String(String::from_utf8_lossy(&bytes).into_owned())
        }
        (Some(wanted @ ("int" | "float" | "bool" | "null")), _) => {
            let value = resolve::plain(text);
            let fits = match wanted {
                "int" => value.is_i64() || value.is_u64(),
                "float" => value.is_number(),
                "bool" => value.is_boolean(),
                _ => value.is_null(),
            };
            if !fits {
                return Err(format!("yaml: cannot decode !!str `{text}` as a !!{wanted}"));
            }
            value
        }
        (_, ScalarStyle::Plain) if tag.is_none() => resolve::plain(text),
        _ => Value::String(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(text: &str, want: Value, duplicates: &[&str]) {
        let got = read(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(got.value, want, "{text}");
        assert_eq!(got.duplicates, duplicates, "{text}");
    }

    #[test]
    fn documents() {
        check("", json!(null), &[]);
        check("a: 1\n---\nb: 2\n", json!({"a": 1}), &[]);
        check(
            "a: &x {k: v}\nb: *x\nc:\n  <<: *x\n  z: 1\n",
            json!({"a":{"k":"v"},"b":{"k":"v"},"c":{"k":"v","z":1}}),
            &[],
        );
        check("a: one\na: two\n", json!({"a": "two"}), &["line 2: key \"a\" already set in map"]);
        check("{\"a\": \"b\", \"a\": \"c\"}", json!({"a": "c"}), &["line 1: key \"a\" already set in map"]);
        check("1: x\ntrue: z\n", json!({"1": "x", "true": "z"}), &[]);
        check("l: [~, null, ]", json!({"l": [null, null]}), &[]);
        check("t: |\n  one\n  two\nf: >-\n  a\n  b\n", json!({"t": "one\ntwo\n", "f": "a b"}), &[]);
        check("a: \"1\"\nb: !!str 1\n", json!({"a": "1", "b": "1"}), &[]);
    }

    #[test]
    fn errors_are_goyaml_s() {
        for (text, want) in [
            (
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n\tname: c1\n",
                "yaml: line 4: found character that cannot start any token",
            ),
            ("a: [1\n", "yaml: line 1: did not find expected ',' or ']'"),
            ("a: [b\n", "yaml: line 1: did not find expected ',' or ']'"),
            ("a: *x\n", "yaml: unknown anchor 'x' referenced"),
            ("a: b: c\n", "yaml: mapping values are not allowed in this context"),
            ("a: b\n c: d\n", "yaml: line 2: mapping values are not allowed in this context"),
            ("a: b\nc: @d\n", "yaml: line 2: found character that cannot start any token"),
            ("a: `b\n", "yaml: found character that cannot start any token"),
            ("a: \"x\nb: c\n", "yaml: line 3: found unexpected end of stream"),
            ("a: 'x", "yaml: found unexpected end of stream"),
            ("a: \"\\q\"\n", "yaml: found unknown escape character"),
            ("a: \u{1}\n", "yaml: control characters are not allowed"),
            ("- a\nb: c\n", "yaml: line 1: did not find expected '-' indicator"),
            ("%YAML 2.0\n---\na: b\n", "yaml: found incompatible YAML document"),
        ] {
            assert_eq!(read(text.as_bytes()), Err(want.to_owned()), "{text}");
        }
    }

    #[test]
    fn aliases_do_not_explode() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..9 {
            let refs = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert_eq!(read(text.as_bytes()), Err("yaml: document contains excessive aliasing".into()));
    }
}
