//! The parts of an object that selectors can ask for, read without building the rest of it.
//!
//! Hot path: runs once for every write that the watch cache sees.

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// How deep values are kept: `status.podIPs[0].ip` is four steps down.
const DEPTH: u8 = 4;

/// What is read besides the metadata.
#[derive(Clone, Copy)]
pub(crate) enum Members {
    Nothing,
    Everything,
    /// The members of members of the object, as `spec.nodeName`.
    Only(&'static [&'static str]),
}

/// Reads of an object: metadata (scalars and labels), and of `members` the scalars up to a depth of four and the first
/// element of lists.
pub(crate) fn read(json: &[u8], members: Members) -> Result<Value, serde_json::Error> {
    let mut d = serde_json::Deserializer::from_slice(json);
    let v = d.deserialize_any(Part::Object(members))?;
    d.end()?;
    Ok(v)
}

#[derive(Clone, Copy)]
enum Part {
    Object(Members),
    /// A member of which some members are wanted: the paths from the first of those on, and how long its part of them is.
    Chosen(&'static [&'static str], usize),
    Metadata,
    Labels,
    Body(u8),
}

impl Part {
    fn member(self, name: &str) -> Option<Part> {
        match self {
            Self::Object(_) if name == "metadata" => Some(Self::Metadata),
            Self::Object(Members::Nothing) => None,
            Self::Object(Members::Everything) => Some(Self::Body(1)),
            Self::Object(Members::Only(paths)) => {
                let begins = |path: &str| path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
                let first = paths.iter().position(|p| begins(p))?;
                Some(Self::Chosen(&paths[first..], name.len() + 1))
            }
            Self::Chosen(paths, length) => {
                let prefix = &paths[0][..length];
                let wanted = paths.iter().any(|p| p.strip_prefix(prefix) == Some(name));
                wanted.then_some(Self::Body(2))
            }
            Self::Metadata if name == "labels" => Some(Self::Labels),
            Self::Metadata => (!matches!(name, "managedFields" | "annotations")).then_some(Self::Body(DEPTH)),
            Self::Labels => Some(Self::Body(DEPTH)),
            Self::Body(depth) => (depth < DEPTH).then_some(Self::Body(depth + 1)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(kept) = map.next_key_seed(Member(self))? {
            match kept {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some((part, name)) => {
                    let value = map.next_value_seed(part)?;
                    out.insert(name, value);
                }
            }
        }
        Ok(Value::Object(out))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        if let Some(part) = self.member("")
            && let Some(first) = seq.next_element_seed(part)?
        {
            out.push(first);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array(out))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// Reads a member's name; allocates only for those that are kept.
struct Member(Part);

impl<'de> DeserializeSeed<'de> for Member {
    type Value = Option<(Part, String)>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Member {
    type Value = Option<(Part, String)>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }
    fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
        Ok(self.0.member(v).map(|part| (part, v.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keeps_what_selectors_need() {
        let text = json!({
            "kind": "K", "metadata": {"name": "a", "labels": {"x": "y"}, "annotations": {"big": "b"}, "managedFields": [{"a": 1}]},
            "spec": {"node": "n", "list": [{"a": {"b": 1}}, {"c": 2}], "deep": {"a": {"b": {"c": 1}}}},
            "status": {"ips": [{"ip": "1.2.3.4"}]}
        })
        .to_string();
        let full = read(text.as_bytes(), Members::Everything).unwrap();
        assert_eq!(full["metadata"], json!({"name": "a", "labels": {"x": "y"}}));
        assert_eq!(full["spec"]["node"], "n");
        assert_eq!(full["spec"]["list"].as_array().map(Vec::len), Some(1));
        assert_eq!(full["status"]["ips"][0]["ip"], "1.2.3.4");
        assert_eq!(full["spec"]["deep"]["a"]["b"], json!({}));
        let labels = read(text.as_bytes(), Members::Nothing).unwrap();
        assert!(labels.get("spec").is_none() && labels["metadata"]["labels"]["x"] == "y");
        let some = read(text.as_bytes(), Members::Only(&["spec.node", "spec.none", "status.ips"])).unwrap();
        assert_eq!(some["spec"], json!({"node": "n"}));
        assert_eq!(some["status"], full["status"]);
        assert!(some.get("kind").is_none() && some["metadata"] == full["metadata"]);
        for bad in ["", "{", "[1", "{\"a\":}", "{} x"] {
            assert!(read(bad.as_bytes(), Members::Everything).is_err(), "{bad}");
        }
    }
}
