//! The pool of node ports (rule: `pkg/registry/core/service/portallocator`).
//!
//! Which ports are taken is read from the stored Services; what this process took or gave back and the watch cache
//! does not show yet is kept beside.

use crate::fields::Fields;
use parking_lot::Mutex;
use rand::Rng;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};
use steersman_apimachinery::object;
use steersman_registry::Cluster;

/// Why a port was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortError {
    /// Outside the range; holds it.
    NotInRange(u16, u16),
    Allocated,
    Full,
}

impl std::fmt::Display for PortError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotInRange(a, b) => {
                write!(f, "provided port is not in the valid range. The range of valid ports is {a}-{b}")
            }
            Self::Allocated => f.write_str("provided port is already allocated"),
            Self::Full => f.write_str("range is full"),
        }
    }
}

#[derive(Default)]
struct Book {
    /// Taken by this process: port → namespace/name of the Service.
    held: HashMap<u16, String>,
    /// Given back by this process while the cache may still show it: (namespace/name, uid, port).
    released: HashSet<(String, String, u16)>,
    /// Ports held at the last repair for Services that were not stored then.
    doubtful: HashSet<(u16, String)>,
}

/// The pool.
#[derive(Default)]
pub(super) struct NodePorts {
    book: Mutex<Option<Book>>,
}

/// Ports taken and given back for one change of a Service, until it is known whether it was stored.
pub(super) struct PortOperation {
    owner: String,
    uid: String,
    range: (u16, u16),
    dry_run: bool,
    /// Taken by others when the operation began.
    used: BTreeSet<u16>,
    pub(super) taken: Vec<u16>,
    pub(super) to_release: Vec<u16>,
}

/// All node ports of a Service, its health-check port included.
pub(super) fn ports_of(svc: &Value) -> Vec<u16> {
    let spec = svc.at("spec");
    let ports = spec.items("ports").iter().filter_map(|p| p.int("nodePort"));
    ports.chain(spec.int("healthCheckNodePort")).filter_map(|p| u16::try_from(p).ok()).filter(|p| *p > 0).collect()
}

fn key(svc: &Value) -> String {
    format!("{}/{}", object::namespace(svc), object::name(svc))
}

impl NodePorts {
    /// Begins a change of `svc` that takes no ports, though it may give some back.
    pub(super) fn begin_release(&self, cluster: &dyn Cluster, svc: &Value, dry_run: bool) -> PortOperation {
        PortOperation {
            owner: key(svc),
            uid: object::uid(svc).to_owned(),
            range: cluster.config().node_ports,
            dry_run,
            used: BTreeSet::new(),
            taken: Vec::new(),
            to_release: Vec::new(),
        }
    }

    /// Begins a change of `svc`.
    pub(super) fn begin(&self, cluster: &dyn Cluster, svc: &Value, dry_run: bool) -> PortOperation {
        let mut guard = self.book.lock();
        let book = guard.get_or_insert_with(Book::default);
        let mut used: BTreeSet<u16> = book.held.keys().copied().collect();
        let mut shown = HashSet::new();
        for other in cluster.list("", "services", "") {
            let (k, uid) = (key(&other), object::uid(&other).to_owned());
            for port in ports_of(&other) {
                let entry = (k.clone(), uid.clone(), port);
                if !book.released.contains(&entry) {
                    used.insert(port);
                }
                shown.insert(entry);
            }
        }
        book.released.retain(|r| shown.contains(r));
        PortOperation { used, ..self.begin_release(cluster, svc, dry_run) }
    }

    /// Takes one port.
    pub(super) fn allocate(&self, op: &mut PortOperation, port: i64) -> Result<(), PortError> {
        let (low, high) = op.range;
        let Some(port) = u16::try_from(port).ok().filter(|p| (low..=high).contains(p)) else {
            return Err(PortError::NotInRange(low, high));
        };
        if op.used.contains(&port) {
            return Err(PortError::Allocated);
        }
        if !op.dry_run {
            let mut guard = self.book.lock();
            let book = guard.get_or_insert_with(Book::default);
            if book.held.contains_key(&port) {
                return Err(PortError::Allocated);
            }
            book.held.insert(port, op.owner.clone());
        }
        op.used.insert(port);
        op.taken.push(port);
        Ok(())
    }

