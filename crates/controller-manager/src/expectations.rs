//! What a controller has asked for and not yet seen in its caches (rule: `controller.ControllerExpectations`).
//!
//! Without them, a controller that syncs before its own creates and deletes come back would repeat them.

use std::time::{Duration, Instant};

use ahash::{HashMap, HashSet};
use parking_lot::Mutex;
use steersman_client::ObjectKey;

/// Expectations that were not met for so long are given up: an event must have been lost.
const EXPIRY: Duration = Duration::from_secs(300);

struct Expected {
    creations: usize,
    deletions: HashSet<ObjectKey>,
    since: Instant,
}

/// Expectations by the owner's key.
#[derive(Default)]
pub struct Expectations {
    owners: Mutex<HashMap<ObjectKey, Expected>>,
}

impl Expectations {
    /// Whether the owner may be synced: all that was asked for has been seen, or too long ago.
    pub fn satisfied(&self, owner: &ObjectKey) -> bool {
        self.owners.lock().get(owner).is_none_or(|expected| {
            (expected.creations == 0 && expected.deletions.is_empty()) || expected.since.elapsed() > EXPIRY
        })
    }

    /// `count` dependants will be created.
    pub fn expect_creations(&self, owner: &ObjectKey, count: usize) {
        self.set(owner, count, HashSet::default());
    }

    /// These dependants will be deleted.
    pub fn expect_deletions(&self, owner: &ObjectKey, dependants: impl IntoIterator<Item = ObjectKey>) {
        self.set(owner, 0, dependants.into_iter().collect());
    }

    /// Both at once.
    pub fn expect(&self, owner: &ObjectKey, creations: usize, deletions: impl IntoIterator<Item = ObjectKey>) {
        self.set(owner, creations, deletions.into_iter().collect());
    }

    fn set(&self, owner: &ObjectKey, creations: usize, deletions: HashSet<ObjectKey>) {
        self.owners.lock().insert(owner.clone(), Expected { creations, deletions, since: Instant::now() });
    }

    /// A dependant was created, or will not be.
    pub fn creation_observed(&self, owner: &ObjectKey) {
        self.creations_observed(owner, 1);
    }

    /// `count` dependants were created, or will not be.
    pub fn creations_observed(&self, owner: &ObjectKey, count: usize) {
        if let Some(expected) = self.owners.lock().get_mut(owner) {
            expected.creations = expected.creations.saturating_sub(count);
        }
    }

    /// A dependant is being deleted, or will not be.
    pub fn deletion_observed(&self, owner: &ObjectKey, dependant: &ObjectKey) {
        if let Some(expected) = self.owners.lock().get_mut(owner) {
            expected.deletions.remove(dependant);
        }
    }

    /// The owner is gone.
    pub fn forget(&self, owner: &ObjectKey) {
        self.owners.lock().remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_what_was_asked() {
        let (all, owner, pod) = (Expectations::default(), ObjectKey::from("ns/rs"), ObjectKey::from("ns/pod"));
        assert!(all.satisfied(&owner));
        all.expect_creations(&owner, 2);
        all.creation_observed(&owner);
        assert!(!all.satisfied(&owner));
        all.creation_observed(&owner);
        all.creation_observed(&owner);
        assert!(all.satisfied(&owner));
        all.expect_deletions(&owner, [pod.clone()]);
        assert!(!all.satisfied(&owner));
        all.deletion_observed(&owner, &pod);
        all.deletion_observed(&owner, &pod);
        assert!(all.satisfied(&owner));
    }
}
