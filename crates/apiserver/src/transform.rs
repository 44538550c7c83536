//! Objects turned into rows of a Table or into their metadata alone
//! (rule: apiserver `pkg/endpoints/handlers/response.go`).

use crate::query::Query;
use bytes::{BufMut, BytesMut};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use steersman_apimachinery::Status;
use steersman_registry::{Column, Object, ResourceInfo, Strategy, Virtual};

/// What a row carries besides its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    /// From `includeObject`.
    pub fn parse(query: &Query) -> Result<Self, Status> {
        match query.first("includeObject").unwrap_or("") {
            "" | "Metadata" => Ok(Self::Metadata),
            "Object" => Ok(Self::Object),
            "None" => Ok(Self::None),
            other => Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', 'None', or empty",
                steersman_apimachinery::field::go_quote(other)
            ))),
        }
    }
}

/// Whose cells they are.
#[derive(Clone, Copy)]
enum Cells {
    Stored(&'static dyn Strategy),
    Virtual(&'static dyn Virtual),
}

/// How objects of one resource, or of one of its subresources, are shown.
#[derive(Clone, Copy)]
pub struct View<'a> {
    info: &'a ResourceInfo,
    cells: Cells,
    now: Timestamp,
}

impl<'a> View<'a> {
    /// Of a stored resource.
    pub fn stored(strategy: &'static dyn Strategy, now: Timestamp) -> View<'static> {
        View { info: strategy.info(), cells: Cells::Stored(strategy), now }
    }
    /// Of a computed resource.
    pub fn of_virtual(v: &'static dyn Virtual, now: Timestamp) -> View<'static> {
        View { info: v.info(), cells: Cells::Virtual(v), now }
    }
    fn columns(&self) -> &'static [Column] {
        match self.cells {
            Cells::Stored(s) => s.columns(),
            Cells::Virtual(v) => v.columns(),
        }
    }
    fn cells(&self, object: &Value) -> Vec<Value> {
        match self.cells {
            Cells::Stored(s) => s.cells(object, self.now),
            Cells::Virtual(v) => v.cells(object, self.now),
        }
    }
    fn row_conditions(&self, object: &Value) -> Vec<Value> {
        match self.cells {
            Cells::Stored(s) => s.row_conditions(object),
            Cells::Virtual(_) => Vec::new(),
        }
    }
    /// Rows carry the metadata of the stored form: annotations that only another version has are not shown.
    fn as_stored(&self, mut object: Value) -> Value {
        if let Cells::Stored(s) = self.cells
            && s.converts()
        {
            s.to_stored(&mut object);
        }
        object
    }
    /// `Pod`.
    pub fn kind(&self) -> &str {
        self.info.kind
    }
    /// The type of the objects.
    pub fn schema(&self) -> Option<steersman_schema::TypeRef> {
        steersman_schema::lookup(self.info.group, self.info.version, self.info.kind)
    }
    /// `PodList`.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.info.kind)
    }
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.info.group.is_empty() {
            self.info.version.to_owned()
        } else {
            format!("{}/{}", self.info.group, self.info.version)
        }
    }
    /// The name that upstream's messages give the type, e.g. `*core.PodList`.
    pub fn go_type(&self, list: bool) -> String {
        let package = self.info.group.split('.').next().filter(|g| !g.is_empty()).unwrap_or("core");
        format!("*{package}.{}{}", self.info.kind, if list { "List" } else { "" })
    }
}

/// `PartialObjectMetadata` of an object.
pub fn partial(mut object: Value, version: &str) -> Value {
    let metadata = object.get_mut("metadata").map(Value::take).unwrap_or_else(|| json!({}));
    json!({"kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata})
}

/// The same as JSON, straight from the object's.
pub fn partial_json(object: &Object, version: &str) -> Option<BytesMut> {
    let metadata = object.metadata()?;
    let mut out = BytesMut::with_capacity(metadata.len() + 80);
    out.put_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/");
    out.put_slice(version.as_bytes());
    out.put_slice(b"\",\"metadata\":");
    out.put_slice(&metadata);
    out.put_u8(b'}');
    Some(out)
}

/// One row of a table.
pub fn row(object: Value, view: &View<'_>, include: Include, version: &str) -> Value {
    let cells = view.cells(&object);
    let conditions = view.row_conditions(&object);
    let object = match include {
        Include::None => Value::Null,
        Include::Metadata => partial(view.as_stored(object), version),
        Include::Object => object,
    };
    if conditions.is_empty() {
        json!({"cells": cells, "object": object})
    } else {
        json!({"cells": cells, "conditions": conditions, "object": object})
    }
}

/// A table; without a view it says nothing of its columns (all events of a watch but the first).
pub fn table(metadata: Map<String, Value>, columns: Option<&View<'_>>, rows: Vec<Value>, version: &str) -> Value {
    let definition = |c: &Column| json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description, "priority": c.priority});
    let columns: Option<Vec<Value>> = columns.map(|v| v.columns().iter().map(definition).collect());
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}
