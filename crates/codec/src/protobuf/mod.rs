//! Kubernetes' protobuf, driven by the facts of each type: the numbers and kinds of the fields are data, not code
//! (rule: apimachinery `pkg/runtime/serializer/protobuf`).
//!
//! A whole object is `k8s\0` and a `runtime.Unknown` with its kind, its version and its message. Frames of a watch hold
//! a bare `WatchEvent` whose object is such an envelope.

mod decode;
mod encode;
mod transcode;
mod wire;

pub use encode::message;
pub use transcode::message as message_of_json;

use serde_json::{Map, Value};
use std::fmt;
use steersman_apimachinery::{GroupVersion, GroupVersionKind};
use steersman_schema::{Type, lookup};
use wire::{Back, Reader};

/// What every envelope begins with.
pub const MAGIC: &[u8] = b"k8s\0";

/// Why bytes are no object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// They do not begin with [`MAGIC`].
    NoMagic,
    /// They end too early, or a length or a tag is wrong.
    Malformed,
    /// A field has the wrong wire type.
    WireType(u32),
    /// Messages nest too deep.
    TooDeep,
    /// The kind is not known.
    UnknownKind(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMagic => {
                f.write_str("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
            }
            Self::Malformed => f.write_str("unexpected EOF"),
            Self::WireType(number) => write!(f, "proto: wrong wireType for field {number}"),
            Self::TooDeep => f.write_str("proto: message nests too deep"),
            Self::UnknownKind(kind) => write!(f, "no kind {kind} is registered"),
        }
    }
}

impl std::error::Error for Error {}

/// A `runtime.Unknown`, borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'b> {
    /// `typeMeta.apiVersion`, maybe empty.
    pub api_version: &'b str,
    /// `typeMeta.kind`, maybe empty.
    pub kind: &'b str,
    /// The message of the object.
    pub raw: &'b [u8],
    /// Empty, or `application/json` where the object is JSON (custom resources).
    pub content_type: &'b str,
}

impl<'b> Envelope<'b> {
    /// Opens an envelope.
    pub fn read(bytes: &'b [u8]) -> Result<Self, Error> {
        let body = bytes.strip_prefix(MAGIC).ok_or(Error::NoMagic)?;
        let text = |b: &'b [u8]| std::str::from_utf8(b).map_err(|_| Error::Malformed);
        let mut out = Self::default();
        let mut reader = Reader::new(body);
        while let Some((number, value)) = reader.next()? {
            match number {
                1 => {
                    let mut meta = Reader::new(value.bytes(1)?);
                    while let Some((number, value)) = meta.next()? {
                        match number {
                            1 => out.api_version = text(value.bytes(1)?)?,
                            2 => out.kind = text(value.bytes(2)?)?,
                            _ => {}
                        }
                    }
                }
                2 => out.raw = value.bytes(2)?,
                4 => out.content_type = text(value.bytes(4)?)?,
                _ => {}
            }
        }
        Ok(out)
    }

    /// The object, as one of that type.
    pub fn decode(&self, ty: &Type) -> Result<Value, Error> {
        if self.content_type.ends_with("json") {
            return serde_json::from_slice(self.raw).map_err(|_| Error::Malformed);
        }
        decode::object(self.raw, ty)
    }

    /// What the envelope says of the kind; `None` where the version has no sensible form.
    pub fn gvk(&self) -> Option<GroupVersionKind> {
        let gv = GroupVersion::parse(self.api_version)?;
        Some(GroupVersionKind { group: gv.group, version: gv.version, kind: self.kind.to_owned().into() })
    }
}

/// Reads a whole object of a built-in kind, with its kind and version set.
pub fn decode(bytes: &[u8]) -> Result<(GroupVersionKind, Value), Error> {
    let envelope = Envelope::read(bytes)?;
    let gvk = envelope.gvk().ok_or(Error::Malformed)?;
    let Some(ty) = lookup(&gvk.group, &gvk.version, &gvk.kind) else {
        return Err(Error::UnknownKind(gvk.to_string()));
    };
    let mut value = envelope.decode(&ty)?;
    set_type(&mut value, &envelope);
    Ok((gvk, value))
}

/// Reads a whole object as one of that type; kind and version are set where the envelope says them.
pub fn decode_as(bytes: &[u8], ty: &Type) -> Result<Value, Error> {
    let envelope = Envelope::read(bytes)?;
    let mut value = envelope.decode(ty)?;
    set_type(&mut value, &envelope);
    Ok(value)
}

fn set_type(value: &mut Value, envelope: &Envelope<'_>) {
    if let Value::Object(object) = value {
        for (key, text) in [("kind", envelope.kind), ("apiVersion", envelope.api_version)] {
            if !text.is_empty() {
                object.insert(key.into(), Value::from(text));
            }
        }
    }
}

/// Writes a whole object; its own `kind` and `apiVersion` go into the envelope.
pub fn encode(value: &Value, ty: &Type) -> Vec<u8> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("");
    seal(text("apiVersion"), text("kind"), &message(value, ty))
}

/// The envelope around a message.
pub fn seal(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Back::with_capacity(raw.len() + api_version.len() + kind.len() + 32);
    // Upstream writes contentEncoding and contentType, too, empty.
    out.bytes(4, b"");
    out.bytes(3, b"");
    out.bytes(2, raw);
    let end = out.len();
    out.bytes(2, kind.as_bytes());
    out.bytes(1, api_version.as_bytes());
    out.close(1, end);
    out.raw(MAGIC);
    out.finish()
}

/// What stands before and after the items of a list, for a list that is written piece by piece. `items` is the length of
/// all that [`list_item`] gives.
pub fn list_frame(api_version: &str, kind: &str, metadata: &Map<String, Value>, items: usize) -> (Vec<u8>, Vec<u8>) {
    // All lists have their metadata in field 1 and their items in field 2.
    let mut own = Back::with_capacity(256);
    if let Some(ty) = steersman_schema::definition("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta") {
        own.bytes(1, &message(&Value::Object(metadata.clone()), &ty));
    }
    let own = own.finish();
    let mut head = Back::with_capacity(own.len() + 128);
    head.raw(&own);
    head.open(2, own.len() + items);
    let end = head.len();
    head.bytes(2, kind.as_bytes());
    head.bytes(1, api_version.as_bytes());
    head.close(1, end);
    head.raw(MAGIC);
    let mut tail = Back::with_capacity(4);
    tail.bytes(4, b"");
    tail.bytes(3, b"");
    (head.finish(), tail.finish())
}

/// One item of a list, of its message.
pub fn list_item(message: &[u8]) -> Vec<u8> {
    let mut out = Back::with_capacity(message.len() + 8);
    out.bytes(2, message);
    out.finish()
}

/// The body of a watch frame: a bare `WatchEvent`; `object` is a whole object in its envelope. The caller writes the
/// length (four bytes, big-endian) in front.
pub fn watch_event(event: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Back::with_capacity(object.len() + 32);
    let end = out.len();
    out.bytes(1, object);
    out.close(2, end);
    out.bytes(1, event.as_bytes());
    out.finish()
}
