//! What names under the cluster's domain mean. A function of the informers' stores.

use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use std::net::IpAddr;
use std::sync::Arc;
use steersman_api::k8s_openapi::api::core::v1::{Namespace, Service, ServiceSpec};
use steersman_api::k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use steersman_client::Store;

/// The index of slices by `<namespace>/<service>`.
pub const BY_SERVICE: &str = "service";
/// The index of services by cluster IP, and of slices by the addresses of endpoints with host names.
pub const BY_IP: &str = "ip";
/// Upstream's default time to live, seconds.
pub const TTL: u32 = 5;

/// The cluster's zone.
pub struct Zone {
    /// Without the dot at its end, lower case: `cluster.local`.
    pub domain: String,
    /// All services.
    pub services: Store<Service>,
    /// All endpoint slices, indexed [`BY_SERVICE`] and [`BY_IP`].
    pub slices: Store<EndpointSlice>,
    /// All namespaces: `a-b-c-d.<namespace>.pod` is answered for those that are there.
    pub namespaces: Store<Namespace>,
}

/// What a query gets.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// The records; empty with `exists`: there is such a name, but not with that type.
    pub records: Vec<Record>,
    /// Addresses of the targets of SRV records.
    pub additionals: Vec<Record>,
    /// Whether the name is there at all; otherwise NXDOMAIN.
    pub exists: bool,
}

/// One name with its addresses.
struct Host {
    label: String,
    ip: IpAddr,
}

impl Zone {
    /// `None`: not a name of ours, ask elsewhere.
    pub fn answer(&self, name: &Name, kind: RecordType) -> Option<Answer> {
        let text = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        if text.ends_with(".in-addr.arpa") || text.ends_with(".ip6.arpa") {
            return self.reverse(name, &text);
        }
        if text == self.domain {
            let records = if kind == RecordType::SOA { vec![self.soa()] } else { vec![] };
            return Some(Answer { records, exists: true, ..Answer::default() });
        }
        let rest = text.strip_suffix(&self.domain)?.strip_suffix('.')?;
        let labels: Vec<&str> = rest.split('.').collect();
        Some(self.inside(name, &labels, kind).unwrap_or_default())
    }

    /// The start of authority that comes with negative answers.
    pub fn soa(&self) -> Record {
        let at = |s: &str| Name::from_ascii(format!("{s}.{}.", self.domain)).unwrap_or_default();
        let zone = Name::from_ascii(format!("{}.", self.domain)).unwrap_or_default();
        let soa = SOA::new(at("ns.dns"), at("hostmaster"), 1, 7200, 1800, 86400, TTL);
        Record::from_rdata(zone, TTL, RData::SOA(soa))
    }

    fn inside(&self, name: &Name, labels: &[&str], kind: RecordType) -> Option<Answer> {
        let found = |records| Some(Answer { records, exists: true, ..Answer::default() });
        match labels {
            ["dns-version"] => {
                let txt = RData::TXT(TXT::new(vec!["1.1.0".to_owned()]));
                found(if kind == RecordType::TXT { vec![Record::from_rdata(name.clone(), TTL, txt)] } else { vec![] })
            }
            // Names between a service and the domain are there, though empty.
            ["svc" | "pod"] => found(vec![]),
            [namespace, "svc" | "pod"] => self.namespaces.find("", namespace).and_then(|_| found(vec![])),
            [dashed, namespace, "pod"] => {
                self.namespaces.find("", namespace)?;
                let ip = undash(dashed)?;
                found(address(name, ip, kind).into_iter().collect())
            }
            [service, namespace, "svc"] => self.service(name, namespace, service, kind),
            [port, protocol, service, namespace, "svc"] if port.starts_with('_') && protocol.starts_with('_') => {
                self.srv(name, namespace, service, Some((&port[1..], &protocol[1..])), kind)
            }
            [host, service, namespace, "svc"] => {
                let (spec, hosts) = self.hosts(namespace, service)?;
                if !is_headless(&spec) {
                    return None;
                }
                let mine: Vec<&Host> = hosts.iter().filter(|h| h.label == *host).collect();
                if mine.is_empty() {
                    None
                } else {
                    found(mine.iter().filter_map(|h| address(name, h.ip, kind)).collect())
                }
            }
            _ => None,
        }
    }

