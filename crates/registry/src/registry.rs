//! All resources of a server.

use crate::errors;
use crate::ranges::Ranges;
use crate::select::INDEXED;
use crate::shape::Reader;
use crate::store::Store;
use crate::strategy::{Resource, Strategy, Virtual};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use steersman_admission::cluster::{TokenAuthenticator, TokenIssuer};
use steersman_admission::{Chain, ServerConfig};
use steersman_apimachinery::Status;
use steersman_auth::Authorizer;
use steersman_storage::{Cache, CacheSpec, Error, Storage, StorageConfig};

/// What [`Registry::start`] needs.
pub struct Config {
    /// The table of resources.
    pub resources: &'static [Resource],
    /// Where etcd is.
    pub storage: StorageConfig,
    /// `--etcd-servers-overrides`: group, resource and the servers that keep it.
    pub overrides: Vec<(String, String, Vec<String>)>,
    /// Settings of the server.
    pub server: ServerConfig,
}

/// One resource as the server finds it.
#[derive(Clone)]
pub enum Found {
    /// Kept in etcd.
    Stored(Arc<Store>),
    /// Computed.
    Virtual(&'static dyn Virtual),
}

/// Group, version and resource.
type Gvr = (&'static str, &'static str, &'static str);

#[derive(Default)]
struct Tables {
    all: HashMap<Gvr, Found, ahash::RandomState>,
    /// By group and resource, the version that is stored before others.
    by_resource: HashMap<(&'static str, &'static str), Arc<Store>, ahash::RandomState>,
}

impl Tables {
    fn add(&mut self, store: Arc<Store>) {
        let info = store.info();
        let known = self.by_resource.get(&(info.group, info.resource));
        if known.is_none_or(|k| k.shape.converts) {
            self.by_resource.insert((info.group, info.resource), store.clone());
        }
        self.all.insert((info.group, info.version, info.resource), Found::Stored(store));
    }
}

/// All resources of a server. Implements [`crate::Cluster`] and [`steersman_auth::Lookup`].
pub struct Registry {
    tables: RwLock<Tables>,
    storages: Vec<Arc<Storage>>,
    prefix: String,
    this: Weak<Registry>,
    chain: OnceLock<Chain>,
    pub(crate) authorizer: OnceLock<Arc<dyn Authorizer>>,
    pub(crate) issuer: OnceLock<Arc<dyn TokenIssuer>>,
    pub(crate) authenticator: OnceLock<Arc<dyn TokenAuthenticator>>,
    pub(crate) server: ServerConfig,
    /// Followed from the first time they are needed.
    pub(crate) ranges: tokio::sync::OnceCell<Ranges>,
}

static NO_PLUGINS: Chain = Chain::empty();

/// The resources that one etcd keeps, by the prefix of their keys.
type Prefixes = BTreeMap<String, Vec<&'static dyn Strategy>>;

impl Registry {
    /// Begins to follow a folder of keys that is no resource, in the etcd that keeps the core resource `beside`.
    pub(crate) async fn follow(&self, beside: &str, folder: &str) -> Result<(Arc<Storage>, Arc<Cache>), Status> {
        let Some(store) = self.store("", beside) else {
            return Err(Status::internal(format!("{beside} are not served, so {folder} cannot be kept")));
        };
        let storage = store.storage.clone();
        let cache = storage.attach(spec(&format!("{}/{folder}/", self.prefix), &[])).await.map_err(errors::storage)?;
        Ok((storage, cache))
    }

    /// Connects to etcd and fills the watch caches in the background, retrying until etcd answers. Fails only on a
    /// configuration that cannot work.
    pub async fn start(config: Config) -> Result<Arc<Self>, Error> {
        let prefix = config.storage.normalised_prefix();
        // The first cluster keeps all that no override names.
        let mut clusters: Vec<(Vec<String>, Prefixes)> = vec![(config.storage.servers.clone(), Prefixes::new())];
        for resource in config.resources {
            let Resource::Stored(strategy) = resource else { continue };
            let info = strategy.info();
            let servers =
                config.overrides.iter().find(|(g, r, _)| g == info.group && r == info.resource).map(|(_, _, s)| s);
            let at = match servers {
                None => 0,
                Some(s) => clusters.iter().position(|(known, _)| known == s).unwrap_or_else(|| {
                    clusters.push((s.clone(), Prefixes::new()));
                    clusters.len() - 1
                }),
            };
            clusters[at].1.entry(format!("{prefix}/{}/", info.prefix)).or_default().push(*strategy);
        }
        let mut storages = Vec::new();
        let mut caches = Vec::new();
        for (servers, prefixes) in clusters {
            let specs = prefixes.iter().map(|(prefix, strategies)| spec(prefix, strategies)).collect();
            let storage_config = StorageConfig { servers, ..config.storage.clone() };
            let (storage, filled) = Storage::start(&storage_config, specs).await?;
            caches.extend(prefixes.into_values().zip(filled).map(|(s, c)| (s, storage.clone(), c)));
            storages.push(storage);
        }
        Ok(Arc::new_cyclic(|this| {
            let mut tables = Tables::default();
            for (strategies, storage, cache) in caches {
                for strategy in strategies {
                    tables.add(Arc::new(Store::new(strategy, storage.clone(), cache.clone(), this.clone())));
                }
            }
            for resource in config.resources {
                if let Resource::Virtual(v) = resource {
                    let info = v.info();
                    tables.all.insert((info.group, info.version, info.resource), Found::Virtual(*v));
                }
            }
            Self {
                tables: RwLock::new(tables),
                storages,
                prefix,
                this: this.clone(),
                chain: OnceLock::new(),
                authorizer: OnceLock::new(),
                issuer: OnceLock::new(),
                authenticator: OnceLock::new(),
                server: config.server,
                ranges: tokio::sync::OnceCell::new(),
            }
        }))
    }

    /// Adds a resource while the server runs, and waits until its cache is filled.
    pub async fn add(&self, strategy: &'static dyn Strategy) -> Result<Arc<Store>, Error> {
        let prefix = format!("{}/{}/", self.prefix, strategy.info().prefix);
        let storage = &self.storages[0];
        let cache = storage.attach(spec(&prefix, &[strategy])).await?;
        let store = Arc::new(Store::new(strategy, storage.clone(), cache, self.this.clone()));
        self.tables.write().add(store.clone());
        Ok(store)
    }

    /// Takes a resource out again; what is stored stays.
    pub fn remove(&self, group: &str, version: &str, resource: &str) {
        let mut tables = self.tables.write();
        let found =
            tables.all.iter().find(|((g, v, r), _)| *g == group && *v == version && *r == resource).map(|(k, _)| *k);
        let Some(key) = found else { return };
        if let Some(Found::Stored(store)) = tables.all.remove(&key) {
            tables.by_resource.remove(&(key.0, key.2));
            store.storage.detach(&store.cache);
        }
    }

    /// Sets the admission chain; once, before the first request.
    pub fn set_admission(&self, chain: Chain) {
        let _ = self.chain.set(chain);
    }
    /// Sets the authoriser; once, before the first request.
    pub fn set_authorizer(&self, authorizer: Arc<dyn Authorizer>) {
        let _ = self.authorizer.set(authorizer);
    }
    /// Sets who signs and who checks tokens; once, before the first request.
    pub fn set_tokens(&self, issuer: Option<Arc<dyn TokenIssuer>>, authenticator: Option<Arc<dyn TokenAuthenticator>>) {
        if let Some(issuer) = issuer {
            let _ = self.issuer.set(issuer);
        }
        if let Some(authenticator) = authenticator {
            let _ = self.authenticator.set(authenticator);
        }
    }

    /// The admission chain.
    pub fn chain(&self) -> &Chain {
        self.chain.get().unwrap_or(&NO_PLUGINS)
    }
    /// The resource that a path names.
    pub fn find(&self, group: &str, version: &str, resource: &str) -> Option<Found> {
        self.tables.read().all.get(&(group, version, resource) as &(&str, &str, &str)).cloned()
    }
    /// The store of a resource in the version that is stored.
    pub fn store(&self, group: &str, resource: &str) -> Option<Arc<Store>> {
        self.tables.read().by_resource.get(&(group, resource) as &(&str, &str)).cloned()
    }
    /// The stores of the same objects in other versions.
    pub(crate) fn siblings(&self, store: &Store) -> Vec<Arc<Store>> {
        let tables = self.tables.read();
        let others = tables.all.values().filter_map(|f| match f {
            Found::Stored(s) if Arc::ptr_eq(&s.cache, &store.cache) && s.gvk != store.gvk => Some(s.clone()),
            _ => None,
        });
        others.collect()
    }

    /// Whether every watch cache is filled (`readyz`'s informer-sync).
    pub fn synced(&self) -> bool {
        self.storages.iter().all(|s| s.loaded())
    }
    /// Waits until every watch cache is filled; false: they were not in time.
    pub async fn wait_synced(&self, limit: Duration) -> bool {
        let until = tokio::time::Instant::now() + limit;
        for s in &self.storages {
            if !s.wait_loaded(until.saturating_duration_since(tokio::time::Instant::now())).await {
                return false;
            }
        }
        true
    }
    /// Whether etcd answers (`healthz/etcd`), with the reason where it does not.
    pub async fn healthy(&self) -> Result<(), String> {
        for s in &self.storages {
            s.healthy().await.map_err(|e| e.to_string())?;
        }
        Ok(())
    }
    /// Number of stored objects of each resource (group, resource), for `apiserver_storage_objects`.
    pub fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        let tables = self.tables.read();
        let mut out: Vec<_> = tables.by_resource.iter().map(|((g, r), s)| (*g, *r, s.count() as u64)).collect();
        out.sort_unstable();
        out
    }
    /// Size of etcd's database in bytes, for `apiserver_storage_size_bytes`.
    pub async fn database_size(&self) -> Option<u64> {
        self.storages[0].database_size().await.ok()
    }
}

/// What the cache of a prefix needs to know of the resources it serves.
pub(crate) fn spec(prefix: &str, strategies: &[&'static dyn Strategy]) -> CacheSpec {
    let mut strategies = strategies.to_vec();
    // What is stored is read by the rules of the version that is stored.
    strategies.sort_by_key(|s| crate::shape::Shape::new(*s).converts);
    let index = INDEXED.iter().copied().find(|f| strategies.iter().any(|s| s.selectable_fields().contains(f)));
    CacheSpec { prefix: prefix.to_owned(), decode: Arc::new(Reader::new(strategies)), index }
}
