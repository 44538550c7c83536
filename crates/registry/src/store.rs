//! The verbs of one stored resource.

use crate::object::{Deleted, List, Object, PatchType};
use crate::registry::Registry;
use crate::shape::Shape;
use crate::strategy::SubBehaviour;
use crate::update::{Source, Write};
use crate::watch::Watch;
use crate::{Context, ResourceInfo, Strategy, Subresource, scale};
use bytes::Bytes;
use serde_json::Value;
use std::sync::{Arc, Weak};
use steersman_apimachinery::gvk::GroupKind;
use steersman_apimachinery::options::{CreateOptions, DeleteOptions, GetOptions, ListOptions, UpdateOptions};
use steersman_apimachinery::selector::FieldSelector;
use steersman_apimachinery::{GroupResource, GroupVersionKind, GroupVersionResource, Status};
use steersman_schema::TypeRef;
use steersman_storage::{Cache, Storage};

/// One resource in one version: all verbs over its strategy.
pub struct Store {
    pub(crate) strategy: &'static dyn Strategy,
    pub(crate) shape: Shape,
    pub(crate) gr: GroupResource,
    pub(crate) gvr: GroupVersionResource,
    pub(crate) gvk: GroupVersionKind,
    pub(crate) gk: GroupKind,
    pub(crate) ty: Option<TypeRef>,
    pub(crate) storage: Arc<Storage>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) memo: crate::cluster::Memo,
    registry: Weak<Registry>,
}

impl Store {
    pub(crate) fn new(
        strategy: &'static dyn Strategy,
        storage: Arc<Storage>,
        cache: Arc<Cache>,
        registry: Weak<Registry>,
    ) -> Self {
        let info = strategy.info();
        Self {
            strategy,
            shape: Shape::new(strategy),
            // Errors speak of the stored kind, whichever version was asked for: so events of events.k8s.io are the core
            // group's (rule: one registry store serves both).
            gr: GroupResource::from_static(info.stored_as.0, info.resource),
            gvr: GroupVersionResource::from_static(info.group, info.version, info.resource),
            gvk: GroupVersionKind::from_static(info.group, info.version, info.kind),
            gk: GroupKind::from_static(info.stored_as.0, info.stored_as.2),
            ty: steersman_schema::lookup(info.group, info.version, info.kind),
            storage,
            cache,
            memo: Default::default(),
            registry,
        }
    }

