//! What a Service needs, and which of its fields follow from which (rule: `pkg/registry/core/service/strategy.go`,
//! `storage/storage.go`).

use crate::common::carry_over;
use crate::fields::Fields;
use crate::ip;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use steersman_apimachinery::object;

/// `spec.type`.
pub(super) fn spec_type(svc: &Value) -> &str {
    svc.at("spec").s("type")
}

/// Whether it has no cluster IP by choice.
pub(super) fn is_headless(svc: &Value) -> bool {
    let ips = svc.at("spec").strings("clusterIPs");
    ips == ["None"] || (ips.is_empty() && svc.at("spec").s("clusterIP") == "None")
}

/// Whether clients outside of the cluster can reach it.
pub(super) fn externally_accessible(svc: &Value) -> bool {
    match spec_type(svc) {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => svc.at("spec").has("externalIPs"),
        _ => false,
    }
}

/// Whether a health-check node port belongs to it.
pub(super) fn needs_health_check(svc: &Value) -> bool {
    spec_type(svc) == "LoadBalancer" && svc.at("spec").s("externalTrafficPolicy") == "Local"
}

/// Whether a cluster IP (or `None`) belongs to it.
pub(super) fn needs_cluster_ip(svc: &Value) -> bool {
    matches!(spec_type(svc), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// Whether its ports may have node ports.
pub(super) fn needs_node_port(svc: &Value) -> bool {
    matches!(spec_type(svc), "NodePort" | "LoadBalancer")
}

/// Whether ports without a node port get one.
pub(super) fn allocates_node_ports(svc: &Value) -> bool {
    match spec_type(svc) {
        "NodePort" => true,
        "LoadBalancer" => svc.at("spec").flag("allocateLoadBalancerNodePorts").unwrap_or(true),
        _ => false,
    }
}

fn same(a: &Value, b: &Value, field: &str) -> bool {
    a.at("spec").at(field) == b.at("spec").at(field)
}

/// Sets the defaults (rule: core v1 `SetDefaults_Service`).
pub(super) fn defaults(svc: &mut Value) {
    let accessible_kind = match spec_type(svc) {
        "" => "ClusterIP".to_owned(),
        k => k.to_owned(),
    };
    let spec = object::entry(svc, &["spec"]);
    spec.insert("type".into(), accessible_kind.clone().into());
    let affinity = spec.get("sessionAffinity").and_then(Value::as_str).unwrap_or_default().to_owned();
    match affinity.as_str() {
        "" | "None" => {
            spec.insert("sessionAffinity".into(), "None".into());
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let timeout = spec.get("sessionAffinityConfig").map(|c| c.at("clientIP").at("timeoutSeconds").is_number());
            if timeout != Some(true) {
                spec.insert("sessionAffinityConfig".into(), json!({"clientIP": {"timeoutSeconds": 10800}}));
            }
        }
        _ => {}
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if port.s("protocol").is_empty() {
            object::set(port, &["protocol"], "TCP");
        }
        let target = port.at("targetPort");
        if target.is_null() || target == &json!(0) || target == &json!("") {
            let number = port.int("port").unwrap_or(0);
            object::set(port, &["targetPort"], number);
        }
    }
    if externally_accessible(svc) && svc.at("spec").s("externalTrafficPolicy").is_empty() {
        object::set(svc, &["spec", "externalTrafficPolicy"], "Cluster");
    }
    let kind = accessible_kind.as_str();
    if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP")
        && svc.at("spec").opt_s("internalTrafficPolicy").is_none()
    {
        object::set(svc, &["spec", "internalTrafficPolicy"], "Cluster");
    }
    if kind == "LoadBalancer" {
        if svc.at("spec").flag("allocateLoadBalancerNodePorts").is_none() {
            object::set(svc, &["spec", "allocateLoadBalancerNodePorts"], true);
        }
        let ingress = svc.pointer_mut("/status/loadBalancer/ingress").and_then(Value::as_array_mut);
        for item in ingress.into_iter().flatten() {
            if !item.s("ip").is_empty() && item.opt_s("ipMode").is_none() {
                object::set(item, &["ipMode"], "VIP");
            }
        }
    }
}

/// Brings `clusterIP` and `clusterIPs` in line where a client set or cleared only one of them.
pub(super) fn align_cluster_ips(svc: &mut Value, old: Option<&Value>) {
    let one = svc.at("spec").s("clusterIP").to_owned();
    let many = svc.at("spec").has("clusterIPs");
    let Some(old) = old else {
        if !one.is_empty() && !many {
            object::set(svc, &["spec", "clusterIPs"], json!([one]));
        }
        return;
    };
    let was = old.at("spec").s("clusterIP");
    if old.at("spec").has("clusterIPs") && !many && was == one {
        carry_over(svc, old, &["spec", "clusterIPs"]);
    }
    if was != one && same(svc, old, "clusterIPs") {
        if !was.is_empty() && one.is_empty() {
            object::remove(svc, &["spec", "clusterIPs"]);
        } else {
            object::set(svc, &["spec", "clusterIPs"], json!([one]));
        }
    }
}

/// Fills in what was allocated before and the client did not repeat.
pub(super) fn patch_allocated(svc: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && needs_cluster_ip(svc) {
        if svc.at("spec").s("clusterIP").is_empty() {
            carry_over(svc, old, &["spec", "clusterIP"]);
        }
        if !svc.at("spec").has("clusterIPs") && same(svc, old, "clusterIP") {
            carry_over(svc, old, &["spec", "clusterIPs"]);
        }
    }
    if needs_node_port(old) && needs_node_port(svc) {
        let used = |s: &Value| -> BTreeSet<i64> {
            s.at("spec").items("ports").iter().filter_map(|p| p.int("nodePort")).filter(|p| *p != 0).collect()
        };
        let mut taken: BTreeSet<i64> = used(old).intersection(&used(svc)).copied().collect();
        let by_name: BTreeMap<String, i64> = old
            .at("spec")
            .items("ports")
            .iter()
            .filter_map(|p| Some((p.s("name").to_owned(), p.int("nodePort")?)))
            .collect();
        for port in svc.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten() {
            if port.int("nodePort").unwrap_or(0) == 0
                && let Some(was) = by_name.get(port.s("name"))
                && taken.insert(*was)
            {
                object::set(port, &["nodePort"], *was);
            }
        }
    }
    if needs_health_check(old) && needs_health_check(svc) && svc.at("spec").int("healthCheckNodePort").unwrap_or(0) == 0
    {
        carry_over(svc, old, &["spec", "healthCheckNodePort"]);
    }
}

/// Takes away fields that do not belong to the new type, unless the client changed them too.
pub(super) fn drop_by_type(svc: &mut Value, old: &Value) {
    let mut gone: Vec<&str> = Vec::new();
    if needs_cluster_ip(old) && !needs_cluster_ip(svc) {
        if same(svc, old, "clusterIPs") {
            gone.push("clusterIP");
        }
        gone.extend(["clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    }
    if needs_health_check(old) && !needs_health_check(svc) {
        gone.push("healthCheckNodePort");
    }
    if spec_type(old) == "LoadBalancer" && spec_type(svc) != "LoadBalancer" {
        gone.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if externally_accessible(old) && !externally_accessible(svc) {
        gone.push("externalTrafficPolicy");
    }
    let ports = |s: &Value| -> Vec<i64> {
        s.at("spec").items("ports").iter().map(|p| p.int("nodePort").unwrap_or(0)).collect()
    };
    if needs_node_port(old) && !needs_node_port(svc) && ports(svc) == ports(old) {
        for port in svc.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten() {
            object::remove(port, &["nodePort"]);
        }
    }
    gone.retain(|f| same(svc, old, f));
    for field in gone {
        object::remove(svc, &["spec", field]);
    }
    if spec_type(svc) != "LoadBalancer" {
        object::set(svc, &["status", "loadBalancer"], json!({}));
    }
}

/// Adopts policy and families from before where the client left them out, so that a replacement by an old client is
/// no change (rule: `initIPFamilyFields`, the part that needs no allocator).
pub(super) fn adopt_families(svc: &mut Value, old: &Value) {
    if !needs_cluster_ip(svc) || !needs_cluster_ip(old) {
        return;
    }
    if svc.at("spec").opt_s("ipFamilyPolicy").is_none() {
        carry_over(svc, old, &["spec", "ipFamilyPolicy"]);
    }
    if !svc.at("spec").has("ipFamilies") {
        if is_headless(svc) {
            carry_over(svc, old, &["spec", "ipFamilies"]);
        } else {
            let families: Vec<&str> = svc
                .at("spec")
                .strings("clusterIPs")
                .iter()
                .filter_map(|i| ip::parse_sloppy(i))
                .map(|i| if i.is_ipv4() { "IPv4" } else { "IPv6" })
                .collect();
            object::set(svc, &["spec", "ipFamilies"], json!(families));
        }
    }
    if svc.at("spec").s("ipFamilyPolicy") == "SingleStack" {
        for field in ["clusterIPs", "ipFamilies"] {
            if same(svc, old, field)
                && let Some(list) =
                    svc.pointer_mut("/spec").and_then(|s| s.get_mut(field)).and_then(Value::as_array_mut)
            {
                list.truncate(1);
            }
        }
    }
}
