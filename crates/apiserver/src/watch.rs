//! The stream of a watch: events written in the client's format, many at once
//! (rule: apiserver `pkg/endpoints/handlers/watch.go`).
//!
//! This is a hot path: plain JSON events are copied from the watch cache, never parsed, and an event costs one copy.

use crate::body::{Body, BoxError, CHUNK};
use crate::encode;
use crate::frames;
use crate::negotiate::{MediaType, Transform, Wanted};
use crate::respond::{self, Reply};
use crate::transform::{self, Include, View};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http_body::Frame;
use http_body_util::StreamBody;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Map, Value, json};
use std::pin::Pin;
use steersman_apimachinery::Status;
use steersman_registry::{Watch, WatchEvent};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Writes events.
pub struct Writer {
    wanted: Wanted,
    view: View<'static>,
    include: Include,
    /// What an empty object of the kind has besides kind, apiVersion and metadata: bookmarks have it too.
    empty: Map<String, Value>,
    /// Whether a table has told its columns.
    told: bool,
    /// Whether every event stands alone, without length or newline (WebSocket).
    bare: bool,
}

impl Writer {
    /// `empty` is an empty object of the kind.
    pub fn new(wanted: Wanted, view: View<'static>, include: Include, empty: Map<String, Value>, bare: bool) -> Self {
        Self { wanted, view, include, empty, told: false, bare }
    }

    /// Appends an event. False: it was an error, and the watch ends.
    pub fn write(&mut self, event: &WatchEvent, out: &mut BytesMut) -> Result<bool, Status> {
        let (kind, object) = match event {
            WatchEvent::Added(o) => ("ADDED", Some(o)),
            WatchEvent::Modified(o) => ("MODIFIED", Some(o)),
            WatchEvent::Deleted(o) => ("DELETED", Some(o)),
            WatchEvent::Bookmark { .. } => ("BOOKMARK", None),
            WatchEvent::Error(_) => ("ERROR", None),
        };
        match (object, event) {
            (Some(o), _) if self.wanted.format == MediaType::Json && self.wanted.transform == Transform::None => {
                self.json(kind, o.bytes(), out);
            }
            // Rows tell ages, and the first one the columns: they are each watcher's own.
            (Some(o), _) if self.wanted.transform == Transform::Table => {
                let tree = self.turned(o.to_value()?);
                self.tree(kind, &tree, out)?;
            }
            (Some(o), _) => {
                let form = (kind, self.wanted.format.as_str(), self.variant());
                let frame = frames::shared(o.bytes(), form, || {
                    let mut frame = BytesMut::new();
                    match (self.wanted.format, self.wanted.transform) {
                        (MediaType::Protobuf, Transform::None) => {
                            protobuf_event(kind, &encode::object_in_protobuf(o)?, self.bare, &mut frame);
                        }
                        (MediaType::Json, Transform::PartialObjectMetadata | Transform::PartialObjectMetadataList)
                            if let Some(json) = transform::partial_json(o, self.wanted.meta_version) =>
                        {
                            self.json(kind, &json, &mut frame);
                        }
                        _ => {
                            let tree = self.turned(o.to_value()?);
                            self.tree(kind, &tree, &mut frame)?;
                        }
                    }
                    Ok::<_, Status>(frame.freeze())
                })?;
                out.extend_from_slice(&frame);
            }
            (None, WatchEvent::Bookmark { revision, initial_events_end }) => {
                let tree = self.bookmark(*revision, *initial_events_end);
                let tree = self.turned(tree);
                self.tree(kind, &tree, out)?;
            }
            (None, WatchEvent::Error(s)) => {
                self.tree(kind, &respond::status_value(s), out)?;
                return Ok(false);
            }
            (None, _) => {}
        }
        Ok(true)
    }

    /// Tells apart what is written differently from the same object in the same media type.
    fn variant(&self) -> u8 {
        let whole = u8::from(self.wanted.transform == Transform::None);
        whole | u8::from(self.wanted.meta_version == "v1") << 1 | u8::from(self.bare) << 2
    }

