//! Watchers: a place in a cache's ring, and the channels that wake only those whom an event concerns.
//!
//! Thousands of kubelets watch the pods of their node, or one secret each. Such a watcher joins the channel of its
//! namespace, key or index value; a channel keeps the numbers of its events, so nobody looks at events of others.

use crate::cache::{Cache, Read, Scope, Select};
use crate::{Entry, Event};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A watcher takes at most this many events at once.
const BATCH: usize = 256;
/// What waking one watcher may cost: a channel is woken no more often than this, times its watchers, allows.
const WAKING: Duration = Duration::from_micros(10);
/// A channel whose watchers are so few that this time is enough for them is woken at once.
const SHORT: Duration = Duration::from_millis(1);
/// However many the watchers are, events wait no longer than this.
const LONGEST: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Route {
    #[default]
    All,
    Namespace,
    Key,
    Index,
}

/// A group of watchers that see the same events.
#[derive(Default)]
pub(crate) struct Channel {
    pub(crate) notify: Notify,
    route: Route,
    value: Box<str>,
    numbers: Mutex<Numbers>,
    woken: Mutex<Woken>,
}

/// When a channel was woken, and whether it is about to be.
#[derive(Default)]
struct Woken {
    last: Option<Instant>,
    due: bool,
}

#[derive(Default)]
struct Numbers {
    queue: VecDeque<u64>,
    /// One more than the highest number that was dropped.
    lost: u64,
}

impl Channel {
    pub(crate) fn is_routed(&self) -> bool {
        self.route != Route::All
    }
    pub(crate) fn push(&self, number: u64) {
        self.numbers.lock().queue.push_back(number);
    }
    /// Drops the numbers of events that the ring has let go.
    pub(crate) fn forget_before(&self, first: u64) {
        let mut numbers = self.numbers.lock();
        while let Some(n) = numbers.queue.front().copied()
            && n < first
        {
            numbers.lost = n + 1;
            numbers.queue.pop_front();
        }
    }
    /// Whether an event of this channel at or after `next` is not in the ring any more.
    pub(crate) fn lost_since(&self, next: u64, first: u64) -> bool {
        self.forget_before(first);
        self.numbers.lock().lost > next
    }
    /// The numbers from `next` on, at most `most`, and whether these are all.
    pub(crate) fn numbers(&self, next: u64, most: usize) -> (Vec<u64>, bool) {
        let numbers = self.numbers.lock();
        let from = numbers.queue.partition_point(|n| *n < next);
        let some: Vec<u64> = numbers.queue.range(from..).take(most).copied().collect();
        let all = from + some.len() == numbers.queue.len();
        (some, all)
    }
    /// Wakes the watchers: at once, or, where they are many and were woken just now, together with what comes next. A
    /// thousand watchers cost far more to wake than to hand ten events instead of one.
    pub(crate) fn wake(self: &Arc<Self>) {
        let watchers = u32::try_from(Arc::strong_count(self)).unwrap_or(u32::MAX);
        let gap = WAKING.saturating_mul(watchers).min(LONGEST);
        if gap > SHORT {
            let mut woken = self.woken.lock();
            if woken.due {
                return;
            }
            let now = Instant::now();
            if let Some(next) = woken.last.map(|last| last + gap).filter(|next| *next > now) {
                woken.due = true;
                let channel = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep_until(next).await;
                    *channel.woken.lock() = Woken { last: Some(Instant::now()), due: false };
                    channel.notify.notify_waiters();
                });
                return;
            }
            woken.last = Some(now);
        }
        self.notify.notify_waiters();
    }
    pub(crate) fn concerns(&self, event: &Event, index: Option<&'static str>) -> bool {
        match self.route {
            Route::All => true,
            Route::Key => *self.value == *event.key(),
            Route::Namespace => namespace(event.key()) == &*self.value,
            Route::Index => index_values(event, index).into_iter().flatten().any(|v| v == &*self.value),
        }
    }
}

fn namespace(key: &str) -> &str {
    key.split_once('/').map_or("", |(ns, _)| ns)
}

/// The index values that an event concerns: the object's before and since, once if they are the same.
fn index_values<'a>(event: &'a Event, index: Option<&'static str>) -> [Option<&'a str>; 2] {
    let Some(index) = index else { return [None, None] };
    let value = |e: &'a Option<Arc<Entry>>| e.as_ref().and_then(|e| e.attributes.fields.get(index));
    let (old, new) = (value(&event.old), value(&event.new));
    if old == new { [new, None] } else { [old, new] }
}

type Map = HashMap<Box<str>, Arc<Channel>, ahash::RandomState>;

/// The channels of a cache, but for the one of all events.
#[derive(Default)]
pub(crate) struct Channels {
    namespaces: Map,
    keys: Map,
    index: Map,
}

