//! Between trees and the stored form.

use bytes::Bytes;
use serde_json::Value;
use steersman_apimachinery::{Status, object};
use steersman_storage::json;

/// The stored form of an object: kind, apiVersion and metadata first, the rest sorted, no resourceVersion.
pub(crate) fn stored(object: &Value) -> Result<Vec<u8>, Status> {
    if !object.get("metadata").is_some_and(Value::is_object) {
        return Err(Status::internal("an object has no metadata"));
    }
    Ok(steersman_codec::encode_stored(object).into())
}

/// A finished object of a stored form at a revision; revision 0 (nothing was stored) gives none.
pub(crate) fn finished(stored: Vec<u8>, revision: u64) -> Result<crate::Object, Status> {
    let bad = || Status::internal("an object does not begin with kind, apiVersion and metadata");
    if revision == 0 {
        let body = json::body_offset(&stored).ok_or_else(bad)?;
        return Ok(crate::Object::new(Bytes::from(stored), u32::try_from(body).map_err(Status::internal)?, 0));
    }
    let (bytes, body) = json::finish(&stored, revision).ok_or_else(bad)?;
    Ok(crate::Object::new(bytes, body, revision))
}

/// A finished object of a tree, with the resourceVersion that the tree has.
pub(crate) fn object(tree: &Value) -> Result<crate::Object, Status> {
    finished(stored(tree)?, object::resource_version(tree).parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_is_fixed_and_the_version_is_not_stored() {
        let o = json!({"spec": {"b": 1, "a": 2}, "metadata": {"resourceVersion": "7", "name": "x", "generation": 1}, "kind": "K", "apiVersion": "g/v1", "data": {}});
        let s = stored(&o).unwrap();
        assert_eq!(
            String::from_utf8(s.clone()).unwrap(),
            r#"{"kind":"K","apiVersion":"g/v1","metadata":{"generation":1,"name":"x"},"data":{},"spec":{"a":2,"b":1}}"#
        );
        let f = finished(s, 9).unwrap();
        assert_eq!((f.revision(), f.to_value().unwrap()["metadata"]["resourceVersion"].as_str()), (9, Some("9")));
        assert!(f.item().starts_with(br#""metadata":{"resourceVersion":"9","#));
        let empty = object(&json!({"kind": "K", "apiVersion": "v1", "metadata": {}})).unwrap();
        assert_eq!(&empty.bytes()[..], br#"{"kind":"K","apiVersion":"v1","metadata":{}}"#);
    }
}