    fn service(&self, name: &Name, namespace: &str, service: &str, kind: RecordType) -> Option<Answer> {
        let found = self.services.find(namespace, service)?;
        let spec = found.spec.clone().unwrap_or_default();
        if spec.type_.as_deref() == Some("ExternalName") {
            let target = Name::from_ascii(format!("{}.", spec.external_name.as_deref()?.trim_end_matches('.'))).ok()?;
            let cname = Record::from_rdata(name.clone(), TTL, RData::CNAME(CNAME(target)));
            return Some(Answer { records: vec![cname], exists: true, ..Answer::default() });
        }
        if kind == RecordType::SRV {
            return self.srv(name, namespace, service, None, kind);
        }
        let addresses: Vec<IpAddr> = if is_headless(&spec) {
            let (_, hosts) = self.hosts(namespace, service)?;
            // A headless service without endpoints is as if it were not there, as upstream's DNS has it.
            if hosts.is_empty() {
                return None;
            }
            let mut ips: Vec<IpAddr> = hosts.iter().map(|h| h.ip).collect();
            ips.sort_unstable();
            ips.dedup();
            ips
        } else {
            cluster_ips(&spec)
        };
        Some(Answer {
            records: addresses.into_iter().filter_map(|ip| address(name, ip, kind)).collect(),
            exists: true,
            ..Answer::default()
        })
    }

    /// SRV records of one port, or of all.
    fn srv(
        &self,
        name: &Name,
        namespace: &str,
        service: &str,
        port: Option<(&str, &str)>,
        kind: RecordType,
    ) -> Option<Answer> {
        let found = self.services.find(namespace, service)?;
        let spec = found.spec.clone().unwrap_or_default();
        let fits = |n: &str, p: &str| port.is_none_or(|(wn, wp)| wn == n && wp.eq_ignore_ascii_case(p));
        let base = format!("{service}.{namespace}.svc.{}.", self.domain);
        let mut targets: Vec<(u16, Name, Vec<IpAddr>)> = Vec::new();
        if is_headless(&spec) {
            for slice in self.slices.by_index(BY_SERVICE, &format!("{namespace}/{service}")) {
                for p in slice.ports.iter().flatten() {
                    let (Some(number), true) =
                        (p.port, fits(p.name.as_deref().unwrap_or(""), p.protocol.as_deref().unwrap_or("TCP")))
                    else {
                        continue;
                    };
                    for host in hosts_of(&slice) {
                        let target = Name::from_ascii(format!("{}.{base}", host.label)).ok()?;
                        targets.push((u16::try_from(number).unwrap_or(0), target, vec![host.ip]));
                    }
                }
            }
        } else {
            let target = Name::from_ascii(&base).ok()?;
            for p in spec.ports.iter().flatten() {
                if fits(p.name.as_deref().unwrap_or(""), p.protocol.as_deref().unwrap_or("TCP")) {
                    targets.push((u16::try_from(p.port).unwrap_or(0), target.clone(), cluster_ips(&spec)));
                }
            }
        }
        if targets.is_empty() {
            return None;
        }
        let mut answer = Answer { exists: true, ..Answer::default() };
        if kind != RecordType::SRV {
            return Some(answer);
        }
        let weight = u16::try_from(100 / targets.len()).unwrap_or(1).max(1);
        for (port, target, ips) in targets {
            answer.records.push(Record::from_rdata(
                name.clone(),
                TTL,
                RData::SRV(SRV::new(0, weight, port, target.clone())),
            ));
            for ip in ips {
                let kind = if ip.is_ipv4() { RecordType::A } else { RecordType::AAAA };
                answer.additionals.extend(address(&target, ip, kind).filter(|r| !answer.additionals.contains(r)));
            }
        }
        Some(answer)
    }

    fn hosts(&self, namespace: &str, service: &str) -> Option<(ServiceSpec, Vec<Host>)> {
        let spec = self.services.find(namespace, service)?.spec.clone().unwrap_or_default();
        let slices = self.slices.by_index(BY_SERVICE, &format!("{namespace}/{service}"));
        Some((spec, slices.iter().flat_map(hosts_of).collect()))
    }

