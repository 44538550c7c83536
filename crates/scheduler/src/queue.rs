//! Pods that wait for a node: those to look at next, those that wait a while after a failure, and those for which
//! something in the cluster must change first (rule: scheduler `backend/queue`).

use crate::node::NodeInfo;
use crate::plugins;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;
use ahash::AHashMap;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Something that happened in the cluster and may let a pod be scheduled that could not be before.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Event<'a> {
    NodeAdded(&'a NodeInfo),
    NodeUpdated {
        old: &'a NodeInfo,
        new: &'a NodeInfo,
    },
    NodeRemoved(&'a NodeInfo),
    /// A pod has got a node.
    PodAdded(&'a PodInfo),
    PodUpdated {
        old: &'a PodInfo,
        new: &'a PodInfo,
    },
    PodRemoved(&'a PodInfo),
    /// The claim of this key (`<namespace>/<name>`) is new or has changed.
    ClaimChanged(&'a str),
    VolumeChanged,
    ClassAdded,
    /// The waiting pod itself has changed.
    Refreshed,
}

/// Times of the queue.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Wait after the first failure; doubles with each further one.
    pub initial_backoff: Duration,
    /// The longest wait after a failure.
    pub max_backoff: Duration,
    /// After this long a pod is looked at again although nothing has happened.
    pub max_unschedulable: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(10),
            max_unschedulable: Duration::from_secs(300),
        }
    }
}

/// A pod that waits, or that is being looked at.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The pod as last seen.
    pub pod: Arc<PodInfo>,
    /// How often it was looked at.
    pub attempts: u32,
    /// When it first came.
    pub first: Instant,
    /// When it came to where it is now.
    since: Instant,
    /// The plug-ins that refused nodes in the last attempt; none after an error.
    refused_by: Vec<&'static str>,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    /// Until then; after an error it really waits, else it may be taken when nothing else is there.
    Backoff {
        until: Instant,
        error: bool,
    },
    Unschedulable,
    Gated,
    InFlight,
}

/// How many pods wait where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Counts {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
    pub gated: usize,
}

type ActiveKey = (Reverse<i32>, Instant, String);

/// The queue. Pods are known by their uid.
#[derive(Debug, Default)]
pub struct Queue {
    times: Times,
    pods: AHashMap<String, Queued>,
    active: BTreeSet<ActiveKey>,
    backoff: BTreeSet<(Instant, String)>,
    unschedulable: BTreeSet<(Instant, String)>,
    gated: usize,
}

impl Queue {
    /// An empty queue.
    pub fn new(times: Times) -> Self {
        Self { times, ..Self::default() }
    }

    /// How many pods wait where.
    pub fn counts(&self) -> Counts {
        Counts {
            active: self.active.len(),
            backoff: self.backoff.len(),
            unschedulable: self.unschedulable.len(),
            gated: self.gated,
        }
    }

    /// A pod without a node was created or has changed.
    pub fn set(&mut self, pod: Arc<PodInfo>, cluster: &Snapshot, now: Instant) {
        let Some(known) = self.pods.get_mut(&pod.uid) else {
            let place = if pod.gates.is_empty() { Place::Active } else { Place::Gated };
            let uid = pod.uid.clone();
            let queued =
                Queued { pod, attempts: 0, first: now, since: now, refused_by: Vec::new(), place: Place::InFlight };
            self.pods.insert(uid.clone(), queued);
            self.put(&uid, place, now);
            return;
        };
        let old = std::mem::replace(&mut known.pod, pod.clone());
        let (place, uid) = (known.place, &pod.uid);
        match place {
            Place::Gated if pod.gates.is_empty() => self.put(uid, Place::Active, now),
            // The place in the active queue goes by priority.
            Place::Active if old.priority != pod.priority => {
                self.pods.get_mut(uid).expect("it was found above").pod = old;
                self.take_out(uid);
                self.pods.get_mut(uid).expect("it was found above").pod = pod.clone();
                self.put(uid, Place::Active, now);
            }
            Place::Unschedulable if differs(&old, &pod) => {
                let refused_by = &self.pods[uid].refused_by;
                if refused_by.is_empty()
                    || refused_by.iter().any(|p| plugins::hint(p, &pod, &Event::Refreshed, cluster))
                {
                    self.requeue(uid, now);
                }
            }
            _ => {}
        }
    }

