//! Which media type an answer gets (rule: apiserver `pkg/endpoints/handlers/negotiation`), and the checks that
//! upstream's router makes before (rule: go-restful `jsr311.go`).

use crate::query::Query;
use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use steersman_apimachinery::Status;
use steersman_apimachinery::status::{Details, Reason};
use steersman_apimachinery::text::parse_bool;
use steersman_codec::media::{self, As, Offer};
pub use steersman_codec::{MediaType, Negotiated};

/// The media types of objects, as messages list them.
pub const OBJECT_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// The media types of lists, which may be watched.
pub const LIST_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// What the object is turned into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Transform {
    #[default]
    None,
    Table,
    PartialObjectMetadata,
    PartialObjectMetadataList,
}

/// How the client wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How it is written.
    pub format: MediaType,
    /// Into what it is turned.
    pub transform: Transform,
    /// The version of the group meta.k8s.io that [`Wanted::transform`] has.
    pub meta_version: &'static str,
    /// Whether JSON is indented.
    pub pretty: bool,
}

impl Wanted {
    /// Plain JSON.
    pub const JSON: Self =
        Self { format: MediaType::Json, transform: Transform::None, meta_version: "v1", pretty: false };
}

/// What an endpoint can turn its objects into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Nothing: discovery, statuses.
    Plain,
    /// Tables and metadata.
    Resource,
    /// The same, as a watch.
    Watch,
}

fn header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
}

/// How the answer to a request is written.
pub fn wanted(headers: &HeaderMap, query: &Query, endpoint: Endpoint) -> Result<Wanted, Status> {
    let accept = header(headers, &ACCEPT);
    let pretty = pretty(headers, query);
    if accept.is_empty() || accept == "application/json" || accept == "*/*" {
        return Ok(Wanted { pretty, ..Wanted::JSON });
    }
    let watch = endpoint == Endpoint::Watch;
    let offer = Offer { watch, list: false, shapes: endpoint != Endpoint::Plain, discovery: false };
    let n = media::negotiate(accept, offer)?;
    let (transform, beta) = match n.shape {
        As::Object | As::AggregatedDiscovery => (Transform::None, false),
        As::Table { v1beta1 } => (Transform::Table, v1beta1),
        As::PartialObjectMetadata { v1beta1 } => (Transform::PartialObjectMetadata, v1beta1),
        As::PartialObjectMetadataList { v1beta1 } => (Transform::PartialObjectMetadataList, v1beta1),
    };
    let meta_version = if beta { "v1beta1" } else { "v1" };
    Ok(Wanted { format: n.media, transform, meta_version, pretty: pretty || n.pretty })
}

/// Whether, and how, the aggregated form of discovery is wanted.
pub fn aggregated(headers: &HeaderMap) -> Option<Negotiated> {
    let offer = Offer { discovery: true, ..Offer::default() };
    media::negotiate(header(headers, &ACCEPT), offer).ok().filter(|n| n.shape == As::AggregatedDiscovery)
}

/// 406 for an object that cannot be turned into what was asked for.
pub fn refused_transform(why: String) -> Status {
    Status::failure(406, Reason::NotAcceptable, why)
}

/// Whether JSON is indented: asked for, or by default for command-line tools and browsers.
fn pretty(headers: &HeaderMap, query: &Query) -> bool {
    match query.first("pretty") {
        Some(v) if !v.is_empty() => parse_bool(v) == Some(true),
        _ => {
            let agent = header(headers, &USER_AGENT);
            ["curl", "Wget", "Mozilla/5.0"].iter().any(|p| agent.starts_with(p))
        }
    }
}

/// Whether the client unpacks gzip.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    header(headers, &ACCEPT_ENCODING).split(',').any(|e| e.split(';').next().unwrap_or("").trim() == "gzip")
}

/// How the body of a request is written; absent means JSON.
pub fn body_format(headers: &HeaderMap) -> Result<MediaType, Status> {
    MediaType::of_body(header(headers, &CONTENT_TYPE))
}

/// The router's check of Accept against what a route produces; the error is the router's, with details.
pub fn route_accepts(headers: &HeaderMap, method: &http::Method, produces: &str) -> Result<(), Status> {
    let accept = header(headers, &ACCEPT);
    if accept.is_empty() || produces == "*/*" {
        return Ok(());
    }
    let fits = accept
        .split(',')
        .map(|a| a.split(';').next().unwrap_or("").trim())
        .any(|a| a == "*/*" || produces.split(", ").any(|p| p == a));
    if fits {
        return Ok(());
    }
    let length = header(headers, &http::header::CONTENT_LENGTH);
    let body_less = matches!(method.as_str(), "POST" | "PUT" | "PATCH") && matches!(length, "" | "0");
    if body_less {
        return Err(from_router(
            415,
            Reason::UnsupportedMediaType,
            &format!("415: Unsupported Media Type\n\nAvailable representations: {produces}"),
        ));
    }
    Err(from_router(
        406,
        Reason::NotAcceptable,
        &format!("406: Not Acceptable\n\nAvailable representations: {produces}"),
    ))
}

/// An error of the router: its Status has details, though empty ones.
pub fn from_router(code: u16, reason: Reason, message: &str) -> Status {
    Status::failure(code, reason, message).with_details(Details::default())
}

/// 404 of the router.
pub fn no_such_route() -> Status {
    from_router(404, Reason::NotFound, "the server could not find the requested resource")
}

/// 405 of the router.
pub fn method_not_allowed() -> Status {
    from_router(405, Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_by_default_for_people() {
        let check = |agent: &str, query: &str, want: bool| {
            let mut h = HeaderMap::new();
            h.insert(USER_AGENT, agent.parse().expect("header"));
            let got = wanted(&h, &Query::parse(query), Endpoint::Resource).expect("JSON");
            assert_eq!(got.pretty, want, "{agent} {query}");
        };
        check("curl/8.0", "", true);
        check("curl/8.0", "pretty=false", false);
        check("kubectl/v1.36.0", "", false);
        check("kubectl/v1.36.0", "pretty=true", true);
    }

    #[test]
    fn the_router_knows_no_half_wildcards() {
        let mut h = HeaderMap::new();
        h.insert(ACCEPT, "application/*".parse().expect("header"));
        let e = route_accepts(&h, &http::Method::GET, OBJECT_TYPES).expect_err("refused");
        assert_eq!(
            (e.code, e.message),
            (406, format!("406: Not Acceptable\n\nAvailable representations: {OBJECT_TYPES}"))
        );
    }
}
