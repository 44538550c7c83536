//! Services and endpoint slices as the proxy sees them: plain values, made without IO.

use std::collections::BTreeMap;
use std::net::IpAddr;
use steersman_api::k8s_openapi::api::core::v1::{Service, ServiceSpec};
use steersman_api::k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};

/// The transport of a port, in the spelling of nft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    fn parse(s: Option<&str>) -> Self {
        match s {
            Some("UDP") => Self::Udp,
            Some("SCTP") => Self::Sctp,
            _ => Self::Tcp,
        }
    }
    /// As nft and conntrack spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// Where this proxy runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NodeView {
    pub name: String,
    pub zone: String,
    /// Addresses on which node ports are served.
    pub addresses: Vec<IpAddr>,
}

/// One port of a service, with the endpoints that traffic may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Port {
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    /// 0: none.
    pub node_port: u16,
    /// Usable by traffic under the policy Cluster.
    pub cluster_endpoints: Vec<Endpoint>,
    /// Those on this node, usable under the policy Local.
    pub local_endpoints: Vec<Endpoint>,
}

/// An address and port to send traffic to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
    pub local: bool,
}

/// What is to be programmed for one service in one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ServiceModel {
    pub namespace: String,
    pub name: String,
    pub cluster_ip: IpAddr,
    pub external_ips: Vec<IpAddr>,
    pub load_balancer_ips: Vec<IpAddr>,
    /// Empty: everybody may come.
    pub source_ranges: Vec<String>,
    /// Session affinity by client address, seconds.
    pub affinity: Option<u32>,
    pub external_local: bool,
    pub internal_local: bool,
    /// 0: none.
    pub health_check_port: u16,
    pub ports: Vec<Port>,
}

/// The models of a service: one for each of its address families; none where there is nothing to proxy (headless,
/// ExternalName, or marked for another proxy).
pub fn models(service: &Service, slices: &[std::sync::Arc<EndpointSlice>], node: &NodeView) -> Vec<ServiceModel> {
    let Some(spec) = service.spec.as_ref() else { return Vec::new() };
    let labelled = |l: &str| service.metadata.labels.as_ref().is_some_and(|m| m.contains_key(l));
    if spec.type_.as_deref() == Some("ExternalName") || labelled("service.kubernetes.io/service-proxy-name") {
        return Vec::new();
    }
    let mut addresses: Vec<&String> = spec.cluster_ips.iter().flatten().collect();
    addresses.extend(spec.cluster_ip.iter().filter(|_| spec.cluster_ips.as_ref().is_none_or(Vec::is_empty)));
    addresses.iter().filter_map(|ip| ip.parse().ok()).map(|ip| model(service, spec, ip, slices, node)).collect()
}

fn model(
    service: &Service,
    spec: &ServiceSpec,
    cluster_ip: IpAddr,
    slices: &[std::sync::Arc<EndpointSlice>],
    node: &NodeView,
) -> ServiceModel {
    let same_family = |ip: &IpAddr| ip.is_ipv4() == cluster_ip.is_ipv4();
    let parse = |list: Option<&Vec<String>>| {
        list.into_iter().flatten().filter_map(|s| s.parse().ok()).filter(same_family).collect()
    };
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
        config.and_then(|c| c.timeout_seconds).map_or(10_800, |s| s.max(1) as u32)
    });
    let ingress = service.status.as_ref().and_then(|s| s.load_balancer.as_ref()).and_then(|l| l.ingress.as_ref());
    let load_balancer_ips = ingress
        .into_iter()
        .flatten()
        .filter(|i| i.ip_mode.as_deref().unwrap_or("VIP") == "VIP")
        .filter_map(|i| i.ip.as_ref()?.parse().ok())
        .filter(same_family)
        .collect();
    let family = |cidr: &&String| cidr.contains(':') != cluster_ip.is_ipv4();
    let ports = spec.ports.iter().flatten();
    ServiceModel {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        name: service.metadata.name.clone().unwrap_or_default(),
        cluster_ip,
        external_ips: parse(spec.external_ips.as_ref()),
        load_balancer_ips,
        source_ranges: spec
            .load_balancer_source_ranges
            .iter()
            .flatten()
            .filter(family)
            .map(|s| s.trim().to_owned())
            .collect(),
        affinity,
        external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        health_check_port: spec.health_check_node_port.and_then(|p| u16::try_from(p).ok()).unwrap_or(0),
        ports: ports
            .map(|p| {
                let all = endpoints(slices, p.name.as_deref().unwrap_or(""), cluster_ip.is_ipv4(), node);
                let (cluster_endpoints, local_endpoints) = choose(all, node);
                Port {
                    name: p.name.clone().unwrap_or_default(),
                    protocol: Protocol::parse(p.protocol.as_deref()),
                    port: u16::try_from(p.port).unwrap_or(0),
                    node_port: p.node_port.and_then(|n| u16::try_from(n).ok()).unwrap_or(0),
                    cluster_endpoints,
                    local_endpoints,
                }
            })
            .collect(),
    }
}