impl Channels {
    /// The narrowest channel for a watcher; a new one is filled by `fill`.
    pub(crate) fn join(
        &mut self,
        scope: &Scope,
        indexed: Option<&str>,
        all: &Arc<Channel>,
        fill: impl FnOnce(&Channel),
    ) -> Arc<Channel> {
        let (map, route, value) = match (scope, indexed) {
            (Scope::Key(key), _) => (&mut self.keys, Route::Key, key.as_str()),
            (_, Some(value)) => (&mut self.index, Route::Index, value),
            (Scope::Namespace(ns), None) => (&mut self.namespaces, Route::Namespace, ns.as_str()),
            (Scope::All, None) => return all.clone(),
        };
        map.entry_ref(value)
            .or_insert_with(|| {
                let channel = Channel { route, value: value.into(), ..Channel::default() };
                fill(&channel);
                Arc::new(channel)
            })
            .clone()
    }
    /// Calls `f` for each channel that an event concerns.
    pub(crate) fn route(&self, event: &Event, index: Option<&'static str>, mut f: impl FnMut(&Arc<Channel>)) {
        let key = event.key();
        if let Some(c) = self.keys.get(key) {
            f(c);
        }
        if let Some(c) = self.namespaces.get(namespace(key)) {
            f(c);
        }
        if !self.index.is_empty() {
            for value in index_values(event, index).into_iter().flatten() {
                if let Some(c) = self.index.get(value) {
                    f(c);
                }
            }
        }
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Channel>> {
        self.namespaces.values().chain(self.keys.values()).chain(self.index.values())
    }
    /// Drops channels without watchers. Runs under the cache's write lock, under which watchers join.
    pub(crate) fn sweep(&mut self) {
        for map in [&mut self.namespaces, &mut self.keys, &mut self.index] {
            map.retain(|_, c| Arc::strong_count(c) > 1);
            map.shrink_to_fit();
        }
    }
}

/// A change as one watcher sees it through its filter.
#[derive(Clone, Debug)]
pub enum Change {
    /// The object is new, or began to match.
    Added(Arc<Entry>),
    /// The object changed.
    Modified(Arc<Entry>),
    /// The object is gone, or ceased to match: see [`Event::gone`].
    Deleted(Arc<Event>),
}

/// How [`Watcher::next`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There are changes.
    Changes,
    /// Nothing happened until the deadline.
    Quiet,
    /// The watcher was so slow that events were lost; the oldest revision that can be resumed from.
    TooSlow(u64),
    /// The cache was loaded anew: what happened in between is not known.
    Reloaded,
}

/// A place in a cache's ring of events.
pub struct Watcher {
    cache: Arc<Cache>,
    channel: Arc<Channel>,
    prefix: String,
    one_key: bool,
    filter: Option<Arc<dyn Select>>,
    next: u64,
    /// Events up to here are not of interest.
    after: u64,
    revision: u64,
    load: u64,
    events: Vec<Arc<Event>>,
}

impl Watcher {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        cache: Arc<Cache>,
        channel: Arc<Channel>,
        prefix: String,
        one_key: bool,
        filter: Option<Arc<dyn Select>>,
        next: u64,
        after: u64,
        load: u64,
    ) -> Self {
        Self { cache, channel, prefix, one_key, filter, next, after, revision: after, load, events: Vec::new() }
    }

    /// All events up to this revision were handed out.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Waits until there are changes, and appends them to `out`. Cancel-safe.
    pub async fn next(&mut self, out: &mut Vec<Change>, deadline: Instant) -> Next {
        loop {
            // Registered before reading, so that no event falls between reading and waiting.
            let channel = self.channel.clone();
            let notified = channel.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            loop {
                match self.read(out) {
                    Some(Next::Quiet) => break,
                    Some(end) => return end,
                    None => {} // a batch of events none of which was for this watcher
                }
            }
            if tokio::time::timeout_at(deadline, notified).await.is_err() {
                return Next::Quiet;
            }
        }
    }

    /// One batch. `Quiet`: nothing more is there; `None`: something was there, but not for this watcher.
    fn read(&mut self, out: &mut Vec<Change>) -> Option<Next> {
        let mut events = std::mem::take(&mut self.events);
        let read = self.cache.read_events(&self.channel, &mut self.next, self.load, BATCH, &mut events);
        let end = match read {
            Read::Reloaded => Some(Next::Reloaded),
            Read::TooSlow(floor) => Some(Next::TooSlow(floor)),
            Read::Events { revision } => {
                let before = out.len();
                out.extend(events.iter().filter(|e| e.revision > self.after).filter_map(|e| self.change(e)));
                self.revision = self.revision.max(revision);
                if out.len() > before {
                    Some(Next::Changes)
                } else if events.is_empty() {
                    Some(Next::Quiet)
                } else {
                    None
                }
            }
        };
        events.clear();
        self.events = events;
        end
    }

    fn change(&self, event: &Arc<Event>) -> Option<Change> {
        let key = event.key();
        let covered = if self.one_key { key == self.prefix } else { key.starts_with(&self.prefix) };
        if !covered {
            return None;
        }
        let selects = |e: &Entry| self.filter.as_ref().is_none_or(|f| f.selects(&e.key, &e.attributes));
        match (event.new.as_ref().filter(|e| selects(e)), event.old.as_ref().is_some_and(|e| selects(e))) {
            (Some(new), true) => Some(Change::Modified(new.clone())),
            (Some(new), false) => Some(Change::Added(new.clone())),
            (None, true) => Some(Change::Deleted(event.clone())),
            (None, false) => None,
        }
    }
}
