//! Cluster IPs: each is an IPAddress object, taken from the blocks that ServiceCIDR objects name
//! (rule: `pkg/registry/core/service/ipallocator`).

use super::service_events::{self, Problem};
use super::service_rules::{is_headless, spec_type};
use crate::fields::Fields;
use crate::ip;
use rand::Rng;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use steersman_apimachinery::options::DeleteOptions;
use steersman_apimachinery::{Reason, Status, object};
use steersman_registry::{Cluster, Context};

const GROUP: &str = "networking.k8s.io";
const FAMILY_LABEL: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGER_LABEL: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";

/// Why an address was not given.
#[derive(Debug)]
pub(super) enum IpError {
    /// No block holds it.
    Mismatch,
    /// It is the first or last of its block.
    NotInRange(IpAddr, String),
    Allocated,
    Full,
    /// The IPAddress object could not be made.
    Store(Status),
}

impl std::fmt::Display for IpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mismatch => f.write_str("the provided network does not match the current range"),
            Self::NotInRange(ip, range) => {
                write!(f, "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}")
            }
            Self::Allocated => f.write_str("provided IP is already allocated"),
            Self::Full => f.write_str("range is full"),
            Self::Store(s) => write!(f, "{s}"),
        }
    }
}

/// The IP families that `--service-cluster-ip-range` configures, primary first.
pub(super) fn families(cluster: &dyn Cluster) -> Vec<&'static str> {
    let mut out = Vec::new();
    for (net, _) in cluster.config().service_cidrs.iter().filter_map(|c| ip::parse_cidr_sloppy(c)) {
        let family = family(net);
        if !out.contains(&family) {
            out.push(family);
        }
    }
    out
}

/// `IPv4` or `IPv6`.
pub(super) fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The blocks of a ServiceCIDR.
fn blocks_of(cidr: &Value) -> impl Iterator<Item = (IpAddr, u8)> {
    cidr.at("spec").strings("cidrs").into_iter().filter_map(ip::parse_cidr_sloppy)
}

/// The blocks of a family that addresses may be taken from.
fn blocks(cluster: &dyn Cluster, wanted: &str) -> Vec<(IpAddr, u8)> {
    let mut out = Vec::new();
    for cidr in cluster.list(GROUP, "servicecidrs", "") {
        let ready = object::name(&cidr) == "kubernetes"
            || cidr.at("status").items("conditions").iter().any(|c| c.s("type") == "Ready" && c.s("status") == "True");
        if object::is_deleting(&cidr) || !ready {
            continue;
        }
        out.extend(blocks_of(&cidr));
    }
    if out.is_empty() {
        out = cluster.config().service_cidrs.iter().filter_map(|c| ip::parse_cidr_sloppy(c)).collect();
    }
    out.retain(|(net, _)| family(*net) == wanted);
    out
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v) => u128::from(u32::from(v)),
        IpAddr::V6(v) => u128::from(v),
    }
}

fn address(n: u128, v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::from(u32::try_from(n).unwrap_or(u32::MAX)).into() } else { Ipv6Addr::from(n).into() }
}

/// First and last address that may be given: not the network's own, and not an IPv4 broadcast.
fn bounds((net, len): (IpAddr, u8)) -> (u128, u128) {
    let bits = if net.is_ipv4() { 32 } else { 128 };
    let base = number(ip::masked(net, len));
    let host = u32::from(bits - len);
    let top = if host >= 128 { u128::MAX } else { base + ((1u128 << host) - 1) };
    (base.saturating_add(1), if net.is_ipv4() { top.saturating_sub(1) } else { top })
}

/// How many addresses at the low end are left to users as long as others are free (KEP-3070).
fn reserved(size: u128) -> u128 {
    const MIN: u128 = 16;
    const MAX: u128 = 256;
    const STEP: u128 = 16;
    if size <= MIN { 0 } else { (size / STEP).clamp(MIN, MAX) }
}

async fn create(cluster: &dyn Cluster, ip: IpAddr, svc: &Value) -> Result<(), IpError> {
    let object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": ip.to_string(),
            "labels": {
                FAMILY_LABEL: family(ip),
                MANAGER_LABEL: MANAGER,
            },
        },
        "spec": {"parentRef": {"resource": "services", "namespace": object::namespace(svc), "name": object::name(svc)}},
    });
    match cluster.create(&Context::loopback(), GROUP, "ipaddresses", object, false).await {
        Ok(_) => Ok(()),
        Err(s) if s.reason == Reason::AlreadyExists => Err(IpError::Allocated),
        Err(s) => Err(IpError::Store(s)),
    }
}

