//! One operation of a path, in the words of both dialects.

use crate::schema::{Definitions, Dialect};
use serde_json::{Map, Value, json};
use steersman_apimachinery::GroupVersionKind;

/// A query parameter: its name and its type.
pub type Parameter = (&'static str, &'static str);

/// The query parameters that operations take, by set.
pub mod query {
    use super::Parameter;

    /// Of everything.
    pub const PRETTY: &[Parameter] = &[("pretty", "string")];
    /// Of lists and watches.
    pub const LIST: &[Parameter] = &[
        ("allowWatchBookmarks", "boolean"),
        ("continue", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("resourceVersion", "string"),
        ("resourceVersionMatch", "string"),
        ("sendInitialEvents", "boolean"),
        ("shardSelector", "string"),
        ("timeoutSeconds", "integer"),
        ("watch", "boolean"),
    ];
    /// Of creates and updates.
    pub const WRITE: &[Parameter] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
    /// Of patches.
    pub const PATCH: &[Parameter] =
        &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
    /// Of deletions.
    pub const DELETE: &[Parameter] = &[
        ("dryRun", "string"),
        ("gracePeriodSeconds", "integer"),
        ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
        ("orphanDependents", "boolean"),
        ("propagationPolicy", "string"),
    ];
    /// Of deletions of collections.
    pub const DELETE_COLLECTION: &[Parameter] = &[
        ("continue", "string"),
        ("dryRun", "string"),
        ("fieldSelector", "string"),
        ("gracePeriodSeconds", "integer"),
        ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("orphanDependents", "boolean"),
        ("propagationPolicy", "string"),
        ("resourceVersion", "string"),
        ("resourceVersionMatch", "string"),
        ("sendInitialEvents", "boolean"),
        ("shardSelector", "string"),
        ("timeoutSeconds", "integer"),
    ];
}

/// The media types of bodies and answers.
const MEDIA: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// The further ones of streams.
const STREAMS: &[&str] = &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
/// Those of patches.
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// What an operation answers or takes.
#[derive(Clone, Debug)]
pub enum Body {
    /// An object of a definition.
    Object(String),
    /// Plain text.
    Text,
}

/// An operation.
#[derive(Clone, Debug, Default)]
pub struct Operation {
    /// Unique in all documents.
    pub id: String,
    /// For people.
    pub description: String,
    /// The group and version, as [`crate::names::tag`] writes them.
    pub tag: String,
    /// `list`, `post`, ...; empty for discovery.
    pub action: &'static str,
    /// The kind it works on.
    pub gvk: Option<GroupVersionKind>,
    /// The query parameters of its own.
    pub query: &'static [Parameter],
    /// What it takes.
    pub takes: Option<String>,
    /// Whether it takes patches.
    pub patches: bool,
    /// What it answers, by status.
    pub answers: Vec<(u16, Body)>,
    /// The media types it answers with, where they are not the usual ones.
    pub media: &'static [&'static str],
    /// Whether it may answer with a stream.
    pub streams: bool,
    /// Whether it stands below `/watch/`, whose paths take the parameters of lists.
    pub watch_path: bool,
}

impl Operation {
    /// As JSON.
    pub fn render(&self, dialect: Dialect, definitions: &mut Definitions) -> Value {
        let mut out = Map::new();
        out.insert("description".into(), self.description.as_str().into());
        out.insert("operationId".into(), self.id.as_str().into());
        out.insert("tags".into(), json!([self.tag]));
        if !self.action.is_empty() {
            out.insert("x-kubernetes-action".into(), self.action.into());
        }
        if let Some(gvk) = &self.gvk {
            out.insert(
                "x-kubernetes-group-version-kind".into(),
                json!({"group": gvk.group, "kind": gvk.kind, "version": gvk.version}),
            );
        }
        match dialect {
            Dialect::V2 => self.swagger(&mut out, definitions),
            Dialect::V3 => self.openapi(&mut out, definitions),
        }
        Value::Object(out)
    }

