//! Informers: a cache of one collection that follows the apiserver and tells handlers what has changed.

use std::{
    any::{Any, TypeId},
    sync::Arc,
};

use ahash::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Client, Error, Object, ObjectKey, PartialObjectMetadata, ResourcePath, Source, Store,
    reflector::{self, Sink},
};

/// A change of an informer's cache.
#[derive(Clone, Debug)]
pub enum Event<K> {
    /// The object is new in the cache.
    Added(Arc<K>),
    /// The object has changed.
    Updated {
        /// What the cache held before.
        old: Arc<K>,
        /// What it holds now.
        new: Arc<K>,
    },
    /// The object is gone.
    Deleted {
        /// The last state that is known.
        last: Arc<K>,
        /// The deletion itself was missed while the watch was down, so `last` may be older than the final state.
        tombstone: bool,
    },
}

impl<K> Event<K> {
    /// The newest known state of the object that this is about.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Event::Added(object) => object,
            Event::Updated { new, .. } => new,
            Event::Deleted { last, .. } => last,
        }
    }

    /// The state before the change, if there was one.
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Event::Added(_) => None,
            Event::Updated { old, .. } => Some(old),
            Event::Deleted { last, .. } => Some(last),
        }
    }
}

type Handler<K> = Box<dyn Fn(&Event<K>) + Send + Sync>;
type Transform<K> = Box<dyn Fn(&mut K) + Send + Sync>;

struct Shared<K> {
    client: Client,
    source: Source,
    transform: Option<Transform<K>>,
    store: Store<K>,
    /// Locked while the store changes and handlers run, so that each handler sees every change once and in order.
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

/// Follows one collection; cheap to clone.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

/// Chooses what an informer follows.
pub struct InformerBuilder<K> {
    client: Client,
    source: Source,
    transform: Option<Transform<K>>,
}

impl InformerBuilder<PartialObjectMetadata> {
    /// Follows only the metadata of all objects of any resource.
    pub fn metadata(client: Client, resource: &ResourcePath) -> Self {
        Self { client, source: Source::metadata(resource), transform: None }
    }
}

impl<K: Object> InformerBuilder<K> {
    /// Only objects of this namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.source.path = Source::of::<K>(namespace).path;
        self
    }

    /// Only objects with these labels.
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.source.label_selector = selector.into();
        self
    }

    /// Only objects with these fields, such as `spec.nodeName=n1`.
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.source.field_selector = selector.into();
        self
    }

    /// Drops what nobody reads before an object is stored; managedFields are always dropped.
    pub fn transform(mut self, transform: impl Fn(&mut K) + Send + Sync + 'static) -> Self {
        self.transform = Some(Box::new(transform));
        self
    }

    /// The informer, not yet running: see [`Informer::run`].
    pub fn build(self) -> Informer<K> {
        Informer {
            shared: Arc::new(Shared {
                client: self.client,
                source: self.source,
                transform: self.transform,
                store: Store::new(),
                handlers: Mutex::default(),
                synced: watch::channel(false).0,
            }),
        }
    }
}

impl<K: Object> Informer<K> {
    /// Begins to describe an informer; by default it follows all objects of the type.
    pub fn builder(client: Client) -> InformerBuilder<K> {
        InformerBuilder { client, source: Source::of::<K>(""), transform: None }
    }

    /// The cache.
    pub fn store(&self) -> &Store<K> {
        &self.shared.store
    }

    /// See [`Store::add_index`].
    pub fn add_index(&self, name: &'static str, values_of: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        self.shared.store.add_index(name, values_of);
    }

    /// Adds a handler that is called for every change, at once for what the cache holds already. Handlers run one after
    /// the other in the task that reads the stream: they must not block, wait or do more than to note what to do.
    pub fn add_handler(&self, handler: impl Fn(&Event<K>) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.lock();
        for object in self.shared.store.list() {
            handler(&Event::Added(object));
        }
        handlers.push(Box::new(handler));
    }

    /// Whether the cache has held a whole list once.
    pub fn has_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// Waits until the cache has held a whole list.
    pub async fn synced(&self) {
        let mut synced = self.shared.synced.subscribe();
        // The sender lives as long as we do, so this cannot fail.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// Follows the collection until cancelled. While the apiserver is away, the cache stays as it is.
    pub async fn run(&self, shutdown: &CancellationToken) {
        reflector::run::<K>(&self.shared.client, &self.shared.source, &*self.shared, shutdown).await;
    }

    /// Runs in a task of its own.
    pub fn spawn(&self, shutdown: &CancellationToken) -> tokio::task::JoinHandle<()> {
        let (informer, shutdown) = (self.clone(), shutdown.clone());
        tokio::spawn(async move { informer.run(&shutdown).await })
    }
}

impl<K: Object> Shared<K> {
    fn prepare(&self, mut object: K) -> Arc<K> {
        object.metadata_mut().managed_fields = None;
        if let Some(transform) = &self.transform {
            transform(&mut object);
        }
        Arc::new(object)
    }