/// Takes the address `wanted` for `svc`.
pub(super) async fn allocate(cluster: &dyn Cluster, wanted: IpAddr, svc: &Value, dry_run: bool) -> Result<(), IpError> {
    let Some(block) = blocks(cluster, family(wanted)).into_iter().find(|b| ip::contains(*b, wanted)) else {
        return Err(IpError::Mismatch);
    };
    let (first, last) = bounds(block);
    if !(first..=last).contains(&number(wanted)) {
        return Err(IpError::NotInRange(wanted, format!("{}/{}", block.0, block.1)));
    }
    if dry_run {
        return Ok(());
    }
    create(cluster, wanted, svc).await
}

/// Takes any address of a family, from the upper part of a block first: the lower part is kept for addresses that
/// users choose.
pub(super) async fn allocate_next(
    cluster: &dyn Cluster,
    wanted: &str,
    svc: &Value,
    dry_run: bool,
) -> Result<IpAddr, IpError> {
    for block in blocks(cluster, wanted) {
        let v4 = block.0.is_ipv4();
        if dry_run {
            return Ok(ip::masked(block.0, block.1));
        }
        let (first, last) = bounds(block);
        if last < first {
            continue;
        }
        let size = last - first + 1;
        let low = reserved(size).min(size);
        for (from, to) in [(low, size), (0, low)] {
            let len = to - from;
            if len == 0 {
                continue;
            }
            let start = rand::rng().random_range(0..len);
            let mut i = 0;
            while i < len {
                let ip = address(first + from + (start + i) % len, v4);
                i += 1;
                if cluster.get(GROUP, "ipaddresses", "", &ip.to_string()).is_some() {
                    continue;
                }
                match create(cluster, ip, svc).await {
                    Ok(()) => return Ok(ip),
                    Err(IpError::Allocated) => {}
                    Err(e) => return Err(e),
                }
            }
        }
    }
    Err(IpError::Full)
}

/// Gives an address back.
pub(super) async fn release(cluster: &dyn Cluster, ip: &str) {
    let result = cluster.delete(&Context::loopback(), GROUP, "ipaddresses", "", ip, DeleteOptions::default()).await;
    if let Err(s) = result
        && s.reason != Reason::NotFound
    {
        tracing::warn!(ip, error = %s, "could not give a cluster IP back");
    }
}

/// How long an IPAddress may be without its Service, which may be on its way (rule: the grace period of
/// `ipallocator/controller/repairip.go`).
const GRACE: i64 = 60;

/// Makes Services and IPAddress objects agree (rule: `ipallocator/controller/repairip.go`).
#[derive(Default)]
pub(super) struct IpRepair {
    told: HashSet<Problem>,
}

impl IpRepair {
    /// One round; none before there is the first ServiceCIDR.
    pub(super) async fn run(&mut self, cluster: &dyn Cluster) {
        if cluster.get(GROUP, "servicecidrs", "", "kubernetes").is_none() {
            return;
        }
        // One that is going away still holds its addresses.
        let cidrs = cluster.list(GROUP, "servicecidrs", "");
        let blocks: Vec<(IpAddr, u8)> = cidrs.iter().flat_map(|c| blocks_of(c)).collect();
        let mut problems = Vec::new();
        for svc in cluster.list("", "services", "") {
            if spec_type(&svc) == "ExternalName" || is_headless(&svc) {
                continue;
            }
            for text in svc.at("spec").strings("clusterIPs") {
                if let Err(e) = sync_cluster_ip(cluster, &blocks, &svc, text, &mut problems).await {
                    tracing::warn!(ip = text, service = object::name(&svc), error = %e, "cluster IP not repaired");
                }
            }
        }
        for held in cluster.list(GROUP, "ipaddresses", "") {
            sync_address(cluster, &held, &mut problems).await;
        }
        service_events::tell(cluster, &mut self.told, problems).await;
    }
}