    /// The facts.
    pub fn info(&self) -> &'static ResourceInfo {
        self.strategy.info()
    }
    /// The behaviour.
    pub fn strategy(&self) -> &'static dyn Strategy {
        self.strategy
    }
    /// The facts of the kind's fields; absent for kinds that have no schema.
    pub fn schema(&self) -> Option<&TypeRef> {
        self.ty.as_ref()
    }
    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.strategy.subresources().iter().find(|s| s.name == name)
    }
    /// Number of stored objects.
    pub fn count(&self) -> usize {
        self.cache.len()
    }

    pub(crate) fn registry(&self) -> Result<Arc<Registry>, Status> {
        self.registry.upgrade().ok_or_else(|| Status::unavailable("the server is shutting down"))
    }
    /// The key of an object within the cache.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> Result<String, Status> {
        let bad =
            |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('/') || part.contains('\0');
        if bad(name) {
            return Err(self.not_found(name));
        }
        if !self.info().namespaced {
            return Ok(name.to_owned());
        }
        if bad(namespace) {
            return Err(Status::bad_request("Namespace parameter required."));
        }
        Ok(format!("{namespace}/{name}"))
    }
    /// The whole key of an object, for messages.
    pub(crate) fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.cache.prefix())
    }
    pub(crate) fn not_found(&self, name: &str) -> Status {
        Status::not_found(&self.gr, name)
    }

    /// Refuses selectors on fields that the kind does not offer.
    pub fn check_fields(&self, fields: &FieldSelector) -> Result<(), Status> {
        crate::select::check(self.strategy, fields)
    }

    /// GET of one object. `namespace` is empty for cluster-scoped resources, here and below.
    pub async fn get(
        &self,
        _ctx: &Context,
        namespace: &str,
        name: &str,
        options: &GetOptions,
    ) -> Result<Object, Status> {
        self.read(namespace, name, options).await
    }

    /// GET of a subresource: the object itself for `SubBehaviour::Object`, a Scale for `SubBehaviour::Scale`.
    pub async fn get_subresource(
        &self,
        _ctx: &Context,
        sub: &Subresource,
        namespace: &str,
        name: &str,
        options: &GetOptions,
    ) -> Result<Object, Status> {
        match &sub.behaviour {
            SubBehaviour::Object(_) => self.read(namespace, name, options).await,
            SubBehaviour::Scale(paths) => {
                let parent = self.read(namespace, name, options).await?.to_value()?;
                crate::encode::object(&scale::of(&parent, paths))
            }
            SubBehaviour::Create(_) | SubBehaviour::Connect => Err(Status::method_not_supported(&self.gr, "get")),
        }
    }

    /// LIST of a namespace, or of all where it is empty.
    pub async fn list(&self, _ctx: &Context, namespace: &str, options: &ListOptions) -> Result<List, Status> {
        self.read_list(namespace, options).await
    }

    /// WATCH. It ends by itself after `options.timeout_seconds`, which the caller always sets.
    pub async fn watch(&self, _ctx: &Context, namespace: &str, options: &ListOptions) -> Result<Watch, Status> {
        self.start_watch(namespace, options).await
    }

    /// POST. `object` was decoded by the kind's schema; defaults are set here.
    pub async fn create(
        &self,
        ctx: &Context,
        namespace: &str,
        object: Value,
        options: &CreateOptions,
    ) -> Result<Object, Status> {
        let registry = self.registry()?;
        self.create_object(ctx, &registry, namespace, object, options, true).await.map(|saved| saved.object)
    }

    /// POST to a subresource with a body of its own (`SubBehaviour::Create`); answers 201 with this object or Status.
    pub async fn create_subresource(
        &self,
        ctx: &Context,
        sub: &Subresource,
        namespace: &str,
        name: &str,
        body: Value,
        options: &CreateOptions,
    ) -> Result<Value, Status> {
        let registry = self.registry()?;
        self.post_subresource(ctx, &registry, sub, namespace, name, body, options).await
    }

    /// PUT. The second of the pair says whether the object was created. For `scale`, both bodies are Scales.
    pub async fn update(
        &self,
        ctx: &Context,
        sub: Option<&Subresource>,
        namespace: &str,
        name: &str,
        object: Value,
        options: &UpdateOptions,
    ) -> Result<(Object, bool), Status> {
        let registry = self.registry()?;
        let write = Write { ctx, registry: &registry, sub, namespace, name, options, admission: true };
        self.write(&write, Source::Put(object)).await.map(|saved| (saved.object, saved.created))
    }

    /// PATCH with the raw body. The second of the pair says whether the object was created (apply only).
    pub async fn patch(
        &self,
        ctx: &Context,
        sub: Option<&Subresource>,
        namespace: &str,
        name: &str,
        kind: PatchType,
        body: Bytes,
        options: &UpdateOptions,
    ) -> Result<(Object, bool), Status> {
        let registry = self.registry()?;
        let write = Write { ctx, registry: &registry, sub, namespace, name, options, admission: true };
        self.write(&write, Source::Patch(kind, body)).await.map(|saved| (saved.object, saved.created))
    }

    /// DELETE.
    pub async fn delete(
        &self,
        ctx: &Context,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<Deleted, Status> {
        let registry = self.registry()?;
        self.delete_object(ctx, &registry, namespace, name, options, true).await.map(|(deleted, _)| deleted)
    }

    /// DELETE of all that match; answers the list of what was deleted.
    pub async fn delete_collection(
        &self,
        ctx: &Context,
        namespace: &str,
        list: &ListOptions,
        options: DeleteOptions,
    ) -> Result<List, Status> {
        let registry = self.registry()?;
        self.delete_listed(ctx, &registry, namespace, list, options).await
    }
}
