//! Lists: items are turned and written while the answer is sent, so a list of any size takes one chunk of memory, in
//! every form but YAML and indented JSON, which only people ask for.

use crate::body::{Body, Pieces};
use crate::encode;
use crate::negotiate::{self, MediaType, Transform, Wanted};
use crate::respond::{self, Asked, GZIP_FROM, Reply};
use crate::transform::{self, Include, View};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use steersman_apimachinery::Status;
use steersman_codec::protobuf;
use steersman_registry::{List, Object};

/// A protobuf list up to this size is kept from when its length was taken.
const KEPT: usize = 1 << 20;
/// Objects that are written before others get their turn.
const TURN: usize = 64;

/// How the items of a list are turned.
#[derive(Clone, Copy)]
struct Form {
    view: View<'static>,
    include: Include,
    transform: Transform,
    version: &'static str,
}

impl Form {
    fn kind(&self) -> String {
        match self.transform {
            Transform::None | Transform::PartialObjectMetadata => self.view.list_kind(),
            Transform::PartialObjectMetadataList => "PartialObjectMetadataList".into(),
            Transform::Table => "Table".into(),
        }
    }
    fn api_version(&self) -> String {
        match self.transform {
            Transform::None | Transform::PartialObjectMetadata => self.view.api_version(),
            _ => format!("meta.k8s.io/{}", self.version),
        }
    }
    fn item(&self, object: &Object) -> Result<Value, Status> {
        let object = object.to_value()?;
        Ok(match self.transform {
            Transform::None | Transform::PartialObjectMetadata => respond::without_kind(object),
            Transform::PartialObjectMetadataList => transform::partial(object, self.version),
            Transform::Table => transform::row(object, &self.view, self.include, self.version),
        })
    }
    /// The item in JSON; one that cannot be read is left out.
    fn json(&self, object: &Object) -> Option<Bytes> {
        if self.transform == Transform::PartialObjectMetadataList
            && let Some(json) = transform::partial_json(object, self.version)
        {
            return Some(json.freeze());
        }
        let json = self.item(object).and_then(|v| serde_json::to_vec(&v).map_err(Status::internal));
        json.inspect_err(|e| tracing::error!(error = %e, "an object cannot be listed")).ok().map(Bytes::from)
    }
    /// All that stands around the items: of a list in JSON, up to and with `[`.
    fn head(&self, metadata: Map<String, Value>) -> String {
        if self.transform == Transform::Table {
            let empty = transform::table(metadata, Some(&self.view), Vec::new(), self.version).to_string();
            // Rows come last, in the order of names.
            return empty.strip_suffix("]}").unwrap_or(&empty).to_owned();
        }
        format!(
            "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{},\"items\":[",
            Value::from(self.kind()),
            Value::from(self.api_version()),
            Value::Object(metadata)
        )
    }
    fn whole(&self, metadata: Map<String, Value>, items: Vec<Value>) -> Value {
        match self.transform {
            Transform::Table => transform::table(metadata, Some(&self.view), items, self.version),
            _ => {
                json!({"kind": self.kind(), "apiVersion": self.api_version(), "metadata": metadata, "items": items})
            }
        }
    }
}

/// The answer to a list.
pub async fn reply(asked: &Asked<'_>, list: List, wanted: &Wanted, view: View<'static>) -> Result<Reply, Status> {
    let include = asked.include(wanted)?;
    let form = Form { view, include, transform: wanted.transform, version: wanted.meta_version };
    if form.transform == Transform::PartialObjectMetadata {
        return Err(negotiate::refused_transform(format!(
            "you requested PartialObjectMetadata, but the requested object is a list ({})",
            view.go_type(true)
        )));
    }
    let metadata = metadata(&list);
    match wanted.format {
        MediaType::Json if !wanted.pretty => {
            let head = Bytes::from(form.head(metadata));
            let tail = Bytes::from_static(b"]}\n");
            Ok(streamed(
                asked,
                wanted.format,
                match form.transform {
                    // These are copied from the cache as they are.
                    Transform::None => Pieces::new(head, list.items.map(|o| o.item()), b"{", b",{", tail),
                    _ => Pieces::new(head, list.items.filter_map(move |o| form.json(&o)), b"", b",", tail),
                },
            ))
        }
        MediaType::Protobuf if form.transform != Transform::Table => in_protobuf(asked, list, metadata, form).await,
        _ => {
            let items = list.items.map(|o| form.item(&o)).collect::<Result<Vec<_>, _>>()?;
            Ok(asked.value(200, &form.whole(metadata, items), wanted))
        }
    }
}

