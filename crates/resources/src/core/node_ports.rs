//! The pool of node ports, a RangeAllocation that all servers share (rule: `pkg/registry/core/service/portallocator`).

use super::service_events::{self, Problem};
use super::service_rules::{needs_health_check, needs_node_port};
use crate::fields::Fields;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::Rng;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use steersman_apimachinery::Status;
use steersman_registry::{Cluster, Pool};

/// Its name in etcd.
const POOL: &str = "servicenodeports";
/// In so many repairs a port has to be found without a Service before it is given back: the Service may be on its way
/// (rule: `numRepairsBeforeLeakCleanup`).
const ROUNDS: u32 = 3;

/// Writers of this process take turns, so that they do not come between each other.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

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

/// Ports chosen for one change of a Service, before they are taken.
pub(super) struct PortOperation {
    range: (u16, u16),
    used: BTreeSet<u16>,
    taken: BTreeSet<u16>,
}

/// All node ports that a Service names, its health-check port included.
pub(super) fn ports_of(svc: &Value) -> BTreeSet<u16> {
    chosen_ports_of(svc, true, true)
}

/// The node ports that a Service has use for: fields that its type does not need count for nothing.
pub(super) fn needed_ports_of(svc: &Value) -> BTreeSet<u16> {
    chosen_ports_of(svc, needs_node_port(svc), needs_health_check(svc))
}

fn chosen_ports_of(svc: &Value, node: bool, health: bool) -> BTreeSet<u16> {
    let spec = svc.at("spec");
    let node = spec.items("ports").iter().filter(|_| node).filter_map(|p| p.int("nodePort"));
    let all = node.chain(spec.int("healthCheckNodePort").filter(|_| health));
    all.filter_map(|p| u16::try_from(p).ok()).filter(|p| *p > 0).collect()
}

impl PortOperation {
    /// The ports chosen so far.
    pub(super) fn taken(&self) -> &BTreeSet<u16> {
        &self.taken
    }

    /// Chooses one port.
    pub(super) fn allocate(&mut self, port: i64) -> Result<(), PortError> {
        let (low, high) = self.range;
        let Some(port) = u16::try_from(port).ok().filter(|p| (low..=high).contains(p)) else {
            return Err(PortError::NotInRange(low, high));
        };
        if !self.used.insert(port) {
            return Err(PortError::Allocated);
        }
        self.taken.insert(port);
        Ok(())
    }

    /// Chooses any port, from the upper part of the range first: the lower part is kept for ports that users choose.
    pub(super) fn allocate_next(&mut self) -> Result<u16, PortError> {
        let (low, high) = self.range;
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
                if self.allocate(i64::from(port)).is_ok() {
                    return Ok(port);
                }
            }
        }
        Err(PortError::Full)
    }
}

/// Lets `choose` choose ports and takes them; gives what it answers, and the ports. A dry run takes none.
pub(super) async fn take<T: Send>(
    cluster: &dyn Cluster,
    dry_run: bool,
    choose: impl Fn(&mut PortOperation) -> Result<T, Status> + Send,
) -> Result<(T, BTreeSet<u16>), Status> {
    let range = cluster.config().node_ports;
    let _turn = TURN.lock().await;
    let mut live = false;
    loop {
        let mut pool = current(cluster, live).await?;
        let mut op = PortOperation { range, used: ports_in(&pool), taken: BTreeSet::new() };
        match choose(&mut op) {
            Err(e) if live => return Err(e),
            // The cache may still show a port as taken that was given back.
            Err(_) => {}
            Ok(chosen) if op.taken.is_empty() || dry_run => return Ok((chosen, BTreeSet::new())),
            Ok(chosen) => {
                fill(&mut pool, range, &op.used);
                if cluster.set_pool(POOL, &pool).await? {
                    return Ok((chosen, op.taken));
                }
            }
        }
        live = true;
    }
}

/// Gives ports back.
pub(super) async fn release(cluster: &dyn Cluster, ports: &BTreeSet<u16>) {
    if ports.is_empty() {
        return;
    }
    if let Err(e) = try_release(cluster, ports).await {
        tracing::warn!(?ports, error = %e, "node ports not given back; the repair will");
    }
}

async fn try_release(cluster: &dyn Cluster, ports: &BTreeSet<u16>) -> Result<(), Status> {
    let range = cluster.config().node_ports;
    let _turn = TURN.lock().await;
    let mut live = false;
    loop {
        let mut pool = current(cluster, live).await?;
        let mut used = ports_in(&pool);
        let before = used.len();
        used.retain(|p| !ports.contains(p));
        if used.len() == before && live {
            return Ok(());
        }
        if used.len() < before {
            fill(&mut pool, range, &used);
            if cluster.set_pool(POOL, &pool).await? {
                return Ok(());
            }
        }
        live = true;
    }
}

/// The pool; one that was never stored begins with the ports of the Services that are.
async fn current(cluster: &dyn Cluster, live: bool) -> Result<Pool, Status> {
    if let Some(pool) = cluster.pool(POOL, live).await? {
        return Ok(pool);
    }
    let range = cluster.config().node_ports;
    let mut pool = Pool::default();
    fill(&mut pool, range, &cluster.list("", "services", "").iter().flat_map(|s| ports_of(s)).collect());
    Ok(pool)
}

/// The ports a pool holds, which may have been written for another range.
fn ports_in(pool: &Pool) -> BTreeSet<u16> {
    let Some(low) = pool.range.split('-').next().and_then(|l| l.parse::<u16>().ok()) else { return BTreeSet::new() };
    let bytes = STANDARD.decode(&pool.data).unwrap_or_default();
    let bits = bytes.iter().rev().flat_map(|b| (0..8).map(move |i| b >> i & 1 == 1));
    bits.zip(low..=u16::MAX).filter_map(|(set, port)| set.then_some(port)).collect()
}

