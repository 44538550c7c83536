//! Field paths and the errors that validation finds there, in upstream's words
//! (rule: apimachinery `pkg/util/validation/field`).

use std::fmt;

/// Where in an object something is: `spec.containers[0].name`, `metadata.labels[a/b]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path that starts at `name`.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }
    /// The path of the whole object, which prints as nothing.
    pub fn root() -> Self {
        Self::default()
    }
    /// A member of the object at this path.
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { self.and(&[".", name]) }
    }
    /// An element of the list at this path.
    pub fn index(&self, i: usize) -> Self {
        Self(format!("{}[{i}]", self.0))
    }
    /// An entry of the map at this path.
    pub fn key(&self, key: &str) -> Self {
        self.and(&["[", key, "]"])
    }
    /// The path with more text at its end. Validators make paths by the hundred for each object, so that formatting them
    /// would show.
    fn and(&self, parts: &[&str]) -> Self {
        let mut text = String::with_capacity(self.0.len() + parts.iter().map(|p| p.len()).sum::<usize>());
        text.push_str(&self.0);
        parts.iter().for_each(|p| text.push_str(p));
        Self(text)
    }
    /// As it prints.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What kind of mistake it is; the names are the causes' `reason`s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    TypeInvalid,
    Internal,
}

impl ErrorType {
    /// The `reason` of the cause in a Status.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }
    /// How the message begins.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One mistake: its place, its kind, and the text that follows the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where.
    pub field: Path,
    /// Which kind.
    pub kind: ErrorType,
    /// The whole text after the path, e.g. `Invalid value: "x": must be y`.
    pub body: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body)
    }
}

/// How a bad value is shown in a message: strings and structures as JSON, numbers and booleans plain, absent as `null`.
pub trait Shown {
    /// The text.
    fn shown(&self) -> String;
}
impl Shown for str {
    fn shown(&self) -> String {
        go_quote(self)
    }
}
impl Shown for String {
    fn shown(&self) -> String {
        go_quote(self)
    }
}
impl Shown for serde_json::Value {
    fn shown(&self) -> String {
        match self {
            serde_json::Value::String(s) => go_quote(s),
            v => v.to_string(),
        }
    }
}
impl<T: Shown + ?Sized> Shown for &T {
    fn shown(&self) -> String {
        (**self).shown()
    }
}
impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "null".to_owned(), Shown::shown)
    }
}
macro_rules! shown_plain { ($($t:ty),*) => { $(impl Shown for $t { fn shown(&self) -> String { self.to_string() } })* } }
shown_plain!(bool, i32, i64, u16, u32, u64, usize, f64);
/// Shows what it holds as JSON, as upstream shows structures.
pub struct AsJson<'a, T: serde::Serialize>(pub &'a T);
impl<T: serde::Serialize> Shown for AsJson<'_, T> {
    fn shown(&self) -> String {
        serde_json::to_string(self.0).unwrap_or_default()
    }
}

/// Quotes as Go's `%q` does.
pub fn go_quote(s: &str) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            '\u{80}'..='\u{a0}' | '\u{ad}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// All that is wrong with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorList(pub Vec<FieldError>);

impl ErrorList {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Takes all errors of `other`.
    pub fn extend(&mut self, other: ErrorList) {
        self.0.extend(other.0);
    }
    fn add(&mut self, field: &Path, kind: ErrorType, rest: String) {
        self.0.push(FieldError { field: field.clone(), kind, body: format!("{}{rest}", kind.words()) });
    }
    /// `Invalid value: <value>: <detail>`.
    pub fn invalid(&mut self, field: &Path, value: impl Shown, detail: impl fmt::Display) {
        self.add(field, ErrorType::Invalid, value_and_detail(&value.shown(), &detail.to_string()));
    }
    /// `Required value` or `Required value: <detail>`.
    pub fn required(&mut self, field: &Path, detail: impl fmt::Display) {
        self.add(field, ErrorType::Required, only_detail(&detail.to_string()));
    }
    /// `Forbidden: <detail>`.
    pub fn forbidden(&mut self, field: &Path, detail: impl fmt::Display) {
        self.add(field, ErrorType::Forbidden, only_detail(&detail.to_string()));
    }
    /// `Duplicate value: <value>`.
    pub fn duplicate(&mut self, field: &Path, value: impl Shown) {
        self.add(field, ErrorType::Duplicate, format!(": {}", value.shown()));
    }
    /// `Not found: <value>`.
    pub fn not_found(&mut self, field: &Path, value: impl Shown) {
        self.add(field, ErrorType::NotFound, format!(": {}", value.shown()));
    }
    /// `Unsupported value: <value>: supported values: "a", "b"`, sorted, as upstream lists its sets.
    pub fn not_supported(&mut self, field: &Path, value: impl Shown, supported: &[&str]) {
        let mut s = supported.to_vec();
        s.sort_unstable();
        self.not_supported_in_order(field, value, &s);
    }
    /// The same in the order given, as upstream lists its slices.
    pub fn not_supported_in_order(&mut self, field: &Path, value: impl Shown, s: &[&str]) {
        let list: Vec<String> = s.iter().map(|v| go_quote(v)).collect();
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        self.add(field, ErrorType::NotSupported, value_and_detail(&value.shown(), &detail));
    }
    /// `Too long: may not be more than <max> bytes`.
    pub fn too_long(&mut self, field: &Path, max: usize) {
        let unit = if max == 1 { "byte" } else { "bytes" };
        self.add(field, ErrorType::TooLong, format!(": may not be more than {max} {unit}"));
    }
    /// `Too many: <actual>: must have at most <max> items`.
    pub fn too_many(&mut self, field: &Path, actual: usize, max: usize) {
        let unit = if max == 1 { "item" } else { "items" };
        self.add(field, ErrorType::TooMany, format!(": {actual}: must have at most {max} {unit}"));
    }
    /// `Invalid value: <value>: <detail>` with the reason FieldValueTypeInvalid.
    pub fn type_invalid(&mut self, field: &Path, value: impl Shown, detail: impl fmt::Display) {
        self.add(field, ErrorType::TypeInvalid, value_and_detail(&value.shown(), &detail.to_string()));
    }
    /// `Internal error: <detail>`.
    pub fn internal(&mut self, field: &Path, detail: impl fmt::Display) {
        self.add(field, ErrorType::Internal, only_detail(&detail.to_string()));
    }
    /// Every error's text, the same text only once, as upstream joins them: one alone, or `[a, b]`.
    pub fn joined(&self) -> String {
        let mut seen: Vec<String> = Vec::with_capacity(self.0.len());
        for e in &self.0 {
            let s = e.to_string();
            if !seen.contains(&s) {
                seen.push(s);
            }
        }
        if seen.len() == 1 { seen.remove(0) } else { format!("[{}]", seen.join(", ")) }
    }
}

fn value_and_detail(value: &str, detail: &str) -> String {
    if detail.is_empty() { format!(": {value}") } else { format!(": {value}: {detail}") }
}
fn only_detail(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        let mut e = ErrorList::new();
        let p = Path::new("spec").child("containers").index(0).child("name");
        e.required(&p, "");
        e.invalid(&p, "A", "must be lower case");
        e.not_supported(&p, "x", &["b", "a"]);
        e.too_long(&p, 63);
        let got: Vec<String> = e.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            got,
            [
                "spec.containers[0].name: Required value",
                "spec.containers[0].name: Invalid value: \"A\": must be lower case",
                "spec.containers[0].name: Unsupported value: \"x\": supported values: \"a\", \"b\"",
                "spec.containers[0].name: Too long: may not be more than 63 bytes",
            ]
        );
    }
}