/// The envelope tells the length of the whole list before its first item, so items are written twice: once to take their
/// length, once to send them.
async fn in_protobuf(asked: &Asked<'_>, list: List, metadata: Map<String, Value>, form: Form) -> Result<Reply, Status> {
    let ty = match form.transform {
        Transform::PartialObjectMetadataList => {
            steersman_schema::lookup("meta.k8s.io", form.version, "PartialObjectMetadata")
        }
        _ => form.view.schema(),
    };
    let ty = ty.ok_or_else(|| encode::no_protobuf(&form.api_version(), &form.kind()))?;
    let write = move |o: &Object| -> Option<Bytes> {
        let direct = match form.transform {
            Transform::None => protobuf::message_of_json(o.bytes(), &ty),
            _ => transform::partial_json(o, form.version).and_then(|json| protobuf::message_of_json(&json, &ty)),
        };
        let message = match direct {
            Some(message) => message,
            None => {
                let item = form.item(o).inspect_err(|e| tracing::error!(error = %e, "an object cannot be listed"));
                protobuf::message(&item.ok()?, &ty)
            }
        };
        Some(protobuf::list_item(&message).into())
    };
    let (mut objects, mut kept, mut length) = (Vec::new(), Vec::new(), 0);
    for object in list.items {
        let Some(item) = write(&object) else { continue };
        length += item.len();
        if length <= KEPT {
            kept.push(item);
        } else {
            kept = Vec::new();
        }
        objects.push(object);
        if objects.len() % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    let (head, tail) = protobuf::list_frame(&form.api_version(), &form.kind(), &metadata, length);
    let items: Box<dyn Iterator<Item = Bytes> + Send> = if kept.len() == objects.len() {
        Box::new(kept.into_iter())
    } else {
        drop(kept);
        Box::new(objects.into_iter().filter_map(move |o| write(&o)))
    };
    Ok(streamed(asked, MediaType::Protobuf, Pieces::new(head.into(), items, b"", b"", tail.into())))
}

/// Short lists are sent at once, others in chunks.
fn streamed(asked: &Asked<'_>, format: MediaType, mut pieces: Pieces) -> Reply {
    let Some(first) = pieces.next_chunk(GZIP_FROM) else {
        return respond::new(200, format.as_str(), Body::empty());
    };
    if first.len() < GZIP_FROM {
        return respond::new(200, format.as_str(), first.into());
    }
    let mut reply = respond::new(200, format.as_str(), Body::Pieces(pieces.after(first)));
    if negotiate::takes_gzip(asked.headers) {
        respond::compress(&mut reply);
    }
    reply
}

fn metadata(list: &List) -> Map<String, Value> {
    let mut m = Map::new();
    if list.revision > 0 {
        m.insert("resourceVersion".into(), list.revision.to_string().into());
    }
    if !list.continue_token.is_empty() {
        m.insert("continue".into(), list.continue_token.clone().into());
    }
    if let Some(n) = list.remaining_item_count {
        m.insert("remainingItemCount".into(), n.into());
    }
    m
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use http_body_util::BodyExt;
    use steersman_registry::{Items, Resource};

    fn pods() -> View<'static> {
        let found = steersman_resources::table().find_map(|r| match r {
            Resource::Stored(s) if s.info().resource == "pods" => Some(*s),
            _ => None,
        });
        View::stored(found.expect("pods are in the table"), jiff::Timestamp::UNIX_EPOCH)
    }

    fn list(pods: usize) -> List {
        let object = |i: usize| {
            let json = format!(
                r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"resourceVersion":"7","name":"p{i}","labels":{{"long":"{}"}}}},"spec":{{}},"status":{{}}}}"#,
                "x".repeat(500)
            );
            let body = json.find("\"metadata\"").expect("has metadata");
            Object::new(json.into(), body as u32, 7)
        };
        List {
            items: Items::new((0..pods).map(object)),
            revision: 9,
            continue_token: "next".into(),
            remaining_item_count: Some(3),
        }
    }

    async fn body(pods_listed: usize, format: MediaType, transform: Transform) -> Bytes {
        let (headers, query) = (HeaderMap::new(), crate::query::Query::parse(""));
        let wanted = Wanted { format, transform, ..Wanted::JSON };
        let asked = Asked { headers: &headers, query: &query };
        let reply = reply(&asked, list(pods_listed), &wanted, pods()).await.expect("is listed");
        reply.into_body().collect().await.expect("is sent").to_bytes()
    }

    #[tokio::test]
    async fn streamed_lists_are_what_whole_ones_would_be() {
        for n in [0, 1, 700, 3000] {
            for transform in [Transform::None, Transform::PartialObjectMetadataList, Transform::Table] {
                let form = Form { view: pods(), include: Include::Metadata, transform, version: "v1" };
                let items = list(n).items.map(|o| form.item(&o).expect("turns")).collect();
                let want = form.whole(metadata(&list(n)), items);
                let json: Value = serde_json::from_slice(&body(n, MediaType::Json, transform).await).expect("is JSON");
                assert!(json == want, "{n} {transform:?}");
                if transform != Transform::Table {
                    let got = body(n, MediaType::Protobuf, transform).await;
                    let whole = encode::protobuf(&want).expect("encodes");
                    // The order of fields is free.
                    let read = |b: &[u8]| protobuf::decode(b).expect("decodes");
                    assert!(got.len() == whole.len() && read(&got) == read(&whole), "{n} {transform:?}");
                }
            }
        }
    }
}
