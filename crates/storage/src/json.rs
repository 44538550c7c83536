//! The one thing this crate knows of what it keeps: objects begin with kind, apiVersion and metadata, and the
//! resourceVersion stands first in metadata.
//!
//! Stored: `{"kind":"K","apiVersion":"g/v","metadata":{"name":..` — finished: the same with
//! `"resourceVersion":"12",` right after `"metadata":{`.

use bytes::Bytes;

const METADATA: &[u8] = b"\"metadata\":{";
const VERSION: &[u8] = b"\"resourceVersion\":\"";

/// The offset of `"metadata":{` in a stored or finished object; `None` where the object does not begin as it should.
pub fn body_offset(value: &[u8]) -> Option<usize> {
    let mut at = string_member(value, 1, b"\"kind\":\"").filter(|_| value.first() == Some(&b'{'))?;
    at = string_member(value, at, b"\"apiVersion\":\"")?;
    value[at..].starts_with(METADATA).then_some(at)
}

/// Skips `"name":"...",` at `at`; kinds and apiVersions have no escapes.
fn string_member(value: &[u8], at: usize, name: &[u8]) -> Option<usize> {
    let rest = value.get(at..)?.strip_prefix(name)?;
    let end = rest.iter().position(|b| matches!(b, b'"' | b'\\'))?;
    rest[end..].starts_with(b"\",").then_some(at + name.len() + end + 2)
}

/// A finished object from a stored one: the bytes and the offset of `"metadata"`. `None` where the value does not begin
/// as it should or already has a resourceVersion there.
pub fn finish(value: &[u8], revision: u64) -> Option<(Bytes, u32)> {
    let body = body_offset(value)?;
    let at = body + METADATA.len();
    let rest = &value[at..];
    if rest.starts_with(VERSION) {
        return None;
    }
    Some((
        assemble(&value[..at], revision, if rest.first() == Some(&b'}') { b"" } else { b"," }, rest),
        u32::try_from(body).ok()?,
    ))
}

fn assemble(head: &[u8], revision: u64, comma: &[u8], rest: &[u8]) -> Bytes {
    let digits = revision.to_string();
    let mut out = Vec::with_capacity(head.len() + VERSION.len() + digits.len() + 1 + comma.len() + rest.len());
    for part in [head, VERSION, digits.as_bytes(), b"\"", comma, rest] {
        out.extend_from_slice(part);
    }
    Bytes::from(out)
}

/// Splits a finished object around its resourceVersion: up to `"metadata":{`, and what follows the version and comma.
fn around(finished: &[u8], body: u32) -> (&[u8], &[u8]) {
    let at = body as usize + METADATA.len();
    let (head, tail) = finished.split_at(at);
    let rest = &tail[VERSION.len()..];
    let end = rest.iter().position(|b| *b == b'"').map_or(rest.len(), |i| i + 1);
    (head, rest[end..].strip_prefix(b",").unwrap_or(&rest[end..]))
}

/// The same finished object at another revision.
pub fn at_revision(finished: &[u8], body: u32, revision: u64) -> Bytes {
    let (head, rest) = around(finished, body);
    assemble(head, revision, if rest.first() == Some(&b'}') { b"" } else { b"," }, rest)
}

/// The stored form of a finished object.
pub fn stored(finished: &[u8], body: u32) -> Vec<u8> {
    let (head, rest) = around(finished, body);
    [head, rest].concat()
}

/// Whether a finished object is made of exactly this stored value.
pub fn is_made_of(finished: &[u8], body: u32, value: &[u8]) -> bool {
    let (head, rest) = around(finished, body);
    value.len() == head.len() + rest.len() && value.starts_with(head) && value.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_put_in_changed_and_taken_out() {
        let value = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{}}"#;
        let (bytes, body) = finish(value, 42).expect("finished");
        assert_eq!(
            &bytes[..],
            br#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"42","name":"a"},"spec":{}}"#
        );
        assert_eq!(body, 32);
        let later = at_revision(&bytes, body, 1234);
        assert_eq!(
            &later[..],
            br#"{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"1234","name":"a"},"spec":{}}"#
        );
        assert_eq!(stored(&later, body), value);
        assert!(is_made_of(&later, body, value));
        assert!(!is_made_of(&later, body, br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"b"},"spec":{}}"#));
    }

    #[test]
    fn empty_metadata_gets_no_comma() {
        let value = br#"{"kind":"K","apiVersion":"g/v1","metadata":{}}"#;
        let (bytes, body) = finish(value, 7).expect("finished");
        assert_eq!(&bytes[..], br#"{"kind":"K","apiVersion":"g/v1","metadata":{"resourceVersion":"7"}}"#);
        assert_eq!(stored(&bytes, body), value);
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "{",
            "{}",
            "k8s\0",
            r#"{"apiVersion":"v1","kind":"K","metadata":{}}"#,
            r#"{"kind":"K\"","apiVersion":"v1","metadata":{}}"#,
        ] {
            assert_eq!(finish(bad.as_bytes(), 1), None, "{bad}");
        }
    }
}
