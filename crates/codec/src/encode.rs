//! Objects to bytes, and the bytes of stored objects to those of answers. Hot path: copies bytes, parses nothing.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};

/// Writes an object: kind, apiVersion and metadata first, the rest sorted.
pub fn encode(value: &Value) -> Bytes {
    write(value, false)
}

/// Writes an object as it goes to etcd: without `metadata.resourceVersion`, which is the revision of the key.
pub fn encode_stored(value: &Value) -> Bytes {
    write(value, true)
}

fn write(value: &Value, stored: bool) -> Bytes {
    let Value::Object(object) = value else {
        return Bytes::from(value.to_string());
    };
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    for key in ["kind", "apiVersion"] {
        if let Some(value) = object.get(key) {
            member(&mut out, key, value);
        }
    }
    match object.get("metadata") {
        Some(Value::Object(metadata)) if stored => {
            separate(&mut out);
            out.extend_from_slice(b"\"metadata\":");
            members(&mut out, metadata, "resourceVersion");
        }
        Some(metadata) => member(&mut out, "metadata", metadata),
        None => {}
    }
    for (key, value) in object {
        if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
            member(&mut out, key, value);
        }
    }
    out.push(b'}');
    Bytes::from(out)
}

fn members(out: &mut Vec<u8>, object: &Map<String, Value>, without: &str) {
    out.push(b'{');
    for (key, value) in object {
        if key != without {
            member(out, key, value);
        }
    }
    out.push(b'}');
}

fn separate(out: &mut Vec<u8>) {
    if !matches!(out.last(), Some(b'{')) {
        out.push(b',');
    }
}

fn member(out: &mut Vec<u8>, key: &str, value: &Value) {
    separate(out);
    serde_json::to_writer(&mut *out, key).expect("writing a string to memory");
    out.push(b':');
    serde_json::to_writer(&mut *out, value).expect("writing a value with string keys to memory");
}

/// The bytes of a stored object with its resource version in `metadata`, and the offset at which the members behind
/// kind and apiVersion begin: `{` and the bytes from there on are the object as a list item. `None` where the bytes are
/// no object with metadata.
pub fn splice_resource_version(stored: &[u8], revision: u64) -> Option<(Bytes, usize)> {
    if let Some(spliced) = splice(stored, revision).filter(|(_, body)| *body > 1) {
        return Some(spliced);
    }
    // Written by someone else, in another order.
    let value: Value = serde_json::from_slice(stored).ok()?;
    if !value.get("metadata").is_some_and(Value::is_object) {
        return None;
    }
    splice(&encode_stored(&value), revision)
}

fn splice(stored: &[u8], revision: u64) -> Option<(Bytes, usize)> {
    const METADATA: &[u8] = b"\"metadata\":{";
    let body = body_offset(stored);
    let rest = stored.get(body..)?.strip_prefix(METADATA)?;
    let at = body + METADATA.len();
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(revision);
    let mut out = BytesMut::with_capacity(stored.len() + digits.len() + 24);
    out.put_slice(&stored[..at]);
    out.put_slice(b"\"resourceVersion\":\"");
    out.put_slice(digits.as_bytes());
    out.put_slice(if rest.first() == Some(&b'}') { b"\"" } else { b"\"," });
    out.put_slice(rest);
    Some((out.freeze(), body))
}

/// Where the members behind kind and apiVersion begin, in bytes that [`encode`] wrote: 1 where it has neither.
pub fn body_offset(encoded: &[u8]) -> usize {
    let mut at = 1;
    for key in [&b"\"kind\":\""[..], &b"\"apiVersion\":\""[..]] {
        let Some(value) = encoded.get(at..).and_then(|rest| rest.strip_prefix(key)) else { continue };
        // Kinds and versions have no escapes.
        let Some(end) = memchr::memchr(b'"', value) else { continue };
        at = encoded.len() - value.len() + end + 1;
        if encoded.get(at) == Some(&b',') {
            at += 1;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_and_splicing() {
        let object = json!({"apiVersion":"v1","data":{"a":"<&>"},"kind":"ConfigMap",
            "metadata":{"name":"c","resourceVersion":"7"},"aa":1});
        let stored = encode_stored(&object);
        assert_eq!(
            &stored[..],
            br#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"},"aa":1,"data":{"a":"<&>"}}"#
        );
        let (bytes, body) = splice_resource_version(&stored, 42).expect("an object");
        assert_eq!(&bytes[body..], br#""metadata":{"resourceVersion":"42","name":"c"},"aa":1,"data":{"a":"<&>"}}"#);
        let (bytes, body) =
            splice_resource_version(br#"{"metadata":{},"apiVersion":"v1","kind":"X"}"#, 1).expect("one");
        assert_eq!(&bytes[..], br#"{"kind":"X","apiVersion":"v1","metadata":{"resourceVersion":"1"}}"#);
        assert_eq!(body, body_offset(&bytes));
        assert_eq!(splice_resource_version(b"k8s\0", 1), None);
    }
}
