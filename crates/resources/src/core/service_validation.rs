//! What is wrong with a Service (rule: core validation `ValidateService`, `ValidateServiceUpdate`).

use super::service_rules::{externally_accessible, is_headless, needs_health_check, spec_type};
use crate::checks::{self, Raw};
use crate::fields::Fields;
use crate::ip;
use crate::shared::rules::known_finalizers;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, object, validation};

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const LB_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
const SET_ONCE: &str = "may not change once set";

/// All that is wrong with a new Service, metadata aside.
pub(super) fn service(svc: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    cluster_ip_fields(&mut e, svc, None);
    if e.is_empty() {
        other_fields(&mut e, svc, None);
    }
    e
}

/// What is wrong besides [`cluster_ip_fields`].
fn other_fields(e: &mut ErrorList, svc: &Value, old: Option<&Value>) {
    known_finalizers(e, svc);
    let (spec, path) = (svc.at("spec"), Path::new("spec"));
    let annotations = Path::new("metadata").child("annotations");
    if let (Some(hints), Some(mode)) = (object::annotation(svc, HINTS), object::annotation(svc, MODE))
        && hints != mode
    {
        e.invalid(&annotations.key(MODE), mode, format!("must match annotations[{HINTS}] when both are specified"));
    }
    let (kind, headless) = (spec_type(svc), is_headless(svc));
    if spec.items("ports").is_empty() && !headless && kind != "ExternalName" {
        e.required(&path.child("ports"), "");
    }
    by_type(e, spec, kind, headless);
    ports(e, spec);
    checks::labels(e, &path.child("selector"), spec.at("selector"));
    session_affinity(e, spec);
    let existing = old.map(|o| o.at("spec").strings("externalIPs")).unwrap_or_default();
    for (i, value) in spec.strings("externalIPs").iter().enumerate() {
        let p = path.child("externalIPs").index(i);
        if ip::check_ip_legacy(e, &p, value, &existing) {
            ip::check_not_special(e, &p, value);
        }
    }
    if kind.is_empty() {
        e.required(&path.child("type"), "");
    } else {
        checks::one_of(e, &path.child("type"), kind, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    }
    unique_ports(e, spec, kind);
    source_ranges(e, svc, old, kind);
    let allocate = path.child("allocateLoadBalancerNodePorts");
    if spec.flag("allocateLoadBalancerNodePorts").is_some() && kind != "LoadBalancer" {
        e.forbidden(&allocate, LB_ONLY);
    }
    load_balancer_class(e, spec, None);
    external_traffic(e, svc);
    let internal = path.child("internalTrafficPolicy");
    match spec.opt_s("internalTrafficPolicy") {
        None if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") => e.required(&internal, ""),
        None => {}
        Some(p) => checks::one_of(e, &internal, p, &["Cluster", "Local"]),
    }
    if let Some(d) = spec.opt_s("trafficDistribution") {
        const KNOWN: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
        if !KNOWN.contains(&d) {
            checks::not_supported_in_order(e, &path.child("trafficDistribution"), d, KNOWN);
        }
    }
}

fn by_type(e: &mut ErrorList, spec: &Value, kind: &str, headless: bool) {
    let path = Path::new("spec");
    let first = path.child("clusterIPs").index(0);
    match kind {
        "LoadBalancer" if headless => e.invalid(&first, "None", "may not be set to 'None' for LoadBalancer services"),
        "NodePort" if headless => e.invalid(&first, "None", "may not be set to 'None' for NodePort services"),
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies"] {
                if spec.has(field) {
                    e.forbidden(&path.child(field), "may not be set for ExternalName services");
                }
            }
            if spec.opt_s("ipFamilyPolicy").is_some() {
                e.forbidden(&path.child("ipFamilyPolicy"), "may not be set for ExternalName services");
            }
            let name = spec.s("externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                e.required(&path.child("externalName"), "");
            } else {
                checks::subdomain(e, &path.child("externalName"), name);
            }
        }
        _ => {}
    }
}

