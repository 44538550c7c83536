//! The typed JSON reader: a recursive descent over the text that looks each key up in the facts of the type and builds
//! the value as Go would write it back. Hot path: no allocation but for the value itself.

use crate::json::scan;
use crate::path::Path;
use crate::presence::{self, MAX_DEPTH};
use crate::scalar::{self, Misfit, Token};
use crate::strict::Notes;
use serde_json::{Map, Value};
use std::borrow::Cow;
use steersman_schema::{Kind, Type};

/// Why there is no value.
#[derive(Debug, PartialEq, Eq)]
pub enum Fail {
    /// The text is no JSON: in Go's words.
    Syntax(String),
    /// The text is JSON, but not of this type: in Go's words.
    Data(String),
}

/// Reads an object of a type. Unknown and duplicate fields go to `notes`.
pub fn object(text: &[u8], ty: &Type, notes: &mut Notes) -> Result<Value, Fail> {
    let text = well_formed(text)?;
    run(&text, notes, |parser| parser.document(ty))
}

/// Reads any JSON value; duplicate keys go to `notes`.
pub fn any(text: &[u8], notes: &mut Notes) -> Result<Value, Fail> {
    let text = well_formed(text)?;
    run(&text, notes, |parser| parser.any(&Path::Root, 0, true))
}

fn run(
    text: &str,
    notes: &mut Notes,
    read: impl FnOnce(&mut Parser<'_, '_>) -> Result<Value, Error>,
) -> Result<Value, Fail> {
    let mut parser = Parser { text, bytes: text.as_bytes(), at: 0, notes };
    let result = read(&mut parser).and_then(|value| {
        parser.space();
        if parser.at == parser.bytes.len() { Ok(value) } else { Err(Error::Syntax) }
    });
    match result {
        Ok(value) => match parser.notes.type_error.take() {
            None => Ok(value),
            Some(message) => Err(Fail::Data(message)),
        },
        Err(error) => {
            // Go checks the syntax of the whole text before it decodes anything.
            scan::check(text.as_bytes()).map_err(Fail::Syntax)?;
            match error {
                Error::Data(message) => Err(Fail::Data(message)),
                Error::Syntax => Err(Fail::Data("json: exceeded max depth".into())),
            }
        }
    }
}

/// The text with each byte that is no UTF-8 replaced, as Go does within strings.
fn well_formed(text: &[u8]) -> Result<Cow<'_, str>, Fail> {
    if let Ok(text) = std::str::from_utf8(text) {
        return Ok(Cow::Borrowed(text));
    }
    scan::check(text).map_err(Fail::Syntax)?;
    let mut out = String::with_capacity(text.len() + 16);
    for chunk in text.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Ok(Cow::Owned(out))
}

enum Error {
    /// The scanner will tell what.
    Syntax,
    Data(String),
}

struct Parser<'a, 'n> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    notes: &'n mut Notes,
}

/// Which fields of an object were seen; types with more fields than bits have their last fields unchecked for repeats.
#[derive(Default)]
struct Seen([u64; 4]);

impl Seen {
    /// Marks the field; true if it was marked before.
    fn mark(&mut self, at: usize) -> bool {
        let Some(word) = self.0.get_mut(at / 64) else { return false };
        let bit = 1 << (at % 64);
        let before = *word & bit != 0;
        *word |= bit;
        before
    }
}

