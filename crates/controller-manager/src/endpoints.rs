//! Keeps Endpoints for services with selectors (rule: `pkg/controller/endpoint`).

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use futures::FutureExt;
use steersman_api::k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use steersman_client::{
    Action, Client, DeleteOptions, Event, EventRecorder, EventType, Object, ObjectKey, Result, Store, WorkQueue,
    run_workers,
};

use crate::{
    context::{Context, Run, index, namespace_index},
    pods, service_pods,
};

/// No more addresses than this are published.
const CAPACITY: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
/// Endpoints that leader election uses are left alone.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let services = context.informers.get::<Service>();
    services.add_index(index::NAMESPACE, namespace_index);
    let pods = context.pods_by_label();
    let endpoints = context.informers.get::<Endpoints>();
    let queue = WorkQueue::<ObjectKey>::new();
    services.add_handler({
        let queue = queue.clone();
        move |event| queue.add(event.object().key())
    });
    pods.add_handler({
        let (queue, services) = (queue.clone(), services.store().clone());
        move |event| service_pods::affected(event, &services).into_iter().for_each(|key| queue.add(key))
    });
    endpoints.add_handler({
        let (queue, services) = (queue.clone(), services.store().clone());
        move |event| {
            let key = event.object().key();
            // At the start, Endpoints whose service is gone must go, too.
            if matches!(event, Event::Deleted { .. }) || services.get(&key).is_none() {
                queue.add(key);
            }
        }
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        recorder: context.recorder.clone(),
        services: services.store().clone(),
        pods: pods.store().clone(),
        endpoints: endpoints.store().clone(),
    });
    let batch = context.flags.duration("endpoint-updates-batch-period");
    let (shutdown, workers) = (context.shutdown.clone(), context.workers("concurrent-endpoint-syncs"));
    Ok(Some(
        async move {
            run_workers("endpoints", &queue, workers, &shutdown, move |key| {
                let controller = controller.clone();
                async move {
                    tokio::time::sleep(batch).await;
                    controller.sync(&key).await
                }
            })
            .await;
        }
        .boxed(),
    ))
}

struct Controller {
    client: Client,
    recorder: EventRecorder,
    services: Store<Service>,
    pods: Store<Pod>,
    endpoints: Store<Endpoints>,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let known = self.endpoints.get(key);
        let Some(service) = self.services.get(key) else {
            // Only what we made: others' Endpoints may well have no service.
            if let Some(known) = known.filter(|known| is_ours(known)) {
                let options = DeleteOptions::default().uid(known.uid());
                match self.client.delete::<Endpoints>(key.namespace(), key.name(), &options).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
            }
            return Ok(Action::Done);
        };
        let is_external = service.spec.as_ref().and_then(|s| s.type_.as_deref()) == Some("ExternalName");
        let Some(selector) = service_pods::selector(&service).filter(|_| !is_external) else { return Ok(Action::Done) };
        let pods = service_pods::select(&self.pods, service.namespace(), selector);
        let (subsets, truncated) = limit(subsets(&service, &pods));
        let mut wanted = known.as_deref().cloned().unwrap_or_default();
        wanted.subsets = Some(subsets).filter(|subsets| !subsets.is_empty());
        let mut labels = service.labels().clone();
        labels.remove(service_pods::HEADLESS);
        if service_pods::is_headless(&service) {
            labels.insert(service_pods::HEADLESS.to_owned(), String::new());
        }
        labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
        wanted.metadata.labels = Some(labels);
        let annotations = wanted.metadata.annotations.get_or_insert_default();
        if truncated {
            annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
        } else {
            annotations.remove(OVER_CAPACITY);
        }
        if annotations.is_empty() {
            wanted.metadata.annotations = None;
        }
        let result = match &known {
            Some(known) if **known == wanted => return Ok(Action::Done),
            Some(_) => self.client.update(&wanted).await,
            None => {
                wanted.metadata.name = Some(key.name().to_owned());
                wanted.metadata.namespace = Some(key.namespace().to_owned());
                self.client.create(key.namespace(), &wanted).await
            }
        };
        match result {
            Ok(_) => Ok(Action::Done),
            Err(error) if error.is_namespace_terminating() => Ok(Action::Done),
            // The cache had not caught up: a new attempt will find it.
            Err(error) if error.is_conflict() || error.is_already_exists() => Err(error),
            Err(error) => {
                let (reason, verb) = match known {
                    Some(_) => ("FailedToUpdateEndpoint", "update"),
                    None => ("FailedToCreateEndpoint", "create"),
                };
                let message = format!("Failed to {verb} endpoint {key}: {error}");
                self.recorder.event(&wanted, EventType::Warning, reason, message);
                Err(error)
            }
        }
    }
}

fn is_ours(endpoints: &Endpoints) -> bool {
    endpoints.labels().get(MANAGED_BY.0).is_some_and(|value| value == MANAGED_BY.1)
        && !endpoints.annotations().contains_key(LEADER)
}

