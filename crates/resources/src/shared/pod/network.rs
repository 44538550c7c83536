//! Host ports, DNS and host names of a pod.

use super::{Rules, say};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// With `hostNetwork` a port is the same inside and outside (rule: `validatePodHostNetworkDeps`).
pub fn host_ports(e: &mut ErrorList, spec: &Value, at: &Path, rules: &Rules<'_>) {
    if !object::bool(spec, &["hostNetwork"]) {
        return;
    }
    for (i, c) in object::list(spec, &["containers"]).iter().enumerate() {
        for (j, port) in object::list(c, &["ports"]).iter().enumerate() {
            let host = object::int(port, &["hostPort"]).unwrap_or(0);
            let inside = object::int(port, &["containerPort"]).unwrap_or(0);
            if (rules.is_pod || host != 0) && host != inside {
                e.invalid(
                    &at.child("containers").index(i).child("ports").index(j).child("hostPort"),
                    host,
                    "must match `containerPort` when `hostNetwork` is true",
                );
            }
        }
    }
}

/// `dnsConfig` (rule: `validatePodDNSConfig`).
pub fn dns_config(e: &mut ErrorList, spec: &Value, at: &Path) {
    let config = spec.get("dnsConfig");
    if object::str(spec, &["dnsPolicy"]) == "None" {
        let Some(config) = config else {
            return e.required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
        };
        if object::list(config, &["nameservers"]).is_empty() {
            return e.required(
                &at.child("nameservers"),
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            );
        }
    }
    let Some(config) = config else { return };
    let servers = object::list(config, &["nameservers"]);
    if servers.len() > 3 {
        e.invalid(&at.child("nameservers"), json!(servers), "must not have more than 3 nameservers");
    }
    for (i, s) in servers.iter().filter_map(Value::as_str).enumerate() {
        validation::legacy_ip(e, &at.child("nameservers").index(i), s, true, &[]);
    }
    let searches: Vec<&str> = object::list(config, &["searches"]).iter().filter_map(Value::as_str).collect();
    if searches.len() > 32 {
        e.invalid(&at.child("searches"), json!(searches), "must not have more than 32 search paths");
    }
    if searches.join(" ").len() > 2048 {
        e.invalid(
            &at.child("searches"),
            json!(searches),
            "must not have more than 2048 characters (including spaces) in the search list",
        );
    }
    for (i, search) in searches.iter().enumerate().filter(|(_, s)| **s != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        say(e, || at.child("searches").index(i), search, validation::dns_subdomain_with_underscore(search));
    }
    for (i, option) in object::list(config, &["options"]).iter().enumerate() {
        if object::str(option, &["name"]).is_empty() {
            e.required(&at.child("options").index(i), "must not be empty");
        }
    }
}

/// `hostAliases` (rule: `ValidateHostAliases`).
pub fn host_aliases(e: &mut ErrorList, aliases: &[Value], at: &Path) {
    for (i, alias) in aliases.iter().enumerate() {
        validation::legacy_ip(e, &at.index(i).child("ip"), object::str(alias, &["ip"]), true, &[]);
        for (j, name) in object::list(alias, &["hostnames"]).iter().filter_map(Value::as_str).enumerate() {
            say(e, || at.index(i).child("hostnames").index(j), name, validation::dns_subdomain(name, false));
        }
    }
}

/// `hostnameOverride` (KEP-4762).
pub fn host_name_override(e: &mut ErrorList, spec: &Value, at: &Path) {
    let Some(name) = spec.get("hostnameOverride").and_then(Value::as_str) else { return };
    let path = at.child("hostnameOverride");
    if object::bool(spec, &["hostNetwork"]) {
        e.forbidden(&path, "may not be set when `hostNetwork` is true");
    }
    if object::bool(spec, &["setHostnameAsFQDN"]) {
        e.forbidden(&path, "may not be set when `setHostnameAsFQDN` is true");
    }
    say(e, || path.clone(), name, validation::dns_subdomain(name, false));
    if name.len() > 64 {
        e.too_long(&path, 64);
    }
}
