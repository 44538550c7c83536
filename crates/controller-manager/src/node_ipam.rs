//! Gives each node ranges of pod addresses (rule: `pkg/controller/nodeipam/ipam/range_allocator.go`).

use std::{net::IpAddr, sync::Arc};

use ahash::{HashMap, HashSet};
use anyhow::Context as _;
use ipnet::IpNet;
use parking_lot::Mutex;
use serde_json::json;
use steersman_api::k8s_openapi::api::core::v1::Node;
use steersman_client::{
    Action, Client, Event, EventRecorder, EventType, Object, ObjectKey, Patch, Result, Store, WorkQueue,
};
use steersman_component::flags::Flags;

use crate::context::{Context, Run};

const WORKERS: usize = 5;
/// The longest difference between a cluster's mask and a node's: 65,536 nodes.
const MAX_BITS: u8 = 16;

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    if !context.flags.bool("allocate-node-cidrs") || context.flags.text("cidr-allocator-type") == "CloudAllocator" {
        return Ok(None);
    }
    let pools = pools(&context.flags)?;
    let nodes = context.informers.get::<Node>();
    let queue = WorkQueue::<ObjectKey>::new();
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        nodes: nodes.store().clone(),
        pools: Mutex::new(pools),
        pending: Mutex::default(),
    });
    nodes.add_handler({
        let (queue, controller) = (queue.clone(), controller.clone());
        move |event| match event {
            Event::Deleted { last, .. } => {
                controller.release(last);
                // The range may be what another node waits for.
                queue.add(last.key());
                controller.nodes.keys().into_iter().filter(|key| controller.lacks(key)).for_each(|key| queue.add(key));
            }
            // Whatever a node has is taken, before anything is given out.
            _ => {
                controller.occupy(event.object());
                if cidrs(event.object()).is_empty() {
                    queue.add(event.object().key());
                }
            }
        }
    });
    Ok(Some(
        context.work(
            "nodeipam",
            queue,
            WORKERS,
            controller,
            |controller, key| async move { controller.sync(&key).await },
        ),
    ))
}

/// A cluster range, cut into node ranges.
#[derive(Debug)]
struct Pool {
    range: IpNet,
    mask: u8,
    taken: HashSet<u32>,
    next: u32,
}

impl Pool {
    fn new(range: IpNet, mask: u8) -> anyhow::Result<Self> {
        let range = range.trunc();
        if mask < range.prefix_len() || mask > range.max_prefix_len() {
            anyhow::bail!("node CIDR mask size {mask} must be at least that of the cluster CIDR {range}");
        }
        if mask - range.prefix_len() > MAX_BITS {
            anyhow::bail!(
                "the node CIDR mask /{mask} of {range} is too small: at most /{}",
                range.prefix_len() + MAX_BITS
            );
        }
        Ok(Self { range, mask, taken: HashSet::default(), next: 0 })
    }

    fn size(&self) -> u32 {
        1 << (self.mask - self.range.prefix_len())
    }

    fn at(&self, index: u32) -> IpNet {
        let shift = self.range.max_prefix_len() - self.mask;
        match self.range {
            IpNet::V4(range) => {
                let address = u32::from(range.network()) | (index.checked_shl(u32::from(shift)).unwrap_or(0));
                IpNet::new(IpAddr::V4(address.into()), self.mask).unwrap_or(self.range)
            }
            IpNet::V6(range) => {
                let address = u128::from(range.network()) | (u128::from(index) << shift);
                IpNet::new(IpAddr::V6(address.into()), self.mask).unwrap_or(self.range)
            }
        }
    }

    /// The node ranges that overlap with `other`.
    fn overlapping(&self, other: &IpNet) -> std::ops::RangeInclusive<u32> {
        if !self.range.contains(other) && !other.contains(&self.range) {
            return std::ops::RangeInclusive::new(1, 0);
        }
        if other.prefix_len() <= self.range.prefix_len() {
            return 0..=self.size() - 1;
        }
        let shift = u32::from(self.range.max_prefix_len() - self.mask);
        let index = |address: IpAddr| match (self.range, address) {
            (IpNet::V4(range), IpAddr::V4(address)) => (u32::from(address) - u32::from(range.network())) >> shift,
            (IpNet::V6(range), IpAddr::V6(address)) => {
                ((u128::from(address) - u128::from(range.network())) >> shift) as u32
            }
            _ => 0,
        };
        index(other.network())..=index(other.broadcast())
    }

    fn occupy(&mut self, range: &IpNet) {
        let indexes = self.overlapping(range);
        self.taken.extend(indexes);
    }

    fn release(&mut self, range: &IpNet) {
        for index in self.overlapping(range) {
            self.taken.remove(&index);
        }
    }

    fn allocate(&mut self) -> Option<IpNet> {
        for step in 0..self.size() {
            let index = (self.next + step) % self.size();
            if self.taken.insert(index) {
                self.next = (index + 1) % self.size();
                return Some(self.at(index));
            }
        }
        None
    }
}

