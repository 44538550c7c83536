//! Requests across sites, for `--cors-allowed-origins` (rule: apiserver `pkg/server/filters/cors.go`).

use crate::api::{self, Incomings};
use crate::config::Config;
use crate::respond::Reply;
use http::header::{HeaderName, HeaderValue, ORIGIN};
use http::{HeaderMap, Method};
use regex::Regex;

const ALLOW_ORIGIN: HeaderName = http::header::ACCESS_CONTROL_ALLOW_ORIGIN;

/// The origin, if it may ask.
fn allowed<'a>(config: &Config, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    if config.cors.is_empty() {
        return None;
    }
    let origin = headers.get(ORIGIN)?;
    let text = origin.to_str().ok()?;
    config.cors.iter().any(|p| Regex::new(p).is_ok_and(|r| r.is_match(text))).then_some(origin)
}

/// The answer to a preflight request of an allowed origin.
pub fn preflight(config: &Config, request: &Incomings) -> Option<Reply> {
    if request.parts.method != Method::OPTIONS {
        return None;
    }
    allowed(config, request.headers())?;
    let mut reply = api::empty(204);
    allow(config, request, &mut reply);
    Some(reply)
}

/// Adds the headers that let an allowed origin read the answer.
pub fn allow(config: &Config, request: &Incomings, reply: &mut Reply) {
    let Some(origin) = allowed(config, request.headers()).cloned() else { return };
    let headers = reply.headers_mut();
    headers.insert(ALLOW_ORIGIN, origin);
    for (name, value) in [
        ("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE, PATCH"),
        (
            "access-control-allow-headers",
            "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since",
        ),
        ("access-control-expose-headers", "Date"),
        ("access-control-allow-credentials", "true"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}
