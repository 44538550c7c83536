//! Which pods stand behind a service, and on which ports.

use std::{collections::BTreeMap, sync::Arc};

use steersman_api::k8s_openapi::{
    api::core::v1::{Container, Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use steersman_client::{Event, Object, ObjectKey, Store, labels};

use crate::{context::index, pods};

/// On what is made for a headless service.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// The selector, unless the service has none.
pub fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    service.spec.as_ref()?.selector.as_ref().filter(|selector| !selector.is_empty())
}

/// Whether the service has no cluster IP.
pub fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// The pods that a selector chooses in a namespace, found through its rarest label.
pub fn select(pods: &Store<Pod>, namespace: &str, selector: &BTreeMap<String, String>) -> Vec<Arc<Pod>> {
    let value = |(key, value): (&String, &String)| format!("{namespace}/{key}={value}");
    let Some(rarest) = selector.iter().map(value).min_by_key(|v| pods.count_by_index(index::LABEL, v)) else {
        return Vec::new();
    };
    let mut found = pods.by_index(index::LABEL, &rarest);
    found.retain(|pod| labels::matches_map(selector, pod.labels()));
    found
}

/// Whether the pod has an address to send traffic to.
pub fn has_endpoint(pod: &Pod, include_terminating: bool) -> bool {
    !pods::is_terminal(pod) && (include_terminating || !pod.is_deleting()) && addresses(pod).next().is_some()
}

/// The pod's addresses.
pub fn addresses(pod: &Pod) -> impl Iterator<Item = &str> {
    pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten()).map(|ip| ip.ip.as_str())
}

/// The pod's host name as far as this service publishes it (rule: `shouldSetHostname`).
pub fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let named = spec.subdomain.as_deref() == Some(service.name()) && pod.namespace() == service.namespace();
    spec.hostname.clone().filter(|hostname| named && !hostname.is_empty())
}

/// The number of a service's port on a pod; `None` if the pod has no port of that name (rule: `podutil.FindPort`).
pub fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        Some(IntOrString::Int(number)) if *number != 0 => return Some(*number),
        Some(IntOrString::String(name)) => name,
        _ => return Some(port.port),
    };
    let spec = pod.spec.as_ref()?;
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let in_container = |container: &Container| {
        let mut ports = container.ports.iter().flatten();
        let same = ports.find(|p| p.name.as_ref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol);
        same.map(|p| p.container_port)
    };
    spec.containers.iter().chain(sidecars).find_map(in_container)
}

/// The services whose endpoints may change with this change of a pod.
pub fn affected(event: &Event<Pod>, services: &Store<Service>) -> Vec<ObjectKey> {
    let new = event.object();
    let old = match event {
        Event::Updated { old, .. } => Some(old),
        _ => None,
    };
    if old.is_some_and(|old| looks_equal(old, new)) {
        return Vec::new();
    }
    let selects = |selector: &BTreeMap<String, String>| {
        labels::matches_map(selector, new.labels())
            || old.is_some_and(|old| labels::matches_map(selector, old.labels()))
    };
    let mut services = services.by_index(index::NAMESPACE, new.namespace());
    services.retain(|service| selector(service).is_some_and(selects));
    services.iter().map(|service| service.key()).collect()
}

/// Whether nothing differs that an endpoint shows (rule: `podEndpointsChanged`).
fn looks_equal(a: &Pod, b: &Pod) -> bool {
    let view = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        (
            pods::is_ready(pod),
            pods::is_terminal(pod),
            pod.is_deleting(),
            pods::node(pod).to_owned(),
            spec.and_then(|spec| spec.hostname.clone()),
            spec.and_then(|spec| spec.subdomain.clone()),
            addresses(pod).map(str::to_owned).collect::<Vec<_>>(),
            pod.uid().to_owned(),
        )
    };
    a.labels() == b.labels() && view(a) == view(b)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_by_number_name_and_protocol() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [{"name": "c", "ports": [
                {"name": "dns", "containerPort": 53, "protocol": "UDP"}, {"name": "dns", "containerPort": 54}]}],
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 9}]},
                {"name": "i", "ports": [{"name": "init", "containerPort": 8}]}],
        }}))
        .unwrap();
        let check = |port: serde_json::Value, expect| {
            assert_eq!(target_port(&pod, &serde_json::from_value(port).unwrap()), expect);
        };
        check(json!({"port": 80, "targetPort": 8080}), Some(8080));
        check(json!({"port": 80}), Some(80));
        check(json!({"port": 80, "targetPort": "dns"}), Some(54));
        check(json!({"port": 80, "targetPort": "dns", "protocol": "UDP"}), Some(53));
        check(json!({"port": 80, "targetPort": "side"}), Some(9));
        check(json!({"port": 80, "targetPort": "init"}), None);
    }
}
