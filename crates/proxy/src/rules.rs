//! The rules of one service, as text of nft: chains, sets, and elements of the maps that lead to them.
//!
//! Names follow upstream's nftables back-end, so that whoever debugs finds what they know.

use crate::model::{Endpoint, Port, ServiceModel};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

/// Everything that one service contributes in one address family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Chain → its rules.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Set → its definition.
    pub sets: BTreeMap<String, String>,
    /// Map (or set) and key → verdict (empty for sets).
    pub elements: BTreeMap<(&'static str, String), String>,
}

/// Settings of the proxy that rules depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `--masquerade-all`.
    pub masquerade_all: bool,
    /// `--cluster-cidr`: traffic to service addresses from elsewhere is masqueraded. One for each family.
    pub cluster_cidrs: Vec<String>,
}

impl Settings {
    fn cluster_cidr(&self, ipv4: bool) -> Option<&str> {
        self.cluster_cidrs.iter().map(String::as_str).find(|c| c.contains(':') != ipv4)
    }
}

/// Sends packets on with the mark that postrouting masquerades.
pub const MARK: &str = "jump mark-for-masquerade";

/// The rules of a service.
pub fn fragment(service: &ServiceModel, settings: &Settings) -> Fragment {
    let mut out = Fragment::default();
    let ipv4 = service.cluster_ip.is_ipv4();
    out.elements.insert(("cluster-ips", service.cluster_ip.to_string()), String::new());
    for port in &service.ports {
        PortRules { service, port, settings, family: if ipv4 { "ip" } else { "ip6" }, suffix: suffix(service, port) }
            .write(&mut out);
    }
    out
}

/// `<hash>-<namespace>/<service>/<protocol>/<port>`: the hash keeps names apart that are cut.
fn suffix(service: &ServiceModel, port: &Port) -> String {
    let full = format!("{}/{}/{}/{}", service.namespace, service.name, port.protocol.as_str(), port.name);
    let mut out = format!("{}-{full}", hash(&full));
    // nft takes names of up to 128 bytes; prefixes and endpoints need some of them.
    out.truncate(80);
    out
}

fn hash(s: &str) -> String {
    Sha256::digest(s.as_bytes()).iter().take(4).fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02X}");
        out
    })
}

struct PortRules<'a> {
    service: &'a ServiceModel,
    port: &'a Port,
    settings: &'a Settings,
    /// `ip` or `ip6`.
    family: &'static str,
    suffix: String,
}

