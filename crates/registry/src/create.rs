//! POST (rule: apiserver `pkg/registry/generic/registry/store.go` Create, `pkg/registry/rest/create.go`,
//! `pkg/endpoints/handlers/create.go`).

use crate::object::Object;
use crate::registry::Registry;
use crate::store::Store;
use crate::strategy::SubBehaviour;
use crate::{Context, Subresource, encode, errors, managed, meta};
use serde_json::Value;
use steersman_admission::{Attributes, Operation};
use steersman_apimachinery::options::CreateOptions;
use steersman_apimachinery::{GroupVersionKind, Path, Reason, Status, object, validation};
use steersman_storage::Written;

/// How often a generated name is tried (rule: `RetryGenerateName`).
const ATTEMPTS: usize = 8;

/// What a write left behind.
pub(crate) struct Saved {
    /// As it is answered.
    pub(crate) object: Object,
    /// The same as a tree, without its new resourceVersion.
    pub(crate) tree: Value,
    pub(crate) created: bool,
}

/// How a new object is stored.
pub(crate) struct Creation<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) registry: &'a Registry,
    pub(crate) namespace: &'a str,
    pub(crate) dry_run: bool,
    /// Whether plug-ins are asked; not for the server's own writes.
    pub(crate) admission: bool,
    /// Whether one that is too large may be stored without its managedFields; not where they are the point of the
    /// request, as in server-side apply.
    pub(crate) sheds_managed_fields: bool,
}

impl Store {
    /// The whole way of a POST. Without `admission` it is the server's own write.
    pub(crate) async fn create_object(
        &self,
        ctx: &Context,
        registry: &Registry,
        namespace: &str,
        mut obj: Value,
        options: &CreateOptions,
        admission: bool,
    ) -> Result<Saved, Status> {
        meta::wipe_system_fields(&mut obj);
        meta::ensure_namespace(&mut obj, namespace)?;
        self.strategy.default(&mut obj);
        meta::dedup_owners(ctx, &mut obj, false);
        if admission {
            let manager = managed::manager(&options.field_manager, &ctx.user_agent);
            managed::update(
                self,
                &managed::Writer { manager: &manager, subresource: "", now: ctx.now },
                None,
                &mut obj,
                self.strategy,
            );
            self.admit_new(ctx, registry, namespace, &mut obj, options.dry_run).await?;
        }
        let creation =
            Creation { ctx, registry, namespace, dry_run: options.dry_run, admission, sheds_managed_fields: true };
        self.save_new(&creation, obj).await
    }

    /// Runs the mutating part of admission on a new object.
    pub(crate) async fn admit_new(
        &self,
        ctx: &Context,
        registry: &Registry,
        namespace: &str,
        obj: &mut Value,
        dry_run: bool,
    ) -> Result<(), Status> {
        let name = object::name(obj).to_owned();
        let mut attributes = Attributes {
            ctx,
            operation: Operation::Create,
            kind: &self.gvk,
            resource: &self.gvr,
            subresource: "",
            namespace,
            name: &name,
            object: Some(obj),
            old: None,
            dry_run,
        };
        registry.chain().admit(&mut attributes, registry).await?;
        meta::dedup_owners(ctx, obj, true);
        Ok(())
    }

    /// Names, prepares, validates and stores a new object.
    pub(crate) async fn save_new(&self, c: &Creation<'_>, mut obj: Value) -> Result<Saved, Status> {
        let base = object::generate_name(&obj).to_owned();
        let generated = object::name(&obj).is_empty() && !base.is_empty();
        let mut attempt = 1;
        loop {
            let mut this = if generated && attempt < ATTEMPTS { obj.clone() } else { std::mem::take(&mut obj) };
            if generated {
                object::set(&mut this, &["metadata", "name"], self.strategy.generate_name(&base));
            }
            match self.save_named(c, this).await {
                Err(status) if status.reason == Reason::AlreadyExists && generated && attempt < ATTEMPTS => {
                    attempt += 1
                }
                Err(status) if status.reason == Reason::AlreadyExists && generated => {
                    return Err(self.no_unique_name(status));
                }
                result => return result,
            }
        }
    }

    async fn save_named(&self, c: &Creation<'_>, mut obj: Value) -> Result<Saved, Status> {
        meta::fill_system_fields(&mut obj, c.ctx.now);
        meta::clear_deletion(&mut obj);
        meta::ensure_namespace(&mut obj, c.namespace)?;
        let finish = self.strategy.begin_create(c.ctx, c.registry, &mut obj, c.dry_run).await?;
        let saved = self.save_begun(c, obj).await;
        if let Some(finish) = finish {
            finish.finish(c.registry, saved.is_ok() && !c.dry_run).await;
        }
        saved
    }

    async fn save_begun(&self, c: &Creation<'_>, mut obj: Value) -> Result<Saved, Status> {
        self.strategy.prepare_for_create(c.ctx, &mut obj);
        self.validate_new(c, &obj).await?;
        self.strategy.warn_on_create(c.ctx, &obj);
        let name = object::name(&obj).to_owned();
        let key = self.key(c.namespace, &name)?;
        if c.admission {
            let attributes = Attributes {
                ctx: c.ctx,
                operation: Operation::Create,
                kind: &self.gvk,
                resource: &self.gvr,
                subresource: "",
                namespace: c.namespace,
                name: &name,
                object: Some(&mut obj),
                old: None,
                dry_run: c.dry_run,
            };
            c.registry.chain().validate(&attributes, c.registry).await?;
        }
        if !c.dry_run && crate::token::object_version(object::resource_version(&obj))? != 0 {
            return Err(errors::plain("resourceVersion should not be set on objects to be created"));
        }
        self.put_new(c, &key, &name, obj).await
    }