fn ports(e: &mut ErrorList, spec: &Value) {
    let all = spec.items("ports");
    let mut names = BTreeSet::new();
    for (i, port) in all.iter().enumerate() {
        let p = Path::new("spec").child("ports").index(i);
        let name = port.s("name");
        if !name.is_empty() {
            checks::label(e, &p.child("name"), name);
            if !names.insert(name) {
                e.duplicate(&p.child("name"), name);
            }
        } else if all.len() > 1 {
            e.required(&p.child("name"), "");
        }
        checks::port_number(e, &p.child("port"), port.int("port").unwrap_or(0));
        match port.s("protocol") {
            "" => e.required(&p.child("protocol"), ""),
            protocol => checks::one_of(e, &p.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]),
        }
        checks::port_number_or_name(e, &p.child("targetPort"), port.at("targetPort"));
        if let Some(a) = port.opt_s("appProtocol") {
            checks::qualified_name(e, &p.child("appProtocol"), a);
        }
    }
}

fn session_affinity(e: &mut ErrorList, spec: &Value) {
    let path = Path::new("spec");
    let config = path.child("sessionAffinityConfig");
    match spec.s("sessionAffinity") {
        "" => e.required(&path.child("sessionAffinity"), ""),
        "ClientIP" => {
            let Some(c) = spec.sub("sessionAffinityConfig") else {
                e.required(&config, "when session affinity type is ClientIP");
                return;
            };
            let Some(client) = c.sub("clientIP") else {
                e.required(&config.child("clientIP"), "when session affinity type is ClientIP");
                return;
            };
            match client.int("timeoutSeconds") {
                None => e.required(
                    &config.child("clientIP").child("timeoutSeconds"),
                    "when session affinity type is ClientIP",
                ),
                Some(t) if t <= 0 || t > 86400 => {
                    e.invalid(
                        &config.child("clientIP").child("timeoutSeconds"),
                        t,
                        "must be greater than 0 and less than 86400",
                    );
                }
                Some(_) => {}
            }
        }
        "None" => {
            if spec.has("sessionAffinityConfig") {
                e.forbidden(&config, "must not be set when session affinity is None");
            }
        }
        other => e.not_supported(&path.child("sessionAffinity"), other, &["ClientIP", "None"]),
    }
}

/// The fields that cluster IPs and families share (rule: `ValidateServiceClusterIPsRelatedFields`).
pub(super) fn cluster_ip_fields(e: &mut ErrorList, svc: &Value, old: Option<&Value>) {
    if spec_type(svc) == "ExternalName" {
        return;
    }
    let (spec, path) = (svc.at("spec"), Path::new("spec"));
    let (ips_path, families_path) = (path.child("clusterIPs"), path.child("ipFamilies"));
    let (ips, shown) = (spec.strings("clusterIPs"), spec.at("clusterIPs"));
    match (spec.s("clusterIP"), ips.first()) {
        ("", None) => {}
        ("", Some(_)) => e.invalid(&ips_path, shown, "must be empty when `clusterIP` is not specified"),
        (_, None) => e.required(&ips_path, ""),
        (one, Some(first)) if one != *first => e.invalid(&ips_path, shown, "first value must match `clusterIP`"),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (i, family) in spec.strings("ipFamilies").into_iter().enumerate() {
        checks::one_of(e, &families_path.index(i), family, &["IPv4", "IPv6"]);
        if !seen.insert(family) {
            e.duplicate(&families_path.index(i), family);
        }
    }
    if let Some(policy) = spec.opt_s("ipFamilyPolicy") {
        const KNOWN: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
        checks::one_of(e, &path.child("ipFamilyPolicy"), policy, KNOWN);
    }
    let existing = old.map(|o| o.at("spec").strings("clusterIPs")).unwrap_or_default();
    let mut bad = false;
    for (i, value) in ips.iter().enumerate() {
        if i == 0 && *value == "None" {
            if ips.len() > 1 {
                bad = true;
                e.invalid(&ips_path, shown, "'None' must be the first and only value");
            }
            continue;
        }
        bad |= !ip::check_ip_legacy(e, &ips_path.index(i), value, &existing);
    }
    if ips.len() > 2 {
        e.invalid(&ips_path, shown, "may only hold up to 2 values");
    }
    if bad {
        return;
    }
    if ips.len() > 1 && ips.iter().map(|i| ip::is_v6(i)).collect::<BTreeSet<_>>().len() < 2 {
        e.invalid(&ips_path, shown, "may specify no more than one IP for each IP family");
    }
    if !is_headless(svc) {
        for (i, (value, family)) in ips.iter().zip(spec.strings("ipFamilies")).enumerate() {
            if (family == "IPv4" && ip::is_v6(value)) || (family == "IPv6" && !ip::is_v6(value)) {
                let why = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
                e.invalid(&ips_path.index(i), *value, why);
            }
        }
    }
}

fn unique_ports(e: &mut ErrorList, spec: &Value, kind: &str) {
    let path = Path::new("spec").child("ports");
    if kind == "ClusterIP" {
        for (i, p) in spec.items("ports").iter().enumerate() {
            if p.int("nodePort").unwrap_or(0) != 0 {
                e.forbidden(&path.index(i).child("nodePort"), "may not be used when `type` is 'ClusterIP'");
            }
        }
    }
    // For types that get node ports, allocation refuses the second use of one.
    if !matches!(kind, "NodePort" | "LoadBalancer") {
        let mut seen = BTreeSet::new();
        for (i, p) in spec.items("ports").iter().enumerate() {
            let port = p.int("nodePort").unwrap_or(0);
            if port != 0 && !seen.insert((p.s("protocol"), port)) {
                e.duplicate(&path.index(i).child("nodePort"), port);
            }
        }
    }
    let mut seen = BTreeSet::new();
    for (i, p) in spec.items("ports").iter().enumerate() {
        let (protocol, port) = (p.s("protocol"), p.int("port").unwrap_or(0));
        if !seen.insert((protocol, port)) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{port},\"TargetPort\":0,\"NodePort\":0}}",
                Value::from(protocol)
            );
            e.duplicate(&path.index(i), Raw(shown));
        }
    }
}