    fn json(&self, kind: &str, object: &[u8], out: &mut BytesMut) {
        out.reserve(object.len() + 40);
        out.put_slice(b"{\"type\":\"");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\",\"object\":");
        out.put_slice(object);
        out.put_slice(if self.bare { b"}" } else { b"}\n" });
    }

    fn tree(&self, kind: &str, tree: &Value, out: &mut BytesMut) -> Result<(), Status> {
        match self.wanted.format {
            MediaType::Protobuf => {
                protobuf_event(kind, &encode::protobuf(tree)?, self.bare, out);
                Ok(())
            }
            _ => {
                let json = serde_json::to_vec(tree).map_err(Status::internal)?;
                self.json(kind, &json, out);
                Ok(())
            }
        }
    }

    fn bookmark(&self, revision: u64, end: bool) -> Value {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut whole = Map::new();
        whole.insert("kind".into(), self.view.kind().into());
        whole.insert("apiVersion".into(), self.view.api_version().into());
        whole.insert("metadata".into(), metadata);
        for (k, v) in &self.empty {
            whole.entry(k.clone()).or_insert_with(|| v.clone());
        }
        Value::Object(whole)
    }

    fn turned(&mut self, object: Value) -> Value {
        let version = self.wanted.meta_version;
        match self.wanted.transform {
            Transform::None => object,
            Transform::PartialObjectMetadata | Transform::PartialObjectMetadataList => {
                transform::partial(object, version)
            }
            Transform::Table => {
                let mut metadata = Map::new();
                metadata.extend(
                    object.pointer("/metadata/resourceVersion").map(|v| ("resourceVersion".to_owned(), v.clone())),
                );
                let row = transform::row(object, &self.view, self.include, version);
                let columns = (!std::mem::replace(&mut self.told, true)).then_some(&self.view);
                transform::table(metadata, columns, vec![row], version)
            }
        }
    }
}

/// A `meta/v1.WatchEvent` message (1: type, 2: RawExtension with 1: the object), after its length in four bytes.
fn protobuf_event(kind: &str, object: &[u8], bare: bool, out: &mut BytesMut) {
    let raw_len = 1 + varint_len(object.len()) + object.len();
    let len = 2 + kind.len() + 1 + varint_len(raw_len) + raw_len;
    out.reserve(len + 4);
    if !bare {
        out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    }
    out.put_u8(0x0a);
    out.put_u8(kind.len() as u8);
    out.put_slice(kind.as_bytes());
    out.put_u8(0x12);
    put_varint(out, raw_len);
    out.put_u8(0x0a);
    put_varint(out, object.len());
    out.put_slice(object);
}

fn varint_len(n: usize) -> usize {
    (usize::BITS - n.max(1).leading_zeros()).div_ceil(7) as usize
}

fn put_varint(out: &mut BytesMut, mut n: usize) {
    while n >= 0x80 {
        out.put_u8((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.put_u8(n as u8);
}

/// What is counted while a watch runs.
pub struct Counted {
    /// Open watches.
    pub open: Gauge,
    /// Events sent.
    pub events: Counter,
}

struct State {
    watch: Watch,
    writer: Writer,
    batch: Vec<WatchEvent>,
    next: usize,
    ended: bool,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    counted: Counted,
}

impl Drop for State {
    fn drop(&mut self) {
        self.counted.open.dec();
    }
}

/// The events as pieces of a body, each holding as many as fit into a chunk. Ends with the watch, or when the
/// connection is to close.
pub fn stream(
    watch: Watch,
    writer: Writer,
    closing: CancellationToken,
    counted: Counted,
) -> impl Stream<Item = Bytes> + Send {
    counted.open.inc();
    let state = State {
        watch,
        writer,
        batch: Vec::new(),
        next: 0,
        ended: false,
        closing: Box::pin(closing.cancelled_owned()),
        counted,
    };
    futures::stream::unfold(state, |mut s| async move {
        if s.ended {
            return None;
        }
        if s.next == s.batch.len() {
            s.batch.clear();
            s.next = 0;
            let more = tokio::select! {
                biased;
                more = s.watch.next_batch(&mut s.batch) => more,
                () = s.closing.as_mut() => false,
            };
            if !more {
                return None;
            }
        }
        let mut out = BytesMut::new();
        let first = s.next;
        while s.next < s.batch.len() && out.len() < CHUNK && !(s.writer.bare && s.next > first) {
            match s.writer.write(&s.batch[s.next], &mut out) {
                Ok(true) => {}
                Ok(false) => s.ended = true,
                Err(e) => {
                    tracing::error!(error = %e, "an event could not be written");
                    s.ended = true;
                }
            }
            s.next += 1;
            if s.ended {
                break;
            }
        }
        s.counted.events.inc_by((s.next - first) as u64);
        Some((out.freeze(), s))
    })
}

/// The answer to a watch.
pub fn reply(events: impl Stream<Item = Bytes> + Send + 'static, format: MediaType) -> Reply {
    let content_type = match format {
        MediaType::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json",
    };
    let frames = events.map(|b| Ok::<_, BoxError>(Frame::data(b)));
    respond::new(200, content_type, Body::stream(StreamBody::new(frames)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protobuf_frames() {
        let mut out = BytesMut::new();
        protobuf_event("ADDED", &[7; 200], false, &mut out);
        let length = u32::from_be_bytes([out[0], out[1], out[2], out[3]]) as usize;
        assert_eq!(length, out.len() - 4);
        assert_eq!(&out[4..11], b"\x0a\x05ADDED");
        assert_eq!(&out[11..17], &[0x12, 0xcb, 0x01, 0x0a, 0xc8, 0x01]);
        for (n, want) in [(0, 1), (127, 1), (128, 2), (16383, 2), (16384, 3)] {
            assert_eq!(varint_len(n), want, "{n}");
        }
    }
}
