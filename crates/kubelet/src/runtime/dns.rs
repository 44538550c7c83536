//! What a pod finds in `/etc/resolv.conf` (rule: kubelet `network/dns`).

use steersman_cri::v1;

use crate::{
    api::*,
    config::Configuration,
    pods::spec::{PodExt, spec},
};

/// The most nameservers the C library reads.
const MAX_SERVERS: usize = 3;
/// The most search domains Kubernetes accepts, and their length together.
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;

/// A resolv.conf in parts.
pub fn parse(text: &str) -> v1::DnsConfig {
    let mut out = v1::DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => out.servers.extend(words.next().map(str::to_owned)),
            // Later lines of these replace earlier ones.
            Some("search") => out.searches = words.map(str::to_owned).collect(),
            Some("options") => out.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    out
}

/// The DNS configuration of a pod; `host` is the content of the node's resolv.conf.
pub fn of_pod(pod: &Pod, config: &Configuration, host: &str) -> v1::DnsConfig {
    let spec = spec(pod);
    let host_network = pod.host_network();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !host_network,
        _ => false,
    };
    let mut out = if policy == "None" {
        v1::DnsConfig::default()
    } else if cluster && !config.cluster_dns.is_empty() {
        let host = parse(host);
        let domain = config.cluster_domain.trim_matches('.');
        let mut searches = Vec::new();
        if !domain.is_empty() {
            searches.push(format!("{}.svc.{domain}", pod.ns()));
            searches.push(format!("svc.{domain}"));
            searches.push(domain.to_owned());
        }
        searches.extend(host.searches);
        v1::DnsConfig { servers: config.cluster_dns.clone(), searches, options: vec!["ndots:5".into()] }
    } else {
        parse(host)
    };
    if let Some(own) = &spec.dns_config {
        append_new(&mut out.servers, own.nameservers.iter().flatten());
        append_new(&mut out.searches, own.searches.iter().flatten());
        for option in own.options.iter().flatten() {
            let name = option.name.as_deref().unwrap_or_default();
            out.options.retain(|o| o.split(':').next() != Some(name));
            out.options.push(match option.value.as_deref() {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name.to_owned(),
            });
        }
    }
    out.servers.truncate(MAX_SERVERS);
    out.searches.truncate(MAX_SEARCHES);
    while out.searches.join(" ").len() > MAX_SEARCH_CHARS {
        out.searches.pop();
    }
    out
}

fn append_new<'a>(all: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for item in more {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
}

/// The host name and the domain of a pod (rule: `GeneratePodHostNameAndDomain`).
pub fn hostname(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = spec(pod);
    if let Some(name) = spec.hostname_override.as_ref().filter(|n| !n.is_empty()) {
        return (name.clone(), String::new());
    }
    let mut name = spec.hostname.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| pod.name().to_owned());
    name.truncate(63);
    let name = name.trim_end_matches(['-', '.']).to_owned();
    let domain = match spec.subdomain.as_deref().filter(|s| !s.is_empty()) {
        Some(sub) => format!("{sub}.{}.svc.{cluster_domain}", pod.ns()),
        None => String::new(),
    };
    let fqdn = spec.set_hostname_as_fqdn.unwrap_or(false) && !domain.is_empty();
    (if fqdn { format!("{name}.{domain}") } else { name }, domain)
}

/// The content of a pod's `/etc/hosts` (rule: kubelet `managedHostsFileContent`).
pub fn hosts_file(pod: &Pod, ips: &[String], cluster_domain: &str, host: Option<&str>) -> String {
    let mut out = String::new();
    let aliases = spec(pod).host_aliases.iter().flatten();
    if let Some(host) = host {
        out.push_str("# Kubernetes-managed hosts file (host network).\n");
        out.push_str(host);
    } else {
        out.push_str(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
        );
        out.push_str("fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
        let (name, domain) = hostname(pod, cluster_domain);
        let short = name.split('.').next().unwrap_or(&name);
        for ip in ips {
            if domain.is_empty() {
                out.push_str(&format!("{ip}\t{name}\n"));
            } else {
                out.push_str(&format!("{ip}\t{short}.{domain}\t{short}\n"));
            }
        }
    }
    let mut aliases = aliases.peekable();
    if aliases.peek().is_some() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            out.push_str(&format!(
                "{}\t{}\n",
                alias.ip,
                alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t")
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const HOST: &str = "nameserver 192.0.2.1\nsearch example.org\noptions rotate\n";

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "shop"}, "spec": spec})).unwrap()
    }

    #[test]
    fn policies_choose_servers_and_searches() {
        let config = Configuration {
            cluster_dns: vec!["10.0.0.10".into()],
            cluster_domain: "cluster.local".into(),
            ..Configuration::default()
        };
        let check = |extra: Value, servers: &[&str], searches: &[&str], options: &[&str]| {
            let mut spec = json!({"containers": []});
            spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let out = of_pod(&pod(spec), &config, HOST);
            assert_eq!(
                (out.servers, out.searches, out.options),
                (
                    servers.iter().map(ToString::to_string).collect(),
                    searches.iter().map(ToString::to_string).collect(),
                    options.iter().map(ToString::to_string).collect()
                ),
                "{extra}"
            );
        };
        let cluster = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"];
        check(json!({}), &["10.0.0.10"], &cluster, &["ndots:5"]);
        check(json!({"hostNetwork": true}), &["192.0.2.1"], &["example.org"], &["rotate"]);
        check(
            json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
            &["10.0.0.10"],
            &cluster,
            &["ndots:5"],
        );
        check(json!({"dnsPolicy": "Default"}), &["192.0.2.1"], &["example.org"], &["rotate"]);
        let own = json!({"nameservers": ["1.1.1.1"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        check(json!({"dnsPolicy": "None", "dnsConfig": own}), &["1.1.1.1"], &["a.b"], &["ndots:2", "edns0"]);
        check(
            json!({"dnsPolicy": "Default", "dnsConfig": {"options": [{"name": "rotate"}]}}),
            &["192.0.2.1"],
            &["example.org"],
            &["rotate"],
        );
    }

    #[test]
    fn pods_know_their_own_name() {
        let check = |spec: Value, name: &str, line: &str| {
            let pod = pod(spec);
            assert_eq!(hostname(&pod, "cluster.local").0, name);
            let hosts = hosts_file(&pod, &["10.1.2.3".into()], "cluster.local", None);
            assert!(hosts.contains(line), "{hosts}");
        };
        check(json!({"containers": []}), "web-0", "10.1.2.3\tweb-0\n");
        check(
            json!({"containers": [], "subdomain": "web"}),
            "web-0",
            "10.1.2.3\tweb-0.web.shop.svc.cluster.local\tweb-0\n",
        );
        check(
            json!({"containers": [], "subdomain": "web", "setHostnameAsFQDN": true}),
            "web-0.web.shop.svc.cluster.local",
            "\tweb-0\n",
        );
        check(
            json!({"containers": [], "hostAliases": [{"ip": "9.9.9.9", "hostnames": ["a", "b"]}]}),
            "web-0",
            "9.9.9.9\ta\tb\n",
        );
    }
}
