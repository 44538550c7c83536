//! How to change slices so that they hold what they should, with as few writes as possible
//! (rule: `endpointslice/reconciler.go`, `reconcileByPortMapping`).

use std::{collections::BTreeMap, sync::Arc};

use ahash::HashMap;
use steersman_api::k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use steersman_client::Object;

use super::{MANAGED_BY, SERVICE_NAME};

/// Endpoints that may share slices.
#[derive(Clone, Debug)]
pub struct Group {
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: &'static str,
    /// The ports of all of them.
    pub ports: Vec<EndpointPort>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// Adds an endpoint to the group that it belongs to.
pub fn add_to_groups(groups: &mut Vec<Group>, address_type: &'static str, ports: Vec<EndpointPort>, one: Endpoint) {
    match groups.iter_mut().find(|group| group.address_type == address_type && group.ports == ports) {
        Some(group) => group.endpoints.push(one),
        None => groups.push(Group { address_type, ports, endpoints: vec![one] }),
    }
}

/// What to write; groups are given by their place.
#[derive(Debug, Default)]
pub struct Changes {
    /// New slices.
    pub create: Vec<(usize, Vec<Endpoint>)>,
    /// Slices with their new endpoints.
    pub update: Vec<(Arc<EndpointSlice>, usize, Vec<Endpoint>)>,
    /// Slices that are not needed.
    pub delete: Vec<Arc<EndpointSlice>>,
}

/// What makes two endpoints the same one, in whatever condition.
fn identity(endpoint: &Endpoint) -> (String, Vec<String>) {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()).unwrap_or_default();
    (uid, endpoint.addresses.clone())
}

fn same_ports(a: &[EndpointPort], b: &[EndpointPort]) -> bool {
    let key = |port: &EndpointPort| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        (port.name.clone().unwrap_or_default(), port.port, protocol, port.app_protocol.clone())
    };
    let sorted = |ports: &[EndpointPort]| {
        let mut keys: Vec<_> = ports.iter().map(key).collect();
        keys.sort();
        keys
    };
    a.len() == b.len() && sorted(a) == sorted(b)
}

fn same_labels(slice: &EndpointSlice, wanted: &BTreeMap<String, String>) -> bool {
    let own = |(name, _): &(&String, &String)| *name != SERVICE_NAME && *name != MANAGED_BY;
    slice.labels().iter().filter(own).eq(wanted.iter())
}

/// Plans the changes; slices hold at most `max` endpoints.
pub fn plan(
    groups: &[Group],
    existing: &[Arc<EndpointSlice>],
    labels: &BTreeMap<String, String>,
    max: usize,
) -> Changes {
    let mut changes = Changes::default();
    let mut existing: Vec<Arc<EndpointSlice>> = existing.to_vec();
    existing.sort_by(|a, b| a.name().cmp(b.name()));
    for (place, group) in groups.iter().enumerate() {
        let (mine, rest) = existing.into_iter().partition(|slice| {
            slice.address_type == group.address_type
                && same_ports(slice.ports.as_deref().unwrap_or_default(), &group.ports)
        });
        existing = rest;
        plan_group(place, group, mine, labels, max, &mut changes);
    }
    changes.delete.extend(existing);
    changes
}

