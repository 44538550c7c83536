//! All objects under one prefix of etcd, ready to be copied out, and their recent events.
//!
//! Hot path: GET, LIST and WATCH run through here for every request. No parsing, no copies of objects; the lock is held
//! for a look-up or for taking a snapshot, never while objects are filtered or written out.

use crate::ring::Ring;
use crate::tree::Tree;
use crate::watcher::{Channel, Channels, Watcher};
use crate::{Attributes, Entry, Event};
use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A stored value, decoded.
#[derive(Debug)]
pub struct Decoded {
    /// Finished JSON, see [`crate::json`].
    pub bytes: Bytes,
    /// The offset of `"metadata"` in it.
    pub body: u32,
    /// What selectors look at.
    pub attributes: Attributes,
}

/// Makes finished objects of stored values, whatever they were encoded as.
pub trait Decode: Send + Sync {
    /// The object of a value that was written at `revision`.
    fn decode(&self, value: &[u8], revision: u64) -> Result<Decoded, String>;
}

/// Chooses objects.
pub trait Select: Send + Sync {
    /// Whether an object is chosen; `key` is `namespace/name` or `name`.
    fn selects(&self, key: &str, attributes: &Attributes) -> bool;
}

/// What a cache holds.
pub struct CacheSpec {
    /// The whole prefix, with a slash at its end: `/registry/pods/`.
    pub prefix: String,
    /// How values are read.
    pub decode: Arc<dyn Decode>,
    /// A selectable field by whose values objects and watchers are indexed.
    pub index: Option<&'static str>,
}

/// Which keys a list or watch covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// Those of a namespace.
    Namespace(String),
    /// One: `namespace/name` or `name`.
    Key(String),
}

impl Scope {
    /// What the keys begin with: nothing, or a namespace and a slash. A single key's is the key.
    pub(crate) fn prefix(&self) -> String {
        match self {
            Self::All => String::new(),
            Self::Namespace(ns) => format!("{ns}/"),
            Self::Key(key) => key.clone(),
        }
    }
}

/// A part of a cache's objects as they were at one revision.
pub struct Listed {
    /// In key order; walks a snapshot.
    pub entries: Box<dyn Iterator<Item = Arc<Entry>> + Send + Sync>,
    /// The revision.
    pub revision: u64,
    /// Where the list was cut by its limit: the key of the last entry.
    pub cut_after: Option<Arc<str>>,
    /// Number of keys of the scope after that.
    pub remaining: usize,
}

#[derive(Default)]
struct State {
    tree: Tree,
    ring: Ring,
    /// The revision of the load or of the last event.
    last: u64,
    by_index: HashMap<Box<str>, BTreeSet<Arc<str>>, ahash::RandomState>,
    channels: Channels,
    /// Rises when the cache is loaded anew; watchers of an older load end.
    load: u64,
}

/// All objects under one prefix.
pub struct Cache {
    spec: CacheSpec,
    state: RwLock<State>,
    all: Arc<Channel>,
    /// The highest revision the feed has brought; shared by all its caches.
    applied: Arc<AtomicU64>,
}

/// What the feed brings.
pub(crate) enum Incoming<'a> {
    Put { key: &'a str, value: &'a [u8], revision: u64 },
    Delete { key: &'a str, revision: u64 },
}

