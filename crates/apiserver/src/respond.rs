//! Answers: objects as the client wants them, statuses, plain text.

use crate::body::{Body, CHUNK};
use crate::encode;
use crate::negotiate::{self, Endpoint, MediaType, Transform, Wanted};
use crate::query::Query;
use crate::transform::{self, Include, View};
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Map, Value, json};
use steersman_apimachinery::Status;
use steersman_apimachinery::field::go_quote;
use steersman_registry::Object;

/// An answer.
pub type Reply = Response<Body>;

/// Answers from this size on are compressed for clients that unpack gzip (upstream's threshold).
pub const GZIP_FROM: usize = 128 << 10;

/// What of a request decides how it is answered.
pub struct Asked<'a> {
    /// The request's.
    pub headers: &'a HeaderMap,
    /// The request's.
    pub query: &'a Query,
}

impl Asked<'_> {
    /// An answer of some type, compressed where that pays.
    pub fn reply(&self, code: u16, content_type: &'static str, body: Bytes) -> Reply {
        let large = body.len() >= GZIP_FROM && negotiate::takes_gzip(self.headers);
        let mut reply = new(code, content_type, body.into());
        if large {
            compress(&mut reply);
        }
        reply
    }

    /// A status, in the client's format if it names one that we write, else in JSON.
    pub fn status(&self, s: &Status) -> Reply {
        let code = if s.code == 0 { 200 } else { s.code };
        let mut reply = match negotiate::wanted(self.headers, self.query, Endpoint::Plain) {
            Ok(Wanted { format: MediaType::Json, pretty: false, .. }) => {
                let mut json = s.to_json();
                json.push(b'\n');
                new(code, MediaType::Json.as_str(), json.into())
            }
            Ok(w) => self.value(code, &status_value(s), &w),
            // A failure is not hidden behind a failed negotiation.
            Err(_) => new(code, MediaType::Json.as_str(), encode::pretty(&status_value(s)).into()),
        };
        if let Some(after) = s.details.as_ref().map(|d| d.retry_after_seconds).filter(|n| *n > 0) {
            reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after));
        }
        reply
    }

    /// A tree as it is.
    pub fn value(&self, code: u16, value: &Value, wanted: &Wanted) -> Reply {
        match encode::value(value, wanted) {
            Ok(bytes) => self.reply(code, wanted.format.as_str(), bytes),
            Err(e) => new(500, MediaType::Json.as_str(), e.to_json().into()),
        }
    }

    /// A discovery document or the like, which is at hand as JSON.
    pub fn document(&self, json: &Bytes) -> Reply {
        match negotiate::wanted(self.headers, self.query, Endpoint::Plain) {
            Ok(Wanted { format: MediaType::Json, pretty: false, .. }) => {
                self.reply(200, MediaType::Json.as_str(), json.clone())
            }
            Ok(w) => match tree(json) {
                Ok(value) => self.value(200, &value, &w),
                Err(e) => self.status(&e),
            },
            Err(e) => self.status(&e),
        }
    }

    /// One object.
    pub fn object(&self, code: u16, object: &Object, wanted: &Wanted, view: &View<'_>) -> Result<Reply, Status> {
        let include = self.include(wanted)?;
        match (wanted.transform, wanted.format) {
            (Transform::None, MediaType::Json) if !wanted.pretty => {
                let mut out = BytesMut::with_capacity(object.bytes().len() + 1);
                out.put_slice(object.bytes());
                out.put_u8(b'\n');
                Ok(self.reply(code, MediaType::Json.as_str(), out.freeze()))
            }
            (Transform::None, MediaType::Protobuf) => {
                Ok(self.reply(code, wanted.format.as_str(), encode::object_in_protobuf(object)?))
            }
            (Transform::None, _) => Ok(self.value(code, &object.to_value()?, wanted)),
            _ => self.one(code, object.to_value()?, wanted, view, include),
        }
    }

    /// One object that is at hand as a tree. A Status is never turned into anything.
    pub fn tree(&self, code: u16, object: Value, wanted: &Wanted, view: &View<'_>) -> Result<Reply, Status> {
        let include = self.include(wanted)?;
        if wanted.transform == Transform::None || object.get("kind").is_some_and(|k| k == "Status") {
            return Ok(self.value(code, &object, wanted));
        }
        self.one(code, object, wanted, view, include)
    }

    fn one(
        &self,
        code: u16,
        object: Value,
        wanted: &Wanted,
        view: &View<'_>,
        include: Include,
    ) -> Result<Reply, Status> {
        let turned = match wanted.transform {
            Transform::None => object,
            Transform::PartialObjectMetadata => transform::partial(object, wanted.meta_version),
            Transform::PartialObjectMetadataList => {
                return Err(negotiate::refused_transform(format!(
                    "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
                    view.go_type(false)
                )));
            }
            Transform::Table => {
                let version = object.pointer("/metadata/resourceVersion").cloned();
                let mut metadata = Map::new();
                metadata.extend(version.map(|v| ("resourceVersion".to_owned(), v)));
                let rows = vec![transform::row(object, view, include, wanted.meta_version)];
                transform::table(metadata, Some(view), rows, wanted.meta_version)
            }
        };
        Ok(self.value(code, &turned, wanted))
    }

    /// A list of trees, from computed resources.
    pub fn trees(&self, objects: Vec<Value>, wanted: &Wanted, view: &View<'_>) -> Result<Reply, Status> {
        let include = self.include(wanted)?;
        let version = wanted.meta_version;
        let whole = match wanted.transform {
            Transform::Table => {
                let rows = objects.into_iter().map(|o| transform::row(o, view, include, version)).collect();
                transform::table(Map::new(), Some(view), rows, version)
            }
            Transform::PartialObjectMetadataList => {
                let items: Vec<Value> = objects.into_iter().map(|o| transform::partial(o, version)).collect();
                let version = format!("meta.k8s.io/{version}");
                json!({"kind": "PartialObjectMetadataList", "apiVersion": version, "metadata": {}, "items": items})
            }
            _ => {
                let items: Vec<Value> = objects.into_iter().map(without_kind).collect();
                json!({"kind": view.list_kind(), "apiVersion": view.api_version(), "metadata": {}, "items": items})
            }
        };
        Ok(self.value(200, &whole, wanted))
    }

    /// What rows of a table carry.
    pub fn include(&self, wanted: &Wanted) -> Result<Include, Status> {
        if wanted.transform == Transform::Table { Include::parse(self.query) } else { Ok(Include::Metadata) }
    }
}

