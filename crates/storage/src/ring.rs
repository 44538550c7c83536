//! The recent events of a cache, shared by all its watchers.

use crate::Entry;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Events younger than this are kept as long as they fit, so that a client that lost its connection can resume
/// (rule: `storage/cacher` eventFreshDuration).
const FRESH: Duration = Duration::from_secs(75);
/// Older events are kept up to this number (rule: `storage/cacher` defaultLowerBoundCapacity).
const KEEP: usize = 100;
/// Never more events than this (rule: `storage/cacher` defaultUpperBoundCapacity).
const MOST: usize = 100 * 1024;
/// Never more bytes of replaced objects than this.
const MOST_BYTES: usize = 16 << 20;

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// When.
    pub revision: u64,
    /// The object since; absent: deleted.
    pub new: Option<Arc<Entry>>,
    /// The object before; absent: created.
    pub old: Option<Arc<Entry>>,
    gone: OnceLock<Bytes>,
    at: Instant,
}

impl Event {
    pub(crate) fn new(revision: u64, new: Option<Arc<Entry>>, old: Option<Arc<Entry>>) -> Self {
        Self { revision, new, old, gone: OnceLock::new(), at: Instant::now() }
    }
    /// The object's key.
    pub fn key(&self) -> &str {
        self.new.as_ref().or(self.old.as_ref()).map_or("", |e| &e.key)
    }
    /// The object before, at the revision of this event: what a watcher sees deleted. Made once for all watchers.
    pub fn gone(&self) -> Option<(Bytes, u32)> {
        let old = self.old.as_ref()?;
        Some((self.gone.get_or_init(|| old.bytes_at(self.revision)).clone(), old.body))
    }
    fn weight(&self) -> usize {
        self.old.as_ref().map_or(0, |e| e.weight())
    }
}

/// The recent events, numbered from the first since the cache was loaded.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The number of the first event kept.
    first: u64,
    /// All events after this revision are kept.
    floor: u64,
    bytes: usize,
}

impl Ring {
    /// Empty, just after `revision`; numbers go on, so that no watcher takes a new event for an old one.
    pub(crate) fn restart(&mut self, revision: u64) {
        self.first = self.end();
        self.events.clear();
        self.floor = revision;
        self.bytes = 0;
    }
    /// The number that the next event gets.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }
    pub(crate) fn first(&self) -> u64 {
        self.first
    }
    /// All events after this revision are kept.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }
    pub(crate) fn get(&self, number: u64) -> Option<&Arc<Event>> {
        self.events.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }
    /// The number of the first event after `revision`.
    pub(crate) fn after(&self, revision: u64) -> u64 {
        self.first + self.events.partition_point(|e| e.revision <= revision) as u64
    }
    /// The events from that number on.
    pub(crate) fn from(&self, number: u64) -> impl Iterator<Item = &Arc<Event>> {
        let skip = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.events.range(skip.min(self.events.len())..)
    }
    pub(crate) fn push(&mut self, event: Arc<Event>) -> u64 {
        self.bytes += event.weight();
        self.events.push_back(event);
        self.end() - 1
    }
    /// Lets go of what is too old or too much.
    pub(crate) fn trim(&mut self, now: Instant) {
        while let Some(front) = self.events.front() {
            let n = self.events.len();
            let stale = n > KEEP && now.saturating_duration_since(front.at) > FRESH;
            if !(stale || n > MOST || self.bytes > MOST_BYTES) {
                break;
            }
            self.floor = front.revision;
            self.bytes -= front.weight();
            self.first += 1;
            self.events.pop_front();
        }
        if self.events.capacity() > 4 * KEEP && self.events.len() * 4 < self.events.capacity() {
            self.events.shrink_to(2 * self.events.len().max(KEEP));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_and_the_floor_follows_what_is_dropped() {
        let mut ring = Ring::default();
        ring.restart(10);
        for revision in 11..=211 {
            ring.push(Arc::new(Event::new(revision, None, None)));
        }
        assert_eq!((ring.first(), ring.end(), ring.floor()), (0, 201, 10));
        assert_eq!(ring.after(11), 1);
        ring.trim(Instant::now() + FRESH * 2);
        assert_eq!((ring.first(), ring.floor(), ring.after(0)), (101, 111, 101));
        assert!(ring.get(100).is_none());
        assert_eq!(ring.get(101).map(|e| e.revision), Some(112));
        assert_eq!(ring.from(199).map(|e| e.revision).collect::<Vec<_>>(), [210, 211]);
        ring.restart(500);
        assert_eq!((ring.first(), ring.end(), ring.floor()), (201, 201, 500));
    }
}
