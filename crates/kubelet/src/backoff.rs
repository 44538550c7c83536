//! Waiting longer after each failure, by key (rule: client-go `flowcontrol.Backoff`).

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Delays that double from `initial` to `max` and are forgotten after twice `max` without a failure.
pub struct Backoff {
    initial: Duration,
    max: Duration,
    entries: Mutex<HashMap<String, Entry>>,
}

struct Entry {
    delay: Duration,
    since: Instant,
}

impl Backoff {
    /// No failures yet.
    pub fn new(initial: Duration, max: Duration) -> Self {
        Backoff { initial, max, entries: Mutex::default() }
    }

    /// How long is left to wait for `key` and how long the wait is in all, counted from the last failure or, if that
    /// is later, from `event`; `None` if it may be tried now.
    pub fn remaining(&self, key: &str, event: Option<Instant>) -> Option<(Duration, Duration)> {
        let entries = self.entries.lock();
        let entry = entries.get(key)?;
        let since = event.map_or(entry.since, |e| e.max(entry.since));
        let left = entry.delay.checked_sub(Instant::now().saturating_duration_since(since))?;
        (!left.is_zero() && !self.expired(entry)).then_some((left, entry.delay))
    }

    /// Notes a try at `event`, which makes the next wait longer.
    pub fn next(&self, key: &str, event: Instant) {
        let mut entries = self.entries.lock();
        match entries.get_mut(key) {
            Some(entry) if !self.expired(entry) => {
                entry.delay = (entry.delay * 2).min(self.max);
                entry.since = event;
            }
            _ => {
                entries.insert(key.to_owned(), Entry { delay: self.initial.min(self.max), since: event });
            }
        }
    }

    fn expired(&self, entry: &Entry) -> bool {
        entry.since.elapsed() > self.max * 2
    }

    /// Forgets all keys that start with `prefix`.
    pub fn forget(&self, prefix: &str) {
        self.entries.lock().retain(|key, _| !key.starts_with(prefix));
    }
}

/// A duration as Go prints it, in whole seconds: `10s`, `2m40s`, `5m0s`.
pub fn shown(delay: Duration) -> String {
    let seconds = delay.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_double_up_to_the_limit_and_are_forgotten() {
        let backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(30));
        assert!(backoff.remaining("a", None).is_none());
        for expect in [10, 20, 30, 30] {
            let now = Instant::now();
            backoff.next("a", now);
            assert_eq!(backoff.remaining("a", Some(now)).unwrap().1, Duration::from_secs(expect));
            tokio::time::advance(Duration::from_secs(expect + 1)).await;
            assert!(backoff.remaining("a", Some(now)).is_none());
        }
        tokio::time::advance(Duration::from_secs(61)).await;
        backoff.next("a", Instant::now());
        assert_eq!(backoff.remaining("a", None).unwrap().1, Duration::from_secs(10));
        backoff.forget("a");
        assert!(backoff.remaining("a", None).is_none());
    }

    #[test]
    fn durations_are_shown_as_go_shows_them() {
        let check = |s: u64, expect: &str| assert_eq!(shown(Duration::from_secs(s)), expect);
        check(10, "10s");
        check(160, "2m40s");
        check(300, "5m0s");
    }
}
