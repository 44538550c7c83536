//! From what the cache holds to the objects of one resource in one version.

use crate::view::{self, Members};
use crate::{Object, Strategy, encode};
use serde_json::Value;
use steersman_apimachinery::{GroupVersion, Status, object};
use steersman_storage::{Attributes, Decode, Decoded, Entry, Pairs, json};

/// How objects of one version come out of what is stored.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) strategy: &'static dyn Strategy,
    /// Whether the stored kind or version is another than this one.
    pub(crate) converts: bool,
}

impl Shape {
    pub(crate) fn new(strategy: &'static dyn Strategy) -> Self {
        let info = strategy.info();
        let converts = strategy.converts() || info.stored_as != (info.group, info.version, info.kind);
        Self { strategy, converts }
    }

    /// The object as it is answered.
    pub(crate) fn object(self, entry: &Entry) -> Result<Object, Status> {
        if !self.converts {
            return Ok(Object::new(entry.bytes.clone(), entry.body, entry.revision));
        }
        encode::object(&self.tree(&entry.bytes)?)
    }

    /// The object as a tree, of finished bytes.
    pub(crate) fn tree(self, finished: &[u8]) -> Result<Value, Status> {
        let mut tree: Value = serde_json::from_slice(finished).map_err(Status::internal)?;
        if self.converts {
            self.strategy.from_stored(&mut tree);
            let info = self.strategy.info();
            name_kind(&mut tree, (info.group, info.version, info.kind));
            self.strategy.default(&mut tree);
        }
        Ok(tree)
    }

    /// The stored form of an object of this version.
    pub(crate) fn stored(self, tree: &Value) -> Result<Vec<u8>, Status> {
        if !self.converts {
            return encode::stored(tree);
        }
        let mut tree = tree.clone();
        self.strategy.to_stored(&mut tree);
        name_kind(&mut tree, self.strategy.info().stored_as);
        encode::stored(&tree)
    }
}

/// Writes kind and apiVersion into an object.
pub(crate) fn name_kind(tree: &mut Value, (group, version, kind): (&'static str, &'static str, &'static str)) {
    object::set(tree, &["kind"], kind);
    object::set(tree, &["apiVersion"], GroupVersion::from_static(group, version).to_string());
}

/// Reads stored values of a prefix: those of ours as they are, others (protobuf, or JSON in another order) by way of a
/// tree.
pub(crate) struct Reader {
    strategies: Vec<&'static dyn Strategy>,
    /// What has to be read for the selectable fields of all strategies.
    members: Members,
}

impl Reader {
    /// For the strategy of the version that is stored, then those of others; selectable fields are taken of all.
    pub(crate) fn new(strategies: Vec<&'static dyn Strategy>) -> Self {
        let mut members = Members::Nothing;
        for strategy in strategies.iter().filter(|s| !s.selectable_fields().is_empty()) {
            members = match (members, strategy.selectable_members()) {
                (Members::Nothing, Some(only)) => Members::Only(only),
                _ => Members::Everything,
            };
        }
        Self { strategies, members }
    }

    fn attributes(&self, view: &Value) -> Attributes {
        let labels = object::get(view, &["metadata", "labels"]).and_then(Value::as_object);
        let labels = Pairs::new(labels.into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or(""))));
        let mut found: Vec<(&str, String)> = Vec::new();
        for strategy in &self.strategies {
            let names = strategy.selectable_fields();
            if names.iter().all(|n| found.iter().any(|(f, _)| f == n)) {
                continue;
            }
            let converted = Shape::new(*strategy).converts.then(|| {
                let mut v = view.clone();
                strategy.from_stored(&mut v);
                v
            });
            for name in names.iter().copied() {
                if !found.iter().any(|(f, _)| *f == name) {
                    found.push((name, strategy.selectable_field(converted.as_ref().unwrap_or(view), name)));
                }
            }
        }
        let fields = Pairs::new(found.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (*k, v.as_str())));
        Attributes { labels, fields }
    }
}

impl Decode for Reader {
    fn decode(&self, value: &[u8], revision: u64) -> Result<Decoded, String> {
        let (bytes, body) = match json::finish(value, revision) {
            Some(finished) => finished,
            None => {
                let stored = crate::foreign::stored(value, self.strategies.first().copied())?;
                json::finish(&stored, revision).ok_or("the value is no object")?
            }
        };
        let view = view::read(&bytes, self.members).map_err(|e| e.to_string())?;
        Ok(Decoded { attributes: self.attributes(&view), bytes, body })
    }
}
