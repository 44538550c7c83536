//! The watch stream: one JSON line per event, decoded straight into the type.

use std::{collections::BTreeMap, marker::PhantomData};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{Error, Result, transport::WatchSlot};

/// Marks the bookmark after which a watch with `sendInitialEvents` has sent all that was there.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
/// A buffer that had to hold a larger event is given back afterwards.
const KEPT_BUFFER: usize = 16 * 1024;

/// One event of a watch.
#[derive(Clone, Debug)]
pub enum WatchEvent<K> {
    /// The object is new, or newly matches the selector.
    Added(K),
    /// The object has changed.
    Modified(K),
    /// The object is gone, or no longer matches the selector; its last state.
    Deleted(K),
    /// Nothing happened up to this resource version.
    Bookmark {
        /// From here the watch can be resumed.
        resource_version: String,
        /// All initial events have been sent.
        initial_events_end: bool,
    },
}

/// A running watch.
pub struct WatchStream<K> {
    body: Incoming,
    /// What has arrived and was not looked at yet.
    chunk: Bytes,
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    _slot: WatchSlot,
    _type: PhantomData<fn() -> K>,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    type_: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct BookmarkMeta {
    resource_version: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct BookmarkObject {
    metadata: BookmarkMeta,
}

impl<K: DeserializeOwned> WatchStream<K> {
    pub(crate) fn new(body: Incoming, slot: WatchSlot) -> Self {
        Self { body, chunk: Bytes::new(), partial: Vec::new(), _slot: slot, _type: PhantomData }
    }

    /// The next event; `None` when the server has ended the watch. An ERROR event becomes [`Error::Api`].
    ///
    /// Cancel safe: a dropped call loses no event.
    pub async fn next(&mut self) -> Result<Option<WatchEvent<K>>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.chunk) {
                let line = self.chunk.split_to(end + 1);
                if self.partial.is_empty() {
                    if line.len() > 1 {
                        return decode(&line).map(Some);
                    }
                } else {
                    self.partial.extend_from_slice(&line);
                    let event = decode(&self.partial);
                    self.partial.clear();
                    self.partial.shrink_to(KEPT_BUFFER);
                    return event.map(Some);
                }
                continue;
            }
            self.partial.extend_from_slice(&self.chunk);
            self.chunk = Bytes::new();
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.chunk = data;
                    }
                }
                Some(Err(error)) => return Err(Error::Transport(error.to_string())),
                None => return Ok(None),
            }
        }
    }
}

fn decode<K: DeserializeOwned>(line: &[u8]) -> Result<WatchEvent<K>> {
    let frame: Frame<'_> = serde_json::from_slice(line)?;
    let object = frame.object.get().as_bytes();
    match frame.type_ {
        "ADDED" => Ok(WatchEvent::Added(serde_json::from_slice(object)?)),
        "MODIFIED" => Ok(WatchEvent::Modified(serde_json::from_slice(object)?)),
        "DELETED" => Ok(WatchEvent::Deleted(serde_json::from_slice(object)?)),
        "BOOKMARK" => {
            let BookmarkObject { metadata } = serde_json::from_slice(object)?;
            Ok(WatchEvent::Bookmark {
                initial_events_end: metadata.annotations.get(INITIAL_EVENTS_END).is_some_and(|v| v == "true"),
                resource_version: metadata.resource_version,
            })
        }
        _ => Err(Error::api(500, object)),
    }
}

#[cfg(test)]
mod tests {
    use steersman_api::k8s_openapi::api::core::v1::ConfigMap;

    use super::*;
    use crate::Object;

    #[test]
    fn decodes_each_type_of_event() {
        let check = |line: &str, expect: &str| {
            let text = match decode::<ConfigMap>(line.as_bytes()) {
                Ok(WatchEvent::Added(o)) => format!("added {}", o.key()),
                Ok(WatchEvent::Modified(o)) => format!("modified {}", o.key()),
                Ok(WatchEvent::Deleted(o)) => format!("deleted {}", o.key()),
                Ok(WatchEvent::Bookmark { resource_version, initial_events_end }) => {
                    format!("bookmark {resource_version} {initial_events_end}")
                }
                Err(error) => format!("{} {error}", error.code()),
            };
            assert_eq!(text, expect);
        };
        check(
            r#"{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"namespace":"a","name":"b"}}}"#,
            "added a/b",
        );
        check(r#"{"type":"DELETED","object":{"metadata":{"name":"b"}}}"#, "deleted b");
        check(
            r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
            "bookmark 7 true",
        );
        check(
            r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410}}"#,
            "410 too old",
        );
        check("nonsense", "0 cannot decode or encode an object: expected ident at line 1 column 2");
    }
}
