//! What plug-ins, strategies and authorisers read and write of the cluster.

use crate::ranges::Ranges;
use crate::registry::Registry;
use crate::store::Store;
use crate::update::{Source, Write};
use crate::{Context, errors};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use steersman_admission::cluster::{Cluster, Pool, ServerConfig, TokenAuthenticator, TokenIssuer};
use steersman_apimachinery::options::{CreateOptions, DeleteOptions, GetOptions, UpdateOptions};
use steersman_apimachinery::{GroupResource, Status, object};
use steersman_auth::{Attributes, Authorizer, Decision, Lookup, Rules, UserInfo};
use steersman_storage::{Entry, Scope};

/// At most so many parsed objects of a resource are kept.
const KEPT: usize = 1024;
/// Larger ones are not.
const LARGE: usize = 64 << 10;

/// Parsed objects of a resource that are asked for again and again: roles, namespaces, service accounts.
#[derive(Default)]
pub(crate) struct Memo(Mutex<HashMap<Arc<str>, (u64, Arc<Value>), ahash::RandomState>>);

impl Store {
    /// The tree of a cached object, parsed once per version.
    fn parsed(&self, entry: &Entry) -> Option<Arc<Value>> {
        if let Some((revision, tree)) = self.memo.0.lock().get(&entry.key)
            && *revision == entry.revision
        {
            return Some(tree.clone());
        }
        let tree = Arc::new(self.shape.tree(&entry.bytes).ok()?);
        if entry.bytes.len() <= LARGE {
            let mut kept = self.memo.0.lock();
            if kept.len() >= KEPT {
                kept.clear();
            }
            kept.insert(entry.key.clone(), (entry.revision, tree.clone()));
        }
        Some(tree)
    }

    fn cached(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = self.key(namespace, name).ok()?;
        self.parsed(&*self.cache.get(&key)?)
    }

    fn cached_list(&self, namespace: &str) -> Vec<Arc<Value>> {
        let scope = if namespace.is_empty() { Scope::All } else { Scope::Namespace(namespace.to_owned()) };
        let Some(listed) = self.cache.list(&scope, "", 0, None, None, None) else { return Vec::new() };
        let many = self.cache.count(&scope) > KEPT;
        listed
            .entries
            .filter_map(|e| if many { self.shape.tree(&e.bytes).ok().map(Arc::new) } else { self.parsed(&e) })
            .collect()
    }
}

impl Registry {
    async fn ranges(&self) -> Result<&Ranges, Status> {
        self.ranges.get_or_try_init(|| Ranges::attach(self)).await
    }

    fn need(&self, group: &str, resource: &str) -> Result<Arc<Store>, Status> {
        self.store(group, resource).ok_or_else(|| {
            let gr = GroupResource::new(group.to_owned(), resource.to_owned());
            errors::plain(format!("the resource {gr} is not served"))
        })
    }
}

#[async_trait]
impl Cluster for Registry {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.store(group, resource)?.cached(namespace, name)
    }
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Value>> {
        self.store(group, resource).map(|s| s.cached_list(namespace)).unwrap_or_default()
    }
    async fn get_live(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Value, Status> {
        self.need(group, resource)?.read(namespace, name, &GetOptions::default()).await?.to_value()
    }
    async fn create(
        &self,
        ctx: &Context,
        group: &str,
        resource: &str,
        object: Value,
        dry_run: bool,
    ) -> Result<Value, Status> {
        let store = self.need(group, resource)?;
        let namespace = object::namespace(&object).to_owned();
        let options = CreateOptions { dry_run, ..CreateOptions::default() };
        let saved = store.create_object(ctx, self, &namespace, object, &options, false).await?;
        Ok(versioned(saved.tree, saved.object.revision()))
    }
    async fn update(
        &self,
        ctx: &Context,
        (group, resource, subresource): (&str, &str, &str),
        (namespace, name): (&str, &str),
        dry_run: bool,
        change: &mut (dyn for<'v> FnMut(&'v mut Value) -> Result<(), Status> + Send),
    ) -> Result<Value, Status> {
        let store = self.need(group, resource)?;
        let sub = store.subresource(subresource);
        let options = UpdateOptions { dry_run, ..UpdateOptions::default() };
        let write = Write { ctx, registry: self, sub, namespace, name, options: &options, admission: false };
        let saved = store.write(&write, Source::Edit(change)).await?;
        Ok(versioned(saved.tree, saved.object.revision()))
    }
    async fn delete(
        &self,
        ctx: &Context,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<Value, Status> {
        let store = self.need(group, resource)?;
        store.delete_object(ctx, self, namespace, name, options, false).await.map(|(_, obj)| obj)
    }
    async fn pool(&self, name: &str, live: bool) -> Result<Option<Pool>, Status> {
        self.ranges().await?.read(name, live).await
    }
    async fn set_pool(&self, name: &str, pool: &Pool) -> Result<bool, Status> {
        self.ranges().await?.write(name, pool).await
    }
    fn authorizer(&self) -> &dyn Authorizer {
        match self.authorizer.get() {
            Some(a) => a.as_ref(),
            None => &NobodyMay,
        }
    }
    fn token_issuer(&self) -> Option<&dyn TokenIssuer> {
        self.issuer.get().map(|i| &**i)
    }
    fn token_authenticator(&self) -> Option<&dyn TokenAuthenticator> {
        self.authenticator.get().map(|a| &**a)
    }
    fn config(&self) -> &ServerConfig {
        &self.server
    }
}

/// A tree at the version it was stored at.
fn versioned(mut tree: Value, revision: u64) -> Value {
    if revision > 0 {
        object::set(&mut tree, &["metadata", "resourceVersion"], revision.to_string());
    }
    tree
}

impl Lookup for Registry {
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        Cluster::get(self, group, resource, namespace, name)
    }
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Value>> {
        Cluster::list(self, group, resource, namespace)
    }
    fn revision(&self, group: &str, resource: &str) -> u64 {
        self.store(group, resource).map_or(0, |s| s.cache.last_change())
    }
}

/// Decides while no authoriser is set: never.
struct NobodyMay;

#[async_trait]
impl Authorizer for NobodyMay {
    async fn authorize(&self, _a: &Attributes<'_>) -> (Decision, String) {
        (Decision::NoOpinion, String::new())
    }
    async fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> Rules {
        Rules::default()
    }
}