fn pools(flags: &Flags) -> anyhow::Result<Vec<Pool>> {
    let ranges = flags.text("cluster-cidr").split(',').map(str::trim).filter(|text| !text.is_empty());
    let ranges: Vec<IpNet> = ranges
        .map(|text| text.parse().with_context(|| format!("invalid --cluster-cidr \"{text}\"")))
        .collect::<anyhow::Result<_>>()?;
    if ranges.is_empty() {
        anyhow::bail!("--cluster-cidr must be given with --allocate-node-cidrs");
    }
    let is_dual = ranges.len() == 2 && ranges[0].max_prefix_len() != ranges[1].max_prefix_len();
    if ranges.len() > 1 && !is_dual {
        anyhow::bail!("len of ClusterCIDRs==2 and they are not configured as dual stack: one of each family is needed");
    }
    let mask = |range: &IpNet| {
        let (flag, default) = if range.max_prefix_len() == 32 {
            ("node-cidr-mask-size-ipv4", 24)
        } else {
            ("node-cidr-mask-size-ipv6", 64)
        };
        let chosen = match (flags.int(flag), flags.int("node-cidr-mask-size")) {
            (0, 0) => default,
            (0, common) if !is_dual => common,
            (0, _) => default,
            (own, _) => own,
        };
        u8::try_from(chosen).unwrap_or(u8::MAX)
    };
    let mut pools = ranges.iter().map(|range| Pool::new(*range, mask(range))).collect::<anyhow::Result<Vec<_>>>()?;
    for text in flags.text("service-cluster-ip-range").split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let range: IpNet = text.parse().with_context(|| format!("invalid --service-cluster-ip-range \"{text}\""))?;
        pools.iter_mut().for_each(|pool| pool.occupy(&range));
    }
    Ok(pools)
}

fn cidrs(node: &Node) -> Vec<IpNet> {
    let spec = node.spec.as_ref();
    let all = spec.and_then(|spec| spec.pod_cidrs.clone()).filter(|all| !all.is_empty());
    let all = all.or_else(|| Some(vec![spec?.pod_cidr.clone().filter(|one| !one.is_empty())?]));
    all.unwrap_or_default().iter().filter_map(|text| text.parse().ok()).collect()
}

struct Controller {
    client: Client,
    recorder: EventRecorder,
    nodes: Store<Node>,
    pools: Mutex<Vec<Pool>>,
    /// Given out, and not yet seen on the node.
    pending: Mutex<HashMap<ObjectKey, Vec<IpNet>>>,
}

impl Controller {
    fn occupy(&self, node: &Node) {
        let ranges = cidrs(node);
        if ranges.is_empty() {
            return;
        }
        let mut pools = self.pools.lock();
        ranges.iter().for_each(|range| pools.iter_mut().for_each(|pool| pool.occupy(range)));
        self.pending.lock().remove(&node.key());
    }

    fn release(&self, node: &Node) {
        let mut ranges = cidrs(node);
        ranges.extend(self.pending.lock().remove(&node.key()).unwrap_or_default());
        let mut pools = self.pools.lock();
        ranges.iter().for_each(|range| pools.iter_mut().for_each(|pool| pool.release(range)));
    }

    fn lacks(&self, key: &ObjectKey) -> bool {
        self.nodes.get(key).is_some_and(|node| cidrs(&node).is_empty())
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(node) = self.nodes.get(key).filter(|node| cidrs(node).is_empty()) else { return Ok(Action::Done) };
        let known = self.pending.lock().get(key).cloned();
        let ranges = match known {
            Some(ranges) => ranges,
            None => {
                let Some(ranges) = self.allocate() else {
                    let message = format!("Node {} status is now: CIDRNotAvailable", node.name());
                    self.recorder.event(&*node, EventType::Normal, "CIDRNotAvailable", message);
                    // The release of another node's ranges brings us back.
                    return Ok(Action::Done);
                };
                self.pending.lock().insert(key.clone(), ranges.clone());
                ranges
            }
        };
        let texts: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        let patch = Patch::Strategic(json!({
            "metadata": {"uid": node.uid()},
            "spec": {"podCIDR": texts[0], "podCIDRs": texts},
        }));
        match self.client.patch::<Node>("", node.name(), &patch).await {
            Ok(_) => Ok(Action::Done),
            Err(error) if error.is_not_found() => {
                self.release(&node);
                Ok(Action::Done)
            }
            // The request may have been carried out: the ranges stay reserved for the next attempt.
            Err(error) => Err(error),
        }
    }

    fn allocate(&self) -> Option<Vec<IpNet>> {
        let mut pools = self.pools.lock();
        let mut ranges = Vec::new();
        for n in 0..pools.len() {
            match pools[n].allocate() {
                Some(range) => ranges.push(range),
                None => {
                    for (pool, range) in pools.iter_mut().zip(&ranges) {
                        pool.release(range);
                    }
                    return None;
                }
            }
        }
        Some(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_and_keeps_free_what_is_taken() {
        let mut pool = Pool::new("10.244.0.0/22".parse().unwrap(), 24).unwrap();
        pool.occupy(&"10.244.1.0/24".parse().unwrap());
        pool.occupy(&"192.168.0.0/16".parse().unwrap());
        let mut next = || pool.allocate().map(|range| range.to_string());
        assert_eq!(next().as_deref(), Some("10.244.0.0/24"));
        assert_eq!(next().as_deref(), Some("10.244.2.0/24"));
        assert_eq!(next().as_deref(), Some("10.244.3.0/24"));
        assert_eq!(next(), None);
        pool.release(&"10.244.2.0/24".parse().unwrap());
        assert_eq!(pool.allocate().unwrap().to_string(), "10.244.2.0/24");
    }

    #[test]
    fn six_and_limits() {
        let mut pool = Pool::new("fd00:10::/56".parse().unwrap(), 64).unwrap();
        pool.occupy(&"fd00:10::/112".parse().unwrap());
        assert_eq!(pool.allocate().unwrap().to_string(), "fd00:10:0:1::/64");
        assert!(Pool::new("10.0.0.0/8".parse().unwrap(), 26).is_err());
        assert!(Pool::new("10.0.0.0/24".parse().unwrap(), 16).is_err());
        let mut whole = Pool::new("10.0.0.0/24".parse().unwrap(), 24).unwrap();
        whole.occupy(&"10.0.0.0/8".parse().unwrap());
        assert_eq!(whole.allocate(), None);
    }
}
