//! resourceVersions in requests, and continue tokens (rule: apiserver `pkg/storage/continue.go`, `storage/util.go`).

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, NO_PAD};
use serde_json::{Value, json};
use steersman_apimachinery::field::{ErrorList, Path};
use steersman_apimachinery::{Status, field, object};

/// As Go's `base64.RawURLEncoding`, which does not mind bits behind the last byte.
const URL_SAFE_NO_PAD: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);
const LENIENT: GeneralPurposeConfig = NO_PAD.with_decode_allow_trailing_bits(true);

/// What Go's `strconv.ParseUint` says of a text that is no number.
pub(crate) fn parse_uint(text: &str) -> Result<u64, String> {
    let bad = |why| format!("strconv.ParseUint: parsing {}: {why}", field::go_quote(text));
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad("invalid syntax"));
    }
    text.parse().map_err(|_| bad("value out of range"))
}

/// The resourceVersion of a get, list or watch; empty is 0.
pub(crate) fn parse_version(text: &str) -> Result<u64, String> {
    if text.is_empty() || text == "0" {
        return Ok(0);
    }
    parse_uint(text).map_err(|why| {
        let mut errors = ErrorList::new();
        errors.invalid(&Path::new("resourceVersion"), text, why);
        errors.joined()
    })
}

/// The resourceVersion of an object that is to be written; empty is 0.
pub(crate) fn object_version(text: &str) -> Result<u64, Status> {
    if text.is_empty() { Ok(0) } else { parse_uint(text).map_err(crate::errors::plain) }
}

/// Where a list goes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// At which revision; `None`: at the newest.
    pub(crate) revision: Option<u64>,
    /// From which key on, without the prefix of the list.
    pub(crate) start: String,
}

/// A token that goes on after the key `last` (without the prefix of the list).
pub(crate) fn encode(last: &str, revision: Option<u64>) -> String {
    let revision: Value = revision.map_or(json!(-1), Value::from);
    let start = Value::from(format!("{last}\0"));
    URL_SAFE_NO_PAD.encode(format!(r#"{{"v":"meta.k8s.io/v1","rv":{revision},"start":{start}}}"#))
}

/// Reads a token.
pub(crate) fn decode(token: &str) -> Result<Token, Status> {
    let bad = |why: String| Status::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
    let text = URL_SAFE_NO_PAD.decode(token).map_err(|e| bad(base64_error(token, &e)))?;
    let value: Value = serde_json::from_slice(&text).map_err(|e| bad(json_error(&text, &e)))?;
    let Members { version, revision, start } = Members::of(&value).map_err(bad)?;
    if version != "meta.k8s.io/v1" {
        return Err(bad(format!("server does not recognize this encoded version {version}")));
    }
    if revision == 0 {
        return Err(bad(format!("incorrect encoded start resourceVersion (version {version})")));
    }
    if start.is_empty() {
        return Err(bad(format!("encoded start key empty (version {version})")));
    }
    // Keys never lead out of the prefix of the list.
    let rooted = start.strip_prefix('/').unwrap_or(start);
    if rooted.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(bad(start.to_owned()));
    }
    Ok(Token { revision: u64::try_from(revision).ok(), start: start.trim_start_matches('/').to_owned() })
}

/// What a token consists of, as Go's decoder reads it: names in any case, null for nothing.
#[derive(Default)]
struct Members<'a> {
    version: &'a str,
    revision: i64,
    start: &'a str,
}

impl<'a> Members<'a> {
    fn of(token: &'a Value) -> Result<Self, String> {
        let mut members = Members::default();
        let map = match token {
            Value::Object(map) => map,
            Value::Null => return Ok(members),
            other => return Err(format!("{} Go value of type storage.continueToken", unfit(other))),
        };
        let wrong = |name: &str, v: &Value, want: &str| {
            Err(format!("{} Go struct field continueToken.{name} of type {want}", unfit(v)))
        };
        for (name, value) in map.iter().filter(|(_, v)| !v.is_null()) {
            match (name.to_ascii_lowercase().as_str(), value) {
                ("v", Value::String(s)) => members.version = s,
                ("start", Value::String(s)) => members.start = s,
                ("rv", Value::Number(n)) => match n.as_i64() {
                    Some(n) => members.revision = n,
                    None => {
                        return Err(format!(
                            "json: cannot unmarshal number {n} into Go struct field continueToken.rv of type int64"
                        ));
                    }
                },
                (name @ ("v" | "start"), v) => return wrong(name, v, "string"),
                ("rv", v) => return wrong("rv", v, "int64"),
                _ => {}
            }
        }
        Ok(members)
    }
}

