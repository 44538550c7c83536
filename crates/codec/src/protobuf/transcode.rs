//! JSON text straight to messages. Objects lie in memory as JSON, Go clients ask for protobuf: this is the hot path
//! between them, so nothing is built in between.
//!
//! The text is what decoding and encoding left: valid, with no member twice. Whatever is rare goes by way of a tree.

use super::encode;
use super::wire::{Back, push_tag, push_varint};
use crate::json::text::Text;
use crate::{scalar, time};
use serde_json::Value;
use std::borrow::Cow;
use steersman_schema::{Field, Kind, Type};

/// The message of an object; `None` where the text is no JSON object.
pub fn message(json: &[u8], ty: &Type) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len());
    let mut text = Text::new(json);
    object(&mut out, &mut text, ty)?;
    text.is_at_end().then_some(out)
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
fn members<'j>(text: &mut Text<'j>, mut f: impl FnMut(Cow<'j, str>, &mut Text<'j>) -> Option<()>) -> Option<()> {
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
            None => write(out, field.number, &field.kind, &mut Text::new(json))?,
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