    /// Addresses of services and of named endpoints have names; others are asked elsewhere.
    fn reverse(&self, name: &Name, text: &str) -> Option<Answer> {
        let ip = reverse_ip(text)?.to_string();
        let mut names = Vec::new();
        for s in self.services.by_index(BY_IP, &ip) {
            let m = &s.metadata;
            names.push(format!("{}.{}.svc.{}.", m.name.as_deref()?, m.namespace.as_deref()?, self.domain));
        }
        for slice in self.slices.by_index(BY_IP, &ip) {
            let (Some(service), Some(namespace)) = (service_name(&slice), slice.metadata.namespace.as_deref()) else {
                continue;
            };
            for h in hosts_of(&slice).into_iter().filter(|h| h.ip.to_string() == ip) {
                names.push(format!("{}.{service}.{namespace}.svc.{}.", h.label, self.domain));
            }
        }
        names.sort();
        names.dedup();
        if names.is_empty() {
            return None;
        }
        let record =
            |n: String| Some(Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(Name::from_ascii(n).ok()?))));
        Some(Answer { records: names.into_iter().filter_map(record).collect(), exists: true, ..Answer::default() })
    }
}

/// The service that a slice belongs to.
pub fn service_name(slice: &EndpointSlice) -> Option<&str> {
    slice.metadata.labels.as_ref()?.get("kubernetes.io/service-name").map(String::as_str)
}

/// Index values of a slice for [`BY_SERVICE`].
pub fn slice_services(slice: &EndpointSlice) -> Vec<String> {
    let namespace = slice.metadata.namespace.as_deref().unwrap_or("");
    service_name(slice).map(|s| format!("{namespace}/{s}")).into_iter().collect()
}

/// Index values of a slice for [`BY_IP`]: endpoints that have a host name.
pub fn slice_ips(slice: &EndpointSlice) -> Vec<String> {
    let named = slice.endpoints.iter().flatten().filter(|e| e.hostname.as_deref().is_some_and(|h| !h.is_empty()));
    named.flat_map(|e| e.addresses.iter().cloned()).collect()
}

/// Index values of a service for [`BY_IP`].
pub fn service_ips(service: &Service) -> Vec<String> {
    service.spec.as_ref().map(cluster_ips).unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let all = spec.cluster_ips.iter().flatten().chain(spec.cluster_ip.iter().filter(|_| spec.cluster_ips.is_none()));
    all.filter_map(|s| s.parse().ok()).collect()
}

/// The endpoints that may be asked for: ready ones, by host name or by their address with dashes.
fn hosts_of(slice: &Arc<EndpointSlice>) -> Vec<Host> {
    let ready = |e: &&Endpoint| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
    let mut out = Vec::new();
    for e in slice.endpoints.iter().flatten().filter(ready) {
        for ip in e.addresses.iter().filter_map(|a| a.parse::<IpAddr>().ok()) {
            let label = match e.hostname.as_deref() {
                Some(h) if !h.is_empty() => h.to_owned(),
                _ => ip.to_string().replace(['.', ':'], "-"),
            };
            out.push(Host { label, ip });
        }
    }
    out
}

fn address(name: &Name, ip: IpAddr, kind: RecordType) -> Option<Record> {
    let data = match (ip, kind) {
        (IpAddr::V4(v4), RecordType::A | RecordType::ANY) => RData::A(A(v4)),
        (IpAddr::V6(v6), RecordType::AAAA | RecordType::ANY) => RData::AAAA(AAAA(v6)),
        _ => return None,
    };
    Some(Record::from_rdata(name.clone(), TTL, data))
}

/// `10-1-2-3` or `2001-db8--1`.
fn undash(s: &str) -> Option<IpAddr> {
    s.replace('-', ".").parse().or_else(|_| s.replace('-', ":").parse()).ok()
}

