//! Whether this node can take a pod that was given to it (rule: kubelet `lifecycle/predicate.go`).

use std::{collections::BTreeMap, sync::Arc};

use super::spec::{PodExt, pod_total, requested, spec};
use crate::{api::*, kubelet::Kubelet};

/// Why it cannot; both appear in the pod's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Such as `OutOfcpu`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Sysctls that harm nobody else (rule: kubelet `sysctl/safe_sysctls.go`).
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Checks a pod against what the node has left. A pod whose containers run here already is never refused.
pub async fn admit(k: &Arc<Kubelet>, pod: &Pod) -> Result<(), Refusal> {
    let seen = crate::runtime::observed::observe(k.runtime.as_ref(), pod.uid()).await.unwrap_or_default();
    if !seen.runs.is_empty() || !seen.sandboxes.is_empty() {
        return Ok(());
    }
    let others: Vec<Arc<Pod>> = k
        .workers
        .list()
        .into_iter()
        .filter(|p| p.uid() != pod.uid() && !p.is_terminal())
        .filter(|p| k.status.get(p.uid()).is_none_or(|s| !matches!(s.phase.as_deref(), Some("Failed" | "Succeeded"))))
        .collect();
    let node = k.node.current();
    check_sysctls(pod, &k.config.allowed_unsafe_sysctls)?;
    check(pod, &others, &k.node.allocatable(), node.as_deref())
}

fn refuse(reason: impl Into<String>, message: impl std::fmt::Display) -> Refusal {
    Refusal { reason: reason.into(), message: format!("Pod was rejected: {message}") }
}

fn check_sysctls(pod: &Pod, allowed: &[String]) -> Result<(), Refusal> {
    let own = spec(pod).security_context.iter().flat_map(|s| s.sysctls.iter().flatten());
    for sysctl in own {
        let name = sysctl.name.replace('/', ".");
        let listed = allowed.iter().any(|a| match a.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => *a == name,
        });
        if !listed && !SAFE_SYSCTLS.contains(&name.as_str()) {
            return Err(refuse("SysctlForbidden", format!("forbidden sysctl: {name:?} not allowlisted")));
        }
    }
    Ok(())
}

/// The pure part: `others` are the pods that hold resources now.
pub fn check(
    pod: &Pod,
    others: &[Arc<Pod>],
    allocatable: &BTreeMap<String, i64>,
    node: Option<&Node>,
) -> Result<(), Refusal> {
    let max_pods = allocatable.get("pods").copied().unwrap_or(i64::MAX);
    if others.len() as i64 + 1 > max_pods / 1000 {
        let message = format!(
            "Node didn't have enough resource: pods, requested: 1, used: {}, capacity: {}",
            others.len(),
            max_pods / 1000
        );
        return Err(refuse("OutOfpods", message));
    }
    for (name, capacity) in allocatable.iter().filter(|(n, _)| *n != "pods") {
        let wanted = pod_total(pod, name, requested);
        if wanted == 0 {
            continue;
        }
        let used: i64 = others.iter().map(|p| pod_total(p, name, requested)).sum();
        if used + wanted > *capacity {
            let shown = |milli: i64| if name == "cpu" { milli } else { milli / 1000 };
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {}, used: {}, capacity: {}",
                shown(wanted),
                shown(used),
                shown(*capacity)
            );
            return Err(refuse(format!("OutOf{name}"), message));
        }
    }
    check_ports(pod, others)?;
    let Some(node) = node.filter(|_| !pod.is_static()) else { return Ok(()) };
    let labels = node.metadata.labels.clone().unwrap_or_default();
    if !matches_node(spec(pod), &labels, node.metadata.name.as_deref().unwrap_or_default()) {
        return Err(refuse(
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ));
    }
    let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    for taint in taints.filter(|t| t.effect == "NoExecute") {
        if !spec(pod).tolerations.iter().flatten().any(|t| tolerates(t, taint)) {
            return Err(refuse(
                "TaintToleration",
                "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
            ));
        }
    }
    Ok(())
}