fn source_ranges(e: &mut ErrorList, svc: &Value, old: Option<&Value>, kind: &str) {
    let ranges = svc.at("spec").strings("loadBalancerSourceRanges");
    if !ranges.is_empty() {
        let path = Path::new("spec").child("LoadBalancerSourceRanges");
        if kind != "LoadBalancer" {
            e.forbidden(&path, LB_ONLY);
        }
        let existing = old.map(|o| o.at("spec").strings("loadBalancerSourceRanges")).unwrap_or_default();
        for (i, value) in ranges.iter().enumerate() {
            if !existing.contains(value) {
                ip::check_cidr_legacy(e, &path.index(i), value.trim(), &[]);
            }
        }
    } else if let Some(value) = object::annotation(svc, SOURCE_RANGES) {
        let path = Path::new("metadata").child("annotations").key(SOURCE_RANGES);
        if kind != "LoadBalancer" {
            e.forbidden(&path, LB_ONLY);
        }
        if old.and_then(|o| object::annotation(o, SOURCE_RANGES)) != Some(value) && !value.trim().is_empty() {
            for cidr in value.trim().split(',') {
                ip::check_cidr_legacy(e, &path, cidr.trim(), &[]);
            }
        }
    }
}

fn load_balancer_class(e: &mut ErrorList, spec: &Value, old: Option<&Value>) {
    let path = Path::new("spec").child("loadBalancerClass");
    let class = spec.opt_s("loadBalancerClass");
    let is_lb = spec.s("type") == "LoadBalancer";
    if let Some(old) = old
        && is_lb
        && old.s("type") == "LoadBalancer"
        && old.opt_s("loadBalancerClass") != class
    {
        e.invalid(&path, class, SET_ONCE);
    }
    match class {
        Some(c) if is_lb => checks::qualified_name(e, &path, c),
        Some(_) => e.forbidden(&path, LB_ONLY),
        None => {}
    }
}

fn external_traffic(e: &mut ErrorList, svc: &Value) {
    let (spec, path) = (svc.at("spec"), Path::new("spec"));
    let (policy, policy_path) = (spec.s("externalTrafficPolicy"), path.child("externalTrafficPolicy"));
    if !externally_accessible(svc) {
        if !policy.is_empty() {
            e.invalid(&policy_path, policy, "may only be set for externally-accessible services");
        }
    } else if policy.is_empty() {
        e.required(&policy_path, "");
    } else {
        checks::one_of(e, &policy_path, policy, &["Cluster", "Local"]);
    }
    let port = spec.int("healthCheckNodePort").unwrap_or(0);
    let port_path = path.child("healthCheckNodePort");
    if port != 0 {
        if needs_health_check(svc) {
            checks::port_number(e, &port_path, port);
        } else {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            e.invalid(&port_path, port, why);
        }
    }
}

