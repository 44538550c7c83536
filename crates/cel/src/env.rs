//! What expressions may use.

use crate::libraries;
use crate::signature::Overload;
use crate::types::Type;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Functions by name.
pub(crate) type Functions = HashMap<String, Vec<Overload>>;

/// Variables, object types and functions.
#[derive(Clone, Debug)]
pub struct Env {
    variables: BTreeMap<String, Type>,
    objects: BTreeMap<String, Arc<BTreeMap<String, Type>>>,
    open: Vec<String>,
    pub(crate) functions: Arc<Functions>,
}

impl Env {
    /// The functions that Kubernetes offers everywhere, and no variables (rule: apiserver `pkg/cel/environment/base.go`).
    pub fn kubernetes() -> Self {
        Self { variables: BTreeMap::new(), objects: BTreeMap::new(), open: Vec::new(), functions: libraries::all() }
    }
    /// Declares a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, ty: Type) -> Self {
        self.variables.insert(name.to_owned(), ty);
        self
    }
    /// Declares an object type with its fields.
    #[must_use]
    pub fn object(mut self, name: &str, fields: impl IntoIterator<Item = (String, Type)>) -> Self {
        self.objects.insert(name.to_owned(), Arc::new(fields.into_iter().collect()));
        self
    }
    /// Declares an object type that has whatever field an expression names, and so have the types `name.a`, `name.a.b`.
    #[must_use]
    pub fn open_object(mut self, name: &str) -> Self {
        self.open.push(name.to_owned());
        self
    }
    pub(crate) fn variable_type(&self, name: &str) -> Option<&Type> {
        self.variables.get(name)
    }
    fn is_open(&self, object: &str) -> bool {
        let below =
            |root: &String| object.strip_prefix(root.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('.'));
        self.open.iter().any(below)
    }
    pub(crate) fn is_object(&self, name: &str) -> bool {
        self.objects.contains_key(name) || self.is_open(name)
    }
    pub(crate) fn field_type(&self, object: &str, field: &str) -> Option<Type> {
        match self.objects.get(object) {
            Some(fields) => fields.get(field).cloned(),
            None => self.is_open(object).then_some(Type::Dyn),
        }
    }
}
