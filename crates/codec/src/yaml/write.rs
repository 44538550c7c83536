//! JSON values as YAML (rule: sigs.k8s.io/yaml `Marshal`, goyaml.v2 `emitterc.go`): keys sorted, lists not indented,
//! lines folded at 80 columns.

use super::resolve;
use serde_json::Value;

/// The column behind which lines are folded.
const WIDTH: usize = 80;

/// The document, with a line break at its end.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    let mut writer = Writer { out: &mut out };
    match value {
        Value::Object(entries) if !entries.is_empty() => writer.mapping(entries, 0),
        Value::Array(items) if !items.is_empty() => writer.sequence(items, 0),
        other => {
            writer.scalar(other, 0);
            writer.out.push('\n');
        }
    }
    out
}

struct Writer<'o> {
    out: &'o mut String,
}

impl Writer<'_> {
    /// The entries, each on lines of its own; the caller has written the indentation of the first.
    fn mapping(&mut self, entries: &serde_json::Map<String, Value>, indent: usize) {
        for (i, (key, value)) in entries.iter().enumerate() {
            if i > 0 {
                self.indent(indent);
            }
            self.text(key, indent, true);
            self.out.push(':');
            match value {
                Value::Object(inner) if !inner.is_empty() => {
                    self.out.push('\n');
                    self.indent(indent + 2);
                    self.mapping(inner, indent + 2);
                }
                Value::Array(items) if !items.is_empty() => {
                    self.out.push('\n');
                    self.indent(indent);
                    self.sequence(items, indent);
                }
                other => {
                    self.out.push(' ');
                    self.scalar(other, indent + 2);
                    self.out.push('\n');
                }
            }
        }
    }

    fn sequence(&mut self, items: &[Value], indent: usize) {
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.indent(indent);
            }
            self.out.push_str("- ");
            match item {
                Value::Object(inner) if !inner.is_empty() => self.mapping(inner, indent + 2),
                Value::Array(inner) if !inner.is_empty() => self.sequence(inner, indent + 2),
                other => {
                    self.scalar(other, indent + 2);
                    self.out.push('\n');
                }
            }
        }
    }

    fn indent(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Bool(b) => self.out.push_str(if *b { "true" } else { "false" }),
            Value::Number(n) => self.out.push_str(&n.to_string()),
            Value::String(s) => self.text(s, indent, false),
            Value::Array(_) => self.out.push_str("[]"),
            Value::Object(_) => self.out.push_str("{}"),
        }
    }

    fn text(&mut self, text: &str, indent: usize, key: bool) {
        let special = text.chars().any(|c| !is_printable(c) && c != '\n');
        if text.contains('\n') && !special && !key && !text.starts_with([' ', '\n']) && !text.contains(" \n") {
            self.literal(text, indent);
        } else if special || text.contains('\n') || !resolve::is_plain_string(text) {
            self.double_quoted(text, indent, key);
        } else if is_plain_allowed(text) {
            self.folded(text, indent, key, |_, _| {});
        } else {
            self.out.push('\'');
            self.folded(text, indent, key, |out, c| {
                if c == '\'' {
                    out.push('\'');
                }
            });
            self.out.push('\'');
        }
    }

    fn column(&self) -> usize {
        self.out.rsplit('\n').next().map_or(0, |line| line.chars().count())
    }

    /// Text that may break at a single space once the line is full; `before` writes what a character needs before it.
    fn folded(&mut self, text: &str, indent: usize, key: bool, before: impl Fn(&mut String, char)) {
        let chars: Vec<char> = text.chars().collect();
        let mut column = self.column();
        let mut after_space = false;
        for (i, c) in chars.iter().enumerate() {
            if *c == ' ' {
                let inner = i > 0 && i + 1 < chars.len();
                if !key && inner && !after_space && column > WIDTH && chars[i + 1] != ' ' {
                    self.out.push('\n');
                    self.indent(indent);
                    column = indent;
                } else {
                    self.out.push(' ');
                    column += 1;
                }
                after_space = true;
                continue;
            }
            before(self.out, *c);
            self.out.push(*c);
            column += 1;
            after_space = false;
        }
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.out.push('|');
        let body = match (text.ends_with('\n'), text.ends_with("\n\n")) {
            (false, _) => {
                self.out.push('-');
                text
            }
            (true, true) => {
                self.out.push('+');
                &text[..text.len() - 1]
            }
            (true, false) => &text[..text.len() - 1],
        };
        for line in body.split('\n') {
            self.out.push('\n');
            if !line.is_empty() {
                self.indent(indent);
                self.out.push_str(line);
            }
        }
    }

    fn double_quoted(&mut self, text: &str, indent: usize, key: bool) {
        self.out.push('"');
        let chars: Vec<char> = text.chars().collect();
        let mut column = self.column();
        for (i, c) in chars.iter().enumerate() {
            let start = self.out.len();
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\t' => self.out.push_str("\\t"),
                '\r' => self.out.push_str("\\r"),
                '\u{7}' => self.out.push_str("\\a"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{b}' => self.out.push_str("\\v"),
                '\u{c}' => self.out.push_str("\\f"),
                '\u{1b}' => self.out.push_str("\\e"),
                '\0' => self.out.push_str("\\0"),
                '\u{85}' => self.out.push_str("\\N"),
                '\u{2028}' => self.out.push_str("\\L"),
                '\u{2029}' => self.out.push_str("\\P"),
                ' ' if !key && column > WIDTH && i > 0 && i + 1 < chars.len() && chars[i - 1] != ' ' => {
                    self.out.push('\n');
                    self.indent(indent);
                    if chars[i + 1] == ' ' {
                        self.out.push('\\');
                    }
                    column = indent;
                    continue;
                }
                c if is_printable(*c) => self.out.push(*c),
                c if u32::from(*c) <= 0xff => self.out.push_str(&format!("\\x{:02X}", u32::from(*c))),
                c if u32::from(*c) <= 0xffff => self.out.push_str(&format!("\\u{:04X}", u32::from(*c))),
                c => self.out.push_str(&format!("\\U{:08X}", u32::from(*c))),
            }
            column += self.out.len() - start;
        }
        self.out.push('"');
    }
}