    /// The media types it answers with.
    fn produces(&self) -> Vec<&'static str> {
        if !self.media.is_empty() {
            return self.media.to_vec();
        }
        if self.answers.iter().any(|(_, body)| matches!(body, Body::Text)) {
            return vec!["*/*"];
        }
        MEDIA.iter().chain(if self.streams { STREAMS } else { &[] }).copied().collect()
    }

    fn swagger(&self, out: &mut Map<String, Value>, definitions: &mut Definitions) {
        out.insert("schemes".into(), json!(["https"]));
        out.insert("produces".into(), json!(self.produces()));
        out.insert("consumes".into(), if self.patches { json!(PATCHES) } else { json!(["*/*"]) });
        // Old clients (kubectl 1.20) look for `dryRun` among the parameters of patches, and follow no reference.
        let plain = |name: &str| self.patches && name == "dryRun";
        let write = |p: &Parameter| {
            if plain(p.0) { parameter(p, Dialect::V2) } else { json!({"$ref": format!("#/parameters/{}", p.0)}) }
        };
        let mut parameters: Vec<Value> = self.query.iter().map(write).collect();
        if let Some(name) = &self.takes {
            let schema = definitions.built_in(name);
            // Deletions may come without a body.
            let required = self.action != "delete" && self.action != "deletecollection";
            let mut body = json!({"name": "body", "in": "body", "schema": schema});
            if required {
                body["required"] = true.into();
            }
            parameters.push(body);
        }
        if !parameters.is_empty() {
            out.insert("parameters".into(), parameters.into());
        }
        let mut responses = Map::new();
        for (status, body) in &self.answers {
            let schema = schema_of(body, definitions);
            responses.insert(status.to_string(), json!({"description": reason(*status), "schema": schema}));
        }
        responses.insert("401".into(), json!({"description": "Unauthorized"}));
        out.insert("responses".into(), responses.into());
    }

    fn openapi(&self, out: &mut Map<String, Value>, definitions: &mut Definitions) {
        let parameters: Vec<Value> = self.query.iter().map(|p| parameter(p, Dialect::V3)).collect();
        if !parameters.is_empty() {
            out.insert("parameters".into(), parameters.into());
        }
        if let Some(name) = &self.takes {
            let schema = definitions.built_in(name);
            let media = if self.patches { PATCHES } else { &["*/*"][..] };
            let content: Map<String, Value> =
                media.iter().map(|m| ((*m).to_owned(), json!({"schema": schema}))).collect();
            let mut body = json!({"content": content});
            if self.action != "delete" && self.action != "deletecollection" {
                body["required"] = true.into();
            }
            out.insert("requestBody".into(), body);
        }
        let mut responses = Map::new();
        for (status, body) in &self.answers {
            let schema = schema_of(body, definitions);
            let content: Map<String, Value> =
                self.produces().into_iter().map(|m| (m.to_owned(), json!({"schema": schema}))).collect();
            responses.insert(status.to_string(), json!({"description": reason(*status), "content": content}));
        }
        responses.insert("401".into(), json!({"description": "Unauthorized"}));
        out.insert("responses".into(), responses.into());
    }
}

fn schema_of(body: &Body, definitions: &mut Definitions) -> Value {
    match body {
        Body::Object(name) => definitions.built_in(name),
        Body::Text => json!({"type": "string"}),
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        201 => "Created",
        202 => "Accepted",
        _ => "OK",
    }
}

/// A query parameter.
pub fn parameter((name, kind): &Parameter, dialect: Dialect) -> Value {
    match dialect {
        Dialect::V2 => json!({"name": name, "in": "query", "type": kind, "uniqueItems": true}),
        Dialect::V3 => json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}}),
    }
}

/// A part of the path.
pub fn path_parameter(name: &str, dialect: Dialect) -> Value {
    match dialect {
        Dialect::V2 => json!({"name": name, "in": "path", "required": true, "type": "string", "uniqueItems": true}),
        Dialect::V3 => {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
        }
    }
}