/// All that is wrong with a change of a Service.
pub(super) fn update(svc: &Value, old: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    cluster_ip_fields(&mut e, svc, Some(old));
    if !e.is_empty() {
        return e;
    }
    known_finalizers(&mut e, svc);
    let external = spec_type(svc) == "ExternalName" || spec_type(old) == "ExternalName";
    let kept_headless = is_headless(svc) && is_headless(old);
    if !external && !kept_headless {
        list_change(&mut e, svc, old, "clusterIPs", "primary clusterIP can not be unset", "secondary clusterIP");
    }
    // Services without an address may change their families, and so may those that get or lose theirs.
    if !external && !is_headless(svc) && !is_headless(old) {
        list_change(&mut e, svc, old, "ipFamilies", "primary ipFamily can not be unset", "secondary ipFamily");
    }
    load_balancer_class(&mut e, svc.at("spec"), Some(old.at("spec")));
    if needs_health_check(svc) && needs_health_check(old) {
        let port = |s: &Value| s.at("spec").int("healthCheckNodePort").unwrap_or(0);
        if port(svc) != port(old) && port(old) != 0 {
            e.forbidden(&Path::new("spec").child("healthCheckNodePort"), checks::IMMUTABLE);
        }
    }
    other_fields(&mut e, svc, Some(old));
    e
}

/// Cluster IPs and families may only be added to, or lose their second entry under the policy SingleStack.
fn list_change(e: &mut ErrorList, svc: &Value, old: &Value, field: &str, unset: &str, secondary: &str) {
    let (spec, path) = (svc.at("spec"), Path::new("spec").child(field));
    let (new, was) = (spec.strings(field), old.at("spec").strings(field));
    let shown = spec.at(field);
    if new.len() == was.len() {
        for (i, (a, b)) in new.iter().zip(&was).enumerate() {
            if a != b {
                e.invalid(&path.index(if field == "ipFamilies" { 0 } else { i }), shown, SET_ONCE);
            }
        }
        return;
    }
    if new.is_empty() {
        e.invalid(&path.index(0), shown, unset);
        return;
    }
    if was.first().is_some_and(|w| *w != new[0]) {
        e.invalid(&path.index(0), spec.at("clusterIPs"), SET_ONCE);
    }
    if new.len() == 1 && was.len() > 1 && spec.s("ipFamilyPolicy") != "SingleStack" {
        let why = format!("must be set to 'SingleStack' when releasing the {secondary}");
        e.invalid(&Path::new("spec").child("ipFamilyPolicy"), spec.opt_s("ipFamilyPolicy"), why);
    }
}

/// All that is wrong with a load balancer's status (rule: `ValidateLoadBalancerStatus`).
pub(super) fn load_balancer_status(e: &mut ErrorList, path: &Path, svc: &Value, old: &Value) {
    known_finalizers(e, svc);
    let ingress = path.child("ingress");
    let items = |s: &Value| s.at("status").at("loadBalancer").items("ingress").to_vec();
    let new = items(svc);
    if spec_type(svc) != "LoadBalancer" && !new.is_empty() {
        e.forbidden(&ingress, "may only be used when `spec.type` is \"LoadBalancer\"");
        return;
    }
    let was = items(old);
    let existing: Vec<&str> = was.iter().map(|i| i.s("ip")).collect();
    for (i, item) in new.iter().enumerate() {
        let p = ingress.index(i);
        let address = item.s("ip");
        if !address.is_empty() {
            ip::check_ip_legacy(e, &p.child("ip"), address, &existing);
        }
        match item.opt_s("ipMode") {
            None if !address.is_empty() => e.required(&p.child("ipMode"), "must be specified when `ip` is set"),
            None => {}
            Some(_) if address.is_empty() => {
                e.forbidden(&p.child("ipMode"), "may not be specified when `ip` is not set")
            }
            Some(mode) => checks::one_of(e, &p.child("ipMode"), mode, &["Proxy", "VIP"]),
        }
        load_balancer_hostname(e, &p.child("hostname"), item.s("hostname"));
    }
}