    /// Takes any port, from the upper part of the range first: the lower part is kept for ports that users choose.
    pub(super) fn allocate_next(&self, op: &mut PortOperation) -> Result<u16, PortError> {
        let (low, high) = op.range;
        let size = u32::from(high - low) + 1;
        let reserved = reserved(size);
        for (from, to) in [(reserved, size), (0, reserved)] {
            let len = to - from;
            if len == 0 {
                continue;
            }
            let start = rand::rng().random_range(0..len);
            for i in 0..len {
                let offset = from + (start + i) % len;
                let port = low + u16::try_from(offset).unwrap_or_default();
                if !op.used.contains(&port) && self.allocate(op, i64::from(port)).is_ok() {
                    return Ok(port);
                }
            }
        }
        Err(PortError::Full)
    }

    /// Ends the change.
    pub(super) fn finish(&self, op: &PortOperation, committed: bool) {
        if op.dry_run {
            return;
        }
        let ports = if committed { &op.to_release } else { &op.taken };
        let mut guard = self.book.lock();
        let book = guard.get_or_insert_with(Book::default);
        for port in ports {
            book.held.remove(port);
            book.released.insert((op.owner.clone(), op.uid.clone(), *port));
        }
        if committed {
            for port in &op.taken {
                book.released.remove(&(op.owner.clone(), op.uid.clone(), *port));
            }
        }
    }

    /// Gives back all ports of a Service that is gone.
    pub(super) fn release(&self, svc: &Value) {
        let (owner, uid) = (key(svc), object::uid(svc).to_owned());
        let mut guard = self.book.lock();
        let book = guard.get_or_insert_with(Book::default);
        for port in ports_of(svc) {
            book.held.remove(&port);
            book.released.insert((owner.clone(), uid.clone(), port));
        }
    }

    /// Forgets what this process holds for Services that are not stored (any more).
    ///
    /// A Service that is just being written holds its ports already: they are forgotten only when two repairs in a row
    /// find no owner (rule: `portallocator/controller` waits for several rounds as well).
    pub(super) fn repair(&self, cluster: &dyn Cluster) {
        let stored: HashSet<(u16, String)> = cluster
            .list("", "services", "")
            .iter()
            .flat_map(|s| ports_of(s).into_iter().map(|p| (p, key(s))).collect::<Vec<_>>())
            .collect();
        if let Some(book) = self.book.lock().as_mut() {
            book.forget_unowned(&stored);
        }
    }
}

impl Book {
    fn forget_unowned(&mut self, stored: &HashSet<(u16, String)>) {
        let unowned: HashSet<(u16, String)> =
            self.held.iter().map(|(p, o)| (*p, o.clone())).filter(|entry| !stored.contains(entry)).collect();
        for entry in unowned.intersection(&self.doubtful) {
            self.held.remove(&entry.0);
        }
        self.doubtful = unowned;
    }
}

/// How many ports at the low end are left to users as long as others are free (rule: `calculateRangeOffset`).
fn reserved(size: u32) -> u32 {
    const MIN: u32 = 16;
    const MAX: u32 = 128;
    const STEP: u32 = 32;
    if size <= MIN { 0 } else { (size / STEP).clamp(MIN, MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_end_is_kept_for_users() {
        for (size, want) in [(10, 0), (100, 16), (2768, 86), (60000, 128)] {
            assert_eq!(reserved(size), want, "{size}");
        }
    }

    #[test]
    fn two_repairs_forget_a_port_without_owner() {
        let mut book = Book::default();
        book.held.insert(30000, "a/being-written".to_owned());
        book.held.insert(30001, "a/stored".to_owned());
        let stored = HashSet::from([(30001, "a/stored".to_owned())]);
        for left in [2, 1, 1] {
            book.forget_unowned(&stored);
            assert_eq!(book.held.len(), left);
        }
    }
}
