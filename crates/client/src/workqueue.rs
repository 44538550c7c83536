//! Keyed work: a key is worked on by one worker at a time, however often it was added meanwhile.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Debug,
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use ahash::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// Delays of failing keys (rule: client-go `DefaultTypedControllerRateLimiter`).
const FIRST_DELAY: Duration = Duration::from_millis(5);
const LAST_DELAY: Duration = Duration::from_secs(1000);

struct State<T> {
    ready: VecDeque<T>,
    /// Keys that wait in `ready` or, being worked on, must be worked on again.
    dirty: HashSet<T>,
    working: HashSet<T>,
    failures: HashMap<T, u32>,
    delayed: BTreeMap<(Instant, u64), T>,
    due: HashMap<T, (Instant, u64)>,
    next_id: u64,
    closed: bool,
}

struct Inner<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

/// A queue of keys; cheap to clone.
pub struct WorkQueue<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> Default for WorkQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> WorkQueue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::default(),
            working: HashSet::default(),
            failures: HashMap::default(),
            delayed: BTreeMap::new(),
            due: HashMap::default(),
            next_id: 0,
            closed: false,
        };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), changed: Notify::new() }) }
    }

    /// Adds a key unless it waits already. A key that is being worked on is worked on once more afterwards.
    pub fn add(&self, key: T) {
        if self.inner.state.lock().add(key) {
            self.inner.changed.notify_one();
        }
    }

    /// Adds a key after `delay`; if it is due earlier already, nothing changes.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        {
            let mut state = self.inner.state.lock();
            let at = (Instant::now() + delay, state.next_id);
            state.next_id += 1;
            match state.due.get(&key).copied() {
                Some(known) if known <= at => return,
                Some(known) => {
                    state.delayed.remove(&known);
                }
                None => {}
            }
            state.due.insert(key.clone(), at);
            state.delayed.insert(at, key);
        }
        // A sleeping worker must learn of the earlier time.
        self.inner.changed.notify_one();
    }

    /// Adds a key after a delay that doubles with each failure since the last [`WorkQueue::forget`].
    pub fn add_rate_limited(&self, key: T) {
        let delay = {
            let mut state = self.inner.state.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            let delay = FIRST_DELAY.saturating_mul(1_u32.checked_shl(*failures).unwrap_or(u32::MAX));
            *failures = (*failures + 1).min(31);
            delay.min(LAST_DELAY)
        };
        self.add_after(key, delay);
    }

    /// How often the key failed since it was last forgotten.
    pub fn failures(&self, key: &T) -> u32 {
        self.inner.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// Forgets the failures of a key.
    pub fn forget(&self, key: &T) {
        self.inner.state.lock().failures.remove(key);
    }

    /// The next key to work on, after which [`WorkQueue::done`] must be called; `None` once the queue is shut down.
    pub async fn get(&self) -> Option<T> {
        loop {
            let changed = self.inner.changed.notified();
            let next_due = {
                let mut state = self.inner.state.lock();
                if state.closed {
                    // Other workers wait as well.
                    self.inner.changed.notify_one();
                    return None;
                }
                state.release(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.working.insert(key.clone());
                    if !state.ready.is_empty() || !state.delayed.is_empty() {
                        self.inner.changed.notify_one();
                    }
                    return Some(key);
                }
                state.delayed.first_key_value().map(|((at, _), _)| *at)
            };
            match next_due {
                Some(at) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Ends the work on a key.
    pub fn done(&self, key: &T) {
        let mut state = self.inner.state.lock();
        state.working.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.inner.changed.notify_one();
        }
    }

    /// How many keys are ready to be worked on.
    pub fn len(&self) -> usize {
        self.inner.state.lock().ready.len()
    }

    /// Whether no key is ready to be worked on.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all current and future calls of [`WorkQueue::get`]; waiting keys are dropped.
    pub fn shut_down(&self) {
        self.inner.state.lock().closed = true;
        self.inner.changed.notify_waiters();
        self.inner.changed.notify_one();
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    /// Whether a worker has something new to do.
    fn add(&mut self, key: T) -> bool {
        if self.closed || !self.dirty.insert(key.clone()) || self.working.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    fn release(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key);
        }
    }
}

/// What shall happen to a key after it was worked on without failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until it is added again.
    Done,
    /// Work on it again after this time.
    RequeueAfter(Duration),
    /// Work on it again soon, with growing delays.
    Requeue,
}

/// Works on the keys of `queue` with `workers` tasks until cancelled, then waits for them to finish their keys.
///
/// A key whose work fails is logged and comes again with a growing delay. A panic counts as a failure.
pub async fn run_workers<T, F, R, E>(
    name: &'static str,
    queue: &WorkQueue<T>,
    workers: usize,
    shutdown: &CancellationToken,
    work: F,
) where
    T: Clone + Eq + Hash + Debug + Send + Sync + 'static,
    F: Fn(T) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<Action, E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for _ in 0..workers.max(1) {
        let (queue, work) = (queue.clone(), work.clone());
        tasks.spawn(async move {
            while let Some(key) = queue.get().await {
                let result = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(work(key.clone()))).await;
                match result {
                    Ok(Ok(Action::Done)) => queue.forget(&key),
                    Ok(Ok(Action::RequeueAfter(delay))) => {
                        queue.forget(&key);
                        queue.add_after(key.clone(), delay);
                    }
                    Ok(Ok(Action::Requeue)) => queue.add_rate_limited(key.clone()),
                    Ok(Err(error)) => {
                        // Now and then a cache lags behind; only what goes on failing is worth a look.
                        if queue.failures(&key) < 3 {
                            tracing::debug!(controller = name, ?key, %error, "sync failed, will try again");
                        } else {
                            tracing::info!(controller = name, ?key, %error, "sync failed, will try again");
                        }
                        queue.add_rate_limited(key.clone());
                    }
                    Err(_) => {
                        tracing::error!(controller = name, ?key, "sync panicked, will try again");
                        queue.add_rate_limited(key.clone());
                    }
                }
                queue.done(&key);
            }
        });
    }
    shutdown.cancelled().await;
    queue.shut_down();
    while tasks.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_worked_on_once_at_a_time() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.get().await, Some("a"));
        queue.add("a");
        assert_eq!(queue.get().await, Some("b"));
        assert_eq!(queue.len(), 0, "a is still being worked on");
        queue.done(&"a");
        assert_eq!(queue.get().await, Some("a"));
        queue.shut_down();
        assert_eq!(queue.get().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_grow_and_the_earliest_wins() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        for expect in [5, 10, 20] {
            queue.add_rate_limited("a");
            let before = Instant::now();
            assert_eq!(queue.get().await, Some("a"));
            assert_eq!(before.elapsed(), Duration::from_millis(expect));
            queue.done(&"a");
        }
        queue.add_after("x", Duration::from_secs(60));
        queue.add_after("x", Duration::from_secs(1));
        queue.add_after("x", Duration::from_secs(30));
        assert_eq!(queue.get().await, Some("x"));
        queue.done(&"x");
        assert!(start.elapsed() < Duration::from_secs(2));
        assert!(tokio::time::timeout(Duration::from_secs(90), queue.get()).await.is_err(), "x came only once");
    }

    #[tokio::test(start_paused = true)]
    async fn workers_stop_and_survive_failures() {
        let queue = WorkQueue::new();
        queue.add(1);
        let shutdown = CancellationToken::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let work = {
            let (seen, shutdown) = (seen.clone(), shutdown.clone());
            move |key: i32| {
                let (seen, shutdown) = (seen.clone(), shutdown.clone());
                async move {
                    let tries = {
                        let mut seen = seen.lock();
                        seen.push(key);
                        seen.len()
                    };
                    match tries {
                        1 => Err("no"),
                        2 => panic!("never"),
                        _ => {
                            shutdown.cancel();
                            Ok(Action::Done)
                        }
                    }
                }
            }
        };
        run_workers("test", &queue, 2, &shutdown, work).await;
        assert_eq!(*seen.lock(), [1, 1, 1]);
    }
}