impl Cache {
    pub(crate) fn new(spec: CacheSpec, applied: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self { spec, state: RwLock::default(), all: Arc::default(), applied })
    }
    /// The whole prefix, with a slash at its end.
    pub fn prefix(&self) -> &str {
        &self.spec.prefix
    }
    /// How values are read.
    pub fn decoder(&self) -> &Arc<dyn Decode> {
        &self.spec.decode
    }
    /// The field by which objects are indexed.
    pub fn index(&self) -> Option<&'static str> {
        self.spec.index
    }
    /// Number of objects.
    pub fn len(&self) -> usize {
        self.state.read().tree.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The revision of the newest change of these objects.
    pub fn last_change(&self) -> u64 {
        self.state.read().last
    }
    /// One object.
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.state.read().tree.get(key).cloned()
    }

    /// Reads one value from etcd into the form the cache keeps.
    pub fn entry(&self, key: &str, value: &[u8], revision: u64) -> Result<Arc<Entry>, String> {
        let d = self.spec.decode.decode(value, revision)?;
        Ok(Arc::new(Entry {
            key: key.into(),
            bytes: d.bytes,
            body: d.body,
            revision,
            attributes: Arc::new(d.attributes),
        }))
    }

    /// The objects of a scope at or after the key `start`, at most `limit` that `filter` selects (0: all); as of now, or
    /// as of revision `at`. `None`: the events since `at` are not kept any more. `indexed` names a value of the index,
    /// where the filter asks for just that.
    pub fn list(
        &self,
        scope: &Scope,
        start: &str,
        limit: usize,
        filter: Option<Arc<dyn Select>>,
        indexed: Option<&str>,
        at: Option<u64>,
    ) -> Option<Listed> {
        let prefix = scope.prefix();
        // The feed raises `applied` after it wrote to the caches: read before the lock, it is never ahead of the tree.
        let applied = self.applied.load(Ordering::Acquire);
        let state = self.state.read();
        let now = applied.max(state.last);
        let at = at.filter(|at| *at < now);
        let revision = at.unwrap_or(now);
        if let Scope::Key(key) = scope
            && at.is_none()
        {
            let entry = state
                .tree
                .get(key)
                .filter(|e| key.as_str() >= start && filter.as_ref().is_none_or(|f| f.selects(&e.key, &e.attributes)));
            return Some(Listed {
                entries: Box::new(entry.cloned().into_iter()),
                revision,
                cut_after: None,
                remaining: 0,
            });
        }
        if let Some(at) = at {
            let entries = as_of(&state, &prefix, start, at)?;
            drop(state);
            let total = entries.len();
            return Some(cut(entries.into_iter(), limit, filter, revision, |taken| total - taken));
        }
        if let Some(value) = indexed
            && limit == 0
        {
            let keys = state.by_index.get(value);
            let entries: Vec<_> = keys
                .into_iter()
                .flat_map(|keys| {
                    keys.range::<str, _>((
                        std::ops::Bound::Included(start.max(prefix.as_str())),
                        std::ops::Bound::Unbounded,
                    ))
                })
                .take_while(|k| k.starts_with(&prefix))
                .filter_map(|k| state.tree.get(k).cloned())
                .collect();
            drop(state);
            return Some(cut(entries.into_iter(), 0, filter, revision, |_| 0));
        }
        let tree = state.tree.clone();
        drop(state);
        let range = tree.range(start, &prefix);
        Some(cut(range, limit, filter, revision, move |taken| tree.count_from(start, &prefix).saturating_sub(taken)))
    }

    /// Number of objects of a scope.
    pub fn count(&self, scope: &Scope) -> usize {
        self.state.read().tree.count_from("", &scope.prefix())
    }

    /// Starts watching a scope: events after the revision `after`, or from now on. With `initial`, also takes a snapshot
    /// of the objects as of the start. Fails with the oldest revision that can be resumed from if `after` is older.
    pub fn watch(
        self: &Arc<Self>,
        scope: &Scope,
        after: Option<u64>,
        initial: bool,
        filter: Option<Arc<dyn Select>>,
        indexed: Option<&str>,
    ) -> Result<(Watcher, Option<Listed>), u64> {
        let prefix = scope.prefix();
        let applied = self.applied.load(Ordering::Acquire);
        let mut state = self.state.write();
        let now = applied.max(state.last);
        let (next, revision) = match after {
            Some(after) if after < state.ring.floor() => return Err(state.ring.floor()),
            Some(after) => (state.ring.after(after), after),
            None => (state.ring.end(), now),
        };
        let listed = initial.then(|| {
            let (tree, filter) = (state.tree.clone(), filter.clone());
            let one_key = matches!(scope, Scope::Key(_));
            let range = tree.range("", &prefix).take_while({
                let prefix = prefix.clone();
                move |e| !one_key || *e.key == *prefix
            });
            cut(range, 0, filter, now, |_| 0)
        });
        let State { channels, ring, .. } = &mut *state;
        let channel = channels.join(scope, indexed, &self.all, |joined| {
            for (n, event) in (ring.first()..).zip(ring.from(ring.first())) {
                if joined.concerns(event, self.spec.index) {
                    joined.push(n);
                }
            }
        });
        let load = state.load;
        drop(state);
        Ok((
            Watcher::new(self.clone(), channel, prefix, matches!(scope, Scope::Key(_)), filter, next, revision, load),
            listed,
        ))
    }

    /// Replaces everything by what etcd holds at `revision`; running watches end.
    pub(crate) fn load(&self, entries: Vec<Arc<Entry>>, revision: u64) {
        let mut state = self.state.write();
        state.tree = Tree::default();
        state.by_index.clear();
        for entry in entries {
            if let Some(value) = self.index_value(&entry) {
                index_add(&mut state.by_index, value, &entry.key);
            }
            state.tree.insert(entry);
        }
        state.ring.restart(revision);
        state.last = revision;
        state.load += 1;
        let channels: Vec<_> = state.channels.iter().cloned().collect();
        drop(state);
        self.all.notify.notify_waiters();
        for c in channels {
            c.notify.notify_waiters();
        }
    }

    /// Takes in events of this cache, in order.
    pub(crate) fn apply(&self, incoming: &[Incoming<'_>]) {
        // Decoding is the expensive part: it happens before the lock is taken.
        let decoded: Vec<_> = incoming
            .iter()
            .map(|i| match i {
                Incoming::Delete { key, revision } => (*key, *revision, None),
                Incoming::Put { key, value, revision } => {
                    let entry = self.spec.decode.decode(value, *revision);
                    if let Err(e) = &entry {
                        tracing::error!(key, revision, error = %e, "cannot read a stored object; it is treated as absent");
                    }
                    (*key, *revision, entry.ok())
                }
            })
            .collect();
        let mut wake: Vec<Arc<Channel>> = Vec::new();
        let mut state = self.state.write();
        for (key, revision, decoded) in decoded {
            if revision <= state.last && state.tree.get(key).is_some_and(|e| e.revision >= revision) {
                continue; // seen already, before the watch was resumed
            }
            self.apply_one(&mut state, key, revision, decoded, &mut wake);
        }
        state.ring.trim(Instant::now());
        drop(state);
        self.all.wake();
        for channel in wake {
            channel.wake();
        }
    }

    fn apply_one(
        &self,
        state: &mut State,
        key: &str,
        revision: u64,
        decoded: Option<Decoded>,
        wake: &mut Vec<Arc<Channel>>,
    ) {
        let (new, old) = match decoded {
            Some(d) => {
                let before = state.tree.get(key);
                // Versions of one object share their key and, as a rule, their labels and fields.
                let key = before.map_or_else(|| key.into(), |e| e.key.clone());
                let attributes = match before {
                    Some(e) if *e.attributes == d.attributes => e.attributes.clone(),
                    _ => Arc::new(d.attributes),
                };
                let entry = Arc::new(Entry { key, bytes: d.bytes, body: d.body, revision, attributes });
                (Some(entry.clone()), state.tree.insert(entry))
            }
            None => match state.tree.remove(key) {
                Some(old) => (None, Some(old)),
                None => return,
            },
        };
        state.last = revision;
        let (was, is) =
            (old.as_ref().and_then(|e| self.index_value(e)), new.as_ref().and_then(|e| self.index_value(e)));
        if was != is || old.is_none() {
            if let (Some(value), Some(e)) = (was, &old) {
                index_remove(&mut state.by_index, value, &e.key);
            }
            if let (Some(value), Some(e)) = (is, &new) {
                index_add(&mut state.by_index, value, &e.key);
            }
        }
        let event = Arc::new(Event::new(revision, new, old));
        let number = state.ring.push(event.clone());
        let first = state.ring.first();
        state.channels.route(&event, self.spec.index, |channel| {
            channel.push(number);
            channel.forget_before(first);
            if !wake.iter().any(|w| Arc::ptr_eq(w, channel)) {
                wake.push(channel.clone());
            }
        });
    }

    fn index_value<'a>(&self, entry: &'a Entry) -> Option<&'a str> {
        entry.attributes.fields.get(self.spec.index?)
    }

    /// Lets go of events that are too old; called now and then.
    pub(crate) fn trim(&self) {
        let mut state = self.state.write();
        state.ring.trim(Instant::now());
        state.channels.sweep();
    }

    /// Copies events for a watcher: see [`Watcher`].
    pub(crate) fn read_events(
        &self,
        channel: &Channel,
        next: &mut u64,
        load: u64,
        most: usize,
        out: &mut Vec<Arc<Event>>,
    ) -> Read {
        let applied = self.applied.load(Ordering::Acquire);
        let state = self.state.read();
        if state.load != load {
            return Read::Reloaded;
        }
        let ring = &state.ring;
        if channel.is_routed() {
            if channel.lost_since(*next, ring.first()) {
                return Read::TooSlow(ring.floor());
            }
            let (numbers, drained) = channel.numbers(*next, most);
            out.extend(numbers.iter().filter_map(|n| ring.get(*n).cloned()));
            *next = if drained { ring.end() } else { numbers.last().map_or(*next, |n| n + 1) };
        } else {
            if *next < ring.first() {
                return Read::TooSlow(ring.floor());
            }
            out.extend(ring.from(*next).take(most).cloned());
            *next += out.len() as u64;
        }
        // Behind the end of the ring a bookmark may only promise what was handed out.
        let revision = if *next == ring.end() {
            applied.max(state.last)
        } else {
            out.last().map_or(0, |e| e.revision.saturating_sub(1))
        };
        Read::Events { revision }
    }
}