/// Makes a pool of a range hold those of `ports` that are in the range.
fn fill(pool: &mut Pool, (low, high): (u16, u16), ports: &BTreeSet<u16>) {
    let mut bytes = Vec::new();
    for offset in ports.range(low..=high).map(|p| usize::from(p - low)) {
        // In order: the highest bit comes last, so the number begins with no zero byte.
        bytes.resize(offset / 8 + 1, 0u8);
        bytes[offset / 8] |= 1 << (offset % 8);
    }
    bytes.reverse();
    pool.range = format!("{low}-{high}");
    pool.data = STANDARD.encode(bytes);
}

/// Makes the pool and the stored Services agree (rule: `portallocator/controller`).
#[derive(Default)]
pub(super) struct PortRepair {
    /// Ports without a Service: in how many more rounds they have to be found.
    leaks: HashMap<u16, u32>,
    told: HashSet<Problem>,
}

impl PortRepair {
    /// One round.
    pub(super) async fn run(&mut self, cluster: &dyn Cluster) {
        if let Err(e) = self.round(cluster).await {
            tracing::warn!(error = %e, "node ports not repaired");
        }
    }

    async fn round(&mut self, cluster: &dyn Cluster) -> Result<(), Status> {
        let range = cluster.config().node_ports;
        let problems = {
            let _turn = TURN.lock().await;
            loop {
                // The pool first: a Service that is stored after it was read has its ports in it already.
                let mut pool = cluster.pool(POOL, true).await?.unwrap_or_default();
                let held = ports_in(&pool);
                let services = cluster.list("", "services", "");
                let mut leaks = self.leaks.clone();
                let (ports, problems) = rebuilt(&held, &services, range, pool.revision > 0, &mut leaks);
                let before = pool.clone();
                fill(&mut pool, range, &ports);
                if pool == before || cluster.set_pool(POOL, &pool).await? {
                    self.leaks = leaks;
                    break problems;
                }
            }
        };
        service_events::tell(cluster, &mut self.told, problems).await;
        Ok(())
    }
}

/// The ports that should be held, and what is wrong with the Services. `stored`: the pool was there.
fn rebuilt(
    held: &BTreeSet<u16>,
    services: &[Arc<Value>],
    (low, high): (u16, u16),
    stored: bool,
    leaks: &mut HashMap<u16, u32>,
) -> (BTreeSet<u16>, Vec<Problem>) {
    let (mut ports, mut problems) = (BTreeSet::new(), Vec::new());
    for svc in services {
        let mut tell = |reason, note| problems.push(Problem::of_port(svc, reason, note));
        for port in ports_of(svc) {
            if !(low..=high).contains(&port) {
                let note = format!("Port {port} is not within the port range {low}-{high}; please recreate service");
                tell("PortOutOfRange", note);
            } else if !ports.insert(port) {
                tell(
                    "PortAlreadyAllocated",
                    format!("Port {port} was assigned to multiple services; please recreate service"),
                );
            } else if stored && !held.contains(&port) {
                tell("PortNotAllocated", format!("Port {port} is not allocated; repairing"));
            }
        }
    }
    leaks.retain(|port, _| held.contains(port) && !ports.contains(port));
    for port in held.range(low..=high) {
        if ports.contains(port) {
            continue;
        }
        let left = leaks.entry(*port).or_insert(ROUNDS);
        if *left > 0 {
            *left -= 1;
            ports.insert(*port);
        } else {
            tracing::info!(port, "the node port belongs to no Service: giving it back");
            leaks.remove(port);
        }
    }
    (ports, problems)
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
    use serde_json::json;

    #[test]
    fn the_low_end_is_kept_for_users() {
        for (size, want) in [(10, 0), (100, 16), (2768, 86), (60000, 128)] {
            assert_eq!(reserved(size), want, "{size}");
        }
    }

    #[test]
    fn pools_are_written_as_upstream_writes_them() {
        let mut pool = Pool::default();
        fill(&mut pool, (30000, 32767), &BTreeSet::from([30000, 30009, 40000]));
        // 2^9 + 2^0, big-endian.
        assert_eq!((pool.range.as_str(), pool.data.as_str()), ("30000-32767", "AgE="));
        assert_eq!(ports_in(&pool), BTreeSet::from([30000, 30009]));
        assert_eq!(ports_in(&Pool::default()), BTreeSet::new());
    }

    #[test]
    fn a_leaked_port_is_given_back_in_the_fourth_round() {
        let service = |name: &str, ports: &[u16]| {
            let ports: Vec<Value> = ports.iter().map(|p| json!({"nodePort": p})).collect();
            Arc::new(json!({"metadata": {"name": name, "namespace": "a"}, "spec": {"ports": ports}}))
        };
        let services = [service("one", &[30001, 30001, 20000]), service("two", &[30001])];
        let (mut held, mut leaks) = (BTreeSet::from([30000]), HashMap::new());
        for round in 0..4 {
            let (ports, problems) = rebuilt(&held, &services, (30000, 30010), true, &mut leaks);
            assert_eq!(ports.contains(&30000), round < 3);
            assert!(ports.contains(&30001));
            let mut reasons: Vec<&str> = problems.iter().map(|p| p.reason).collect();
            reasons.sort_unstable();
            let first: &[&str] = if round == 0 { &["PortNotAllocated"] } else { &[] };
            assert_eq!(reasons, [&["PortAlreadyAllocated"], first, &["PortOutOfRange"]].concat());
            held = ports;
        }
    }
}
