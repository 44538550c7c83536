//! Making answers.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

/// A body that may come in pieces.
pub(super) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// An answer.
pub(super) type Reply = Response<Body>;

pub(super) fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Bytes of some type.
pub(super) fn typed(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(body(bytes));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

/// Plain text.
pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Reply {
    typed(status, "text/plain; charset=utf-8", text.into())
}

/// An error as Go's `http.Error` writes it, with a line end.
pub(super) fn error(status: StatusCode, why: impl std::fmt::Display) -> Reply {
    text(status, format!("{why}\n"))
}

/// A document.
pub(super) fn json(value: &impl serde::Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(bytes) => typed(StatusCode::OK, "application/json", bytes),
        Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}
