//! Reading scalars as Go reads them: one function, used for JSON text and for values that are already parsed.

use crate::path::Path;
use crate::time;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Number, Value};
use std::borrow::Cow;
use steersman_apimachinery::Quantity;
use steersman_schema::Kind;

/// A JSON scalar as it was found; numbers as their text.
pub enum Token<'a> {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Cow<'a, str>),
    /// A string, unescaped.
    Text(Cow<'a, str>),
}

/// Why a scalar does not fit. Go goes on after the first sort and stops at the second.
pub enum Misfit {
    /// The wrong type: told at the end, if nothing worse comes.
    Type(String),
    /// A type that reads itself refused.
    Fatal(String),
}

/// Go's base64: padding is needed, bits behind the end are not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

impl Token<'_> {
    /// What the token is, as type errors tell it.
    fn describe(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
        }
    }
}

/// The value of a scalar kind; `None` where it is Go's zero time.
pub fn read(kind: &Kind, token: Token<'_>, path: &Path<'_>) -> Result<Option<Value>, Misfit> {
    let mismatch = |token: &Token<'_>| Misfit::Type(path.type_error(token.describe(), &path.go_type(kind)));
    let fatal = |token: &Token<'_>| Misfit::Fatal(path.type_error(token.describe(), &path.go_type(kind)));
    let value = match (kind, token) {
        (Kind::String, Token::Text(s)) => Value::String(s.into_owned()),
        (Kind::Bool, Token::Bool(b)) => Value::Bool(b),
        (Kind::Int32, Token::Number(n)) => match n.parse::<i32>() {
            Ok(n) => Value::from(n),
            Err(_) => return Err(Misfit::Type(path.type_error(&format!("number {n}"), &path.go_type(kind)))),
        },
        (Kind::Int64, Token::Number(n)) => match n.parse::<i64>() {
            Ok(n) => Value::from(n),
            Err(_) => return Err(Misfit::Type(path.type_error(&format!("number {n}"), &path.go_type(kind)))),
        },
        (Kind::Float64, Token::Number(n)) => match n.parse::<f64>().ok().filter(|f| f.is_finite()) {
            Some(f) => float(f),
            None => return Err(Misfit::Type(path.type_error(&format!("number {n}"), "float64"))),
        },
        (Kind::Bytes, Token::Text(s)) => match canonical_base64(&s) {
            Ok(s) => Value::String(s),
            Err(message) => return Err(Misfit::Type(message)),
        },
        (Kind::Quantity, token) => {
            let text = match &token {
                Token::Bool(true) => "true",
                Token::Bool(false) => "false",
                Token::Number(n) => n,
                Token::Text(s) => s,
            };
            match text.trim().parse::<Quantity>() {
                Ok(q) => Value::String(q.to_string()),
                Err(error) => return Err(Misfit::Fatal(error.to_string())),
            }
        }
        (Kind::Time, Token::Text(s)) => return Ok(time::canonical(&s).map_err(Misfit::Fatal)?.map(Value::String)),
        (Kind::MicroTime, Token::Text(s)) => {
            return Ok(time::canonical_micro(&s).map_err(Misfit::Fatal)?.map(Value::String));
        }
        (Kind::Duration, Token::Text(s)) => {
            Value::String(time::duration_text(time::parse_duration(&s).map_err(Misfit::Fatal)?))
        }
        (Kind::IntOrString, Token::Text(s)) => Value::String(s.into_owned()),
        (Kind::IntOrString, Token::Number(n)) => match n.parse::<i32>() {
            Ok(n) => Value::from(n),
            Err(_) => return Err(Misfit::Fatal(path.type_error(&format!("number {n}"), "int32"))),
        },
        (Kind::RawExtension | Kind::JsonAny | Kind::FieldsV1, token) => match token {
            Token::Bool(b) => Value::Bool(b),
            Token::Number(n) => number(&n),
            Token::Text(s) => Value::String(s.into_owned()),
        },
        (Kind::SchemaOrBool(_), Token::Bool(b)) => Value::Bool(b),
        (Kind::SchemaOrBool(_), _) => return Err(Misfit::Fatal("boolean or JSON schema expected".into())),
        (Kind::SchemaOrArray(_) | Kind::SchemaOrStrings(_), _) => return Ok(None),
        (Kind::IntOrString | Kind::Time | Kind::MicroTime | Kind::Duration, token) => return Err(fatal(&token)),
        (_, token) => return Err(mismatch(&token)),
    };
    Ok(Some(value))
}

/// A number of no declared type: an integer where an int64 holds it, else a float.
pub fn number(text: &str) -> Value {
    if let Ok(n) = text.parse::<i64>() {
        return Value::from(n);
    }
    text.parse::<f64>().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

/// A float as Go writes it: without a fraction where there is none.
pub fn float(f: f64) -> Value {
    // Integers below 2^53 are exact in both forms.
    if f.fract() == 0.0 && f.abs() < 9.0e15 {
        return Value::from(f as i64);
    }
    Number::from_f64(f).map_or(Value::Null, Value::Number)
}

/// Base64 in the one form that Go writes; line breaks are skipped, as Go does.
fn canonical_base64(text: &str) -> Result<String, String> {
    let clean: Cow<'_, str> = match text.contains(['\r', '\n']) {
        true => Cow::Owned(text.replace(['\r', '\n'], "")),
        false => Cow::Borrowed(text),
    };
    match BASE64.decode(&*clean) {
        // Bits behind the end are not kept.
        Ok(bytes) => Ok(BASE64.encode(bytes)),
        Err(error) => {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => clean.len() / 4 * 4,
            };
            // Count the line breaks that stood before the place again.
            let at = text.char_indices().filter(|(_, c)| !matches!(c, '\r' | '\n')).nth(at).map_or(text.len(), |x| x.0);
            Err(format!("illegal base64 data at input byte {at}"))
        }
    }
}

/// Bytes given as base64.
pub fn base64_decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Bytes as base64.
pub fn base64_encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}