/// The addresses of the pods, in subsets of equal ports; addresses and ports are sorted.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let spec = service.spec.clone().unwrap_or_default();
    let wants_v6 = spec.ip_families.iter().flatten().next().is_some_and(|family| family == "IPv6");
    let publish = spec.publish_not_ready_addresses.unwrap_or(false);
    // Ports as (name, number, protocol, application protocol) sort well.
    type Ports = Vec<(String, i32, String, Option<String>)>;
    let mut groups: BTreeMap<Ports, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| service_pods::has_endpoint(pod, publish)) {
        let in_family = |ip: &&str| ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6() == wants_v6);
        let Some(ip) = service_pods::addresses(pod).find(in_family) else { continue };
        let mut ports: Ports = spec
            .ports
            .iter()
            .flatten()
            .filter_map(|port| {
                let number = service_pods::target_port(pod, port)?;
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
                Some((port.name.clone().unwrap_or_default(), number, protocol, port.app_protocol.clone()))
            })
            .collect();
        if ports.is_empty() && spec.ports.as_ref().is_some_and(|ports| !ports.is_empty()) {
            continue;
        }
        ports.sort();
        let address = EndpointAddress {
            ip: ip.to_owned(),
            hostname: service_pods::hostname(pod, service),
            node_name: Some(pods::node(pod).to_owned()).filter(|node| !node.is_empty()),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".to_owned()),
                namespace: Some(pod.namespace().to_owned()),
                name: Some(pod.name().to_owned()),
                uid: Some(pod.uid().to_owned()),
                ..ObjectReference::default()
            }),
        };
        let (ready, not_ready) = groups.entry(ports).or_default();
        if publish || pods::is_ready(pod) { ready.push(address) } else { not_ready.push(address) }
    }
    let sorted = |mut addresses: Vec<EndpointAddress>| {
        addresses.sort_by_key(|address| address.ip.parse::<IpAddr>().ok());
        Some(addresses).filter(|addresses| !addresses.is_empty())
    };
    let convert = |(ports, (ready, not_ready)): (Ports, _)| EndpointSubset {
        addresses: sorted(ready),
        not_ready_addresses: sorted(not_ready),
        ports: Some(ports).filter(|ports| !ports.is_empty()).map(|ports| {
            let port = |(name, port, protocol, app_protocol): (String, i32, String, Option<String>)| EndpointPort {
                name: Some(name).filter(|name| !name.is_empty()),
                port,
                protocol: Some(protocol),
                app_protocol,
            };
            ports.into_iter().map(port).collect()
        }),
    };
    groups.into_iter().map(convert).collect()
}

/// Cuts to [`CAPACITY`] addresses, ready ones first; whether anything was cut.
fn limit(mut subsets: Vec<EndpointSubset>) -> (Vec<EndpointSubset>, bool) {
    let total: usize = subsets.iter().map(|s| count(&s.addresses) + count(&s.not_ready_addresses)).sum();
    if total <= CAPACITY {
        return (subsets, false);
    }
    let mut room = CAPACITY;
    let mut cut = |list: &mut Option<Vec<EndpointAddress>>| {
        if let Some(addresses) = list {
            addresses.truncate(room);
            room -= addresses.len();
        }
        *list = list.take().filter(|addresses| !addresses.is_empty());
    };
    subsets.iter_mut().for_each(|subset| cut(&mut subset.addresses));
    subsets.iter_mut().for_each(|subset| cut(&mut subset.not_ready_addresses));
    subsets.retain(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some());
    (subsets, true)
}

fn count(addresses: &Option<Vec<EndpointAddress>>) -> usize {
    addresses.as_ref().map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ready_and_not_ready_share_a_subset() {
        let service: Service = serde_json::from_value(json!({"spec": {"ports": [{"port": 80}]}})).unwrap();
        let pod = |ip: &str, ready: &str| -> Arc<Pod> {
            let value = json!({"status": {"podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": ready}]}});
            Arc::new(serde_json::from_value(value).unwrap())
        };
        let all = subsets(&service, &[pod("10.0.0.10", "True"), pod("10.0.0.2", "True"), pod("10.0.0.3", "False")]);
        let ips = |list: &Option<Vec<EndpointAddress>>| {
            list.iter().flatten().map(|a| a.ip.clone()).collect::<Vec<_>>().join(",")
        };
        assert_eq!(all.len(), 1);
        assert_eq!(ips(&all[0].addresses), "10.0.0.2,10.0.0.10");
        assert_eq!(ips(&all[0].not_ready_addresses), "10.0.0.3");
        let many: Vec<_> = (0..1200).map(|n| pod(&format!("10.0.{}.{}", n / 250, n % 250), "True")).collect();
        let (cut, truncated) = limit(subsets(&service, &many));
        assert!(truncated && count(&cut[0].addresses) == CAPACITY);
    }
}
