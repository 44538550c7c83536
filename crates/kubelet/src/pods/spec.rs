//! Reading a pod's specification.

use std::collections::BTreeMap;

use crate::api::*;

/// Which list of the specification a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Runs before the others; a sidecar if its restart policy is Always.
    Init,
    /// One of the pod's own.
    Regular,
    /// Added to a running pod.
    Ephemeral,
}

/// Shorthands for what a pod says.
pub trait PodExt {
    /// The uid.
    fn uid(&self) -> &str;
    /// The namespace.
    fn ns(&self) -> &str;
    /// The name.
    fn name(&self) -> &str;
    /// `name_namespace(uid)`, as messages show it.
    fn full(&self) -> String;
    /// `Always`, `OnFailure` or `Never`.
    fn restart_policy(&self) -> &str;
    /// Whether it uses the node's network.
    fn host_network(&self) -> bool;
    /// All containers with their kind, in the order init, regular, ephemeral.
    fn all_containers(&self) -> Vec<(Kind, Container)>;
    /// A container of any kind.
    fn find_container(&self, name: &str) -> Option<(Kind, Container)>;
    /// An annotation.
    fn annotation(&self, key: &str) -> Option<&str>;
    /// Whether the pod comes from a file, not from the API.
    fn is_static(&self) -> bool;
    /// Whether it shows a static pod in the API.
    fn is_mirror(&self) -> bool;
    /// Whether the API says that it has ended.
    fn is_terminal(&self) -> bool;
    /// Whether the node should rather lose other pods (rule: `types.IsCriticalPod`).
    fn is_critical(&self) -> bool;
    /// `Guaranteed`, `Burstable` or `BestEffort`.
    fn qos(&self) -> &'static str;
}

static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);

/// The specification; an empty one if there is none.
pub fn spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// Priority from which pods belong to the system.
const SYSTEM_CRITICAL: i32 = 2_000_000_000;

impl PodExt for Pod {
    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    fn ns(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or("default")
    }

    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    fn full(&self) -> String {
        format!("{}_{}({})", self.name(), self.ns(), self.uid())
    }

    fn restart_policy(&self) -> &str {
        spec(self).restart_policy.as_deref().unwrap_or("Always")
    }

    fn host_network(&self) -> bool {
        spec(self).host_network.unwrap_or(false)
    }

