//! Bodies of requests: read within the limit, and decoded by the kind's schema.

use crate::api::Incomings;
use crate::negotiate::{self, MediaType};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde_json::Value;
use steersman_apimachinery::options::FieldValidation;
use steersman_apimachinery::{GroupVersion, GroupVersionKind, Status};
use steersman_registry::Context;

/// Most bytes of a body.
pub const LIMIT: usize = 3 << 20;
/// How much more of a body that is too large is read before the answer, so that clients that send first get to see it.
const DRAINED: usize = 32 << 20;

/// The whole body; 413 where it is too large.
pub async fn read(request: &mut Incomings) -> Result<Bytes, Status> {
    let Some(mut body) = request.body.take() else { return Ok(Bytes::new()) };
    let (mut first, mut all, mut seen) = (None, BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Status::bad_request(e.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen > DRAINED {
            break;
        }
        if seen > LIMIT {
            continue;
        }
        // Most bodies come in one piece, which is then not copied.
        match first.take() {
            None if all.is_empty() => first = Some(data),
            None => all.extend_from_slice(&data),
            Some(one) => {
                all.extend_from_slice(&one);
                all.extend_from_slice(&data);
            }
        }
    }
    if seen > LIMIT {
        return Err(Status::too_large(format!("limit is {LIMIT}")));
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// The object in a body, by the schema of `kind`, in one of the versions `accepted` besides; warnings go to the context.
pub fn object(
    context: &Context,
    body: &[u8],
    format: MediaType,
    kind: &GroupVersionKind,
    accepted: &[GroupVersion],
    validation: FieldValidation,
) -> Result<Value, Status> {
    let decoded = steersman_codec::decode_object(body, format, kind, accepted, validation)?;
    for w in decoded.warnings {
        context.warn(w);
    }
    Ok(decoded.value)
}

/// The options in the body of a deletion; `None` where there is no body.
pub fn delete_options(request: &Incomings, body: &[u8]) -> Result<Option<Value>, Status> {
    if body.is_empty() {
        return Ok(None);
    }
    let format = negotiate::body_format(request.headers())?;
    let kind = GroupVersionKind::from_static("", "v1", "DeleteOptions");
    steersman_codec::decode_options(body, format, &kind).map(Some)
}