/// A host name in a load balancer's status.
pub(crate) fn load_balancer_hostname(e: &mut ErrorList, path: &Path, host: &str) {
    if !host.is_empty() {
        checks::subdomain(e, path, host);
        if ip::parse_sloppy(host).is_some() {
            e.invalid(path, host, "must be a DNS name, not an IP address");
        }
    }
}

/// The warnings about a Service (rule: `pkg/api/service/warnings.go`).
pub(super) fn warnings(svc: &Value) -> Vec<String> {
    let (spec, path) = (svc.at("spec"), Path::new("spec"));
    let mut out = Vec::new();
    let kind = spec_type(svc);
    if object::annotation(svc, HINTS).is_some() {
        out.push(format!("annotation {HINTS} is deprecated, please use {MODE} instead"));
    }
    let ips = |field: &str| {
        let p = path.child(field);
        spec.strings(field).into_iter().enumerate().flat_map(move |(i, v)| validation::ip_warnings(&p.index(i), v))
    };
    if !matches!(spec.s("clusterIP"), "" | "None") {
        out.extend(ips("clusterIPs"));
    }
    let headless = kind == "ClusterIP" && spec.s("clusterIP") == "None";
    if headless {
        for (field, ignored) in [
            ("loadBalancerIP", !spec.s("loadBalancerIP").is_empty()),
            ("externalIPs", spec.has("externalIPs")),
            ("SessionAffinity", spec.s("sessionAffinity") != "None"),
        ] {
            if ignored {
                out.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    out.extend(ips("externalIPs"));
    if spec.has("externalIPs") && !headless && kind != "ExternalName" {
        out.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".into());
    }
    out.extend(validation::ip_warnings(&path.child("loadBalancerIP"), spec.s("loadBalancerIP")));
    for (i, cidr) in spec.strings("loadBalancerSourceRanges").iter().enumerate() {
        out.extend(validation::cidr_warnings(&path.child("loadBalancerSourceRanges").index(i), cidr));
    }
    if kind == "ExternalName" && spec.has("externalIPs") {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if kind != "ExternalName" && !spec.s("externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if spec.s("trafficDistribution") == "PreferClose" {
        out.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".into());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with_defaults(mut spec: Value) -> Value {
        let mut svc = json!({"metadata": {"name": "s"}, "spec": spec.take()});
        super::super::service_rules::defaults(&mut svc);
        super::super::service_rules::align_cluster_ips(&mut svc, None);
        svc
    }

    #[test]
    fn what_is_wrong_with_a_service() {
        let check = |spec: Value, want: &[&str]| {
            let got: Vec<String> = service(&with_defaults(spec.clone())).0.iter().map(ToString::to_string).collect();
            assert_eq!(got, want, "{spec}");
        };
        check(json!({"ports": [{"port": 80}]}), &[]);
        check(json!({}), &["spec.ports: Required value"]);
        check(json!({"clusterIP": "None"}), &[]);
        check(
            json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]}),
            &["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
        );
        check(json!({"type": "ExternalName"}), &["spec.externalName: Required value"]);
        check(json!({"type": "ExternalName", "externalName": "x.example.com."}), &[]);
        check(json!({"type": "LoadBalancer", "ports": [{"port": 10250}]}), &[]);
    }

    #[test]
    fn cluster_ips_stay_but_the_second_may_come_and_go() {
        let check = |old: Value, new: Value, want: &[&str]| {
            let (old, new) = (with_defaults(old), with_defaults(new.clone()));
            let got: Vec<String> = update(&new, &old).0.iter().map(ToString::to_string).collect();
            assert_eq!(got, want);
        };
        let one = |ip: &str| json!({"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80}]});
        check(one("10.0.0.1"), one("10.0.0.1"), &[]);
        check(
            one("10.0.0.1"),
            one("10.0.0.2"),
            &["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"],
        );
        let two = json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"], "ports": [{"port": 80}]});
        check(one("10.0.0.1"), two.clone(), &[]);
        check(
            two,
            one("10.0.0.1"),
            &[
                "spec.ipFamilyPolicy: Invalid value: null: must be set to 'SingleStack' when releasing the secondary clusterIP",
            ],
        );
    }
}