impl<'a> Parser<'a, '_> {
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Result<u8, Error> {
        self.space();
        self.bytes.get(self.at).copied().ok_or(Error::Syntax)
    }

    /// Goes past the next byte that is no space, which must be `want`.
    fn expect(&mut self, want: u8) -> Result<(), Error> {
        if self.peek()? != want {
            return Err(Error::Syntax);
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), Error> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(Error::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    /// After a member or an item: whether another follows.
    fn more(&mut self, close: u8) -> Result<bool, Error> {
        let c = self.peek()?;
        self.at += 1;
        match c {
            b',' => Ok(true),
            c if c == close => Ok(false),
            _ => Err(Error::Syntax),
        }
    }

    /// Goes past the opening byte; whether anything is inside.
    fn open(&mut self, close: u8) -> Result<bool, Error> {
        self.at += 1;
        if self.peek()? == close {
            self.at += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<Cow<'a, str>, Error> {
        if self.peek()? != b'"' {
            return Err(Error::Syntax);
        }
        let key = self.string()?;
        self.expect(b':')?;
        Ok(key)
    }

    fn document(&mut self, ty: &Type) -> Result<Value, Error> {
        match self.peek()? {
            b'{' => self.object(ty, &Path::Root, 0),
            b'n' => {
                self.word("null")?;
                let mut object = Map::new();
                presence::complete(ty, &mut object);
                Ok(Value::Object(object))
            }
            _ => {
                let got = self.skip()?;
                Err(Error::Data(Path::Root.type_error(got, &ty.go_name)))
            }
        }
    }

    fn object(&mut self, ty: &Type, path: &Path<'_>, depth: usize) -> Result<Value, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Syntax);
        }
        let mut object = Map::new();
        let mut seen = Seen::default();
        let mut more = self.open(b'}')?;
        while more {
            let key = self.key()?;
            match ty.position(&key) {
                Some(at) => {
                    let field = &ty.fields[at];
                    let here = Path::Field(path, ty, field);
                    let again = seen.mark(at);
                    if again {
                        self.notes.duplicate(&here);
                    }
                    let mut value = self.value(&field.kind, &here, depth + 1)?;
                    if again && let Some(earlier) = object.remove(&*field.name) {
                        value = value.map(|later| presence::unite(earlier, later));
                    }
                    if let Some(value) = value.as_mut().filter(|_| field.typed_items) {
                        presence::stamp(field, value);
                    }
                    if let Some(value) = value
                        && !presence::is_dropped(field, &value)
                    {
                        object.insert(key.into_owned(), value);
                    }
                }
                None if ty.preserve_unknown => {
                    let value = self.any(&Path::Key(path, &key), depth + 1, true)?;
                    object.insert(key.into_owned(), value);
                }
                None => {
                    self.notes.unknown(&Path::Key(path, &key));
                    self.skip()?;
                }
            }
            more = self.more(b'}')?;
        }
        presence::complete(ty, &mut object);
        Ok(Value::Object(object))
    }

    /// A value of a kind; `None` where it is null (or Go's zero time).
    fn value(&mut self, kind: &Kind, path: &Path<'_>, depth: usize) -> Result<Option<Value>, Error> {
        let next = self.peek()?;
        if next == b'n' {
            self.word("null")?;
            return Ok(None);
        }
        match (kind, next) {
            (Kind::Object(ty), b'{') => self.object(ty, path, depth).map(Some),
            (Kind::List(item) | Kind::WrappedList(item), b'[') => self.list(item, path, depth).map(Some),
            (Kind::Map(value), b'{') => self.map(value, path, depth).map(Some),
            (Kind::RawExtension | Kind::JsonAny | Kind::FieldsV1, b'{' | b'[') => {
                self.any(path, depth, false).map(Some)
            }
            (Kind::SchemaOrArray(ty) | Kind::SchemaOrBool(ty) | Kind::SchemaOrStrings(ty), b'{') => {
                // Go reads these with a decoder that is not strict.
                let strict = std::mem::replace(&mut self.notes.strict, false);
                let value = self.object(ty, path, depth);
                self.notes.strict = strict;
                value.map(Some)
            }
            (Kind::SchemaOrArray(ty), b'[') => self.list(&Kind::Object(ty.clone()), path, depth).map(Some),
            (Kind::SchemaOrStrings(_), b'[') => self.list(&Kind::String, path, depth).map(Some),
            (Kind::Bytes, b'[') => self.byte_list(path).map(Some),
            (_, b'"' | b't' | b'f' | b'-' | b'0'..=b'9') => {
                let token = self.token(next)?;
                match scalar::read(kind, token, path) {
                    Ok(value) => Ok(value),
                    Err(Misfit::Type(message)) => {
                        self.notes.misfit(message);
                        Ok(None)
                    }
                    Err(Misfit::Fatal(message)) => Err(Error::Data(message)),
                }
            }
            (Kind::Quantity, b'{' | b'[') => {
                let start = self.at;
                self.skip()?;
                let text = &self.text[start..self.at];
                match scalar::read(kind, Token::Text(Cow::Borrowed(text)), path) {
                    Err(Misfit::Fatal(message) | Misfit::Type(message)) => Err(Error::Data(message)),
                    Ok(value) => Ok(value),
                }
            }
            (_, b'{' | b'[') => {
                let got = self.skip()?;
                let message = path.type_error(got, &path.go_type(kind));
                match kind {
                    Kind::Time | Kind::MicroTime | Kind::Duration | Kind::IntOrString => Err(Error::Data(message)),
                    Kind::SchemaOrBool(_) => Err(Error::Data("boolean or JSON schema expected".into())),
                    _ => {
                        self.notes.misfit(message);
                        Ok(None)
                    }
                }
            }
            _ => Err(Error::Syntax),
        }
    }

    fn list(&mut self, item: &Kind, path: &Path<'_>, depth: usize) -> Result<Value, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Syntax);
        }
        let mut items = Vec::new();
        let mut more = self.open(b']')?;
        while more {
            let here = Path::Index(path, items.len());
            let value = self.value(item, &here, depth + 1)?;
            items.push(value.unwrap_or_else(|| presence::zero(item)));
            more = self.more(b']')?;
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, kind: &Kind, path: &Path<'_>, depth: usize) -> Result<Value, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Syntax);
        }
        let mut entries = Map::new();
        let mut more = self.open(b'}')?;
        while more {
            let key = self.key()?;
            let here = Path::Key(path, &key);
            if entries.contains_key(&*key) {
                self.notes.duplicate(&here);
            }
            let value = self.value(kind, &here, depth + 1)?;
            entries.insert(key.into_owned(), value.unwrap_or_else(|| presence::zero(kind)));
            more = self.more(b'}')?;
        }
        Ok(Value::Object(entries))
    }

    /// Bytes given as a list of numbers, which Go takes too.
    fn byte_list(&mut self, path: &Path<'_>) -> Result<Value, Error> {
        let mut bytes = Vec::new();
        let mut more = self.open(b']')?;
        while more {
            let mut byte = 0;
            match self.peek()? {
                b'n' => self.word("null")?,
                next @ (b'-' | b'0'..=b'9') => match self.token(next)? {
                    Token::Number(n) => match n.parse::<u8>() {
                        Ok(n) => byte = n,
                        Err(_) => self.notes.misfit(path.type_error(&format!("number {n}"), "uint8")),
                    },
                    _ => return Err(Error::Syntax),
                },
                _ => {
                    let got = self.skip()?;
                    self.notes.misfit(path.type_error(got, "uint8"));
                }
            }
            bytes.push(byte);
            more = self.more(b']')?;
        }
        Ok(Value::String(scalar::base64_encode(&bytes)))
    }

    /// A value of no declared type; `strict` notes repeated keys.
    fn any(&mut self, path: &Path<'_>, depth: usize, strict: bool) -> Result<Value, Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Syntax);
        }
        let next = self.peek()?;
        match next {
            b'{' => {
                let mut entries = Map::new();
                let mut more = self.open(b'}')?;
                while more {
                    let key = self.key()?;
                    let here = Path::Key(path, &key);
                    if strict && entries.contains_key(&*key) {
                        self.notes.duplicate(&here);
                    }
                    let value = self.any(&here, depth + 1, strict)?;
                    entries.insert(key.into_owned(), value);
                    more = self.more(b'}')?;
                }
                Ok(Value::Object(entries))
            }
            b'[' => {
                let mut items = Vec::new();
                let mut more = self.open(b']')?;
                while more {
                    let value = self.any(&Path::Index(path, items.len()), depth + 1, strict)?;
                    items.push(value);
                    more = self.more(b']')?;
                }
                Ok(Value::Array(items))
            }
            b'n' => self.word("null").map(|()| Value::Null),
            _ => Ok(match self.token(next)? {
                Token::Bool(b) => Value::Bool(b),
                Token::Number(n) => scalar::number(&n),
                Token::Text(s) => Value::String(s.into_owned()),
            }),
        }
    }

    /// A scalar other than null, of which `next` is the first byte.
    fn token(&mut self, next: u8) -> Result<Token<'a>, Error> {
        match next {
            b'"' => self.string().map(Token::Text),
            b't' => self.word("true").map(|()| Token::Bool(true)),
            b'f' => self.word("false").map(|()| Token::Bool(false)),
            b'-' | b'0'..=b'9' => {
                let end = scan::number(self.bytes, self.at).map_err(|_| Error::Syntax)?;
                let text = &self.text[self.at..end];
                self.at = end;
                Ok(Token::Number(Cow::Borrowed(text)))
            }
            _ => Err(Error::Syntax),
        }
    }

    /// Goes past a value and says what it was, as type errors tell it.
    fn skip(&mut self) -> Result<&'static str, Error> {
        let got = match self.peek()? {
            b'{' => "object",
            b'[' => "array",
            b'"' => "string",
            b't' | b'f' => "bool",
            b'n' => "null",
            _ => "number",
        };
        self.at += scan::value_end(&self.bytes[self.at..]).map_err(|_| Error::Syntax)?;
        Ok(got)
    }

    /// The string at the quote.
    fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            match self.bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Cow::Borrowed(&self.text[start..at]));
                }
                Some(b'\\') => return self.escaped_string(start, at),
                Some(0x20..) => at += 1,
                _ => return Err(Error::Syntax),
            }
        }
    }

    /// The rest of a string that has escapes; the first stands at `at`.
    fn escaped_string(&mut self, start: usize, at: usize) -> Result<Cow<'a, str>, Error> {
        let mut out = String::with_capacity(at - start + 32);
        let (mut plain, mut at) = (start, at);
        loop {
            match self.bytes.get(at) {
                Some(b'"') => {
                    out.push_str(&self.text[plain..at]);
                    self.at = at + 1;
                    return Ok(Cow::Owned(out));
                }
                Some(b'\\') => {
                    out.push_str(&self.text[plain..at]);
                    let (c, length) = self.escape(at + 1).ok_or(Error::Syntax)?;
                    out.push(c);
                    at += 1 + length;
                    plain = at;
                }
                Some(0x20..) => at += 1,
                _ => return Err(Error::Syntax),
            }
        }
    }

    /// The character that the escape behind the backslash stands for, and its length. Surrogates without their other
    /// half become U+FFFD, as in Go.
    fn escape(&self, at: usize) -> Option<(char, usize)> {
        let c = match self.bytes.get(at)? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex(at + 1)?;
                if let Some(c) = char::from_u32(high) {
                    return Some((c, 5));
                }
                let low = (self.bytes.get(at + 5..at + 7) == Some(b"\\u")).then(|| self.hex(at + 7)).flatten();
                return Some(match low {
                    Some(low) if high < 0xdc00 && (0xdc00..0xe000).contains(&low) => {
                        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                        (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 11)
                    }
                    _ => (char::REPLACEMENT_CHARACTER, 5),
                });
            }
            _ => return None,
        };
        Some((c, 1))
    }

    fn hex(&self, at: usize) -> Option<u32> {
        let digits = self.bytes.get(at..at + 4)?;
        digits.iter().try_fold(0, |n, c| Some(n * 16 + char::from(*c).to_digit(16)?))
    }
}
