//! Exponential back-off with jitter.

use std::time::Duration;

/// Delays that double from `initial` to `max`, each lengthened by up to as much again at random, so that many clients
/// that lost the same server do not come back in step.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// A back-off that starts at `initial` and stops growing at `max`.
    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, next: initial }
    }

    /// The delay to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.max);
        delay.mul_f64(1.0 + rand::random::<f64>())
    }

    /// Starts again at the initial delay; to be called after a success.
    pub fn reset(&mut self) {
        self.next = self.initial;
    }
}