/// What [`Cache::read_events`] found.
pub(crate) enum Read {
    Events { revision: u64 },
    TooSlow(u64),
    Reloaded,
}

fn index_add(by_index: &mut HashMap<Box<str>, BTreeSet<Arc<str>>, ahash::RandomState>, value: &str, key: &Arc<str>) {
    by_index.entry_ref(value).or_default().insert(key.clone());
}

fn index_remove(by_index: &mut HashMap<Box<str>, BTreeSet<Arc<str>>, ahash::RandomState>, value: &str, key: &str) {
    if let Some(keys) = by_index.get_mut(value) {
        keys.remove(key);
        if keys.is_empty() {
            by_index.remove(value);
        }
    }
}

/// The entries of a prefix as they were at `at`: today's, with every later event undone.
fn as_of(state: &State, prefix: &str, start: &str, at: u64) -> Option<Vec<Arc<Entry>>> {
    if at < state.ring.floor() {
        return None;
    }
    let mut before: BTreeMap<&str, Option<&Arc<Entry>>> = BTreeMap::new();
    for event in state.ring.from(state.ring.after(at)) {
        if event.key().starts_with(prefix) && event.key() >= start {
            before.entry(event.key()).or_insert(event.old.as_ref());
        }
    }
    let mut out: Vec<_> = state.tree.range(start, prefix).filter(|e| !before.contains_key(&*e.key)).collect();
    if !before.is_empty() {
        out.extend(before.into_values().flatten().cloned());
        out.sort_by(|a, b| a.key.cmp(&b.key));
    }
    Some(out)
}

