//! JSON text straight to messages. Objects lie in memory as JSON, Go clients ask for protobuf: this is the hot path
//! between them, so nothing is built in between.
//!
//! The text is what decoding and encoding left: valid, with no member twice. Whatever is rare goes by way of a tree.

use super::encode;
use super::wire::{Back, push_tag, push_varint};
use crate::{scalar, time};
use serde_json::Value;
use steersman_schema::{Field, Kind, Type};

/// The message of an object; `None` where the text is no JSON object.
pub fn message(json: &[u8], ty: &Type) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len());
    let mut text = Text { json, at: 0 };
    object(&mut out, &mut text, ty)?;
    text.is_at_end().then_some(out)
}

/// A place in JSON text.
struct Text<'j> {
    json: &'j [u8],
    at: usize,
}

impl<'j> Text<'j> {
    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.json.get(self.at)? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                c => return Some(*c),
            }
        }
    }
    fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }
    fn take(&mut self, c: u8) -> Option<()> {
        if self.peek()? != c {
            return None;
        }
        self.at += 1;
        Some(())
    }
    /// After an element: whether another follows (a comma), or `end` does.
    fn more(&mut self, end: u8) -> Option<bool> {
        let c = self.peek()?;
        self.at += 1;
        match c {
            b',' => Some(true),
            c if c == end => Some(false),
            _ => None,
        }
    }
    /// Whether an object or list that was just opened is empty; takes its end.
    fn is_empty(&mut self, end: u8) -> Option<bool> {
        if self.peek()? != end {
            return Some(false);
        }
        self.at += 1;
        Some(true)
    }
    /// What stands between the quotes of a string, and whether there are escapes in it.
    fn quoted(&mut self) -> Option<(&'j [u8], bool)> {
        self.take(b'"')?;
        let (start, mut escaped) = (self.at, false);
        loop {
            let rest = self.json.get(self.at..)?;
            self.at += memchr::memchr2(b'"', b'\\', rest)?;
            if self.json[self.at] == b'"' {
                let inside = &self.json[start..self.at];
                self.at += 1;
                return Some((inside, escaped));
            }
            escaped = true;
            self.at += 2;
        }
    }
    /// A string as it is meant.
    fn string(&mut self) -> Option<std::borrow::Cow<'j, str>> {
        let (inside, escaped) = self.quoted()?;
        if escaped {
            let from = inside.as_ptr() as usize - self.json.as_ptr() as usize;
            return serde_json::from_slice::<String>(&self.json[from - 1..self.at]).ok().map(Into::into);
        }
        std::str::from_utf8(inside).ok().map(Into::into)
    }
    /// A value as it is written.
    fn raw(&mut self) -> Option<&'j [u8]> {
        self.peek()?;
        let (start, mut depth) = (self.at, 0usize);
        loop {
            match self.peek()? {
                b'"' => {
                    self.quoted()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' => {
                    self.at += 1;
                    continue;
                }
                _ => self.word(),
            }
            if depth == 0 {
                return Some(&self.json[start..self.at]);
            }
        }
    }
    /// Passes a number, `true`, `false` or `null`.
    fn word(&mut self) {
        let rest = &self.json[self.at..];
        let length = rest.iter().position(|c| !matches!(c, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.'));
        self.at += length.unwrap_or(rest.len()).max(1);
    }
}

/// A message in a field: what `write` writes, after its length.
fn nested(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
    push_tag(out, number, 2);
    // Most messages are short: their length takes one byte.
    out.push(0);
    let start = out.len();
    write(out)?;
    let length = out.len() - start;
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out[start - 1] = short;
        return Some(());
    }
    let mut long = Vec::with_capacity(10);
    push_varint(&mut long, length as u64);
    out.splice(start - 1..start, long);
    Some(())
}

fn bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    push_tag(out, number, 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, number: u32, n: u64) {
    push_tag(out, number, 0);
    push_varint(out, n);
}

/// Calls `f` for each member of an object.
fn members<'j>(
    text: &mut Text<'j>,
    mut f: impl FnMut(std::borrow::Cow<'j, str>, &mut Text<'j>) -> Option<()>,
) -> Option<()> {
    text.take(b'{')?;
    if text.is_empty(b'}')? {
        return Some(());
    }
    loop {
        let key = text.string()?;
        text.take(b':')?;
        f(key, text)?;
        if !text.more(b'}')? {
            return Some(());
        }
    }
}

