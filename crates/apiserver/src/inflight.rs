//! Limits of how many requests are answered at once (rule: apiserver `pkg/server/filters/maxinflight.go`).

use prometheus_client::metrics::gauge::Gauge;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One limit for reading requests, one for writing ones.
pub struct Inflight {
    reading: Lane,
    writing: Lane,
}

struct Lane {
    slots: Option<Arc<Semaphore>>,
    gauge: Gauge,
}

/// Counts one request until it is dropped.
pub struct Permit {
    _slot: Option<OwnedSemaphorePermit>,
    gauge: Gauge,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Inflight {
    /// 0: no limit.
    pub fn new((reading, writing): (usize, usize), gauge: impl Fn(bool) -> Gauge) -> Self {
        let lane =
            |n: usize, mutating| Lane { slots: (n > 0).then(|| Arc::new(Semaphore::new(n))), gauge: gauge(mutating) };
        Self { reading: lane(reading, false), writing: lane(writing, true) }
    }
    /// Counts a request in; `None`: there are too many.
    pub fn enter(&self, mutating: bool) -> Option<Permit> {
        let lane = if mutating { &self.writing } else { &self.reading };
        let slot = match &lane.slots {
            None => None,
            Some(slots) => Some(slots.clone().try_acquire_owned().ok()?),
        };
        lane.gauge.inc();
        Some(Permit { _slot: slot, gauge: lane.gauge.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_hold_apart() {
        let i = Inflight::new((1, 0), |_| Gauge::default());
        let first = i.enter(false);
        assert!(first.is_some() && i.enter(false).is_none());
        assert!(i.enter(true).is_some());
        drop(first);
        assert!(i.enter(false).is_some());
    }
}