fn reverse_ip(text: &str) -> Option<IpAddr> {
    if let Some(v4) = text.strip_suffix(".in-addr.arpa") {
        let mut parts: Vec<&str> = v4.split('.').collect();
        parts.reverse();
        return parts.join(".").parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let nibbles: Vec<u8> = text
        .strip_suffix(".ip6.arpa")?
        .split('.')
        .rev()
        .map(|n| u8::from_str_radix(n, 16).ok().filter(|v| *v < 16 && n.len() == 1))
        .collect::<Option<_>>()?;
    let bytes: [u8; 16] = nibbles.chunks_exact(2).map(|p| p[0] << 4 | p[1]).collect::<Vec<u8>>().try_into().ok()?;
    (nibbles.len() == 32).then(|| IpAddr::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn zone() -> Zone {
        let z = Zone {
            domain: "cluster.local".into(),
            services: Store::new(),
            slices: Store::new(),
            namespaces: Store::new(),
        };
        z.services.add_index(BY_IP, service_ips);
        z.slices.add_index(BY_SERVICE, slice_services);
        z.slices.add_index(BY_IP, slice_ips);
        let service = |name: &str, spec: Value| {
            let s = json!({ "metadata": { "name": name, "namespace": "default" }, "spec": spec });
            z.services.insert(Arc::new(serde_json::from_value(s).expect("service")));
        };
        service(
            "web",
            json!({ "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "ports": [{ "name": "http", "port": 80 }] }),
        );
        service("db", json!({ "clusterIP": "None", "ports": [{ "name": "sql", "port": 5432 }] }));
        service("ext", json!({ "type": "ExternalName", "externalName": "www.example.com" }));
        let slice = json!({ "metadata": { "name": "db-1", "namespace": "default", "labels": { "kubernetes.io/service-name": "db" } },
            "addressType": "IPv4", "ports": [{ "name": "sql", "port": 5432, "protocol": "TCP" }],
            "endpoints": [
                { "addresses": ["10.1.0.1"], "hostname": "db-0", "conditions": { "ready": true } },
                { "addresses": ["10.1.0.2"], "conditions": { "ready": true } },
                { "addresses": ["10.1.0.3"], "hostname": "db-2", "conditions": { "ready": false } },
            ] });
        z.slices.insert(Arc::new(serde_json::from_value(slice).expect("slice")));
        z.namespaces
            .insert(Arc::new(serde_json::from_value(json!({ "metadata": { "name": "default" } })).expect("namespace")));
        z
    }

    /// `want`: the data of the records, or `NX` / `NODATA` / `ELSEWHERE`.
    fn check(name: &str, kind: RecordType, want: &[&str]) {
        let got = zone().answer(&Name::from_ascii(name).expect("name"), kind);
        let shown: Vec<String> = match got {
            None => vec!["ELSEWHERE".into()],
            Some(a) if !a.exists => vec!["NX".into()],
            Some(a) if a.records.is_empty() => vec!["NODATA".into()],
            Some(a) => a.records.iter().map(|r| r.data.to_string()).collect(),
        };
        assert_eq!(shown, want, "{name} {kind}");
    }

    #[test]
    fn names_mean_what_the_specification_says() {
        use RecordType::{A, AAAA, PTR, SRV, TXT};
        check("web.default.svc.cluster.local.", A, &["10.96.0.5"]);
        check("WEB.default.svc.Cluster.Local.", A, &["10.96.0.5"]);
        check("web.default.svc.cluster.local.", AAAA, &["NODATA"]);
        check("none.default.svc.cluster.local.", A, &["NX"]);
        check("db.default.svc.cluster.local.", A, &["10.1.0.1", "10.1.0.2"]);
        check("db-0.db.default.svc.cluster.local.", A, &["10.1.0.1"]);
        check("10-1-0-2.db.default.svc.cluster.local.", A, &["10.1.0.2"]);
        check("db-2.db.default.svc.cluster.local.", A, &["NX"]);
        check("ext.default.svc.cluster.local.", A, &["www.example.com."]);
        check("_http._tcp.web.default.svc.cluster.local.", SRV, &["0 100 80 web.default.svc.cluster.local."]);
        check(
            "_sql._tcp.db.default.svc.cluster.local.",
            SRV,
            &["0 50 5432 db-0.db.default.svc.cluster.local.", "0 50 5432 10-1-0-2.db.default.svc.cluster.local."],
        );
        check("_nope._tcp.web.default.svc.cluster.local.", SRV, &["NX"]);
        check("10-9-8-7.default.pod.cluster.local.", A, &["10.9.8.7"]);
        check("10-9-8-7.nowhere.pod.cluster.local.", A, &["NX"]);
        check("5.0.96.10.in-addr.arpa.", PTR, &["web.default.svc.cluster.local."]);
        check("1.0.1.10.in-addr.arpa.", PTR, &["db-0.db.default.svc.cluster.local."]);
        check("9.9.9.9.in-addr.arpa.", PTR, &["ELSEWHERE"]);
        check("dns-version.cluster.local.", TXT, &["1.1.0"]);
        check("default.svc.cluster.local.", A, &["NODATA"]);
        check("example.com.", A, &["ELSEWHERE"]);
    }
}