/// Calls `f` for each element of a list.
fn elements<'j>(text: &mut Text<'j>, mut f: impl FnMut(&mut Text<'j>) -> Option<()>) -> Option<()> {
    text.take(b'[')?;
    if text.is_empty(b']')? {
        return Some(());
    }
    loop {
        f(text)?;
        if !text.more(b']')? {
            return Some(());
        }
    }
}

/// Fields that the type does not have, or that have no protobuf form, are left out.
fn object(out: &mut Vec<u8>, text: &mut Text<'_>, ty: &Type) -> Option<()> {
    let mut embedded: Vec<(&Field, &[u8])> = Vec::new();
    members(text, |key, text| {
        match ty.field(&key).filter(|f| f.number != 0) {
            None => {
                text.raw()?;
            }
            Some(field) if field.via.is_empty() => write(out, field.number, &field.kind, text)?,
            Some(field) => embedded.push((field, text.raw()?)),
        }
        Some(())
    })?;
    level(out, &embedded, 0)
}

/// The embedded messages at a depth, each with all its fields.
fn level(out: &mut Vec<u8>, fields: &[(&Field, &[u8])], depth: usize) -> Option<()> {
    let mut numbers: Vec<u32> = Vec::new();
    for (field, json) in fields {
        match field.via.get(depth) {
            None => write(out, field.number, &field.kind, &mut Text { json, at: 0 })?,
            Some(number) if !numbers.contains(number) => numbers.push(*number),
            Some(_) => {}
        }
    }
    for number in numbers {
        let inside: Vec<(&Field, &[u8])> =
            fields.iter().filter(|(f, _)| f.via.get(depth) == Some(&number)).copied().collect();
        nested(out, number, |out| level(out, &inside, depth + 1))?;
    }
    Some(())
}

fn write(out: &mut Vec<u8>, number: u32, kind: &Kind, text: &mut Text<'_>) -> Option<()> {
    match (kind, text.peek()?) {
        (_, b'n') => {
            text.raw()?;
            Some(())
        }
        (Kind::List(item), b'[') => elements(text, |text| single(out, number, item, text)),
        (Kind::Map(kind), b'{') => members(text, |key, text| {
            nested(out, number, |out| {
                bytes(out, 1, key.as_bytes());
                single(out, 2, kind, text)
            })
        }),
        _ => single(out, number, kind, text),
    }
}

/// One value.
fn single(out: &mut Vec<u8>, number: u32, kind: &Kind, text: &mut Text<'_>) -> Option<()> {
    match (kind, text.peek()?) {
        (Kind::Bool, b't' | b'f') => {
            let yes = text.raw()? == b"true";
            varint(out, number, u64::from(yes));
        }
        (Kind::Int32 | Kind::Int64, b'-' | b'0'..=b'9') => {
            let n: i64 = std::str::from_utf8(text.raw()?).ok()?.parse().ok()?;
            varint(out, number, n.cast_unsigned());
        }
        (Kind::String, b'"') => bytes(out, number, text.string()?.as_bytes()),
        (Kind::Bytes, b'"') => bytes(out, number, &scalar::base64_decode(&text.string()?).unwrap_or_default()),
        (Kind::Time | Kind::MicroTime, b'"') => {
            let written = text.string()?;
            let instant = if matches!(kind, Kind::Time) { time::parse(&written) } else { time::parse_micro(&written) };
            nested(out, number, |out| {
                if let Ok(instant) = instant {
                    varint(out, 1, instant.seconds.cast_unsigned());
                    varint(out, 2, i64::from(instant.nanos).cast_unsigned());
                }
                Some(())
            })?;
        }
        (Kind::Quantity, b'"') => {
            let written = text.string()?;
            nested(out, number, |out| {
                bytes(out, 1, written.as_bytes());
                Some(())
            })?;
        }
        // What has no fixed form stays the JSON it is.
        (Kind::RawExtension | Kind::JsonAny | Kind::FieldsV1, first) if first != b'n' => {
            let written = text.raw()?;
            nested(out, number, |out| {
                bytes(out, 1, written);
                Some(())
            })?;
        }
        (Kind::Object(ty), b'{') => nested(out, number, |out| object(out, text, ty))?,
        _ => {
            let value: Value = serde_json::from_slice(text.raw()?).ok()?;
            let mut back = Back::with_capacity(64);
            encode::single(&mut back, number, kind, &value);
            out.extend_from_slice(&back.finish());
        }
    }
    Some(())
}
