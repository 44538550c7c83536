//! Values that others wrote: upstream's protobuf, or JSON that does not begin with kind, apiVersion and metadata.

use crate::{Strategy, encode};
use serde_json::Value;

/// What every protobuf value of upstream begins with.
const PROTOBUF: &[u8] = b"k8s\0";

/// The value as we would have stored it.
pub(crate) fn stored(value: &[u8], strategy: Option<&'static dyn Strategy>) -> Result<Vec<u8>, String> {
    let mut tree: Value = if value.starts_with(PROTOBUF) {
        steersman_codec::protobuf::decode(value).map_err(|e| e.to_string())?.1
    } else {
        serde_json::from_slice(value).map_err(|e| e.to_string())?
    };
    if let Some(s) = strategy {
        s.default(&mut tree);
    }
    encode::stored(&tree).map_err(|e| e.message)
}
