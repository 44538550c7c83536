//! WATCH (rule: apiserver `pkg/storage/cacher/cacher.go`, `cache_watcher.go`).

use crate::object::{Object, WatchEvent};
use crate::read::CATCH_UP;
use crate::shape::Shape;
use crate::store::Store;
use crate::{encode, errors, select, token};
use std::sync::Arc;
use std::time::Duration;
use steersman_apimachinery::Status;
use steersman_apimachinery::options::ListOptions;
use steersman_storage::{Change, Entry, Next, Watcher};
use tokio::time::Instant;

/// Roughly how often bookmarks are sent.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// One bookmark is sent this long before the watch ends.
const BEFORE_END: Duration = Duration::from_secs(2);
/// Initial objects handed out at once.
const BATCH: usize = 256;

/// The events of a watch, in batches.
pub struct Watch {
    state: State,
    shape: Shape,
    /// Whether bookmarks were asked for.
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    changes: Vec<Change>,
}

enum State {
    /// Begins with the objects as of a revision; `mark`: a bookmark tells their end.
    Initial {
        entries: Box<dyn Iterator<Item = Arc<Entry>> + Send + Sync>,
        revision: u64,
        mark: bool,
        watcher: Watcher,
    },
    Running(Watcher),
    Failed(Status),
    Ended,
}

impl Store {
    pub(crate) async fn start_watch(&self, namespace: &str, options: &ListOptions) -> Result<Watch, Status> {
        select::check(self.strategy, &options.field_selector)?;
        let version = token::parse_version(&options.resource_version).map_err(errors::plain)?;
        let mut initial = options.send_initial_events;
        if initial.is_none() && version == 0 {
            // Watches that name no version always began with the state.
            initial = Some(true);
        }
        let initial = initial == Some(true);
        self.ready().await?;
        let reached = if options.resource_version.is_empty() {
            match self.storage.catch_up(CATCH_UP).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(Status::too_many_requests("storage is (re)initializing", 1)),
                Err(e) => return Err(errors::storage(e)),
            }
        } else if initial {
            self.reach(version).await
        } else {
            Ok(())
        };
        let state = match reached {
            Err(status) => State::Failed(status),
            Ok(()) => self.join(namespace, options, version, initial),
        };
        let now = Instant::now();
        let timeout = options.timeout_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0).unwrap_or(1800);
        let deadline = now + Duration::from_secs(timeout);
        let bookmarks = options.allow_watch_bookmarks;
        Ok(Watch {
            state,
            shape: self.shape,
            bookmarks,
            next_bookmark: next_bookmark(now, deadline),
            deadline,
            changes: Vec::new(),
        })
    }

    fn join(&self, namespace: &str, options: &ListOptions, version: u64, initial: bool) -> State {
        let s = select::selection(
            self.strategy,
            self.cache.index(),
            namespace,
            &options.label_selector,
            &options.field_selector,
        );
        let after = (!initial && version > 0).then_some(version);
        match self.cache.watch(&s.scope, after, initial, s.filter, s.indexed.as_deref()) {
            Err(oldest) => State::Failed(errors::too_old(version, oldest)),
            Ok((watcher, None)) => State::Running(watcher),
            Ok((watcher, Some(listed))) => {
                // Only a streamed list has its end marked; a watch of a deprecated path is none.
                let mark = options.allow_watch_bookmarks && options.send_initial_events == Some(true);
                State::Initial { entries: listed.entries, revision: listed.revision, mark, watcher }
            }
        }
    }
}

/// A minute from now, or a little before the end.
fn next_bookmark(now: Instant, deadline: Instant) -> Instant {
    let regular = now + BOOKMARKS;
    match deadline.checked_sub(BEFORE_END) {
        Some(last) if last > now && last < regular => last,
        _ => regular,
    }
}

impl Watch {
    /// Waits for events and appends all that are there to `out` (at most some hundreds at once). False: the watch has
    /// ended, and nothing was appended. Cancel-safe.
    pub async fn next_batch(&mut self, out: &mut Vec<WatchEvent>) -> bool {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return false,
                State::Failed(status) => {
                    out.push(WatchEvent::Error(status));
                    return true;
                }
                State::Initial { mut entries, revision, mark, watcher } => {
                    let before = out.len();
                    out.extend(
                        entries.by_ref().take(BATCH).filter_map(|e| self.shape.object(&e).ok().map(WatchEvent::Added)),
                    );
                    if out.len() - before == BATCH {
                        self.state = State::Initial { entries, revision, mark, watcher };
                        return true;
                    }
                    if mark {
                        out.push(WatchEvent::Bookmark { revision, initial_events_end: true });
                    }
                    self.state = State::Running(watcher);
                    if out.len() > before {
                        return true;
                    }
                }
                State::Running(watcher) => {
                    self.state = State::Running(watcher);
                    return self.run(out).await;
                }
            }
        }
    }

    async fn run(&mut self, out: &mut Vec<WatchEvent>) -> bool {
        let State::Running(watcher) = &mut self.state else { return false };
        let before = out.len();
        loop {
            let until = if self.bookmarks { self.next_bookmark.min(self.deadline) } else { self.deadline };
            match watcher.next(&mut self.changes, until).await {
                Next::Changes => {
                    let shape = self.shape;
                    out.extend(self.changes.drain(..).filter_map(|c| event(shape, &c)));
                    if out.len() > before {
                        return true;
                    }
                }
                Next::Quiet => {
                    let now = Instant::now();
                    if now >= self.deadline {
                        self.state = State::Ended;
                        return false;
                    }
                    self.next_bookmark = next_bookmark(now, self.deadline);
                    out.push(WatchEvent::Bookmark { revision: watcher.revision(), initial_events_end: false });
                    return true;
                }
                Next::TooSlow(oldest) => {
                    out.push(WatchEvent::Error(errors::too_old(watcher.revision(), oldest)));
                    self.state = State::Ended;
                    return true;
                }
                Next::Reloaded => {
                    self.state = State::Ended;
                    return false;
                }
            }
        }
    }
}

fn event(shape: Shape, change: &Change) -> Option<WatchEvent> {
    match change {
        Change::Added(e) => shape.object(e).ok().map(WatchEvent::Added),
        Change::Modified(e) => shape.object(e).ok().map(WatchEvent::Modified),
        Change::Deleted(e) => {
            let (bytes, body) = e.gone()?;
            if !shape.converts {
                return Some(WatchEvent::Deleted(Object::new(bytes, body, e.revision)));
            }
            encode::object(&shape.tree(&bytes).ok()?).ok().map(WatchEvent::Deleted)
        }
    }
}
