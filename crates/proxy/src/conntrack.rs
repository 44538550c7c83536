//! Connection tracking keeps sending UDP where it went before: entries that lead nowhere any more must go.

use crate::model::{Protocol, ServiceModel};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// One clean-up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stale {
    /// Flows to this address and port that were sent on to this endpoint.
    Endpoint {
        /// Where the client sent to.
        destination: IpAddr,
        /// The endpoint that is gone.
        endpoint: IpAddr,
    },
    /// Flows to this address that were sent nowhere, since there was no endpoint.
    Service {
        /// Where the client sent to.
        destination: IpAddr,
    },
    /// The same for a node port.
    NodePort {
        /// The port.
        port: u16,
    },
}

/// What has gone stale between two states of a service.
pub fn stale(old: Option<&ServiceModel>, new: Option<&ServiceModel>) -> BTreeSet<Stale> {
    let mut out = BTreeSet::new();
    let udp = |m: Option<&ServiceModel>| {
        m.map(|m| m.ports.iter().filter(|p| p.protocol == Protocol::Udp).cloned().collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let destinations = |m: &ServiceModel| {
        let mut all = vec![m.cluster_ip];
        all.extend(m.external_ips.iter().chain(&m.load_balancer_ips));
        all
    };
    let now = udp(new);
    for before in udp(old) {
        let after = now.iter().find(|p| p.name == before.name);
        let has = |ip: IpAddr| after.is_some_and(|p| p.cluster_endpoints.iter().any(|e| e.address == ip));
        for gone in before.cluster_endpoints.iter().filter(|e| !has(e.address)) {
            for destination in old.map(destinations).unwrap_or_default() {
                out.insert(Stale::Endpoint { destination, endpoint: gone.address });
            }
        }
    }
    for after in &now {
        let before = old.and_then(|m| m.ports.iter().find(|p| p.name == after.name));
        let was_empty = before.is_none_or(|p| p.cluster_endpoints.is_empty());
        if was_empty && !after.cluster_endpoints.is_empty() {
            out.extend(
                new.map(destinations).unwrap_or_default().into_iter().map(|destination| Stale::Service { destination }),
            );
            if after.node_port != 0 {
                out.insert(Stale::NodePort { port: after.node_port });
            }
        }
    }
    out
}

/// Deletes the entries; that there are none is fine.
pub async fn delete(all: BTreeSet<Stale>) {
    for stale in all {
        let family = |ip: &IpAddr| if ip.is_ipv4() { "ipv4" } else { "ipv6" };
        let args: Vec<String> = match &stale {
            Stale::Endpoint { destination, endpoint } => {
                let fixed = ["-D", "-f", family(destination), "-p", "udp", "--orig-dst"].map(str::to_owned);
                fixed.into_iter().chain([destination.to_string(), "--dst-nat".into(), endpoint.to_string()]).collect()
            }
            Stale::Service { destination } => {
                let fixed = ["-D", "-f", family(destination), "-p", "udp", "--orig-dst"].map(str::to_owned);
                fixed.into_iter().chain([destination.to_string()]).collect()
            }
            Stale::NodePort { port } => {
                vec!["-D".into(), "-p".into(), "udp".into(), "--dport".into(), port.to_string()]
            }
        };
        // Its exit code says whether there was anything to delete.
        match tokio::process::Command::new("conntrack").args(&args).output().await {
            Ok(_) => {}
            Err(e) => {
                tracing::warn!(error = %e, ?stale, "conntrack cannot be run, UDP flows may go on to where nobody listens")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Endpoint, Port};

    fn model(endpoints: &[&str]) -> ServiceModel {
        ServiceModel {
            namespace: "a".into(),
            name: "dns".into(),
            cluster_ip: "10.96.0.10".parse().expect("ip"),
            external_ips: vec![],
            load_balancer_ips: vec![],
            source_ranges: vec![],
            affinity: None,
            external_local: false,
            internal_local: false,
            health_check_port: 0,
            ports: vec![Port {
                name: "dns".into(),
                protocol: Protocol::Udp,
                port: 53,
                node_port: 0,
                cluster_endpoints: endpoints
                    .iter()
                    .map(|e| Endpoint { address: e.parse().expect("ip"), port: 53, local: false })
                    .collect(),
                local_endpoints: vec![],
            }],
        }
    }

    #[test]
    fn endpoints_that_go_and_services_that_come_alive() {
        let ip = |s: &str| s.parse::<IpAddr>().expect("ip");
        let destination = ip("10.96.0.10");
        let (two, one, none) = (model(&["10.1.0.1", "10.1.0.2"]), model(&["10.1.0.1"]), model(&[]));
        assert_eq!(stale(Some(&two), Some(&one)), [Stale::Endpoint { destination, endpoint: ip("10.1.0.2") }].into());
        assert_eq!(stale(Some(&none), Some(&one)), [Stale::Service { destination }].into());
        assert_eq!(stale(Some(&one), Some(&two)), [].into());
        assert_eq!(stale(Some(&one), None), [Stale::Endpoint { destination, endpoint: ip("10.1.0.1") }].into());
    }
}