/// How Go's decoder begins to tell that a value has the wrong type.
fn unfit(value: &Value) -> String {
    format!("json: cannot unmarshal {} into", object::json_type(value))
}

/// Go's message: the first byte that does not belong.
fn base64_error(token: &str, e: &base64::DecodeError) -> String {
    use base64::DecodeError::{InvalidByte, InvalidLastSymbol};
    let at = match e {
        InvalidByte(at, _) => *at,
        InvalidLastSymbol(at, _) => *at,
        _ => token.len() - token.len() % 4,
    };
    format!("illegal base64 data at input byte {at}")
}

/// Go's message for text that is no JSON.
fn json_error(text: &[u8], e: &serde_json::Error) -> String {
    if e.is_eof() {
        return "unexpected end of JSON input".into();
    }
    if e.to_string().starts_with("trailing characters") {
        // The place of the error is that byte's, counted from one.
        let surplus = text.get(e.column().saturating_sub(1)).copied().unwrap_or_default();
        return format!("invalid character {} after top-level value", quote_char(surplus));
    }
    match text.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b) if !matches!(b, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            format!("invalid character {} looking for beginning of value", quote_char(*b))
        }
        _ => e.to_string(),
    }
}

/// A byte as Go's JSON decoder shows it.
fn quote_char(b: u8) -> String {
    match b {
        b'\'' => r"'\''".into(),
        b'"' => "'\"'".into(),
        b => {
            let quoted = field::go_quote(&char::from(b).to_string());
            let inner = &quoted[1..quoted.len() - 1];
            format!("'{inner}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_bad_ones_are_explained() {
        assert_eq!(decode(&encode("ns/a", Some(7))).unwrap(), Token { revision: Some(7), start: "ns/a\0".into() });
        assert_eq!(decode(&encode("a", None)).unwrap().revision, None);
        let check = |token: &str, want: &str| {
            assert_eq!(
                decode(token).unwrap_err().message,
                format!("invalid continue token: continue key is not valid: {want}"),
                "{token}"
            );
        };
        check("garbage", "invalid character '\\u0081' looking for beginning of value");
        check("e30", "server does not recognize this encoded version ");
        check("!!!", "illegal base64 data at input byte 0");
        check("e", "illegal base64 data at input byte 0");
        check(
            &URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":5}"#),
            "encoded start key empty (version meta.k8s.io/v1)",
        );
        check(
            &URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","start":"a"}"#),
            "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        );
        let check_text = |text: &str, want: &str| check(&URL_SAFE_NO_PAD.encode(text), want);
        check_text(r#"{"v":"meta.k8s.io/v1","rv":5,"start":"../a"}"#, "../a");
        check_text(r#"{"V":"meta.k8s.io/v1","RV":5,"START":"a//b"}"#, "a//b");
        check_text(r#"{"v":"meta.k8s.io/v1","rv":5,"start":"a/"}"#, "a/");
        check_text("[]", "json: cannot unmarshal array into Go value of type storage.continueToken");
        check_text("7", "json: cannot unmarshal number into Go value of type storage.continueToken");
        check_text(r#"{"v":1}"#, "json: cannot unmarshal number into Go struct field continueToken.v of type string");
        check_text(
            r#"{"rv":"5"}"#,
            "json: cannot unmarshal string into Go struct field continueToken.rv of type int64",
        );
        check_text(
            r#"{"rv":1.5}"#,
            "json: cannot unmarshal number 1.5 into Go struct field continueToken.rv of type int64",
        );
        check_text("null", "server does not recognize this encoded version ");
        check_text("{} x", "invalid character 'x' after top-level value");
    }

    #[test]
    fn versions() {
        assert_eq!(parse_version("12"), Ok(12));
        assert_eq!(
            parse_version("abc").unwrap_err(),
            r#"resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax"#
        );
        assert_eq!(
            parse_uint("99999999999999999999").unwrap_err(),
            r#"strconv.ParseUint: parsing "99999999999999999999": value out of range"#
        );
    }
}
