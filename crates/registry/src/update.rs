//! PUT and PATCH (rule: apiserver `pkg/registry/generic/registry/store.go` Update, `pkg/registry/rest/update.go`,
//! `pkg/storage/etcd3/store.go` GuaranteedUpdate).
//!
//! A write starts from the cached object. If it fails, or etcd holds something newer, it starts over from what etcd
//! holds, so that nobody is refused for what is not true any more.

use crate::create::{Creation, Put, Saved};
use crate::object::PatchType;
use crate::registry::Registry;
use crate::store::Store;
use crate::strategy::{Finish, SubBehaviour};
use crate::{Context, Strategy, Subresource, encode, errors, managed, meta, patch, scale, token};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use steersman_admission::{Attributes, Operation};
use steersman_apimachinery::gvk::GroupKind;
use steersman_apimachinery::options::UpdateOptions;
use steersman_apimachinery::{ErrorList, GroupVersionKind, Path, Status, object, validation};
use steersman_storage::{Entry, Written, json as bytes_of};

/// The request of a write.
pub(crate) struct Write<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) registry: &'a Registry,
    pub(crate) sub: Option<&'a Subresource>,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) options: &'a UpdateOptions,
    /// Whether it comes from a user; the server's own writes pass no admission and change no managedFields.
    pub(crate) admission: bool,
}

/// Where the new object comes from.
pub(crate) enum Source<'a> {
    Put(Value),
    Patch(PatchType, Bytes),
    Edit(&'a mut (dyn FnMut(&mut Value) -> Result<(), Status> + Send)),
}

impl Source<'_> {
    fn is_apply(&self) -> bool {
        matches!(self, Self::Patch(PatchType::Apply, _))
    }
}

/// What one attempt wants to be stored.
struct Attempt {
    new: Value,
    finish: Option<Box<dyn Finish>>,
    /// The object was only kept by its finalizers, and the last of them goes.
    delete: bool,
}

impl Write<'_> {
    pub(crate) fn subresource(&self) -> &str {
        self.sub.map_or("", |s| s.name)
    }
    fn manager(&self) -> String {
        managed::manager(&self.options.field_manager, &self.ctx.user_agent)
    }
}

impl Store {
    /// The whole way of a PUT or PATCH.
    pub(crate) async fn write(&self, w: &Write<'_>, mut source: Source<'_>) -> Result<Saved, Status> {
        let strategy = self.strategy_of(w)?;
        let key = self.key(w.namespace, w.name)?;
        if let Source::Put(body) = &mut source {
            meta::ensure_namespace(body, w.namespace)?;
            meta::check_name(body, w.name)?;
        }
        let mut existing = if self.storage.loaded() { self.cache.get(&key) } else { None };
        let mut fresh = false;
        if existing.is_none() {
            existing = self.fetch(&key).await?;
            fresh = true;
        }
        loop {
            let Some(entry) = existing.clone() else { return self.write_missing(w, &mut source).await };
            let attempt = self.attempt(w, strategy, &mut source, &key, &entry).await;
            let attempt = match attempt {
                Err(status) if fresh => return Err(status),
                Err(status) => {
                    // Refused on the ground of what is cached: is that still so?
                    let now = self.fetch(&key).await?;
                    if now.as_ref().is_some_and(|n| n.revision == entry.revision) {
                        return Err(status);
                    }
                    (existing, fresh) = (now, true);
                    continue;
                }
                Ok(a) => a,
            };
            match self.store_attempt(w, &key, &entry, attempt, fresh, !source.is_apply()).await? {
                Stored::Done(saved) => return Ok(saved),
                Stored::Again(now) => (existing, fresh) = (now, true),
            }
        }
    }

