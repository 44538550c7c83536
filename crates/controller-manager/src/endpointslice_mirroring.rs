//! Mirrors Endpoints that users wrote themselves into EndpointSlices (rule: `pkg/controller/endpointslicemirroring`).

use std::{collections::BTreeMap, sync::Arc};

use steersman_api::k8s_openapi::api::{
    core::v1::{EndpointAddress, Endpoints, Service},
    discovery::v1::{Endpoint, EndpointConditions, EndpointPort},
};
use steersman_client::{Action, Object, ObjectKey, Result, Store, WorkQueue};

use crate::{
    context::{Context, Run},
    endpointslice::{
        MANAGED_BY, SERVICE_NAME, Slices, family,
        reconcile::{self, Changes, Group, add_to_groups},
    },
    service_pods,
};

const OURS: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Endpoints in one slice.
const MAX_PER_SLICE: usize = 100;

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let (services, endpoints) = (context.informers.get::<Service>(), context.informers.get::<Endpoints>());
    let slices = Slices::new(context, OURS);
    let queue = WorkQueue::<ObjectKey>::new();
    services.add_handler({
        let queue = queue.clone();
        move |event| {
            let had_selector = event.old().and_then(|old| service_pods::selector(old)).is_some();
            if service_pods::selector(event.object()).is_none() || !had_selector {
                queue.add(event.object().key());
            }
        }
    });
    endpoints.add_handler({
        let queue = queue.clone();
        move |event| {
            if event.old().is_some_and(|old| should_mirror(old)) || should_mirror(event.object()) {
                queue.add(event.object().key());
            }
        }
    });
    slices.notify(context, &queue);
    let controller = Arc::new(Controller {
        services: services.store().clone(),
        endpoints: endpoints.store().clone(),
        slices,
        max_per_subset: context.flags.int("mirroring-max-endpoints-per-subset").clamp(1, 1000) as usize,
    });
    let workers = context.workers("mirroring-concurrent-service-endpoint-syncs");
    Ok(Some(context.work("endpointslicemirroring", queue, workers, controller, |controller, key| async move {
        controller.sync(&key).await
    })))
}

fn should_mirror(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(SKIP).is_none_or(|skip| skip != "true") && !endpoints.annotations().contains_key(LEADER)
}

struct Controller {
    services: Store<Service>,
    endpoints: Store<Endpoints>,
    slices: Slices,
    max_per_subset: usize,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(existing) = self.slices.current(key) else { return Ok(Action::Requeue) };
        let service = self.services.get(key).filter(|service| service_pods::selector(service).is_none());
        let endpoints = self.endpoints.get(key).filter(|endpoints| should_mirror(endpoints));
        let (Some(_), Some(endpoints)) = (service, endpoints) else {
            let changes = Changes { delete: existing, ..Changes::default() };
            let owner = Endpoints::default();
            self.slices.carry_out(key, &owner, &[], BTreeMap::new(), changes).await?;
            return Ok(Action::Done);
        };
        let groups = groups(&endpoints, self.max_per_subset);
        let mut labels = endpoints.labels().clone();
        for reserved in [SERVICE_NAME, MANAGED_BY] {
            labels.remove(reserved);
        }
        let changes = reconcile::plan(&groups, &existing, &labels, MAX_PER_SLICE);
        match self.slices.carry_out(key, &*endpoints, &groups, labels, changes).await {
            Err(error) if !error.is_namespace_terminating() => Err(error),
            _ => Ok(Action::Done),
        }
    }
}

fn groups(endpoints: &Endpoints, max: usize) -> Vec<Group> {
    let mut groups = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Vec<EndpointPort> = subset
            .ports
            .iter()
            .flatten()
            .map(|port| EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(port.port),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
            .collect();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(not_ready).take(max) {
            if let Some(family) = family(&address.ip) {
                add_to_groups(&mut groups, family, ports.clone(), endpoint(address, ready));
            }
        }
    }
    groups
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}