/// Makes sure that an address of a Service is held by an IPAddress that says so.
async fn sync_cluster_ip(
    cluster: &dyn Cluster,
    blocks: &[(IpAddr, u8)],
    svc: &Value,
    text: &str,
    problems: &mut Vec<Problem>,
) -> Result<(), IpError> {
    let mut tell = |reason, note| problems.push(Problem::of_cluster_ip(svc, "ClusterIPAllocation", reason, note));
    let Some(ip) = ip::parse_sloppy(text) else {
        let note = format!("Cluster IP {text} is not a valid IP; please recreate Service");
        problems.push(Problem::of_cluster_ip(svc, "ClusterIPValidation", "ClusterIPNotValid", note));
        return Ok(());
    };
    let family = family(ip);
    if !blocks.iter().any(|b| ip::contains(*b, ip)) {
        tell(
            "ClusterIPOutOfRange",
            format!("Cluster IP [{family}]: {ip} is not within any configured Service CIDR; please recreate service"),
        );
        return Ok(());
    }
    let Some(held) = cluster.get(GROUP, "ipaddresses", "", &ip.to_string()) else {
        tell("ClusterIPNotAllocated", format!("Cluster IP [{family}]: {ip} is not allocated; repairing"));
        return create(cluster, ip, svc).await;
    };
    let parent = held.at("spec").at("parentRef");
    let (namespace, name) = (object::namespace(svc), object::name(svc));
    let mut again = || {
        let what = format!("the ClusterIP [{family}]: {ip} for Service {namespace}/{name}");
        tell("ClusterIPNotAllocated", format!("{what} has a wrong reference; repairing"));
    };
    if !refers_to_service(parent) {
        again();
        return recreate(cluster, ip, svc).await;
    }
    if (parent.s("namespace"), parent.s("name")) != (namespace, name) {
        let Some(other) = cluster.get("", "services", parent.s("namespace"), parent.s("name")) else {
            again();
            return recreate(cluster, ip, svc).await;
        };
        if other.at("spec").strings("clusterIPs").contains(&object::name(&held)) {
            let note = format!("Cluster IP [{family}]:{ip} was assigned to multiple services; please recreate service");
            tell("ClusterIPAlreadyAllocated", note);
        }
    }
    if object::label(&held, FAMILY_LABEL) != Some(family) || !is_ours(&held) {
        return recreate(cluster, ip, svc).await;
    }
    Ok(())
}

/// Removes an IPAddress that the allocator made and no Service holds.
async fn sync_address(cluster: &dyn Cluster, held: &Value, problems: &mut Vec<Problem>) {
    if !is_ours(held) {
        return;
    }
    let mut tell = |reason, note| problems.push(Problem::of_address(held, reason, note));
    let parent = held.at("spec").at("parentRef");
    let (ip, namespace, name) = (object::name(held), parent.s("namespace"), parent.s("name"));
    if !refers_to_service(parent) {
        let shown = ["group", "resource", "namespace", "name"].map(|f| parent.s(f)).join(" ");
        let note = format!(
            "IPAddress {ip} appears to have been modified, not referencing a Service &{{{shown}}}: cleaning up"
        );
        tell("IPAddressNotAllocated", note);
        return release(cluster, ip).await;
    }
    let holds = |svc: &Value| svc.at("spec").strings("clusterIPs").contains(&ip);
    if cluster.get("", "services", namespace, name).is_some_and(|svc| holds(&svc)) {
        return;
    }
    match cluster.get_live("", "services", namespace, name).await {
        Ok(svc) if holds(&svc) => return,
        Ok(_) => {
            let note = format!("IPAddress: {ip} for Service {namespace}/{name} has a wrong reference; cleaning up");
            tell("IPAddressWrongReference", note);
        }
        Err(s) if s.reason == Reason::NotFound => {
            let made = object::creation_timestamp(held).parse::<jiff::Timestamp>();
            if made.is_ok_and(|t| jiff::Timestamp::now().as_second() - t.as_second() <= GRACE) {
                return;
            }
            let note = format!("IPAddress: {ip} for Service {namespace}/{name} appears to have leaked: cleaning up");
            tell("IPAddressNotAllocated", note);
        }
        Err(s) => {
            tracing::warn!(ip, error = %s, "the Service of an IPAddress could not be read");
            return;
        }
    }
    release(cluster, ip).await;
}

async fn recreate(cluster: &dyn Cluster, ip: IpAddr, svc: &Value) -> Result<(), IpError> {
    release(cluster, &ip.to_string()).await;
    create(cluster, ip, svc).await
}

fn refers_to_service(parent: &Value) -> bool {
    parent.s("group").is_empty() && parent.s("resource") == "services"
}

fn is_ours(held: &Value) -> bool {
    object::label(held, MANAGER_LABEL) == Some(MANAGER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_leave_out_network_and_broadcast() {
        let check = |cidr: &str, first: &str, last: &str| {
            let block = ip::parse_cidr_sloppy(cidr).expect("a block");
            let (a, b) = bounds(block);
            let v4 = block.0.is_ipv4();
            assert_eq!((address(a, v4).to_string(), address(b, v4).to_string()), (first.into(), last.into()));
        };
        check("10.0.0.0/16", "10.0.0.1", "10.0.255.254");
        check("10.0.0.0/30", "10.0.0.1", "10.0.0.2");
        check("fd00::/120", "fd00::1", "fd00::ff");
        assert_eq!(reserved(254), 16);
        assert_eq!(reserved(65534), 256);
    }
}