/// An endpoint with what the choice among endpoints depends on.
struct Candidate {
    endpoint: Endpoint,
    ready: bool,
    serving: bool,
    terminating: bool,
    zone_hints: Option<Vec<String>>,
    node_hints: Option<Vec<String>>,
}

fn endpoints(slices: &[std::sync::Arc<EndpointSlice>], port: &str, ipv4: bool, node: &NodeView) -> Vec<Candidate> {
    // Two slices may name one address while an endpoint moves between them: the map keeps one.
    let mut out: BTreeMap<(IpAddr, u16), Candidate> = BTreeMap::new();
    for slice in slices {
        if slice.address_type != if ipv4 { "IPv4" } else { "IPv6" } {
            continue;
        }
        let of_port = slice.ports.iter().flatten().find(|p| p.name.as_deref().unwrap_or("") == port);
        let Some(number) = of_port.and_then(|p| p.port).and_then(|p| u16::try_from(p).ok()) else { continue };
        for e in slice.endpoints.iter().flatten() {
            let Some(address) = e.addresses.first().and_then(|a| a.parse::<IpAddr>().ok()) else { continue };
            let candidate = candidate(e, address, number, node);
            let keep = out.get(&(address, number)).is_none_or(|old| candidate.ready && !old.ready);
            if keep {
                out.insert((address, number), candidate);
            }
        }
    }
    out.into_values().collect()
}

fn candidate(e: &SliceEndpoint, address: IpAddr, port: u16, node: &NodeView) -> Candidate {
    let conditions = e.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let hints = e.hints.as_ref();
    Candidate {
        endpoint: Endpoint { address, port, local: e.node_name.as_deref() == Some(node.name.as_str()) },
        ready,
        serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        zone_hints: hints.and_then(|h| h.for_zones.as_ref()).map(|z| z.iter().map(|z| z.name.clone()).collect()),
        node_hints: hints.and_then(|h| h.for_nodes.as_ref()).map(|n| n.iter().map(|n| n.name.clone()).collect()),
    }
}

/// Which endpoints traffic goes to: ready ones; where there are none, those that still serve while they end; hints narrow
/// the choice only if every ready endpoint carries them (rule: upstream `CategorizeEndpoints`).
fn choose(all: Vec<Candidate>, node: &NodeView) -> (Vec<Endpoint>, Vec<Endpoint>) {
    let pick = |local_only: bool| -> Vec<&Candidate> {
        let fits = |c: &&Candidate| !local_only || c.endpoint.local;
        let ready: Vec<_> = all.iter().filter(fits).filter(|c| c.ready).collect();
        if ready.is_empty() { all.iter().filter(fits).filter(|c| c.serving && c.terminating).collect() } else { ready }
    };
    let cluster = pick(false);
    let hinted = |has: &dyn Fn(&Candidate) -> Option<bool>| -> Option<Vec<&Candidate>> {
        let marks: Option<Vec<bool>> = cluster.iter().map(|c| has(c)).collect();
        let mine: Vec<_> = cluster.iter().zip(marks?).filter(|(_, m)| *m).map(|(c, _)| *c).collect();
        if mine.is_empty() { None } else { Some(mine) }
    };
    let by_node = || hinted(&|c| c.node_hints.as_ref().map(|h| h.contains(&node.name)));
    let by_zone = || {
        if node.zone.is_empty() {
            return None;
        }
        hinted(&|c| c.zone_hints.as_ref().map(|h| h.contains(&node.zone)))
    };
    let chosen = by_node().or_else(by_zone).unwrap_or_else(|| cluster.clone());
    let plain = |list: Vec<&Candidate>| list.into_iter().map(|c| c.endpoint.clone()).collect();
    (plain(chosen), plain(pick(true)))
}