    async fn validate_new(&self, c: &Creation<'_>, obj: &Value) -> Result<(), Status> {
        let mut errors = self.strategy.forbidden(c.ctx, c.registry, obj, None).await;
        errors.extend(meta::validate(obj, self.strategy));
        if self.strategy.checks_finalizers() {
            errors.extend(validation::known_finalizers(obj));
        }
        errors.extend(self.strategy.validate(c.ctx, obj));
        if errors.is_empty() {
            // The general check comes after the kind's own; only what it asks of names can still be news.
            let rule = |n: &str, p| validation::path_segment_name(n, p);
            errors = validation::validate_names(&obj["metadata"], &rule, &Path::new("metadata"));
        }
        if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&self.gk, object::name(obj), &errors)) }
    }

    async fn put_new(&self, c: &Creation<'_>, key: &str, name: &str, mut obj: Value) -> Result<Saved, Status> {
        if c.dry_run {
            if let Some(there) = self.storage.get(&self.cache, key).await.map_err(errors::storage)? {
                return Err(self.already_exists(name, &self.shape.tree(&there.bytes)?));
            }
            object::remove(&mut obj, &["metadata", "resourceVersion"]);
            return Ok(Saved { object: encode::finished(encode::stored(&obj)?, 0)?, tree: obj, created: true });
        }
        let ttl = self.strategy.ttl(c.registry);
        match self.put(key, &mut obj, 0, ttl, c.sheds_managed_fields).await? {
            Put::Done(object) => Ok(Saved { object, tree: obj, created: true }),
            Put::Conflict(Written::Conflict(Some(raw))) => {
                let there = self.cache.entry(key, &raw.value, raw.revision).map_err(errors::plain)?;
                Err(self.already_exists(name, &self.shape.tree(&there.bytes)?))
            }
            Put::Conflict(_) => Err(Status::conflict(&self.gr, name, errors::MODIFIED)),
        }
    }

    /// Writes an object if its key was last written at `expected`. With `sheds_managed_fields`, one that is too large is
    /// tried once more without them.
    pub(crate) async fn put(
        &self,
        key: &str,
        obj: &mut Value,
        expected: u64,
        ttl: Option<std::time::Duration>,
        sheds_managed_fields: bool,
    ) -> Result<Put, Status> {
        let value = self.shape.stored(obj)?;
        self.put_encoded(key, obj, value, expected, ttl, sheds_managed_fields).await
    }

    /// The same with the stored form at hand.
    pub(crate) async fn put_encoded(
        &self,
        key: &str,
        obj: &mut Value,
        mut value: Vec<u8>,
        expected: u64,
        ttl: Option<std::time::Duration>,
        sheds_managed_fields: bool,
    ) -> Result<Put, Status> {
        loop {
            let answer = if self.shape.converts { encode::stored(obj)? } else { value.clone() };
            match self.storage.put(&self.cache, key, value, expected, ttl).await {
                Ok(Written::Done(revision)) => return Ok(Put::Done(encode::finished(answer, revision)?)),
                Ok(conflict) => return Ok(Put::Conflict(conflict)),
                Err(steersman_storage::Error::TooLarge)
                    if sheds_managed_fields && object::remove(obj, &["metadata", "managedFields"]).is_some() =>
                {
                    value = self.shape.stored(obj)?;
                }
                Err(e) => return Err(errors::storage(e)),
            }
        }
    }

    fn already_exists(&self, name: &str, there: &Value) -> Status {
        let mut status = Status::already_exists(&self.gr, name);
        if object::is_deleting(there) {
            status.message = format!("object is being deleted: {}", status.message);
        }
        status
    }

    fn no_unique_name(&self, status: Status) -> Status {
        let name = status.details.map(|d| d.name).unwrap_or_default();
        let message = format!(
            "{} \"{name}\" already exists, the server was not able to generate a unique name for the object",
            self.gr
        );
        let mut status = Status::already_exists(&self.gr, &name);
        status.message = message;
        status.details.get_or_insert_default().retry_after_seconds = 1;
        status
    }

    pub(crate) async fn post_subresource(
        &self,
        ctx: &Context,
        registry: &Registry,
        sub: &Subresource,
        namespace: &str,
        name: &str,
        mut body: Value,
        options: &CreateOptions,
    ) -> Result<Value, Status> {
        let SubBehaviour::Create(behaviour) = &sub.behaviour else {
            return Err(Status::method_not_supported(&self.gr, "create"));
        };
        meta::ensure_namespace(&mut body, namespace)?;
        let (group, version, kind) = sub.kind;
        let kind = if version.is_empty() {
            GroupVersionKind::from_static(self.info().group, self.info().version, kind)
        } else {
            GroupVersionKind::from_static(group, version, kind)
        };
        let mut attributes = Attributes {
            ctx,
            operation: Operation::Create,
            kind: &kind,
            resource: &self.gvr,
            subresource: sub.name,
            namespace,
            name,
            object: Some(&mut body),
            old: None,
            dry_run: options.dry_run,
        };
        registry.chain().admit(&mut attributes, registry).await?;
        registry.chain().validate(&attributes, registry).await?;
        behaviour.create(ctx, registry, namespace, name, body, options.dry_run).await
    }
}

/// How [`Store::put`] ended.
pub(crate) enum Put {
    Done(Object),
    Conflict(Written),
}