    fn strategy_of(&self, w: &Write<'_>) -> Result<&'static dyn Strategy, Status> {
        let refused = || Status::method_not_supported(&self.gr, "update");
        match w.sub.map(|s| &s.behaviour) {
            None | Some(SubBehaviour::Scale(_)) => Ok(self.strategy),
            Some(SubBehaviour::Object(s)) => Ok(*s),
            Some(SubBehaviour::Create(c)) if !w.admission => c.parent_strategy().ok_or_else(refused),
            Some(SubBehaviour::Create(_) | SubBehaviour::Connect) => Err(refused()),
        }
    }

    async fn fetch(&self, key: &str) -> Result<Option<Arc<Entry>>, Status> {
        self.storage.get(&self.cache, key).await.map_err(errors::storage)
    }

    async fn store_attempt(
        &self,
        w: &Write<'_>,
        key: &str,
        entry: &Arc<Entry>,
        attempt: Attempt,
        fresh: bool,
        sheds_managed_fields: bool,
    ) -> Result<Stored, Status> {
        let Attempt { mut new, finish, delete } = attempt;
        let dry_run = w.options.dry_run;
        let result = if delete {
            self.remove_updated(w, key, entry, &new).await.map(|gone| match gone {
                true => None,
                false => Some(()),
            })
        } else {
            Ok(Some(()))
        };
        let outcome = match result {
            Err(status) => Err(status),
            // The object as it was sent is answered, at the version it had.
            Ok(None) => self.unsaved(w, entry, new).map(Stored::Done),
            Ok(Some(())) if delete => self.fetch(key).await.map(Stored::Again),
            Ok(Some(())) => match self.shape.stored(&new) {
                Err(status) => Err(status),
                Ok(value) if bytes_of::is_made_of(&entry.bytes, entry.body, &value) => {
                    self.unchanged(w, key, entry, new, fresh).await
                }
                Ok(_) if dry_run => self.unsaved(w, entry, new).map(Stored::Done),
                Ok(value) => {
                    let ttl = self.strategy.ttl(w.registry);
                    match self.put_encoded(key, &mut new, value, entry.revision, ttl, sheds_managed_fields).await {
                        Ok(Put::Done(object)) => self.answer(w, object, new).map(Stored::Done),
                        Ok(Put::Conflict(Written::Conflict(Some(raw)))) => self
                            .cache
                            .entry(key, &raw.value, raw.revision)
                            .map(|e| Stored::Again(Some(e)))
                            .map_err(errors::plain),
                        Ok(Put::Conflict(_)) => Ok(Stored::Again(None)),
                        Err(status) => Err(status),
                    }
                }
            },
        };
        if let Some(finish) = finish {
            finish.finish(w.registry, matches!(outcome, Ok(Stored::Done(_))) && !dry_run).await;
        }
        outcome
    }

    /// Ends a write that changes nothing, if what it did not change is what etcd holds.
    async fn unchanged(
        &self,
        w: &Write<'_>,
        key: &str,
        entry: &Entry,
        new: Value,
        fresh: bool,
    ) -> Result<Stored, Status> {
        if !fresh && !w.options.dry_run {
            let now = self.fetch(key).await?;
            if now.as_ref().is_none_or(|n| n.revision != entry.revision) {
                return Ok(Stored::Again(now));
            }
        }
        self.unsaved(w, entry, new).map(Stored::Done)
    }

    /// The answer to a write that stored nothing: the object at the version that is stored.
    fn unsaved(&self, w: &Write<'_>, entry: &Entry, mut new: Value) -> Result<Saved, Status> {
        object::set(&mut new, &["metadata", "resourceVersion"], entry.revision.to_string());
        let object = encode::object(&new)?;
        self.answer(w, object, new)
    }

    /// The answer to a write: for `scale` the Scale.
    fn answer(&self, w: &Write<'_>, object: crate::Object, tree: Value) -> Result<Saved, Status> {
        let object = match w.sub.map(|s| &s.behaviour) {
            Some(SubBehaviour::Scale(paths)) => encode::object(&scale::of(&object.to_value()?, paths))?,
            _ => object,
        };
        Ok(Saved { object, tree, created: false })
    }

    /// A write to an object that is not there: some may create it.
    async fn write_missing(&self, w: &Write<'_>, source: &mut Source<'_>) -> Result<Saved, Status> {
        // The storage looks at the uid before anybody asks whether the object is there.
        if let Source::Put(body) = source {
            self.check_uid(w, body, "")?;
        }
        let may_create = w.sub.is_none() && (source.is_apply() || self.strategy.allow_create_on_update());
        let body = match source {
            Source::Put(body) if may_create => Some(body.clone()),
            _ => None,
        };
        if !may_create || (body.is_none() && !source.is_apply()) {
            return Err(self.not_found(w.name));
        }
        let mut new = match body {
            Some(mut body) => {
                self.strategy.default(&mut body);
                let writer = managed::Writer { manager: &w.manager(), subresource: "", now: w.ctx.now };
                managed::update(self, &writer, None, &mut body, self.strategy);
                body
            }
            None => {
                let new = self.changed(w, self.strategy, source, None)?;
                let uid = object::uid(&new);
                if !uid.is_empty() {
                    let why = format!(
                        "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                    );
                    return Err(Status::conflict(&self.gr, w.name, why));
                }
                new
            }
        };
        if !source.is_apply() {
            meta::dedup_owners(w.ctx, &mut new, false);
        }
        if w.admission {
            self.admit_new(w.ctx, w.registry, w.namespace, &mut new, w.options.dry_run).await?;
        }
        object::remove(&mut new, &["metadata", "resourceVersion"]);
        let creation = Creation {
            ctx: w.ctx,
            registry: w.registry,
            namespace: w.namespace,
            dry_run: w.options.dry_run,
            admission: w.admission,
            sheds_managed_fields: !source.is_apply(),
        };
        self.save_new(&creation, new).await
    }

    /// PUT names the object it means by its uid, if it has one.
    fn check_uid(&self, w: &Write<'_>, body: &Value, found: &str) -> Result<(), Status> {
        let wanted = object::uid(body);
        if wanted.is_empty() || wanted == found {
            return Ok(());
        }
        let key = self.full_key(&self.key(w.namespace, w.name)?);
        Err(errors::wrong_uid(&self.gr, w.name, &key, wanted, found))
    }

    /// The new object as the request wants it, with managedFields, before admission.
    fn changed(
        &self,
        w: &Write<'_>,
        strategy: &dyn Strategy,
        source: &mut Source<'_>,
        old: Option<&Value>,
    ) -> Result<Value, Status> {
        let manager = w.manager();
        let writer = managed::Writer { manager: &manager, subresource: w.subresource(), now: w.ctx.now };
        let empty = json!({});
        let live = old.unwrap_or(&empty);
        let mut new = match source {
            Source::Put(body) => body.clone(),
            Source::Edit(edit) => {
                let mut new = live.clone();
                edit(&mut new)?;
                self.strategy.default(&mut new);
                return Ok(new);
            }
            Source::Patch(PatchType::Apply, body) => {
                let (applied, duplicates) = patch::parse_apply(self.patched(), body)?;
                let mut new = managed::apply(self, &writer, old, &applied, strategy, w.options.force == Some(true))?;
                patch::tell_duplicates(w.ctx, &duplicates, w.options)?;
                meta::ensure_namespace(&mut new, w.namespace)?;
                meta::check_name(&new, w.name)?;
                return Ok(new);
            }
            Source::Patch(kind, body) => {
                let mut new = patch::apply(w.ctx, self.patched(), *kind, body, live, w.options)?;
                meta::ensure_namespace(&mut new, w.namespace)?;
                meta::check_name(&new, w.name)?;
                new
            }
        };
        self.strategy.default(&mut new);
        // What a patch doubles is taken for admission's doing: upstream looks only then.
        if matches!(source, Source::Put(_)) {
            meta::dedup_owners(w.ctx, &mut new, false);
        }
        managed::update(self, &writer, Some(live), &mut new, strategy);
        Ok(new)
    }

    fn patched(&self) -> patch::Kind<'_> {
        patch::Kind { gvk: &self.gvk, ty: self.ty.as_ref() }
    }

    async fn attempt(
        &self,
        w: &Write<'_>,
        strategy: &'static dyn Strategy,
        source: &mut Source<'_>,
        key: &str,
        entry: &Entry,
    ) -> Result<Attempt, Status> {
        let old = self.shape.tree(&entry.bytes)?;
        if let Source::Put(body) = source
            && !object::uid(body).is_empty()
            && object::uid(body) != object::uid(&old)
        {
            return Err(errors::wrong_uid(&self.gr, w.name, &self.full_key(key), object::uid(body), object::uid(&old)));
        }
        let mut new = match w.sub.map(|s| &s.behaviour) {
            Some(SubBehaviour::Scale(paths)) => self.rescaled(w, source, &old, paths).await?,
            _ => {
                let mut new = self.changed(w, strategy, source, Some(&old))?;
                self.admit_change(w, &self.gvk, &mut new, &old).await?;
                managed::settle(&old, &mut new);
                new
            }
        };
        self.check_version(w.name, &mut new, &old)?;
        let finish = strategy.begin_update(w.ctx, w.registry, &mut new, &old, w.options.dry_run).await?;
        match self.checked(w, strategy, &mut new, &old).await {
            Ok(delete) => Ok(Attempt { new, finish, delete }),
            Err(status) => {
                if let Some(finish) = finish {
                    finish.finish(w.registry, false).await;
                }
                Err(status)
            }
        }
    }

    /// Prepares and validates a changed object; whether it is to be removed, since the last finalizer went.
    async fn checked(
        &self,
        w: &Write<'_>,
        strategy: &'static dyn Strategy,
        new: &mut Value,
        old: &Value,
    ) -> Result<bool, Status> {
        self.before_update(w, strategy, new, old).await?;
        if w.admission {
            let attributes = self.attributes(w, &self.gvk, new, old);
            w.registry.chain().validate(&attributes, w.registry).await?;
        }
        let finalized = object::finalizers(new).next().is_none();
        let waits = object::int(old, &["metadata", "deletionGracePeriodSeconds"]) == Some(0);
        let held = object::is_deleting(old) && self.strategy.holds_deletion(old) && !self.strategy.holds_deletion(new);
        Ok(finalized && (waits || held))
    }

    fn attributes<'a>(
        &'a self,
        w: &'a Write<'_>,
        kind: &'a GroupVersionKind,
        new: &'a mut Value,
        old: &'a Value,
    ) -> Attributes<'a> {
        Attributes {
            ctx: w.ctx,
            operation: Operation::Update,
            kind,
            resource: &self.gvr,
            subresource: w.subresource(),
            namespace: w.namespace,
            name: w.name,
            object: Some(new),
            old: Some(old),
            dry_run: w.options.dry_run,
        }
    }

    async fn admit_change(
        &self,
        w: &Write<'_>,
        kind: &GroupVersionKind,
        new: &mut Value,
        old: &Value,
    ) -> Result<(), Status> {
        if w.admission {
            let mut attributes = self.attributes(w, kind, new, old);
            w.registry.chain().admit(&mut attributes, w.registry).await?;
            meta::dedup_owners(w.ctx, new, true);
        }
        Ok(())
    }

    /// The parent of a Scale with what the request changes of it (rule: `pkg/registry/apps/*/storage` scaleUpdatedObjectInfo).
    async fn rescaled(
        &self,
        w: &Write<'_>,
        source: &mut Source<'_>,
        old: &Value,
        paths: &'static crate::ScalePaths,
    ) -> Result<Value, Status> {
        let kind = GroupVersionKind::from_static("autoscaling", "v1", "Scale");
        let ty = steersman_schema::lookup("autoscaling", "v1", "Scale");
        let handler = scale::Handler { api_version: &self.gvk.api_version(), paths };
        let mut live = scale::of(old, paths);
        handler.to_scale(old, &mut live);
        let manager = w.manager();
        let writer = managed::Writer { manager: &manager, subresource: w.subresource(), now: w.ctx.now };
        let of_kind = patch::Kind { gvk: &kind, ty: ty.as_ref() };
        let mut new = match source {
            Source::Put(body) => body.clone(),
            Source::Edit(edit) => {
                let mut new = live.clone();
                edit(&mut new)?;
                new
            }
            Source::Patch(PatchType::Apply, body) => {
                let (applied, duplicates) = patch::parse_apply(of_kind, body)?;
                let force = w.options.force == Some(true);
                let new = managed::apply_scale(&kind, ty.as_ref(), &writer, &live, &applied, force)?;
                patch::tell_duplicates(w.ctx, &duplicates, w.options)?;
                new
            }
            Source::Patch(kind, body) => patch::apply(w.ctx, of_kind, *kind, body, &live, w.options)?,
        };
        meta::ensure_namespace(&mut new, w.namespace)?;
        meta::check_name(&new, w.name)?;
        if w.admission && !source.is_apply() {
            managed::update_scale(&kind, ty.as_ref(), &writer, &live, &mut new);
        }
        self.admit_change(w, &kind, &mut new, &live).await?;
        let errors = scale::validate(&new);
        if !errors.is_empty() {
            return Err(Status::invalid(&GroupKind::from_static("autoscaling", "Scale"), w.name, &errors));
        }
        let (wanted, found) = (object::uid(&new), object::uid(old));
        if !wanted.is_empty() && wanted != found {
            let gr = steersman_apimachinery::GroupResource::new(
                self.gr.group.clone(),
                format!("{}/scale", self.gr.resource),
            );
            let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
            return Err(Status::conflict(&gr, w.name, why));
        }
        let mut parent = old.clone();
        object::set(&mut parent, paths.spec_replicas, object::int(&new, &["spec", "replicas"]).unwrap_or(0));
        object::set(&mut parent, &["metadata", "resourceVersion"], object::resource_version(&new));
        handler.to_parent(&new, &mut parent);
        Ok(parent)
    }

    /// Optimistic concurrency: the version that the request names must be the stored one.
    fn check_version(&self, name: &str, new: &mut Value, old: &Value) -> Result<(), Status> {
        let wanted = token::object_version(object::resource_version(new))?;
        if wanted == 0 {
            if !self.strategy.allow_unconditional_update() {
                let mut errors = ErrorList::new();
                errors.invalid(
                    &Path::new("metadata").child("resourceVersion"),
                    0u64,
                    "must be specified for an update",
                );
                let gk = GroupKind::new(self.gr.group.clone(), self.gr.resource.clone());
                return Err(Status::invalid(&gk, name, &errors));
            }
            object::set(new, &["metadata", "resourceVersion"], object::resource_version(old));
            return Ok(());
        }
        if wanted.to_string() == object::resource_version(old) {
            Ok(())
        } else {
            Err(Status::conflict(&self.gr, name, errors::MODIFIED))
        }
    }

    /// Keeps what an update may not change, and validates (rule: `rest.BeforeUpdate`).
    async fn before_update(
        &self,
        w: &Write<'_>,
        strategy: &dyn Strategy,
        new: &mut Value,
        old: &Value,
    ) -> Result<(), Status> {
        meta::ensure_namespace(new, w.namespace)?;
        let keep = |new: &mut Value, field: &str| match object::get(old, &["metadata", field]) {
            Some(v) if !v.is_null() => object::set(new, &["metadata", field], v.clone()),
            _ => {
                object::remove(new, &["metadata", field]);
            }
        };
        keep(new, "generation");
        strategy.prepare_for_update(w.ctx, new, old);
        if object::uid(new).is_empty() {
            keep(new, "uid");
        }
        if object::creation_timestamp(old).is_empty() {
            object::set(new, &["metadata", "creationTimestamp"], meta::time(w.ctx.now));
        } else {
            keep(new, "creationTimestamp");
        }
        if object::is_deleting(old) {
            keep(new, "deletionTimestamp");
        }
        let grace = &["metadata", "deletionGracePeriodSeconds"];
        if object::int(old, grace).is_some() && object::int(new, grace).is_none() {
            keep(new, "deletionGracePeriodSeconds");
        }
        let (path, null) = (Path::new("metadata"), Value::Null);
        let (new_meta, old_meta) = (new.get("metadata").unwrap_or(&null), old.get("metadata").unwrap_or(&null));
        let namespaced = self.info().namespaced;
        let mut errors =
            validation::validate_object_meta(new_meta, namespaced, &|n, p| validation::path_segment_name(n, p), &path);
        let changes = validation::validate_object_meta_update(new_meta, old_meta, &path);
        // Upstream checks metadata in general and for most kinds once more, and tells every mistake of it twice then.
        if strategy.compares_metadata() {
            errors.extend(changes.clone());
        }
        errors.extend(changes);
        let finalizers =
            || if strategy.checks_finalizers() { validation::known_finalizers(new) } else { ErrorList::new() };
        if strategy.compares_metadata() {
            errors.extend(finalizers());
        }
        if strategy.revalidates_metadata() {
            errors.extend(meta::validate(new, self.strategy));
            errors.extend(finalizers());
        }
        errors.extend(strategy.forbidden(w.ctx, w.registry, new, Some(old)).await);
        errors.extend(strategy.validate_update(w.ctx, new, old));
        if !errors.is_empty() {
            return Err(Status::invalid(&self.gk, w.name, &errors));
        }
        strategy.warn_on_update(w.ctx, new, old);
        Ok(())
    }

    /// Removes an object whose last finalizer went. False: somebody changed it meanwhile.
    async fn remove_updated(&self, w: &Write<'_>, key: &str, entry: &Entry, new: &Value) -> Result<bool, Status> {
        if w.options.dry_run {
            return Ok(true);
        }
        match self.storage.delete(&self.cache, key, entry.revision).await.map_err(errors::storage)? {
            Written::Done(_) => {
                self.strategy.after_delete(w.ctx, w.registry, new).await;
                Ok(true)
            }
            Written::Conflict(None) => Ok(true),
            Written::Conflict(Some(_)) => Ok(false),
        }
    }
}

/// How an attempt ended.
enum Stored {
    Done(Saved),
    /// Somebody came between; this is there now.
    Again(Option<Arc<Entry>>),
}
