//! What the slices of a service should hold.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use steersman_api::k8s_openapi::api::{
    core::v1::{ObjectReference, Pod, Service},
    discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone},
};
use steersman_client::Object;

use super::{
    MANAGED_BY, SERVICE_NAME,
    reconcile::{Group, add_to_groups},
};
use crate::{pods, service_pods};

/// `IPv4` or `IPv6`, for an address.
pub fn family(address: &str) -> Option<&'static str> {
    match address.parse().ok()? {
        IpAddr::V4(_) => Some("IPv4"),
        IpAddr::V6(_) => Some("IPv6"),
    }
}

/// The labels of the slices of a service, but for the service's name and the manager.
pub fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.labels().clone();
    for reserved in [SERVICE_NAME, MANAGED_BY, service_pods::HEADLESS] {
        labels.remove(reserved);
    }
    if service_pods::is_headless(service) {
        labels.insert(service_pods::HEADLESS.to_owned(), String::new());
    }
    labels
}

/// The endpoints of a service, grouped by address family and ports. Each family of the service has at least one group.
pub fn groups(service: &Service, pods: &[Arc<Pod>], zone_of: impl Fn(&str) -> Option<String>) -> Vec<Group> {
    let spec = service.spec.clone().unwrap_or_default();
    let families: Vec<&'static str> = match spec.ip_families {
        Some(families) if !families.is_empty() => {
            families.iter().map(|f| if f == "IPv6" { "IPv6" } else { "IPv4" }).collect()
        }
        _ => vec!["IPv4"],
    };
    let mut groups = Vec::new();
    for family_wanted in families {
        for pod in pods.iter().filter(|pod| service_pods::has_endpoint(pod, true)) {
            let addresses: Vec<String> = service_pods::addresses(pod)
                .filter(|address| family(address) == Some(family_wanted))
                .map(str::to_owned)
                .collect();
            if !addresses.is_empty() {
                let endpoint = endpoint(service, pod, addresses, &zone_of);
                add_to_groups(&mut groups, family_wanted, ports(service, pod), endpoint);
            }
        }
        if !groups.iter().any(|group: &Group| group.address_type == family_wanted) {
            groups.push(Group { address_type: family_wanted, ports: Vec::new(), endpoints: Vec::new() });
        }
    }
    groups
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(service_pods::target_port(pod, port)?),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn endpoint(
    service: &Service,
    pod: &Pod,
    addresses: Vec<String>,
    zone_of: &impl Fn(&str) -> Option<String>,
) -> Endpoint {
    let spec = service.spec.as_ref();
    let publish = spec.and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
    let (serving, terminating) = (pods::is_ready(pod), pod.is_deleting());
    let ready = publish || (serving && !terminating);
    let node = Some(pods::node(pod).to_owned()).filter(|node| !node.is_empty());
    let zone = node.as_deref().and_then(zone_of);
    let hints = if ready { hints(spec.and_then(|s| s.traffic_distribution.as_deref()), &node, &zone) } else { None };
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: service_pods::hostname(pod, service),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.namespace().to_owned()),
            name: Some(pod.name().to_owned()),
            uid: Some(pod.uid().to_owned()),
            ..ObjectReference::default()
        }),
        node_name: node,
        zone,
        hints,
        deprecated_topology: None,
    }
}

/// Where traffic should come from, by the service's traffic distribution (rule: `endpointslice/trafficdist`).
fn hints(distribution: Option<&str>, node: &Option<String>, zone: &Option<String>) -> Option<EndpointHints> {
    let zones = zone.clone().map(|name| vec![ForZone { name }]);
    match distribution? {
        "PreferClose" | "PreferSameZone" => {
            zones.map(|zones| EndpointHints { for_zones: Some(zones), for_nodes: None })
        }
        "PreferSameNode" => {
            let nodes = node.clone().map(|name| vec![ForNode { name }]);
            (nodes.is_some() || zones.is_some()).then_some(EndpointHints { for_zones: zones, for_nodes: nodes })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, ready: bool, deleting: bool, port: i32) -> Arc<Pod> {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
        }))
        .unwrap();
        pod.metadata.deletion_timestamp = deleting.then(crate::context::now);
        Arc::new(pod)
    }

    fn service(more: Value) -> Service {
        let mut spec = json!({"ports": [{"port": 80, "targetPort": "web"}], "ipFamilies": ["IPv4"]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": {"name": "svc", "namespace": "ns"}, "spec": spec})).unwrap()
    }

    #[test]
    fn conditions_follow_the_pod() {
        let check = |more: Value, ready, deleting, expect: [bool; 3]| {
            let groups = groups(&service(more), &[pod("a", ready, deleting, 80)], |_| None);
            let conditions = groups[0].endpoints[0].conditions.clone().unwrap();
            assert_eq!([conditions.ready, conditions.serving, conditions.terminating], expect.map(Some));
        };
        check(json!({}), true, false, [true, true, false]);
        check(json!({}), false, false, [false, false, false]);
        check(json!({}), true, true, [false, true, true]);
        check(json!({"publishNotReadyAddresses": true}), false, true, [true, false, true]);
    }

    #[test]
    fn groups_by_family_and_ports() {
        let pods = [pod("a", true, false, 80), pod("b", true, false, 81), pod("c", true, false, 80)];
        let service = service(json!({"ipFamilies": ["IPv4", "IPv6"], "trafficDistribution": "PreferSameZone"}));
        let groups = groups(&service, &pods, |_| Some("z".to_owned()));
        let shape: Vec<_> =
            groups.iter().map(|g| (g.address_type, g.ports[0].port.unwrap(), g.endpoints.len())).collect();
        assert_eq!(shape, [("IPv4", 80, 2), ("IPv4", 81, 1), ("IPv6", 80, 2), ("IPv6", 81, 1)]);
        assert_eq!(groups[2].endpoints[0].addresses, ["fd00::1"]);
        assert_eq!(groups[0].endpoints[0].hints.as_ref().unwrap().for_zones.as_ref().unwrap()[0].name, "z");
    }
}