fn check_ports(pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Refusal> {
    let ports = |p: &Pod| -> Vec<(String, String, i32)> {
        let host = p.host_network();
        p.all_containers()
            .into_iter()
            .flat_map(|(_, c)| c.ports.unwrap_or_default())
            .filter_map(|p| {
                let number = p.host_port.or(host.then_some(p.container_port)).filter(|n| *n > 0)?;
                Some((p.protocol.unwrap_or_else(|| "TCP".into()), p.host_ip.unwrap_or_default(), number))
            })
            .collect()
    };
    let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
    let taken: Vec<_> = others.iter().flat_map(|p| ports(p)).collect();
    for (protocol, ip, number) in ports(pod) {
        let clash = taken.iter().any(|(p, i, n)| *p == protocol && *n == number && (*i == ip || any(i) || any(&ip)));
        if clash {
            return Err(refuse(
                "NodePorts",
                "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
            ));
        }
    }
    Ok(())
}

/// Whether a toleration covers a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        _ => {
            !key.is_empty()
                && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
    }
}

fn matches_node(spec: &PodSpec, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let selected = spec.node_selector.iter().flatten().all(|(k, v)| labels.get(k) == Some(v));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let Some(required) = required else { return selected };
    let term = |t: &NodeSelectorTerm| {
        let fields = BTreeMap::from([("metadata.name".to_owned(), name.to_owned())]);
        let empty = t.match_expressions.iter().flatten().count() + t.match_fields.iter().flatten().count() == 0;
        !empty
            && t.match_expressions.iter().flatten().all(|r| matches(r, labels))
            && t.match_fields.iter().flatten().all(|r| matches(r, &fields))
    };
    selected && required.node_selector_terms.iter().any(term)
}

fn matches(requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = |text: &str| text.parse::<i64>().ok();
    let against = || Some((number(value?)?, number(values.first()?)?));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|v| values.contains(v)),
        "NotIn" => value.is_none_or(|v| !values.contains(v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => against().is_some_and(|(have, want)| have > want),
        "Lt" => against().is_some_and(|(have, want)| have < want),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    #[test]
    fn pods_that_do_not_fit_are_refused_with_the_reason() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "labels": {"disk": "ssd", "cores": "8"}},
            "spec": {"taints": [{"key": "gone", "effect": "NoExecute"}, {"key": "busy", "effect": "NoSchedule"}]}
        }))
        .unwrap();
        let allocatable = BTreeMap::from([("cpu".to_owned(), 2000), ("pods".to_owned(), 3000)]);
        let others = [Arc::new(pod(json!({"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "1500m"}}, "ports": [{"containerPort": 1, "hostPort": 80}]}]})))];
        let tolerates = json!([{"key": "gone", "operator": "Exists"}]);
        let check = |mut spec: Value, tolerated: bool, expect: &str| {
            if tolerated {
                spec["tolerations"] = tolerates.clone();
            }
            let got = check(&pod(spec.clone()), &others, &allocatable, Some(&node));
            assert_eq!(got.err().map_or("", |r| r.reason.leak()), expect, "{spec}");
        };
        let cpu = |c: &str| json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": c}}}]});
        check(cpu("500m"), true, "");
        check(cpu("501m"), true, "OutOfcpu");
        check(cpu("1m"), false, "TaintToleration");
        check(
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1, "hostPort": 80}]}]}),
            true,
            "NodePorts",
        );
        check(json!({"containers": [], "nodeSelector": {"disk": "ssd"}}), true, "");
        check(json!({"containers": [], "nodeSelector": {"disk": "tape"}}), true, "NodeAffinity");
        let affinity = |op: &str, key: &str, values: Value| {
            json!({"containers": [], "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": key, "operator": op, "values": values}]}]}}}})
        };
        check(affinity("Gt", "cores", json!(["4"])), true, "");
        check(affinity("Gt", "cores", json!(["8"])), true, "NodeAffinity");
        check(affinity("NotIn", "disk", json!(["ssd"])), true, "NodeAffinity");
    }

    #[test]
    fn unsafe_sysctls_must_be_allowed() {
        let check = |name: &str, allowed: &[&str], ok: bool| {
            let pod = pod(json!({"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}}));
            let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            assert_eq!(check_sysctls(&pod, &allowed).is_ok(), ok, "{name}");
        };
        check("net.ipv4.tcp_syncookies", &[], true);
        check("net/ipv4/tcp_syncookies", &[], true);
        check("kernel.msgmax", &[], false);
        check("kernel.msgmax", &["kernel.msg*"], true);
    }
}
