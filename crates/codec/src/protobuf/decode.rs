//! Messages to values, as Go would write them in JSON.

use super::Error;
use super::wire::{Reader, Wire};
use crate::presence::{self, MAX_DEPTH};
use crate::{scalar, time};
use serde_json::{Map, Value};
use steersman_schema::{Field, Kind, Type};

/// The object of a message.
pub fn object(bytes: &[u8], ty: &Type) -> Result<Value, Error> {
    whole(bytes, ty, 0)
}

fn whole(bytes: &[u8], ty: &Type, depth: usize) -> Result<Value, Error> {
    let mut object = Map::new();
    level(&mut object, bytes, ty, &[], depth)?;
    object.retain(|key, value| {
        let Some(field) = ty.field(key) else { return true };
        if field.typed_items {
            presence::stamp(field, value);
        }
        !presence::is_dropped(field, value)
    });
    presence::complete(ty, &mut object);
    Ok(Value::Object(object))
}

/// The fields of the message itself, or of the embedded one to which `prefix` leads.
fn level(object: &mut Map<String, Value>, bytes: &[u8], ty: &Type, prefix: &[u32], depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::TooDeep);
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        let field = match prefix {
            [] => ty.field_by_number(number),
            _ => ty.fields.iter().find(|f| f.number == number && *f.via == *prefix),
        };
        if let Some(field) = field {
            read(object, field, wire, depth)?;
        } else if ty.fields.iter().any(|f| f.via.strip_prefix(prefix).and_then(<[u32]>::first) == Some(&number)) {
            level(object, wire.bytes(number)?, ty, &[prefix, &[number]].concat(), depth + 1)?;
        }
    }
    Ok(())
}