impl PortRules<'_> {
    fn write(&self, out: &mut Fragment) {
        let (s, p) = (self.service, self.port);
        let (cluster, local) = (format!("service-{}", self.suffix), format!("local-{}", self.suffix));
        for e in p.cluster_endpoints.iter().chain(&p.local_endpoints) {
            self.endpoint(out, e);
        }
        let uses_local = s.internal_local || s.external_local;
        if !p.cluster_endpoints.is_empty() {
            let mut rules = self.masquerade_of_strangers();
            rules.extend(self.spread(&p.cluster_endpoints));
            out.chains.insert(cluster.clone(), rules);
        }
        if uses_local && !p.local_endpoints.is_empty() {
            let mut rules = if s.internal_local { self.masquerade_of_strangers() } else { Vec::new() };
            rules.extend(self.spread(&p.local_endpoints));
            out.chains.insert(local.clone(), rules);
        }
        self.internal(out, &cluster, &local);
        self.external(out, &cluster, &local);
    }

    /// Who comes to the cluster IP from outside the pods' range must get its answer through here.
    fn masquerade_of_strangers(&self) -> Vec<String> {
        let (f, p, ip) = (self.family, self.port, self.service.cluster_ip);
        let at = format!("{f} daddr {ip} {} dport {}", p.protocol.as_str(), p.port);
        match self.settings.cluster_cidr(ip.is_ipv4()) {
            _ if self.settings.masquerade_all => vec![format!("{at} {MARK}")],
            Some(cidr) => vec![format!("{at} {f} saddr != {cidr} {MARK}")],
            None => Vec::new(),
        }
    }

    fn endpoint_name(&self, e: &Endpoint) -> String {
        format!("endpoint-{}__{}/{}", self.suffix, e.address.to_string().replace(':', "."), e.port)
    }

    fn affinity_name(&self, e: &Endpoint) -> String {
        format!("affinity-{}__{}/{}", self.suffix, e.address.to_string().replace(':', "."), e.port)
    }

    fn endpoint(&self, out: &mut Fragment, e: &Endpoint) {
        let (f, proto) = (self.family, self.port.protocol.as_str());
        // A pod that reaches itself through the service must see the packet come from the node.
        let mut rules = vec![format!("{f} saddr {} {MARK}", e.address)];
        if let Some(seconds) = self.service.affinity {
            let set = self.affinity_name(e);
            rules.push(format!("update @{set} {{ {f} saddr }}"));
            let kind = if e.address.is_ipv4() { "ipv4_addr" } else { "ipv6_addr" };
            out.sets.insert(set, format!("type {kind}; flags dynamic,timeout; timeout {seconds}s;"));
        }
        rules.push(format!("meta l4proto {proto} dnat to {}", socket(e.address, e.port)));
        out.chains.insert(self.endpoint_name(e), rules);
    }

    /// First who was here before, then by chance.
    fn spread(&self, endpoints: &[Endpoint]) -> Vec<String> {
        let mut rules = Vec::new();
        if self.service.affinity.is_some() {
            rules.extend(
                endpoints.iter().map(|e| {
                    format!("{} saddr @{} goto {}", self.family, self.affinity_name(e), self.endpoint_name(e))
                }),
            );
        }
        let arms: Vec<String> =
            endpoints.iter().enumerate().map(|(i, e)| format!("{i} : goto {}", self.endpoint_name(e))).collect();
        rules.push(format!("numgen random mod {} vmap {{ {} }}", endpoints.len(), arms.join(" , ")));
        rules
    }

    fn key(&self, ip: IpAddr) -> String {
        format!("{ip} . {} . {}", self.port.protocol.as_str(), self.port.port)
    }

    fn internal(&self, out: &mut Fragment, cluster: &str, local: &str) {
        let (s, p) = (self.service, self.port);
        let key = self.key(s.cluster_ip);
        let (endpoints, chain) =
            if s.internal_local { (&p.local_endpoints, local) } else { (&p.cluster_endpoints, cluster) };
        if !endpoints.is_empty() {
            out.elements.insert(("service-ips", key), format!("goto {chain}"));
        } else if p.cluster_endpoints.is_empty() {
            out.elements.insert(("no-endpoint-services", key), "goto reject-chain".into());
        } else {
            // There are endpoints, but none here.
            out.elements.insert(("no-endpoint-services", key), "drop".into());
        }
    }

    fn external(&self, out: &mut Fragment, cluster: &str, local: &str) {
        let (s, p) = (self.service, self.port);
        let addresses: Vec<IpAddr> = s.external_ips.iter().chain(&s.load_balancer_ips).copied().collect();
        if addresses.is_empty() && p.node_port == 0 {
            return;
        }
        let external = format!("external-{}", self.suffix);
        let verdict = if s.external_local && p.local_endpoints.is_empty() && !p.cluster_endpoints.is_empty() {
            Err("drop")
        } else if p.cluster_endpoints.is_empty() && (!s.external_local || p.local_endpoints.is_empty()) {
            Err("goto reject-chain")
        } else {
            Ok(format!("goto {external}"))
        };
        let (ips, ports) = match verdict {
            Ok(_) => ("service-ips", "service-nodeports"),
            Err(_) => ("no-endpoint-services", "no-endpoint-nodeports"),
        };
        let text = verdict.clone().unwrap_or_else(str::to_owned);
        for ip in &addresses {
            out.elements.insert((ips, self.key(*ip)), text.clone());
        }
        if p.node_port != 0 {
            out.elements.insert((ports, format!("{} . {}", p.protocol.as_str(), p.node_port)), text);
        }
        if verdict.is_ok() {
            out.chains.insert(external, self.external_rules(cluster, local));
        }
        if !s.source_ranges.is_empty() && !s.load_balancer_ips.is_empty() {
            let firewall = format!("firewall-{}", self.suffix);
            let rule = format!("{} saddr != {{ {} }} drop", self.family, s.source_ranges.join(", "));
            out.chains.insert(firewall.clone(), vec![rule]);
            for ip in &s.load_balancer_ips {
                out.elements.insert(("firewall-ips", self.key(*ip)), format!("goto {firewall}"));
            }
        }
    }

    fn external_rules(&self, cluster: &str, local: &str) -> Vec<String> {
        let (f, p) = (self.family, self.port);
        if !self.service.external_local {
            return vec![MARK.to_owned(), format!("goto {cluster}")];
        }
        let mut rules = Vec::new();
        // Pods and this node itself may use all endpoints: they see no outside client whose address must be kept.
        if !p.cluster_endpoints.is_empty() {
            if let Some(cidr) = self.settings.cluster_cidr(self.service.cluster_ip.is_ipv4()) {
                rules.push(format!("{f} saddr {cidr} goto {cluster}"));
            }
            rules.push(format!("fib saddr type local {MARK}"));
            rules.push(format!("fib saddr type local goto {cluster}"));
        }
        if !p.local_endpoints.is_empty() {
            rules.push(format!("goto {local}"));
        }
        rules
    }
}

