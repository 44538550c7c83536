//! What the repair of addresses and ports tells in Events (rule: `ipallocator/controller`, `portallocator/controller`).

use serde_json::{Value, json};
use std::collections::HashSet;
use steersman_apimachinery::object;
use steersman_registry::{Cluster, Context};

/// Something wrong with a Service or an IPAddress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Problem {
    regarding: Reference,
    /// Who found it.
    controller: &'static str,
    action: &'static str,
    pub(super) reason: &'static str,
    note: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Reference {
    api_version: &'static str,
    kind: &'static str,
    namespace: String,
    name: String,
    uid: String,
}

impl Problem {
    /// Found at a node port of a Service.
    pub(super) fn of_port(svc: &Value, reason: &'static str, note: String) -> Self {
        let regarding = Reference::new("v1", "Service", svc);
        Self { regarding, controller: "portallocator-repair-controller", action: "PortAllocation", reason, note }
    }

    /// Found at a cluster IP of a Service; `action` is `ClusterIPAllocation` or `ClusterIPValidation`.
    pub(super) fn of_cluster_ip(svc: &Value, action: &'static str, reason: &'static str, note: String) -> Self {
        Self { regarding: Reference::new("v1", "Service", svc), controller: ADDRESSES, action, reason, note }
    }

    /// Found at an IPAddress.
    pub(super) fn of_address(ip: &Value, reason: &'static str, note: String) -> Self {
        let regarding = Reference::new("networking.k8s.io/v1", "IPAddress", ip);
        Self { regarding, controller: ADDRESSES, action: "IPAddressAllocation", reason, note }
    }

    fn event(&self) -> Value {
        let Reference { api_version, kind, namespace, name, uid } = &self.regarding;
        let now = jiff::Timestamp::now();
        let mut regarding = json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid});
        if !namespace.is_empty() {
            regarding["namespace"] = namespace.as_str().into();
        }
        let namespace = if namespace.is_empty() { "default" } else { namespace };
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": format!("{name}.{:x}", now.as_nanosecond()), "namespace": namespace},
            "eventTime": format!("{now:.6}"),
            "reportingController": self.controller,
            "reportingInstance": self.controller,
            "action": self.action,
            "reason": self.reason,
            "regarding": regarding,
            "note": self.note,
            "type": "Warning",
        })
    }
}

/// The controller of addresses.
const ADDRESSES: &str = "ipallocator-repair-controller";

impl Reference {
    fn new(api_version: &'static str, kind: &'static str, obj: &Value) -> Self {
        let (namespace, name) = (object::namespace(obj).to_owned(), object::name(obj).to_owned());
        Self { api_version, kind, namespace, name, uid: object::uid(obj).to_owned() }
    }
}

/// Tells the problems that were not there in the last round, which `told` keeps.
pub(super) async fn tell(cluster: &dyn Cluster, told: &mut HashSet<Problem>, problems: Vec<Problem>) {
    let problems: HashSet<Problem> = problems.into_iter().collect();
    for problem in problems.difference(told) {
        tracing::warn!(regarding = ?problem.regarding, reason = problem.reason, "{}", problem.note);
        let event = problem.event();
        if let Err(e) = cluster.create(&Context::loopback(), "events.k8s.io", "events", event, false).await {
            tracing::warn!(error = %e, "event of a repair not written");
        }
    }
    *told = problems;
}