    fn store(&self, handlers: &[Handler<K>], object: K) {
        let new = self.prepare(object);
        let event = match self.store.insert(new.clone()) {
            Some(old) => Event::Updated { old, new },
            None => Event::Added(new),
        };
        handlers.iter().for_each(|handler| handler(&event));
    }
}

impl<K: Object> Sink<K> for Shared<K> {
    fn replace(&self, objects: Vec<K>) {
        let handlers = self.handlers.lock();
        let present: HashSet<ObjectKey> = objects.iter().map(Object::key).collect();
        for object in objects {
            let known = self.store.get(&object.key());
            if known.is_none_or(|known| known.resource_version() != object.resource_version()) {
                self.store(&handlers, object);
            }
        }
        for key in self.store.keys() {
            if !present.contains(&key)
                && let Some(last) = self.store.remove(&key)
            {
                let event = Event::Deleted { last, tombstone: true };
                handlers.iter().for_each(|handler| handler(&event));
            }
        }
        drop(handlers);
        self.synced.send_replace(true);
    }

    fn upsert(&self, object: K) {
        let handlers = self.handlers.lock();
        self.store(&handlers, object);
    }

    fn remove(&self, object: K) {
        let handlers = self.handlers.lock();
        let last = self.prepare(object);
        if self.store.remove(&last.key()).is_some() {
            let event = Event::Deleted { last, tombstone: false };
            handlers.iter().for_each(|handler| handler(&event));
        }
    }

    fn failed(&self, error: &Error) {
        if !*self.synced.borrow() {
            tracing::warn!(path = self.source.path, %error, "cannot list and watch");
        }
    }
}

trait AnyInformer: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn spawn_on(&self, tracker: &TaskTracker, shutdown: &CancellationToken);
    fn synced_flag(&self) -> watch::Receiver<bool>;
}

impl<K: Object> AnyInformer for Informer<K> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn spawn_on(&self, tracker: &TaskTracker, shutdown: &CancellationToken) {
        let (informer, shutdown) = (self.clone(), shutdown.clone());
        tracker.spawn(async move { informer.run(&shutdown).await });
    }

    fn synced_flag(&self) -> watch::Receiver<bool> {
        self.shared.synced.subscribe()
    }
}

/// One informer for each type, shared by all that ask; cheap to clone.
///
/// Informers that are asked for before [`Informers::start`] begin to run then; later ones at once.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    state: Arc<Mutex<State>>,
    tracker: TaskTracker,
    /// Whether those that were asked for here hold a whole list.
    used: Arc<Mutex<Vec<watch::Receiver<bool>>>>,
}

#[derive(Default)]
struct State {
    informers: HashMap<TypeId, Box<dyn AnyInformer>>,
    running: Option<CancellationToken>,
}

impl Informers {
    /// No informers yet.
    pub fn new(client: Client) -> Self {
        Self { client, state: Arc::default(), tracker: TaskTracker::new(), used: Arc::default() }
    }

    /// The same informers, for a user that wants to wait only for those that it asks for itself.
    pub fn scope(&self) -> Self {
        Self { used: Arc::default(), ..self.clone() }
    }

    /// The informer of all objects of type `K`.
    pub fn get<K: Object>(&self) -> Informer<K> {
        self.get_or_build(|builder| builder)
    }

    /// Like [`Informers::get`]; whoever asks first for a type decides how it is built.
    pub fn get_or_build<K: Object>(
        &self,
        configure: impl FnOnce(InformerBuilder<K>) -> InformerBuilder<K>,
    ) -> Informer<K> {
        let mut state = self.state.lock();
        if let Some(known) = state.informers.get(&TypeId::of::<K>()) {
            let informer: &Informer<K> = known.as_any().downcast_ref().expect("the key is the type of the informer");
            self.used.lock().push(informer.synced_flag());
            return informer.clone();
        }
        let informer = configure(Informer::builder(self.client.clone())).build();
        if let Some(shutdown) = &state.running {
            informer.spawn_on(&self.tracker, shutdown);
        }
        self.used.lock().push(informer.synced_flag());
        state.informers.insert(TypeId::of::<K>(), Box::new(informer.clone()));
        informer
    }

    /// Runs all informers until cancelled.
    pub fn start(&self, shutdown: &CancellationToken) {
        let mut state = self.state.lock();
        for informer in state.informers.values() {
            informer.spawn_on(&self.tracker, shutdown);
        }
        state.running = Some(shutdown.clone());
    }

    /// Waits until all informers that were asked for here (see [`Informers::scope`]) hold a whole list.
    pub async fn synced(&self) {
        let flags = self.used.lock().clone();
        for mut flag in flags {
            // An informer that is gone has nothing left to wait for.
            let _ = flag.wait_for(|synced| *synced).await;
        }
    }

    /// Waits until all informers have stopped after cancellation.
    pub async fn stopped(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
