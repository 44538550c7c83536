//! All documents of a server.

use crate::api::Api;
use crate::document::{Document, digest};
use crate::gnostic;
use crate::paths::{self, Paths};
use crate::schema::{Definitions, Dialect};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock, RwLock};

const JSON: &str = "application/json";
const GNOSTIC: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The documents of a server; APIs may come and go while it runs.
#[derive(Debug)]
pub struct OpenApi {
    /// What the server calls itself, e.g. `v1.36.0`.
    version: String,
    state: RwLock<State>,
}

/// Everything that is made of one set of APIs.
#[derive(Debug, Default)]
struct State {
    apis: BTreeMap<String, Arc<Entry>>,
    v2: Arc<OnceLock<Arc<Document>>>,
    v2_protobuf: Arc<OnceLock<Arc<Document>>>,
}

/// One document of OpenAPI v3 and what it is made of.
#[derive(Debug)]
struct Entry {
    source: Source,
    hash: String,
    document: OnceLock<Arc<Document>>,
}

#[derive(Debug)]
enum Source {
    Api(Api),
    Group(String),
    General(Paths),
}

impl Source {
    fn paths(&self) -> Paths {
        match self {
            Self::Api(api) => paths::of_api(api),
            Self::Group(group) => paths::of_group(group),
            Self::General(paths) => paths.clone(),
        }
    }
}

impl OpenApi {
    /// The documents of these APIs; `version` is that of the server.
    pub fn new(version: impl Into<String>, apis: Vec<Api>) -> Self {
        let out = Self { version: version.into(), state: RwLock::default() };
        out.replace(apis);
        out
    }

    /// Replaces all APIs. Documents of those that did not change are kept.
    pub fn replace(&self, apis: Vec<Api>) {
        let mut sources: Vec<(String, Source)> = Vec::new();
        for (name, paths) in paths::general() {
            sources.push((name.to_owned(), Source::General(paths)));
        }
        let groups: BTreeSet<String> =
            apis.iter().map(|api| api.group.to_string()).filter(|group| !group.is_empty()).collect();
        sources.extend(groups.into_iter().map(|group| (format!("apis/{group}"), Source::Group(group))));
        sources.extend(apis.into_iter().map(|api| (api.path(), Source::Api(api))));
        let old = self.read().apis.clone();
        let apis = sources
            .into_iter()
            .map(|(path, source)| {
                // The hash is that of the input: so the index does not have to make every document.
                let hash = digest(format!("{} {} {source:?}", env!("CARGO_PKG_VERSION"), self.version).as_bytes());
                let entry = match old.get(&path).filter(|entry| entry.hash == hash) {
                    Some(same) => same.clone(),
                    None => Arc::new(Entry { source, hash, document: OnceLock::new() }),
                };
                (path, entry)
            })
            .collect();
        *self.write() = State { apis, ..State::default() };
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// `/openapi/v3`: where the documents are.
    pub fn index(&self) -> Vec<u8> {
        let state = self.read();
        let paths: Map<String, Value> = state
            .apis
            .iter()
            .map(|(path, entry)| {
                let url = format!("/openapi/v3/{path}?hash={}", entry.hash);
                (path.clone(), json!({"serverRelativeURL": url}))
            })
            .collect();
        json!({"paths": paths}).to_string().into_bytes()
    }

    /// `/openapi/v3/<path>`; `None` where there is no such document. Its etag is the hash of the index.
    pub fn v3(&self, path: &str) -> Option<Arc<Document>> {
        let entry = self.read().apis.get(path.trim_matches('/'))?.clone();
        let document = entry.document.get_or_init(|| {
            let text = self.render_v3(&entry.source).to_string();
            Arc::new(Document { etag: entry.hash.clone(), ..Document::new(text.as_bytes(), JSON) })
        });
        Some(document.clone())
    }

    /// `/openapi/v2` as JSON.
    pub fn v2(&self) -> Arc<Document> {
        let (slot, apis) = {
            let state = self.read();
            (state.v2.clone(), state.apis.clone())
        };
        slot.get_or_init(|| Arc::new(Document::new(self.render_v2(&apis).to_string().as_bytes(), JSON))).clone()
    }

    /// `/openapi/v2` as protobuf.
    pub fn v2_protobuf(&self) -> Arc<Document> {
        let (slot, apis) = {
            let state = self.read();
            (state.v2_protobuf.clone(), state.apis.clone())
        };
        slot.get_or_init(|| Arc::new(Document::new(&gnostic::encode(&self.render_v2(&apis)), GNOSTIC))).clone()
    }

    fn info(&self) -> Value {
        json!({"title": "Kubernetes", "version": self.version})
    }

    fn render_v3(&self, source: &Source) -> Value {
        let only = match source {
            Source::Api(api) => Some((api.group.to_string(), api.version.to_string())),
            _ => Some((String::new(), "v1".into())),
        };
        let mut definitions = Definitions::new(Dialect::V3, only);
        let paths = paths::render(&source.paths(), Dialect::V3, &mut definitions);
        let mut schemas = custom(source, Dialect::V3, &mut definitions);
        schemas.extend(definitions.finish());
        json!({
            "openapi": "3.0.0",
            "info": self.info(),
            "paths": paths,
            "components": {"schemas": schemas, "securitySchemes": {"BearerToken": bearer()}},
        })
    }

    fn render_v2(&self, apis: &BTreeMap<String, Arc<Entry>>) -> Value {
        let mut definitions = Definitions::new(Dialect::V2, None);
        let mut all_paths = Map::new();
        let mut schemas = BTreeMap::new();
        for entry in apis.values() {
            all_paths.extend(paths::render(&entry.source.paths(), Dialect::V2, &mut definitions));
            schemas.extend(custom(&entry.source, Dialect::V2, &mut definitions));
        }
        schemas.extend(definitions.finish());
        let parameters: Map<String, Value> = {
            use crate::operation::{parameter, query};
            [query::LIST, query::WRITE, query::PATCH, query::DELETE, query::DELETE_COLLECTION, query::PRETTY]
                .into_iter()
                .flatten()
                .map(|p| (p.0.to_owned(), parameter(p, Dialect::V2)))
                .collect()
        };
        json!({
            "swagger": "2.0",
            "info": self.info(),
            "paths": all_paths,
            "definitions": schemas,
            "parameters": parameters,
            "securityDefinitions": {"BearerToken": bearer()},
            "security": [{"BearerToken": []}],
        })
    }
}

fn bearer() -> Value {
    json!({"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"})
}

/// The schemas of kinds that are not built in, with those they refer to.
fn custom(source: &Source, dialect: Dialect, definitions: &mut Definitions) -> BTreeMap<String, Value> {
    let Source::Api(api) = source else { return BTreeMap::new() };
    let mut out = BTreeMap::new();
    for (name, schema) in &api.definitions {
        let mut schema = schema.clone();
        refer(&mut schema, dialect, definitions);
        out.insert(name.clone(), schema);
    }
    out
}

/// Collects the built-in definitions that a schema refers to, and turns references into those of the dialect.
fn refer(schema: &mut Value, dialect: Dialect, definitions: &mut Definitions) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref")
                && let Some(name) = reference.rsplit('/').next()
            {
                let name = name.to_owned();
                definitions.built_in(&name);
                if let Value::Object(new) = dialect.reference(&name) {
                    object.extend(new);
                }
            }
            object.values_mut().for_each(|value| refer(value, dialect, definitions));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, dialect, definitions)),
        _ => {}
    }
}