    /// A pod has got a node, or is gone.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.take_out(uid);
        self.pods.remove(uid).map(|q| q.pod)
    }

    /// The pod to look at next. It stays known until it is removed, or comes back by [`Queue::failed`].
    pub fn pop(&mut self, now: Instant) -> Option<Queued> {
        self.wake(now);
        let uid = match self.active.first() {
            Some((_, _, uid)) => uid.clone(),
            // Nothing better to do: a pod that waits because it did not fit may try earlier.
            None => {
                let eager = |uid: &&String| matches!(self.pods[*uid].place, Place::Backoff { error: false, .. });
                self.backoff.iter().map(|(_, uid)| uid).find(eager)?.clone()
            }
        };
        self.take_out(&uid);
        let queued = self.pods.get_mut(&uid)?;
        queued.attempts += 1;
        Some(queued.clone())
    }

    /// The pod could not be scheduled: `refused_by` names the plug-ins that were against it, none for an error.
    pub fn failed(&mut self, uid: &str, refused_by: Vec<&'static str>, now: Instant) {
        let Some(queued) = self.pods.get_mut(uid).filter(|q| q.place == Place::InFlight) else { return };
        let error = refused_by.is_empty();
        queued.refused_by = refused_by;
        queued.since = now;
        if error {
            let until = now + self.delay(uid);
            self.put(uid, Place::Backoff { until, error: true }, now);
        } else {
            self.put(uid, Place::Unschedulable, now);
        }
    }

    /// Something happened: pods for which it may matter are looked at again. Returns how many.
    pub fn moved(&mut self, event: &Event<'_>, cluster: &Snapshot, now: Instant) -> usize {
        if self.unschedulable.is_empty() {
            return 0;
        }
        let may_fit = |uid: &str| {
            let queued = &self.pods[uid];
            queued.refused_by.iter().any(|p| plugins::hint(p, &queued.pod, event, cluster))
        };
        let woken: Vec<String> =
            self.unschedulable.iter().map(|(_, uid)| uid).filter(|uid| may_fit(uid)).cloned().collect();
        woken.iter().for_each(|uid| self.requeue(uid, now));
        woken.len()
    }

    /// A pod that should be looked at soon whatever it waits for.
    pub fn activate(&mut self, uid: &str, now: Instant) {
        if self.pods.get(uid).is_some_and(|q| q.place == Place::Unschedulable) {
            self.requeue(uid, now);
        }
    }

    /// When something will happen by itself: a wait ends, or a pod has been unschedulable for long.
    pub fn next_wake(&self) -> Option<Instant> {
        let waits = self.backoff.first().map(|(at, _)| *at);
        let flush = self.unschedulable.first().map(|(at, _)| *at + self.times.max_unschedulable);
        waits.into_iter().chain(flush).min()
    }

    /// Whether a pod can be taken now.
    pub fn has_work(&self, now: Instant) -> bool {
        !self.active.is_empty()
            || self
                .backoff
                .iter()
                .any(|(at, uid)| *at <= now || matches!(self.pods[uid].place, Place::Backoff { error: false, .. }))
    }

    /// Moves pods whose wait is over.
    fn wake(&mut self, now: Instant) {
        while let Some((_, uid)) = self.backoff.first().filter(|(at, _)| *at <= now).cloned() {
            self.put(&uid, Place::Active, now);
        }
        while let Some((_, uid)) =
            self.unschedulable.first().filter(|(at, _)| *at + self.times.max_unschedulable <= now).cloned()
        {
            self.requeue(&uid, now);
        }
    }

    /// To the active queue, or to wait for as long as the last failure demands.
    fn requeue(&mut self, uid: &str, now: Instant) {
        let Some(queued) = self.pods.get(uid) else { return };
        let until = queued.since + self.delay(uid);
        let place = if until <= now { Place::Active } else { Place::Backoff { until, error: false } };
        self.put(uid, place, now);
    }

    /// How long a pod waits after its last failure: doubled with each attempt.
    fn delay(&self, uid: &str) -> Duration {
        let attempts = self.pods.get(uid).map_or(0, |q| q.attempts);
        if attempts == 0 {
            return Duration::ZERO;
        }
        let factor = 1u32.checked_shl(attempts - 1).unwrap_or(u32::MAX);
        self.times.initial_backoff.saturating_mul(factor).min(self.times.max_backoff)
    }

    fn put(&mut self, uid: &str, place: Place, now: Instant) {
        self.take_out(uid);
        let Some(queued) = self.pods.get_mut(uid) else { return };
        queued.place = place;
        match place {
            Place::Active => {
                queued.since = now;
                self.active.insert((Reverse(queued.pod.priority), now, uid.to_owned()));
            }
            Place::Backoff { until, .. } => drop(self.backoff.insert((until, uid.to_owned()))),
            Place::Unschedulable => drop(self.unschedulable.insert((queued.since, uid.to_owned()))),
            Place::Gated => self.gated += 1,
            Place::InFlight => {}
        }
    }

    fn take_out(&mut self, uid: &str) {
        let Some(queued) = self.pods.get_mut(uid) else { return };
        match std::mem::replace(&mut queued.place, Place::InFlight) {
            Place::Active => drop(self.active.remove(&(Reverse(queued.pod.priority), queued.since, uid.to_owned()))),
            Place::Backoff { until, .. } => drop(self.backoff.remove(&(until, uid.to_owned()))),
            Place::Unschedulable => drop(self.unschedulable.remove(&(queued.since, uid.to_owned()))),
            Place::Gated => self.gated -= 1,
            Place::InFlight => {}
        }
    }
}

/// Whether a change of a waiting pod can matter: changes of its status cannot.
fn differs(old: &PodInfo, new: &PodInfo) -> bool {
    old.labels != new.labels
        || old.tolerations != new.tolerations
        || old.requests != new.requests
        || old.node_affinity != new.node_affinity
        || old.gates != new.gates
        || old.priority != new.priority
}

#[cfg(test)]
mod tests;