/// Items of a list carry neither kind nor apiVersion.
pub fn without_kind(mut object: Value) -> Value {
    if let Some(m) = object.as_object_mut() {
        m.remove("kind");
        m.remove("apiVersion");
    }
    object
}

/// JSON of our own as a tree.
pub fn tree(json: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(json).map_err(Status::internal)
}

/// The whole Status object as a tree.
pub fn status_value(s: &Status) -> Value {
    serde_json::from_slice(&s.to_json()).unwrap_or_default()
}

/// An answer.
pub fn new(code: u16, content_type: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// Plain text as Go's `http.Error` writes it.
pub fn text(code: u16, body: impl Into<Body>) -> Reply {
    let mut reply = new(code, "text/plain; charset=utf-8", body.into());
    reply.headers_mut().insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    reply
}

/// 500 in plain text, for requests that no handler has seen (rule: `responsewriters.InternalError`).
pub fn internal_error(uri: &http::Uri, why: &str) -> Reply {
    let target = uri.path_and_query().map_or("", |p| p.as_str());
    let told = format!("Internal Server Error: {}: {why}", go_quote(target));
    text(500, told.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;") + "\n")
}

/// 404 of paths that are not the API's.
pub fn page_not_found() -> Reply {
    text(404, "404 page not found\n")
}

/// Compresses the body of an answer.
pub fn compress(reply: &mut Reply) {
    let body = std::mem::replace(reply.body_mut(), Body::empty());
    *reply.body_mut() = body.gzip();
    reply.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    reply.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
}

const _: () = assert!(GZIP_FROM >= CHUNK);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_errors_name_the_request() {
        let uri = "/api/v1/watch?a=b&c".parse().expect("a URI");
        let Body::Full(told) = internal_error(&uri, "why").into_body() else { panic!("is at hand") };
        assert_eq!(told, "Internal Server Error: \"/api/v1/watch?a=b&amp;c\": why\n");
    }
}
