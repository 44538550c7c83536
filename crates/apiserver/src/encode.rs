//! Trees written in the client's format.

use crate::negotiate::{MediaType, Wanted};
use bytes::Bytes;
use serde_json::Value;
use steersman_apimachinery::{GroupVersion, Status};
use steersman_registry::Object;

/// A tree, with the newline that upstream ends JSON with.
pub fn value(value: &Value, wanted: &Wanted) -> Result<Bytes, Status> {
    match wanted.format {
        MediaType::Json if wanted.pretty => Ok(pretty(value).into()),
        MediaType::Json => {
            let mut out = serde_json::to_vec(value).map_err(Status::internal)?;
            out.push(b'\n');
            Ok(out.into())
        }
        MediaType::Yaml => Ok(steersman_codec::yaml::write(value).into()),
        MediaType::Protobuf => protobuf(value),
    }
}

/// A finished object in protobuf, straight from its JSON.
pub fn object_in_protobuf(object: &Object) -> Result<Bytes, Status> {
    if let Some((kind, version)) = object.kind()
        && let Some(gv) = GroupVersion::parse(version)
        && let Some(ty) = steersman_schema::lookup(&gv.group, &gv.version, kind)
        && let Some(message) = steersman_codec::protobuf::message_of_json(object.bytes(), &ty)
    {
        return Ok(steersman_codec::protobuf::seal(version, kind, &message).into());
    }
    protobuf(&object.to_value()?)
}

/// A tree in protobuf, in its `k8s\0` envelope.
pub fn protobuf(value: &Value) -> Result<Bytes, Status> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("");
    let (version, kind) = (text("apiVersion"), text("kind"));
    // Discovery of the core group names no version of its own kind.
    let gv = GroupVersion::parse(if version.is_empty() { "v1" } else { version }).unwrap_or_default();
    let ty = steersman_schema::lookup(&gv.group, &gv.version, kind).ok_or_else(|| no_protobuf(version, kind))?;
    Ok(steersman_codec::protobuf::encode(value, &ty).into())
}

/// What is said of a kind that has no protobuf form.
pub fn no_protobuf(version: &str, kind: &str) -> Status {
    Status::internal(format!("{version}, Kind={kind} has no protobuf form"))
}

/// Indented by two, as Go's `MarshalIndent`; kind, apiVersion and metadata come first.
pub fn pretty(value: &Value) -> Vec<u8> {
    indent(&steersman_codec::encode(value))
}

/// Compact JSON indented by two.
fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 3 / 2);
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    for (i, &c) in json.iter().enumerate() {
        if quoted {
            out.push(c);
            quoted = c != b'"' || escaped;
            escaped = c == b'\\' && !escaped;
            continue;
        }
        match c {
            b'{' | b'[' => {
                out.push(c);
                if !matches!(json.get(i + 1), Some(b'}' | b']')) {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                if !matches!(json.get(i.wrapping_sub(1)), Some(b'{' | b'[')) {
                    depth = depth.saturating_sub(1);
                    line(&mut out, depth);
                }
                out.push(c);
            }
            b',' => {
                out.push(c);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            c => {
                quoted = c == b'"';
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn discovery_of_the_core_group_has_a_protobuf_form() {
        for v in [
            json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": []}),
            json!({"kind": "APIVersions", "versions": ["v1"]}),
        ] {
            assert!(protobuf(&v).expect("encodes").starts_with(b"k8s\0"), "{v}");
        }
    }

    #[test]
    fn indented_as_serde_indents() {
        for v in [
            json!({"a": [], "b": {}, "c": [1, {"d": "x\\\"{,:[]"}], "e": null}),
            json!([]),
            json!("\\"),
            json!({"a": {"b": [[1]]}}),
        ] {
            let want = serde_json::to_string_pretty(&v).expect("encodes");
            assert_eq!(String::from_utf8(indent(v.to_string().as_bytes())).expect("text"), want);
        }
    }
}
