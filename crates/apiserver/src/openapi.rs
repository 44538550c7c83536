//! `/openapi/v2` and `/openapi/v3` (rule: kube-openapi `pkg/handler`, `pkg/handler3`).

use crate::api::{self, Api, Incomings};
use crate::body::Body;
use crate::discovery::{Entry, entry};
use crate::negotiate;
use crate::respond::{self, Reply};
use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, ETAG, EXPIRES, HeaderValue, IF_NONE_MATCH, LOCATION, VARY,
};
use jiff::{Span, Timestamp};
use std::collections::BTreeMap;
use steersman_apimachinery::GroupVersionKind;
use steersman_apimachinery::gvk::Str;
use steersman_component::version;
use steersman_openapi::{Document, OpenApi};
use steersman_registry::{Resource, SubBehaviour, Subresource};

const V2_PROTOBUF: [&str; 2] =
    ["com.github.proto-openapi.spec.v2@v1.0+protobuf", "com.github.proto-openapi.spec.v2.v1.0+protobuf"];

/// The documents of the built-in resources.
pub fn documents(table: impl Iterator<Item = &'static Resource>) -> OpenApi {
    let mut apis: BTreeMap<(&str, &str), steersman_openapi::Api> = BTreeMap::new();
    for e in table.map(entry) {
        let (group, version) = (e.info.group, e.info.version);
        let api = apis.entry((group, version)).or_insert_with(|| steersman_openapi::Api {
            group: group.into(),
            version: version.into(),
            ..steersman_openapi::Api::default()
        });
        api.resources.push(resource(&e));
    }
    OpenApi::new(version::GIT_VERSION, apis.into_values().collect())
}

fn strs(all: &'static [&'static str]) -> Vec<Str> {
    all.iter().map(|v| Str::Borrowed(v)).collect()
}

fn resource(e: &Entry) -> steersman_openapi::Resource {
    let i = e.info;
    let sub = |s: &'static Subresource| {
        let (group, version) = if s.kind.1.is_empty() { (i.group, i.version) } else { (s.kind.0, s.kind.1) };
        let kind = if s.kind.2.is_empty() { i.kind } else { s.kind.2 };
        steersman_openapi::Subresource {
            name: s.name.into(),
            gvk: GroupVersionKind::from_static(group, version, kind),
            verbs: strs(s.verbs),
            connect: matches!(s.behaviour, SubBehaviour::Connect) && s.name != "log",
        }
    };
    steersman_openapi::Resource {
        name: i.resource.into(),
        kind: i.kind.into(),
        namespaced: i.namespaced,
        verbs: strs(i.verbs),
        subresources: e.subresources.iter().map(sub).collect(),
        definition: Str::default(),
    }
}

/// Serves a path below `/openapi/`.
pub fn serve(api: &Api, request: &Incomings) -> Reply {
    let path = request.info.path.trim_start_matches("/openapi/");
    match path.split_once('/') {
        None if path == "v2" => v2(api, request),
        None if path == "v3" => index(api, request),
        Some(("v3", "")) => index(api, request),
        Some(("v3", document)) => v3(api, request, document),
        _ => respond::page_not_found(),
    }
}

/// Which of some media subtypes of `application` the client prefers; a wildcard means the first.
fn preferred(request: &Incomings, offered: &[&'static str]) -> Option<&'static str> {
    let accept = request.headers().get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    if accept.is_empty() {
        return offered.first().copied();
    }
    let mut best: Option<(f32, &'static str)> = None;
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        let quality = parts.find_map(|p| p.strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0);
        let found = match media {
            "*/*" | "application/*" => offered.first().copied(),
            m => m.strip_prefix("application/").and_then(|m| offered.iter().copied().find(|o| *o == m)),
        };
        if let Some(found) = found
            && best.is_none_or(|(q, _)| quality > q)
        {
            best = Some((quality, found));
        }
    }
    best.map(|(_, m)| m)
}

fn v2(api: &Api, request: &Incomings) -> Reply {
    match preferred(request, &["json", V2_PROTOBUF[0], V2_PROTOBUF[1]]) {
        None => api::empty(406),
        Some("json") => document(request, &api.openapi.v2()),
        Some(_) => document(request, &api.openapi.v2_protobuf()),
    }
}

fn index(api: &Api, request: &Incomings) -> Reply {
    // Upstream neither asks for the accepted types here nor names one, so that Go's server guesses one from the text.
    document(request, &Document::new(&api.openapi.index(), "text/plain; charset=utf-8"))
}

fn v3(api: &Api, request: &Incomings, path: &str) -> Reply {
    let Some(found) = api.openapi.v3(path) else { return api::empty(404) };
    if preferred(request, &["json"]).is_none() {
        return api::empty(406);
    }
    match request.query.first("hash") {
        None | Some("") => document(request, &found),
        Some(hash) if hash == found.etag => {
            // The hash stands in the address, so the document never changes.
            let mut reply = document(request, &found);
            let headers = reply.headers_mut();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            if let Ok(next_year) = Timestamp::now().checked_add(Span::new().hours(365 * 24))
                && let Ok(date) = HeaderValue::from_str(&next_year.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
            {
                headers.insert(EXPIRES, date);
            }
            reply
        }
        Some(_) => {
            let mut reply = api::empty(301);
            if let Ok(to) = HeaderValue::from_str(&format!("{}?hash={}", request.parts.uri.path(), found.etag)) {
                reply.headers_mut().insert(LOCATION, to);
            }
            reply
        }
    }
}

fn document(request: &Incomings, d: &Document) -> Reply {
    let tag = format!("\"{}\"", d.etag);
    let unchanged = request.headers().get(IF_NONE_MATCH).is_some_and(|t| t.as_bytes() == tag.as_bytes());
    let mut reply = if unchanged {
        api::empty(304)
    } else if negotiate::takes_gzip(request.headers()) {
        let mut reply = respond::new(200, d.content_type, Body::Full(d.gzip.clone()));
        reply.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        reply
    } else {
        respond::new(200, d.content_type, Body::Full(Bytes::from(d.plain())))
    };
    let headers = reply.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    reply
}