fn socket(ip: IpAddr, port: u16) -> String {
    if ip.is_ipv4() { format!("{ip}:{port}") } else { format!("[{ip}]:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{service, slice};
    use crate::model::{NodeView, models};
    use serde_json::json;

    fn of(spec: serde_json::Value, endpoints: serde_json::Value) -> Fragment {
        let node = NodeView { name: "n1".into(), ..NodeView::default() };
        let settings = Settings { cluster_cidrs: vec!["10.244.0.0/16".into()], ..Settings::default() };
        fragment(&models(&service(spec), &slice(endpoints), &node)[0], &settings)
    }

    fn element<'a>(f: &'a Fragment, map: &'static str, key: &str) -> Option<&'a str> {
        f.elements.get(&(map, key.to_owned())).map(String::as_str)
    }

    #[test]
    fn a_cluster_ip_spreads_over_its_endpoints() {
        let f = of(
            json!({ "clusterIP": "10.96.0.5", "ports": [{ "port": 80 }], "sessionAffinity": "ClientIP" }),
            json!([{ "addresses": ["10.244.0.2"] }, { "addresses": ["10.244.0.3"] }]),
        );
        let chain = element(&f, "service-ips", "10.96.0.5 . tcp . 80").expect("is led on").trim_start_matches("goto ");
        let rules = &f.chains[chain];
        assert_eq!(rules[0], "ip daddr 10.96.0.5 tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade");
        assert!(rules[1].starts_with("ip saddr @affinity-"));
        assert!(rules[3].starts_with("numgen random mod 2 vmap { 0 : goto endpoint-"), "{rules:?}");
        assert_eq!((f.chains.len(), f.sets.len()), (3, 2));
    }

    #[test]
    fn services_without_endpoints_refuse() {
        let f = of(
            json!({ "clusterIP": "10.96.0.5", "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }] }),
            json!([]),
        );
        assert_eq!(element(&f, "no-endpoint-services", "10.96.0.5 . tcp . 80"), Some("goto reject-chain"));
        assert_eq!(element(&f, "no-endpoint-nodeports", "tcp . 30080"), Some("goto reject-chain"));
        assert!(f.chains.is_empty());
    }

    #[test]
    fn the_local_policy_drops_where_nothing_is_local() {
        let spec = json!({ "clusterIP": "10.96.0.5", "type": "NodePort", "externalTrafficPolicy": "Local", "ports": [{ "port": 80, "nodePort": 30080 }] });
        let f = of(spec.clone(), json!([{ "addresses": ["10.244.1.2"], "nodeName": "n2" }]));
        assert_eq!(element(&f, "no-endpoint-nodeports", "tcp . 30080"), Some("drop"));
        assert!(element(&f, "service-ips", "10.96.0.5 . tcp . 80").is_some());
        let f = of(spec, json!([{ "addresses": ["10.244.0.2"], "nodeName": "n1" }]));
        let chain = element(&f, "service-nodeports", "tcp . 30080").expect("is led on").trim_start_matches("goto ");
        assert!(f.chains[chain].last().is_some_and(|r| r.starts_with("goto local-")));
    }
}