/// What YAML shows as it is; everything outside the basic plane is escaped by goyaml.
fn is_printable(c: char) -> bool {
    matches!(c, '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}')
}

/// Whether the text may stand without quotes in a block.
fn is_plain_allowed(text: &str) -> bool {
    let bytes = text.as_bytes();
    let spaced = |at: usize| bytes.get(at).is_none_or(|c| matches!(c, b' ' | b'\n'));
    if text.starts_with("---") || text.starts_with("...") || text.starts_with(' ') || text.ends_with(' ') {
        return false;
    }
    for (at, c) in bytes.iter().enumerate() {
        let bad = match c {
            b'#' if at == 0 => true,
            b',' | b'[' | b']' | b'{' | b'}' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\'' | b'"' | b'%' | b'@' | b'`' => {
                at == 0
            }
            b'?' | b'-' => at == 0 && spaced(1),
            b':' => spaced(at + 1),
            b'#' => matches!(bytes[at - 1], b' '),
            _ => false,
        };
        if bad {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::write;
    use serde_json::json;

    #[test]
    fn looks_like_goyaml() {
        let value = json!({
            "apiVersion": "v1",
            "code": 406,
            "message": "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
            "metadata": {},
            "list": [{"a": "1", "b": ["x", "yes"]}, [], "", "two\nlines\n"],
        });
        let want = "apiVersion: v1\ncode: 406\nlist:\n- a: \"1\"\n  b:\n  - x\n  - \"yes\"\n- []\n- \"\"\n- |\n  two\n  lines\n\
            message: 'only the following media types are accepted: application/json;stream=watch,\n  \
            application/vnd.kubernetes.protobuf;stream=watch'\nmetadata: {}\n";
        assert_eq!(write(&value), want);
    }

    #[test]
    fn reads_back() {
        for text in [
            "",
            " a",
            "a ",
            "a: b",
            "# x",
            "x #y",
            "-",
            "- a",
            "null",
            "1.0",
            "0x1",
            "tab\there",
            "é😀",
            "a\n\nb",
            "\n",
            "x\n\n\n",
            "'",
            "{a}",
            "2024-01-01",
            "<<",
            "~",
            "a'b",
        ] {
            let value = json!({ "k": text, "l": [text] });
            let yaml = write(&value);
            assert_eq!(super::super::read(yaml.as_bytes()).expect(&yaml).value, value, "{yaml}");
        }
    }
}