fn plan_group(
    place: usize,
    group: &Group,
    slices: Vec<Arc<EndpointSlice>>,
    labels: &BTreeMap<String, String>,
    max: usize,
    changes: &mut Changes,
) {
    let mut wanted: HashMap<_, &Endpoint> = group.endpoints.iter().map(|e| (identity(e), e)).collect();
    // Each slice keeps what it holds of the wanted endpoints, in their new condition.
    struct Plan {
        slice: Arc<EndpointSlice>,
        endpoints: Vec<Endpoint>,
        dirty: bool,
    }
    let mut plans: Vec<Plan> = Vec::new();
    for slice in slices {
        let old = slice.endpoints.as_deref().unwrap_or_default();
        let mut endpoints = Vec::with_capacity(old.len());
        for endpoint in old {
            if endpoints.len() < max
                && let Some(new) = wanted.remove(&identity(endpoint))
            {
                endpoints.push(new.clone());
            }
        }
        let dirty = endpoints != old || !same_labels(&slice, labels);
        plans.push(Plan { slice, endpoints, dirty });
    }
    // The rest fills the slices that are written anyway, then one that has room for all of it, then new ones.
    let mut rest: Vec<Endpoint> =
        group.endpoints.iter().filter(|e| wanted.contains_key(&identity(e))).cloned().collect();
    for plan in plans.iter_mut().filter(|plan| plan.dirty) {
        let room = max.saturating_sub(plan.endpoints.len()).min(rest.len());
        plan.endpoints.extend(rest.drain(..room));
    }
    while rest.len() >= max {
        changes.create.push((place, rest.drain(..max).collect()));
    }
    if !rest.is_empty() {
        let fits = plans.iter_mut().filter(|plan| plan.endpoints.len() + rest.len() <= max);
        match fits.max_by_key(|plan| plan.endpoints.len()) {
            Some(plan) => {
                plan.endpoints.append(&mut rest);
                plan.dirty = true;
            }
            None => changes.create.push((place, rest)),
        }
    }
    // One empty slice is kept for a group that has nothing, so that watchers learn that nothing is there.
    let mut keep_empty = group.endpoints.is_empty();
    if keep_empty && plans.is_empty() {
        changes.create.push((place, Vec::new()));
    }
    for plan in plans {
        if plan.endpoints.is_empty() && !std::mem::take(&mut keep_empty) {
            changes.delete.push(plan.slice);
        } else if plan.dirty {
            changes.update.push((plan.slice, place, plan.endpoints));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str) -> Endpoint {
        Endpoint { addresses: vec![address.to_owned()], ..Endpoint::default() }
    }

    fn slice(name: &str, addresses: &[&str]) -> Arc<EndpointSlice> {
        let mut slice = EndpointSlice { address_type: "IPv4".to_owned(), ..EndpointSlice::default() };
        slice.metadata.name = Some(name.to_owned());
        slice.endpoints = Some(addresses.iter().map(|a| endpoint(a)).collect());
        Arc::new(slice)
    }

    fn show(changes: &Changes) -> String {
        let text = |endpoints: &[Endpoint]| {
            let mut all: Vec<_> = endpoints.iter().map(|e| e.addresses[0].as_str()).collect();
            all.sort_unstable();
            all.join("")
        };
        let mut parts: Vec<String> = Vec::new();
        parts.extend(changes.create.iter().map(|(_, endpoints)| format!("+{}", text(endpoints))));
        parts.extend(changes.update.iter().map(|(slice, _, all)| format!("{}={}", slice.name(), text(all))));
        parts.extend(changes.delete.iter().map(|slice| format!("-{}", slice.name())));
        parts.join(" ")
    }

    #[test]
    fn writes_as_little_as_possible() {
        let check = |existing: &[Arc<EndpointSlice>], wanted: &[&str], expect: &str| {
            let endpoints = wanted.iter().map(|a| endpoint(a)).collect();
            let groups = [Group { address_type: "IPv4", ports: Vec::new(), endpoints }];
            assert_eq!(show(&plan(&groups, existing, &BTreeMap::new(), 3)), expect);
        };
        check(&[], &[], "+");
        check(&[slice("x", &[])], &[], "");
        check(&[], &["a", "b", "c", "d"], "+abc +d");
        check(&[slice("x", &["a", "b"])], &["a", "b"], "");
        check(&[slice("x", &["a", "b"])], &["a", "b", "c"], "x=abc");
        check(&[slice("x", &["a", "b"]), slice("y", &["c"])], &["a", "b", "c", "d"], "x=abd");
        check(&[slice("x", &["a", "b"]), slice("y", &["c"])], &["a", "b"], "-y");
        check(&[slice("x", &["a", "b"])], &[], "x=");
        check(&[slice("x", &["a", "b"]), slice("y", &["c"])], &["a", "d", "c"], "x=ad");
    }
}