    fn all_containers(&self) -> Vec<(Kind, Container)> {
        let spec = spec(self);
        let init = spec.init_containers.iter().flatten().map(|c| (Kind::Init, c.clone()));
        let regular = spec.containers.iter().map(|c| (Kind::Regular, c.clone()));
        let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| (Kind::Ephemeral, from_ephemeral(c)));
        init.chain(regular).chain(ephemeral).collect()
    }

    fn find_container(&self, name: &str) -> Option<(Kind, Container)> {
        self.all_containers().into_iter().find(|(_, c)| c.name == name)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    fn is_static(&self) -> bool {
        self.annotation(crate::names::CONFIG_SOURCE).is_some_and(|source| source != "api")
    }

    fn is_mirror(&self) -> bool {
        self.annotation(crate::names::CONFIG_MIRROR).is_some()
    }

    fn is_terminal(&self) -> bool {
        let phase = self.status.as_ref().and_then(|s| s.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    fn is_critical(&self) -> bool {
        self.is_static() || self.is_mirror() || spec(self).priority.unwrap_or(0) >= SYSTEM_CRITICAL
    }

    fn qos(&self) -> &'static str {
        qos(spec(self))
    }
}

fn from_ephemeral(c: &EphemeralContainer) -> Container {
    Container {
        args: c.args.clone(),
        command: c.command.clone(),
        env: c.env.clone(),
        env_from: c.env_from.clone(),
        image: c.image.clone(),
        image_pull_policy: c.image_pull_policy.clone(),
        lifecycle: c.lifecycle.clone(),
        liveness_probe: None,
        name: c.name.clone(),
        ports: c.ports.clone(),
        readiness_probe: None,
        resize_policy: c.resize_policy.clone(),
        resources: c.resources.clone(),
        restart_policy: c.restart_policy.clone(),
        restart_policy_rules: c.restart_policy_rules.clone(),
        security_context: c.security_context.clone(),
        startup_probe: None,
        stdin: c.stdin,
        stdin_once: c.stdin_once,
        termination_message_path: c.termination_message_path.clone(),
        termination_message_policy: c.termination_message_policy.clone(),
        tty: c.tty,
        volume_devices: c.volume_devices.clone(),
        volume_mounts: c.volume_mounts.clone(),
        working_dir: c.working_dir.clone(),
    }
}

/// Whether an init container keeps running beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// A request or limit of a container in thousandths; a request that is not given is the limit.
pub fn requested(container: &Container, name: &str) -> Option<i64> {
    let resources = container.resources.as_ref()?;
    let of = |map: &Option<BTreeMap<String, ApiQuantity>>| map.as_ref()?.get(name).map(|q| quantity(q).milli_value());
    of(&resources.requests).or_else(|| of(&resources.limits))
}

/// A limit of a container in thousandths.
pub fn limit(container: &Container, name: &str) -> Option<i64> {
    container.resources.as_ref()?.limits.as_ref()?.get(name).map(|q| quantity(q).milli_value())
}

/// What the whole pod asks of a resource, in thousandths: the larger of what its containers need together and what its
/// init containers need one after the other, with the sidecars of their time, plus the overhead
/// (rule: resource helper `PodRequests`).
pub fn pod_total(pod: &Pod, name: &str, of: fn(&Container, &str) -> Option<i64>) -> i64 {
    let spec = spec(pod);
    let mut sidecars = 0;
    let mut peak = 0;
    for container in spec.init_containers.iter().flatten() {
        let amount = of(container, name).unwrap_or(0);
        if is_sidecar(container) {
            sidecars += amount;
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + amount);
        }
    }
    let steady = sidecars + spec.containers.iter().map(|c| of(c, name).unwrap_or(0)).sum::<i64>();
    let overhead = spec.overhead.as_ref().and_then(|o| o.get(name)).map_or(0, |q| quantity(q).milli_value());
    let pod_level =
        spec.resources.as_ref().and_then(|r| r.requests.as_ref()?.get(name)).map(|q| quantity(q).milli_value());
    pod_level.unwrap_or_else(|| peak.max(steady)) + overhead
}

fn qos(spec: &PodSpec) -> &'static str {
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let amount = |c: &Container, name: &str| (requested(c, name).unwrap_or(0), limit(c, name).unwrap_or(0));
    let mut any = false;
    let mut all_equal = true;
    for container in containers() {
        for name in ["cpu", "memory"] {
            let (request, limit) = amount(container, name);
            any |= request > 0 || limit > 0;
            all_equal &= limit > 0 && request == limit;
        }
    }
    if let Some(pod_level) = &spec.resources {
        any |= pod_level.requests.iter().flatten().chain(pod_level.limits.iter().flatten()).count() > 0;
        let equal = |name: &str| {
            let limit = pod_level.limits.as_ref().and_then(|m| m.get(name));
            limit.is_some() && pod_level.requests.as_ref().and_then(|m| m.get(name)).is_none_or(|r| Some(r) == limit)
        };
        if any {
            all_equal = equal("cpu") && equal("memory");
        }
    }
    match (any, all_equal) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    #[test]
    fn quality_of_service() {
        let check = |resources: Value, expect: &str| {
            let pod = pod(json!({"containers": [{"name": "a", "resources": resources}]}));
            assert_eq!(pod.qos(), expect, "{resources}");
        };
        check(json!({}), "BestEffort");
        check(json!({"requests": {"cpu": "1"}}), "Burstable");
        check(json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed");
        check(
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1024Mi"}}),
            "Guaranteed",
        );
        check(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}), "Burstable");
        check(json!({"limits": {"cpu": "1"}}), "Burstable");
    }

    #[test]
    fn totals_count_init_containers_in_turn() {
        let cpu = |c: &str| json!({"requests": {"cpu": c}});
        let pod = pod(json!({
            "overhead": {"cpu": "10m"},
            "initContainers": [
                {"name": "big", "resources": cpu("500m")},
                {"name": "side", "restartPolicy": "Always", "resources": cpu("100m")},
                {"name": "late", "resources": cpu("450m")}],
            "containers": [{"name": "a", "resources": cpu("200m")}, {"name": "b", "resources": cpu("100m")}]
        }));
        assert_eq!(pod_total(&pod, "cpu", requested), 550 + 10);
    }
}
