//! Amounts of resources, as integers: milli-CPUs, bytes, counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use steersman_api::k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use steersman_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use steersman_apimachinery::Quantity;

/// Amounts of what containers ask for and nodes offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a CPU.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Extended resources and huge pages.
    pub scalar: BTreeMap<Arc<str>, i64>,
}

/// What a container without a request counts for when nodes are scored: 100 m of CPU, 200 MiB of memory.
const DEFAULT_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

type List = BTreeMap<String, ApiQuantity>;

impl Resources {
    /// From a resource list; what does not parse counts as nothing.
    pub fn from_list(list: Option<&List>) -> Self {
        let mut out = Self::default();
        for (name, q) in list.into_iter().flatten() {
            let Ok(q) = q.0.parse::<Quantity>() else { continue };
            match name.as_str() {
                "cpu" => out.cpu = q.milli_value(),
                "memory" => out.memory = q.value(),
                "ephemeral-storage" => out.ephemeral_storage = q.value(),
                "pods" => {}
                other => drop(out.scalar.insert(other.into(), q.value())),
            }
        }
        out
    }

    /// Adds `other`, or takes it away with `sign` -1.
    pub fn add(&mut self, other: &Self, sign: i64) {
        self.cpu += sign * other.cpu;
        self.memory += sign * other.memory;
        self.ephemeral_storage += sign * other.ephemeral_storage;
        for (k, v) in &other.scalar {
            *self.scalar.entry(k.clone()).or_default() += sign * v;
        }
    }

    fn max(&mut self, other: &Self) {
        self.cpu = self.cpu.max(other.cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.max(other.ephemeral_storage);
        for (k, v) in &other.scalar {
            let have = self.scalar.entry(k.clone()).or_default();
            *have = (*have).max(*v);
        }
    }

    /// Whether all of it could be taken out of `offer`.
    pub fn fits(&self, offer: &Self) -> bool {
        let of = |name: &Arc<str>| offer.scalar.get(name).copied().unwrap_or(0);
        (self.cpu == 0 || self.cpu <= offer.cpu)
            && (self.memory == 0 || self.memory <= offer.memory)
            && (self.ephemeral_storage == 0 || self.ephemeral_storage <= offer.ephemeral_storage)
            && self.scalar.iter().all(|(name, n)| *n == 0 || *n <= of(name))
    }

    /// Whether any amount is smaller than before.
    pub fn less_somewhere(&self, before: &Self) -> bool {
        let of = |name: &Arc<str>| self.scalar.get(name).copied().unwrap_or(0);
        self.cpu < before.cpu
            || self.memory < before.memory
            || self.ephemeral_storage < before.ephemeral_storage
            || before.scalar.iter().any(|(name, n)| of(name) < *n)
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.cpu == 0 && self.memory == 0 && self.ephemeral_storage == 0 && self.scalar.values().all(|v| *v == 0)
    }
}

/// The requests of a whole pod (rule: component-helpers `resource.PodRequests`). With `non_zero` containers that ask for
/// no CPU or memory count with the defaults.
pub fn pod_requests(spec: &PodSpec, non_zero: bool) -> Resources {
    let of = |r: Option<&ResourceRequirements>| {
        let list = r.and_then(|r| r.requests.as_ref());
        let mut out = Resources::from_list(list);
        let lacks = |name: &str| list.is_none_or(|l| !l.contains_key(name));
        if non_zero && lacks("cpu") {
            out.cpu = DEFAULT_CPU;
        }
        if non_zero && lacks("memory") {
            out.memory = DEFAULT_MEMORY;
        }
        out
    };
    let of_container = |c: &Container| of(c.resources.as_ref());
    let mut total = Resources::default();
    for c in &spec.containers {
        total.add(&of_container(c), 1);
    }
    let (mut sidecars, mut init) = (Resources::default(), Resources::default());
    for c in spec.init_containers.iter().flatten() {
        let mut mine = of_container(c);
        if c.restart_policy.as_deref() == Some("Always") {
            total.add(&mine, 1);
            sidecars.add(&mine, 1);
            mine = sidecars.clone();
        } else {
            mine.add(&sidecars, 1);
        }
        init.max(&mine);
    }
    total.max(&init);
    if let Some(requests) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
        let whole = Resources::from_list(Some(requests));
        if requests.contains_key("cpu") {
            total.cpu = whole.cpu;
        }
        if requests.contains_key("memory") {
            total.memory = whole.memory;
        }
        total.scalar.extend(whole.scalar);
    }
    total.add(&Resources::from_list(spec.overhead.as_ref()), 1);
    total
}