/// One occurrence of a field: lists and maps grow, everything else is replaced.
fn read(object: &mut Map<String, Value>, field: &Field, wire: Wire<'_>, depth: usize) -> Result<(), Error> {
    match &field.kind {
        Kind::List(item) => {
            let slot = object.entry(&*field.name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(items) = slot else { return Ok(()) };
            match (&**item, wire) {
                // Lists of numbers may be packed.
                (Kind::Int32 | Kind::Int64 | Kind::Bool, Wire::Bytes(packed)) => {
                    let mut packed = Reader::new(packed);
                    while !packed.is_empty() {
                        items.push(single(item, Wire::Varint(packed.varint()?), field.number, depth)?);
                    }
                }
                _ => items.push(single(item, wire, field.number, depth)?),
            }
        }
        Kind::Map(kind) => {
            let slot = object.entry(&*field.name).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(entries) = slot else { return Ok(()) };
            let (mut key, mut value) = (String::new(), None);
            let mut entry = Reader::new(wire.bytes(field.number)?);
            while let Some((number, wire)) = entry.next()? {
                match number {
                    1 => key = text(wire.bytes(1)?),
                    2 => value = Some(single(kind, wire, 2, depth)?),
                    _ => {}
                }
            }
            entries.insert(key, value.unwrap_or_else(|| presence::zero(kind)));
        }
        kind => {
            let mut value = single(kind, wire, field.number, depth)?;
            if matches!(kind, Kind::Object(_))
                && let Some(earlier) = object.remove(&*field.name)
            {
                // Protobuf merges messages that come in pieces.
                value = presence::unite(earlier, value);
            }
            object.insert(field.name.clone().into_owned(), value);
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn single(kind: &Kind, wire: Wire<'_>, number: u32, depth: usize) -> Result<Value, Error> {
    if depth > MAX_DEPTH {
        return Err(Error::TooDeep);
    }
    Ok(match kind {
        Kind::Bool => Value::Bool(wire.varint(number)? != 0),
        // Go keeps the low bits.
        Kind::Int32 => Value::from(wire.varint(number)? as i32),
        Kind::Int64 => Value::from(wire.varint(number)?.cast_signed()),
        Kind::Float64 => match wire {
            Wire::Fixed64(bits) => scalar::float(f64::from_bits(bits)),
            Wire::Fixed32(bits) => scalar::float(f64::from(f32::from_bits(bits))),
            _ => return Err(Error::WireType(number)),
        },
        Kind::String => Value::String(text(wire.bytes(number)?)),
        Kind::Bytes => Value::String(scalar::base64_encode(wire.bytes(number)?)),
        Kind::Time | Kind::MicroTime => {
            let [seconds, nanos] = numbers(wire.bytes(number)?)?;
            let Some(seconds) = seconds else { return Ok(Value::Null) };
            let nanos = i32::try_from(nanos.unwrap_or(0)).ok().filter(|n| (0..1_000_000_000).contains(n)).unwrap_or(0);
            let instant = time::Instant { seconds, nanos };
            let text = match kind {
                _ if instant.is_zero() => None,
                Kind::Time => instant.seconds_text(),
                _ => instant.micros_text(),
            };
            text.map_or(Value::Null, Value::String)
        }
        Kind::Duration => Value::String(time::duration_text(numbers(wire.bytes(number)?)?[0].unwrap_or(0))),
        Kind::Quantity => {
            let mut found = String::new();
            let mut reader = Reader::new(wire.bytes(number)?);
            while let Some((number, wire)) = reader.next()? {
                if number == 1 {
                    found = text(wire.bytes(1)?);
                }
            }
            let quantity = found.parse::<steersman_apimachinery::Quantity>();
            Value::String(quantity.map_or_else(|_| "0".into(), |q| q.to_string()))
        }
        Kind::IntOrString => {
            let (mut is_string, mut int, mut string) = (false, 0, String::new());
            let mut reader = Reader::new(wire.bytes(number)?);
            while let Some((number, wire)) = reader.next()? {
                match number {
                    1 => is_string = wire.varint(1)? == 1,
                    2 => int = wire.varint(2)? as i32,
                    3 => string = text(wire.bytes(3)?),
                    _ => {}
                }
            }
            if is_string { Value::String(string) } else { Value::from(int) }
        }
        Kind::RawExtension | Kind::JsonAny | Kind::FieldsV1 => {
            let mut raw: &[u8] = b"";
            let mut reader = Reader::new(wire.bytes(number)?);
            while let Some((number, wire)) = reader.next()? {
                if number == 1 {
                    raw = wire.bytes(1)?;
                }
            }
            if raw.is_empty() {
                Value::Null
            } else if raw.starts_with(super::MAGIC) {
                // An envelope in an envelope in an envelope would be an attack.
                if depth + 16 > MAX_DEPTH {
                    return Err(Error::TooDeep);
                }
                enveloped(raw, depth + 16)?
            } else {
                serde_json::from_slice(raw).map_err(|_| Error::Malformed)?
            }
        }
        Kind::Object(ty) => whole(wire.bytes(number)?, ty, depth + 1)?,
        Kind::WrappedList(item) => {
            let mut items = Vec::new();
            let mut reader = Reader::new(wire.bytes(number)?);
            while let Some((number, wire)) = reader.next()? {
                if number == 1 {
                    items.push(single(item, wire, 1, depth + 1)?);
                }
            }
            Value::Array(items)
        }
        Kind::SchemaOrArray(ty) | Kind::SchemaOrBool(ty) | Kind::SchemaOrStrings(ty) => {
            union(kind, ty, wire.bytes(number)?, depth)?
        }
        Kind::List(_) | Kind::Map(_) => return Err(Error::WireType(number)),
    })
}

fn enveloped(raw: &[u8], depth: usize) -> Result<Value, Error> {
    let envelope = super::Envelope::read(raw)?;
    let gvk = envelope.gvk().ok_or(Error::Malformed)?;
    let Some(ty) = steersman_schema::lookup(&gvk.group, &gvk.version, &gvk.kind) else {
        return Err(Error::UnknownKind(gvk.to_string()));
    };
    let mut value = if envelope.content_type.ends_with("json") {
        serde_json::from_slice(envelope.raw).map_err(|_| Error::Malformed)?
    } else {
        whole(envelope.raw, &ty, depth)?
    };
    super::set_type(&mut value, &envelope);
    Ok(value)
}

/// A schema, or what may stand in its place.
fn union(kind: &Kind, ty: &Type, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let (mut schema, mut items, mut allows) = (None, Vec::new(), false);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        match (kind, number) {
            (Kind::SchemaOrBool(_), 1) => allows = wire.varint(1)? != 0,
            (Kind::SchemaOrBool(_), 2) | (Kind::SchemaOrArray(_) | Kind::SchemaOrStrings(_), 1) => {
                schema = Some(whole(wire.bytes(number)?, ty, depth + 1)?);
            }
            (Kind::SchemaOrArray(_), 2) => items.push(whole(wire.bytes(2)?, ty, depth + 1)?),
            (Kind::SchemaOrStrings(_), 2) => items.push(Value::String(text(wire.bytes(2)?))),
            _ => {}
        }
    }
    Ok(match (schema, kind) {
        (Some(schema), _) => schema,
        (None, Kind::SchemaOrBool(_)) => Value::Bool(allows),
        (None, _) if items.is_empty() => Value::Null,
        (None, _) => Value::Array(items),
    })
}

/// Fields 1 and 2 of a message of numbers.
fn numbers(bytes: &[u8]) -> Result<[Option<i64>; 2], Error> {
    let mut out = [None; 2];
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        if let Some(slot) = (number as usize).checked_sub(1).and_then(|i| out.get_mut(i)) {
            *slot = Some(wire.varint(number)?.cast_signed());
        }
    }
    Ok(out)
}
