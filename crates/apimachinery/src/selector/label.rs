//! Label selectors: `env in (a,b),!tier,gen>1` (rule: apimachinery `pkg/labels`), and the `LabelSelector` object
//! (rule: apimachinery `pkg/apis/meta/v1/helpers.go`).

use crate::field::{ErrorList, Path, go_quote};
use crate::validation;
use serde_json::Value;
use std::fmt;

/// How a label relates to the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// What one label must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
    /// The bound of `>` and `<`.
    bound: i64,
}

impl Requirement {
    /// A requirement whose key and values fit; paths in errors start at `path`.
    pub fn new(key: &str, operator: Operator, values: Vec<String>, path: &Path) -> Result<Self, ErrorList> {
        let mut errors = ErrorList::new();
        validate_key(&mut errors, key, &path.child("key"));
        let at = path.child("values");
        let shown = || if values.is_empty() { Value::Null } else { Value::from(values.clone()) };
        let mut bound = 0;
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                errors.invalid(&at, shown(), "for 'in', 'notin' operators, values set can't be empty");
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                errors.invalid(&at, shown(), "exact-match compatibility requires one single value");
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                errors.invalid(&at, shown(), "values set must be empty for exists and does not exist");
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    errors.invalid(&at, shown(), "for 'Gt', 'Lt' operators, exactly one value is required");
                }
                for (i, v) in values.iter().enumerate() {
                    match v.parse() {
                        Ok(n) => bound = n,
                        Err(_) => {
                            errors.invalid(&at.index(i), v, "for 'Gt', 'Lt' operators, the value must be an integer");
                        }
                    }
                }
            }
            _ => {}
        }
        for (i, v) in values.iter().enumerate() {
            let wrong = validation::label_value(v);
            if !wrong.is_empty() {
                errors.invalid(&at.index(i).key(key), v, wrong.join("; "));
            }
        }
        if errors.is_empty() { Ok(Self { key: key.to_owned(), operator, values, bound }) } else { Err(errors) }
    }
    /// The label.
    pub fn key(&self) -> &str {
        &self.key
    }
    /// The relation.
    pub fn operator(&self) -> Operator {
        self.operator
    }
    /// The values.
    pub fn values(&self) -> &[String] {
        &self.values
    }
    /// Whether the label's value fits.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let has = |v: &str| self.values.iter().any(|x| x == v);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(has),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(has),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v > self.bound),
            Operator::LessThan => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v < self.bound),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let k = &self.key;
        let mut values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        let v = values.join(",");
        match self.operator {
            Operator::In => write!(f, "{k} in ({v})"),
            Operator::NotIn => write!(f, "{k} notin ({v})"),
            Operator::Equals => write!(f, "{k}={v}"),
            Operator::DoubleEquals => write!(f, "{k}=={v}"),
            Operator::NotEquals => write!(f, "{k}!={v}"),
            Operator::Exists => write!(f, "{k}"),
            Operator::DoesNotExist => write!(f, "!{k}"),
            Operator::GreaterThan => write!(f, "{k}>{v}"),
            Operator::LessThan => write!(f, "{k}<{v}"),
        }
    }
}