/// Filters and limits a walk through entries. `remaining` is told how many entries were looked at.
fn cut(
    entries: impl Iterator<Item = Arc<Entry>> + Send + Sync + 'static,
    limit: usize,
    filter: Option<Arc<dyn Select>>,
    revision: u64,
    remaining: impl FnOnce(usize) -> usize,
) -> Listed {
    if limit == 0 {
        let entries: Box<dyn Iterator<Item = Arc<Entry>> + Send + Sync> = match filter {
            None => Box::new(entries),
            Some(f) => Box::new(entries.filter(move |e| f.selects(&e.key, &e.attributes))),
        };
        return Listed { entries, revision, cut_after: None, remaining: 0 };
    }
    let mut entries = entries.peekable();
    let mut taken = Vec::with_capacity(limit.min(1024));
    let mut seen = 0;
    while taken.len() < limit
        && let Some(entry) = entries.next()
    {
        seen += 1;
        if filter.as_ref().is_none_or(|f| f.selects(&entry.key, &entry.attributes)) {
            taken.push(entry);
        }
    }
    let more = entries.peek().is_some();
    let cut_after = if more { taken.last().map(|e| e.key.clone()) } else { None };
    let remaining = if more { remaining(seen) } else { 0 };
    Listed { entries: Box::new(taken.into_iter()), revision, cut_after, remaining }
}