/// The port a probe of `healthCheckNodePort` is answered on, with the number of local endpoints.
pub fn health_check(model: &ServiceModel) -> Option<(u16, usize)> {
    let local = model.ports.first().map_or(0, |p| p.local_endpoints.len());
    (model.health_check_port != 0).then_some((model.health_check_port, local))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    pub(crate) fn service(spec: serde_json::Value) -> Service {
        serde_json::from_value(json!({ "metadata": { "name": "web", "namespace": "default" }, "spec": spec }))
            .expect("service")
    }

    pub(crate) fn slice(endpoints: serde_json::Value) -> Vec<Arc<EndpointSlice>> {
        let slice = json!({ "metadata": { "name": "web-1" }, "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{ "name": "", "port": 8080, "protocol": "TCP" }] });
        vec![Arc::new(serde_json::from_value(slice).expect("slice"))]
    }

    fn node() -> NodeView {
        NodeView { name: "n1".into(), zone: "z1".into(), addresses: vec![] }
    }

    fn check(endpoints: serde_json::Value, cluster: &[&str], local: &[&str]) {
        let s = service(json!({ "clusterIP": "10.96.0.5", "ports": [{ "port": 80 }] }));
        let m = models(&s, &slice(endpoints), &node());
        let show = |l: &[Endpoint]| l.iter().map(|e| e.address.to_string()).collect::<Vec<_>>();
        assert_eq!(show(&m[0].ports[0].cluster_endpoints), cluster);
        assert_eq!(show(&m[0].ports[0].local_endpoints), local);
    }

    #[test]
    fn endpoints_are_chosen_by_condition_place_and_hints() {
        let e = |ip: &str, node: &str, ready: bool| json!({ "addresses": [ip], "nodeName": node, "conditions": { "ready": ready } });
        check(
            json!([e("10.1.0.1", "n1", true), e("10.1.0.2", "n2", true), e("10.1.0.3", "n1", false)]),
            &["10.1.0.1", "10.1.0.2"],
            &["10.1.0.1"],
        );
        // Only ending ones are left: they still get traffic.
        let ending = json!({ "addresses": ["10.1.0.9"], "nodeName": "n2", "conditions": { "ready": false, "serving": true, "terminating": true } });
        check(json!([ending]), &["10.1.0.9"], &[]);
        // Hints count if all have them and one names our zone.
        let h = |ip: &str, zone: &str| json!({ "addresses": [ip], "conditions": { "ready": true }, "hints": { "forZones": [{ "name": zone }] } });
        check(json!([h("10.1.0.1", "z1"), h("10.1.0.2", "z2")]), &["10.1.0.1"], &[]);
        check(json!([h("10.1.0.1", "z1"), e("10.1.0.2", "n2", true)]), &["10.1.0.1", "10.1.0.2"], &[]);
        check(json!([h("10.1.0.2", "z2")]), &["10.1.0.2"], &[]);
    }

    #[test]
    fn headless_and_external_names_have_no_rules() {
        for spec in [
            json!({ "clusterIP": "None", "ports": [{ "port": 80 }] }),
            json!({ "type": "ExternalName", "externalName": "x.example" }),
        ] {
            assert!(models(&service(spec), &[], &node()).is_empty());
        }
    }
}
