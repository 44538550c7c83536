//! DELETE (rule: apiserver `pkg/registry/generic/registry/store.go` Delete, `pkg/registry/rest/delete.go`,
//! `pkg/endpoints/handlers/delete.go`).

use crate::create::Put;
use crate::object::{Deleted, DeletedBody, Items, List};
use crate::registry::Registry;
use crate::store::Store;
use crate::strategy::DefaultGc;
use crate::{Context, encode, errors, meta, token};
use futures::stream::{self, TryStreamExt};
use serde_json::Value;
use std::sync::Arc;
use steersman_admission::{Attributes, Operation};
use steersman_apimachinery::options::{DeleteOptions, ListOptions, Propagation};
use steersman_apimachinery::status::Details;
use steersman_apimachinery::{GroupResource, Reason, Status, object};
use steersman_storage::{Entry, Written};

/// Keeps dependants.
const ORPHAN: &str = "orphan";
/// Waits for dependants.
const FOREGROUND: &str = "foregroundDeletion";
/// How many objects of a collection are deleted at once.
const WORKERS: usize = 8;

/// What a deletion makes of an object.
enum Plan {
    /// It goes.
    Remove,
    /// It stays, marked; `Value` is how.
    Mark(Value),
    /// It is marked already, and nothing about that changes.
    Pending,
}

/// How an attempt at a plan ended.
enum Ended {
    /// The object is gone; so it last was.
    Gone(Value),
    /// It is still there, like this.
    Stays(Value),
    /// Somebody came between; this is there now.
    Again(Option<Arc<Entry>>),
}

impl Store {
    /// The whole way of a DELETE; also answers the object.
    pub(crate) async fn delete_object(
        &self,
        ctx: &Context,
        registry: &Registry,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
        admission: bool,
    ) -> Result<(Deleted, Value), Status> {
        let key = self.key(namespace, name)?;
        let mut existing = self.storage.get(&self.cache, &key).await.map_err(errors::storage)?;
        let mut last: Option<Value> = None;
        loop {
            let Some(entry) = existing else {
                // Between marking and removing, somebody else may finish a deletion: that is what was wanted.
                return match last {
                    Some(obj) => Ok((self.answer_deletion(&obj, true, &options)?, obj)),
                    None => Err(self.not_found(name)),
                };
            };
            let obj = self.shape.tree(&entry.bytes)?;
            self.check_preconditions(&obj, &options)?;
            self.strategy.before_delete(ctx, registry, &obj).await?;
            if admission {
                self.admit_deletion(ctx, registry, namespace, name, &obj, &options).await?;
            }
            match self.delete_attempt(ctx, registry, &key, &entry, obj, &options).await? {
                Ended::Gone(obj) => return Ok((self.answer_deletion(&obj, true, &options)?, obj)),
                Ended::Stays(obj) => return Ok((self.answer_deletion(&obj, false, &options)?, obj)),
                Ended::Again(now) => {
                    if now.is_none() {
                        last = Some(self.shape.tree(&entry.bytes)?);
                    }
                    existing = now;
                }
            }
        }
    }