/// A parsed label selector; empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// Selects not even objects without labels: what an absent `LabelSelector` object means.
    nothing: bool,
    requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Selects everything.
    pub const fn everything() -> Self {
        Self { nothing: false, requirements: Vec::new() }
    }
    /// Selects nothing.
    pub const fn nothing() -> Self {
        Self { nothing: true, requirements: Vec::new() }
    }
    /// Parses a selector's text; the error is upstream's message.
    pub fn parse(text: &str) -> Result<Self, String> {
        let requirements = Parser { tokens: scan(text.as_bytes()), at: 0 }.parse()?;
        Ok(Self::from_requirements(requirements))
    }
    /// All of `requirements` must hold.
    pub fn from_requirements(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { nothing: false, requirements }
    }
    /// Labels that must all be there, unchecked, as `spec.selector` of services and replication controllers.
    pub fn from_map<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let one = |(k, v): (&str, &str)| Requirement {
            key: k.to_owned(),
            operator: Operator::Equals,
            values: vec![v.to_owned()],
            bound: 0,
        };
        Self::from_requirements(labels.into_iter().map(one).collect())
    }
    /// From a JSON object of labels; what is no object of strings selects everything.
    pub fn from_map_value(labels: &Value) -> Self {
        let pairs = labels.as_object().into_iter().flatten();
        Self::from_map(pairs.filter_map(|(k, v)| Some((k.as_str(), v.as_str()?))))
    }
    /// From a `LabelSelector` object: absent or null selects nothing, empty everything; the error is upstream's message.
    pub fn from_object(object: Option<&Value>) -> Result<Self, String> {
        let Some(object) = object.and_then(Value::as_object) else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        let root = Path::root();
        for (k, v) in object.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = v.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(k, Operator::Equals, vec![value], &root).map_err(|e| e.joined())?);
        }
        for e in object.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let operator = match crate::object::str(e, &["operator"]) {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{} is not a valid label selector operator", go_quote(other))),
            };
            let values = crate::object::list(e, &["values"]);
            let values = values.iter().map(|v| v.as_str().unwrap_or_default().to_owned()).collect();
            let key = crate::object::str(e, &["key"]);
            requirements.push(Requirement::new(key, operator, values, &root).map_err(|e| e.joined())?);
        }
        Ok(Self::from_requirements(requirements))
    }
    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }
    /// Whether it cannot select anything, by its form.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }
    /// What must hold of the labels.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
    /// With one more requirement.
    #[must_use]
    pub fn and(mut self, requirement: Requirement) -> Self {
        self.requirements.push(requirement);
        self.requirements.sort_by(|a, b| a.key.cmp(&b.key));
        self
    }
    /// Whether labels match; `lookup` gives a label's value.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(lookup(&r.key)))
    }
    /// Whether the labels of a JSON object match; what is no object has no labels.
    pub fn matches_map(&self, labels: Option<&Value>) -> bool {
        self.matches(|k| labels.and_then(|l| l.get(k)).and_then(Value::as_str))
    }
    /// Whether an API object's `metadata.labels` match.
    pub fn matches_object(&self, object: &Value) -> bool {
        self.is_empty() || self.matches_map(crate::object::get(object, &["metadata", "labels"]))
    }
    /// The value the label must have, where the selector pins it down.
    pub fn requires_exact(&self, label: &str) -> Option<&str> {
        let r = self.requirements.iter().find(|r| r.key == label)?;
        match (r.operator, r.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [one]) => Some(one),
            _ => None,
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            write!(f, "{}{r}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

fn validate_key(errors: &mut ErrorList, key: &str, path: &Path) {
    let wrong = validation::label_key(key);
    if !wrong.is_empty() {
        errors.invalid(path, key, wrong.join("; "));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Error,
    End,
    Close,
    Comma,
    Not,
    Identifier,
    Open,
    /// Includes the words `in` and `notin`, which are identifiers wherever a key or value may stand.
    Op(Operator),
}

fn token_of(text: &str) -> Option<Token> {
    Some(match text {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::Op(Operator::DoubleEquals),
        "=" => Token::Op(Operator::Equals),
        ">" => Token::Op(Operator::GreaterThan),
        "<" => Token::Op(Operator::LessThan),
        "!=" => Token::Op(Operator::NotEquals),
        "in" => Token::Op(Operator::In),
        "notin" => Token::Op(Operator::NotIn),
        "(" => Token::Open,
        _ => return None,
    })
}

fn is_special(c: u8) -> bool {
    b"=!(),><".contains(&c)
}

/// The tokens with their texts; ends with [`Token::End`], which a NUL byte means too.
fn scan(text: &[u8]) -> Vec<(Token, String)> {
    let text = text.split(|c| *c == 0).next().unwrap_or_default();
    let mut out = Vec::new();
    let mut i = 0;
    while let Some(&c) = text.get(i) {
        if matches!(c, b' ' | b'\t' | b'\r' | b'\n') {
            i += 1;
            continue;
        }
        let start = i;
        if is_special(c) {
            out.push(scan_special(text, &mut i));
            continue;
        }
        while text.get(i).is_some_and(|&c| !is_special(c) && !matches!(c, b' ' | b'\t' | b'\r' | b'\n')) {
            i += 1;
        }
        let word = String::from_utf8_lossy(&text[start..i]).into_owned();
        out.push((token_of(&word).unwrap_or(Token::Identifier), word));
    }
    out.push((Token::End, String::new()));
    out
}

/// The longest operator from here on.
fn scan_special(text: &[u8], i: &mut usize) -> (Token, String) {
    let start = *i;
    let mut last: Option<(Token, String)> = None;
    while text.get(*i).is_some_and(|c| is_special(*c)) {
        let so_far = String::from_utf8_lossy(&text[start..=*i]).into_owned();
        match token_of(&so_far) {
            Some(t) => last = Some((t, so_far)),
            None if last.is_some() => break,
            None => {}
        }
        *i += 1;
    }
    last.unwrap_or_else(|| {
        let found = String::from_utf8_lossy(&text[start..*i]).into_owned();
        (Token::Error, format!("error expected: keyword found '{found}'"))
    })
}

struct Parser {
    tokens: Vec<(Token, String)>,
    at: usize,
}

impl Parser {
    /// The token here; where a value may stand, `in` and `notin` are words like any other.
    fn look(&self) -> (Token, &str) {
        let (token, text) = &self.tokens[self.at.min(self.tokens.len() - 1)];
        match token {
            Token::Op(Operator::In | Operator::NotIn) => (Token::Identifier, text),
            t => (*t, text),
        }
    }
    fn take(&mut self) -> (Token, String) {
        let (token, text) = self.look();
        let taken = (token, text.to_owned());
        self.at += 1;
        taken
    }

    fn parse(mut self) -> Result<Vec<Requirement>, String> {
        let mut out = Vec::new();
        loop {
            match self.look() {
                (Token::Identifier | Token::Not, _) => {
                    out.push(self.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?);
                    match self.take() {
                        (Token::End, _) => return Ok(out),
                        (Token::Comma, _) => {
                            let (next, text) = self.look();
                            if !matches!(next, Token::Identifier | Token::Not) {
                                return Err(format!("found '{text}', expected: identifier after ','"));
                            }
                        }
                        (_, text) => return Err(format!("found '{text}', expected: ',' or 'end of string'")),
                    }
                }
                (Token::End, _) => return Ok(out),
                (_, text) => return Err(format!("found '{text}', expected: !, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.take();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.take();
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let mut errors = ErrorList::new();
        validate_key(&mut errors, &key, &Path::root());
        if !errors.is_empty() {
            return Err(errors.joined());
        }
        let ends = matches!(self.look().0, Token::End | Token::Comma);
        let (operator, values) = if negated {
            (Operator::DoesNotExist, Vec::new())
        } else if ends {
            (Operator::Exists, Vec::new())
        } else {
            let operator = self.operator()?;
            let mut values = match operator {
                Operator::In | Operator::NotIn => self.values()?,
                _ => vec![self.exact_value()?],
            };
            values.sort_unstable();
            values.dedup();
            (operator, values)
        };
        Requirement::new(&key, operator, values, &Path::root()).map_err(|e| e.joined())
    }

    fn operator(&mut self) -> Result<Operator, String> {
        let (token, text) = self.tokens[self.at.min(self.tokens.len() - 1)].clone();
        self.at += 1;
        match token {
            Token::Op(op) => Ok(op),
            _ => Err(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        let (token, text) = self.take();
        if token != Token::Open {
            return Err(format!("found '{text}' expected: '('"));
        }
        match self.look() {
            (Token::Identifier | Token::Comma, _) => {
                let values = self.identifiers()?;
                self.at += 1; // the closing parenthesis, which ended the list
                Ok(values)
            }
            (Token::Close, _) => {
                self.at += 1;
                Ok(vec![String::new()])
            }
            (_, text) => Err(format!("found '{text}', expected: ',', ')' or identifier")),
        }
    }

    /// Identifiers between commas, each of which may be missing, up to the closing parenthesis.
    fn identifiers(&mut self) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        loop {
            match self.take() {
                (Token::Identifier, text) => {
                    out.push(text);
                    match self.look() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(out),
                        (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if out.is_empty() || self.look().0 == Token::Comma {
                        out.push(String::new());
                    }
                    if self.look().0 == Token::Close {
                        out.push(String::new());
                        return Ok(out);
                    }
                }
                (_, text) => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.look().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.take() {
            (Token::Identifier, text) => Ok(text),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parses_and_prints() {
        let check = |text: &str, want: &str| {
            let parsed = LabelSelector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(parsed.to_string(), want, "{text}");
            assert_eq!(LabelSelector::parse(want).unwrap(), parsed, "{want}");
        };
        check("", "");
        check(" env =  prod , tier ", "env=prod,tier");
        check("x in (foo,,baz),y,z notin ()", "x in (,baz,foo),y,z notin ()");
        check("!a,b!=c,d==e,f>1,g<2", "!a,b!=c,d==e,f>1,g<2");
        check("in in (in,notin)", "in in (in,notin)");
        check("a=", "a=");
    }

    #[test]
    fn refuses_in_upstreams_words() {
        let check = |text: &str, want: &str| assert_eq!(LabelSelector::parse(text).unwrap_err(), want, "{text}");
        check("a in b", "unable to parse requirement: found 'b' expected: '('");
        check("=b", "found '=', expected: !, identifier, or 'end of string'");
        check("a notin", "unable to parse requirement: found '' expected: '('");
        check("a in (b", "unable to parse requirement: found '', expected: ',' or ')'");
        check("a=b!", "found '!', expected: ',' or 'end of string'");
        check("/a=b", "unable to parse requirement: <nil>: Invalid value: \"/a\": prefix part must be non-empty");
        check(
            "gen<abc",
            "unable to parse requirement: values[0]: Invalid value: \"abc\": for 'Gt', 'Lt' operators, the value must be an integer",
        );
        check("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
        for text in ["!", "a,", "a=!", "a in (", "a in ((", "\0", "a in", "><", "!!a", "a in (b,(", "é,"] {
            let _ = LabelSelector::parse(text);
        }
    }

    #[test]
    fn matches() {
        let labels = json!({"env": "prod", "gen": "2"});
        let check = |text: &str, want: bool| {
            assert_eq!(LabelSelector::parse(text).unwrap().matches_map(Some(&labels)), want, "{text}");
        };
        check("", true);
        check("env in (prod,dev),gen>1,!x", true);
        check("env notin (prod)", false);
        check("other!=x", true);
        check("gen<2", false);
        assert!(!LabelSelector::from_object(None).unwrap().matches_map(Some(&labels)));
        assert!(LabelSelector::from_object(Some(&json!({}))).unwrap().matches_map(None));
        let s = json!({"matchLabels": {"env": "prod"}, "matchExpressions": [{"key": "gen", "operator": "Exists"}]});
        assert!(LabelSelector::from_object(Some(&s)).unwrap().matches_map(Some(&labels)));
        let bad = json!({"matchExpressions": [{"key": "a", "operator": "Like"}]});
        assert_eq!(
            LabelSelector::from_object(Some(&bad)).unwrap_err(),
            "\"Like\" is not a valid label selector operator"
        );
    }
}