    fn check_preconditions(&self, obj: &Value, options: &DeleteOptions) -> Result<(), Status> {
        let gr = GroupResource::new(self.gk.group.clone(), self.gk.kind.clone());
        let conflict = |why: String| Err(Status::conflict(&gr, object::name(obj), why));
        if let Some(uid) = options.precondition_uid.as_deref()
            && uid != object::uid(obj)
        {
            return conflict(format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                object::uid(obj)
            ));
        }
        if let Some(version) = options.precondition_resource_version.as_deref()
            && version != object::resource_version(obj)
        {
            return conflict(format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
                object::resource_version(obj)
            ));
        }
        Ok(())
    }

    async fn admit_deletion(
        &self,
        ctx: &Context,
        registry: &Registry,
        namespace: &str,
        name: &str,
        obj: &Value,
        options: &DeleteOptions,
    ) -> Result<(), Status> {
        let mut attributes = Attributes {
            ctx,
            operation: Operation::Delete,
            kind: &self.gvk,
            resource: &self.gvr,
            subresource: "",
            namespace,
            name,
            object: None,
            old: Some(obj),
            dry_run: options.dry_run,
        };
        registry.chain().admit(&mut attributes, registry).await?;
        registry.chain().validate(&attributes, registry).await
    }

    async fn delete_attempt(
        &self,
        ctx: &Context,
        registry: &Registry,
        key: &str,
        entry: &Arc<Entry>,
        obj: Value,
        options: &DeleteOptions,
    ) -> Result<Ended, Status> {
        let (plan, marked) = self.plan(ctx, &obj, options)?;
        let mut revision = entry.revision;
        let mut obj = obj;
        match plan {
            Plan::Pending => return Ok(Ended::Stays(obj)),
            Plan::Mark(new) => {
                let changed = new != obj;
                obj = new;
                if changed && !options.dry_run {
                    match self.put(key, &mut obj, revision, self.strategy.ttl(registry), true).await? {
                        Put::Done(stored) => {
                            revision = stored.revision();
                            object::set(&mut obj, &["metadata", "resourceVersion"], revision.to_string());
                        }
                        Put::Conflict(Written::Conflict(Some(raw))) => {
                            return self
                                .cache
                                .entry(key, &raw.value, raw.revision)
                                .map(|e| Ended::Again(Some(e)))
                                .map_err(errors::plain);
                        }
                        Put::Conflict(_) => return Ok(Ended::Again(None)),
                    }
                }
                if marked {
                    return Ok(Ended::Stays(obj));
                }
            }
            Plan::Remove => {}
        }
        if !options.dry_run {
            match self.storage.delete(&self.cache, key, revision).await.map_err(errors::storage)? {
                Written::Done(revision) => {
                    // The object as it was, at the revision at which it went.
                    object::set(&mut obj, &["metadata", "resourceVersion"], revision.to_string());
                }
                Written::Conflict(Some(raw)) => {
                    return self
                        .cache
                        .entry(key, &raw.value, raw.revision)
                        .map(|e| Ended::Again(Some(e)))
                        .map_err(errors::plain);
                }
                Written::Conflict(None) => return Ok(Ended::Again(None)),
            }
            self.strategy.after_delete(ctx, registry, &obj).await;
        }
        Ok(Ended::Gone(obj))
    }

    /// What becomes of an object; the second says whether it stays after being marked.
    fn plan(&self, ctx: &Context, obj: &Value, options: &DeleteOptions) -> Result<(Plan, bool), Status> {
        if self.strategy.holds_deletion(obj) {
            return Ok((self.plan_held(ctx, obj, options), true));
        }
        let mut new = obj.clone();
        let mut options = options.clone();
        let graceful = match self.grace(ctx, &mut new, &mut options)? {
            Grace::Pending => return Ok((Plan::Pending, true)),
            Grace::Seconds(s) => Some(s),
            Grace::None => None,
        };
        let had = object::finalizers(obj).next().is_some();
        let changed = self.set_finalizers(&mut new, &options);
        if graceful.is_none() && !had && !changed {
            return Ok((Plan::Remove, false));
        }
        let has = object::finalizers(&new).next().is_some();
        if graceful.is_none() && has {
            mark(ctx, &mut new);
        }
        Ok((Plan::Mark(new), has || graceful.is_some_and(|s| s > 0)))
    }

    /// Kinds with finalizers of their own are marked, and stay until those are gone.
    fn plan_held(&self, ctx: &Context, obj: &Value, options: &DeleteOptions) -> Plan {
        if object::is_deleting(obj) {
            return Plan::Pending;
        }
        let mut new = obj.clone();
        object::set(&mut new, &["metadata", "deletionTimestamp"], meta::time(ctx.now));
        self.strategy.mark_deleting(&mut new);
        self.set_finalizers(&mut new, options);
        Plan::Mark(new)
    }

    /// The grace period of a deletion, marked in the object (rule: `rest.BeforeDelete`).
    fn grace(&self, ctx: &Context, obj: &mut Value, options: &mut DeleteOptions) -> Result<Grace, Status> {
        // Negative periods are taken for one second.
        if options.grace_period_seconds.is_some_and(|s| s < 0) {
            options.grace_period_seconds = Some(1);
        }
        const PERIOD: &[&str] = &["metadata", "deletionGracePeriodSeconds"];
        const TIMESTAMP: &[&str] = &["metadata", "deletionTimestamp"];
        let mut period = object::int(obj, PERIOD);
        if period.is_some_and(|s| s < 0) {
            period = Some(1);
        }
        let asked = options.grace_period_seconds;
        if !self.strategy.check_graceful_delete(ctx, obj, options) {
            return Ok(Grace::None);
        }
        if object::is_deleting(obj) {
            // A deletion that is under way can only be made shorter.
            let Some(period) = period else { return Ok(Grace::None) };
            let Some(wanted) = asked.filter(|w| *w < period) else { return Ok(Grace::Pending) };
            let begun = object::deletion_timestamp(obj).parse::<jiff::Timestamp>().unwrap_or(ctx.now);
            let until = begun.saturating_add(jiff::SignedDuration::from_secs(wanted - period)).unwrap_or(begun);
            object::set(obj, TIMESTAMP, meta::time(until));
            object::set(obj, PERIOD, wanted);
            return Ok(Grace::Seconds(wanted));
        }
        let Some(seconds) = options.grace_period_seconds else {
            return Err(Status::internal("options.GracePeriodSeconds should not be nil"));
        };
        let until = ctx.now.saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(ctx.now);
        object::set(obj, TIMESTAMP, meta::time(until));
        object::set(obj, PERIOD, seconds);
        bump_generation(obj);
        Ok(Grace::Seconds(seconds))
    }

    /// Adds or takes the finalizers of the garbage collector as the request, the object or the kind asks for; true: there
    /// was something to change (rule: `deletionFinalizersForGarbageCollection`).
    fn set_finalizers(&self, obj: &mut Value, options: &DeleteOptions) -> bool {
        let has = |f: &str| object::finalizers(obj).any(|x| x == f);
        let (orphan, foreground) = match (options.orphan_dependents, options.propagation) {
            (Some(orphan), _) => (orphan, false),
            (None, Some(p)) => (p == Propagation::Orphan, p == Propagation::Foreground),
            // The first of the two in the object's own list decides.
            (None, None) => match object::finalizers(obj).find(|f| matches!(*f, ORPHAN | FOREGROUND)) {
                Some(ORPHAN) => (true, false),
                Some(_) => (false, true),
                None => (self.strategy.default_gc() == DefaultGc::Orphan, false),
            },
        };
        if has(ORPHAN) == orphan && has(FOREGROUND) == foreground {
            return false;
        }
        let mut finalizers: Vec<Value> =
            object::finalizers(obj).filter(|f| !matches!(*f, ORPHAN | FOREGROUND)).map(Value::from).collect();
        if orphan {
            finalizers.push(ORPHAN.into());
        }
        if foreground {
            finalizers.push(FOREGROUND.into());
        }
        if finalizers.is_empty() {
            object::remove(obj, &["metadata", "finalizers"]);
        } else {
            object::set(obj, &["metadata", "finalizers"], finalizers);
        }
        true
    }

    /// The object, or a Status about it; 202 where it stays and the request said `orphanDependents=false`.
    fn answer_deletion(&self, obj: &Value, gone: bool, options: &DeleteOptions) -> Result<Deleted, Status> {
        let code = if !gone && options.orphan_dependents == Some(false) { 202 } else { 200 };
        let body = if !gone || self.strategy.returns_deleted_object() {
            DeletedBody::Object(encode::object(obj)?)
        } else {
            let details = Details {
                name: object::name(obj).to_owned(),
                group: self.gr.group.to_string(),
                kind: self.gr.resource.to_string(),
                uid: object::uid(obj).to_owned(),
                ..Details::default()
            };
            DeletedBody::Status(Status {
                status: "Success".into(),
                details: Some(Box::new(details)),
                ..Status::default()
            })
        };
        Ok(Deleted { code, body })
    }

    /// DELETE of a collection: all that the list finds, one by one; who is gone already does not matter.
    pub(crate) async fn delete_listed(
        &self,
        ctx: &Context,
        registry: &Registry,
        namespace: &str,
        list: &ListOptions,
        options: DeleteOptions,
    ) -> Result<List, Status> {
        token::parse_version(&list.resource_version)
            .map_err(|e| Status::bad_request(format!("invalid resource version: {e}")))?;
        let (_, listed, _) = self.listed(namespace, list).await?;
        let revision = listed.revision;
        let entries: Vec<Arc<Entry>> = listed.entries.collect();
        stream::iter(entries.iter().map(Ok))
            .try_for_each_concurrent(WORKERS, |entry| {
                let options = options.clone();
                async move {
                    match self.delete_object(ctx, registry, entry.namespace(), entry.name(), options, true).await {
                        Err(status) if status.reason == Reason::NotFound => Ok(()),
                        result => result.map(|_| ()),
                    }
                }
            })
            .await?;
        let shape = self.shape;
        let items = entries.into_iter().filter_map(move |e| shape.object(&e).ok());
        Ok(List { items: Items::new(items), revision, continue_token: String::new(), remaining_item_count: None })
    }
}

enum Grace {
    /// The kind knows none: the object goes as soon as its finalizers allow.
    None,
    /// Marked; so long it may take.
    Seconds(i64),
    /// Marked before, and not to be changed.
    Pending,
}

/// Marks an object that only its finalizers keep (rule: `markAsDeleting`).
fn mark(ctx: &Context, obj: &mut Value) {
    let already = object::deletion_timestamp(obj).parse::<jiff::Timestamp>().ok();
    if already.is_none() {
        bump_generation(obj);
    }
    if already.is_none_or(|t| t > ctx.now) {
        object::set(obj, &["metadata", "deletionTimestamp"], meta::time(ctx.now));
    }
    object::set(obj, &["metadata", "deletionGracePeriodSeconds"], 0);
}

/// The beginning of a deletion is a change that controllers have to observe.
fn bump_generation(obj: &mut Value) {
    let generation = object::int(obj, &["metadata", "generation"]).unwrap_or(0);
    if generation > 0 {
        object::set(obj, &["metadata", "generation"], generation + 1);
    }
}
