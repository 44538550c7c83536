//! A kubelet writes only its own node and the pods on it.

use super::{forbidden, is};
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{GroupVersionResource, Status, object};

/// The plug-in (rule: upstream `plugin/pkg/admission/noderestriction`).
#[derive(Debug)]
pub(super) struct NodeRestriction;

const MIRROR: &str = "kubernetes.io/config.mirror";

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }
    fn handles(&self, operation: Operation, _: &GroupVersionResource, _: &str) -> bool {
        operation != Operation::Connect
    }
    async fn admit(&self, a: &mut Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let Some(node) = steersman_auth::node::node_name(&a.ctx.user) else { return Ok(()) };
        let sub = a.subresource;
        if is(a.resource, "", "pods") {
            match (a.operation, sub) {
                (Operation::Create, "") => create_pod(a, node),
                (Operation::Delete, "") | (Operation::Update, "status") => own_pod(a, cluster, node),
                (Operation::Create, "eviction") => own_pod(a, cluster, node),
                _ => Err(forbidden(a, format!("unexpected operation {:?}", a.operation))),
            }
        } else if is(a.resource, "", "nodes") {
            own_node(a, node)
        } else if is(a.resource, "", "serviceaccounts") && sub == "token" {
            token(a, cluster, node)
        } else if is(a.resource, "coordination.k8s.io", "leases") {
            let (what, word) = (a.object.as_deref().map(object::name).unwrap_or(a.name), "lease");
            only_own(a, what, node, word)
        } else if is(a.resource, "storage.k8s.io", "csinodes") {
            let what = a.object.as_deref().map(object::name).unwrap_or(a.name);
            only_own(a, what, node, "CSINode")
        } else {
            Ok(())
        }
    }
}

fn only_own(a: &Attributes<'_>, name: &str, node: &str, word: &str) -> Result<(), Status> {
    if name == node {
        Ok(())
    } else {
        Err(forbidden(a, format!("can only access {word} with the same name as the requesting node")))
    }
}

fn create_pod(a: &Attributes<'_>, node: &str) -> Result<(), Status> {
    let Some(pod) = a.object.as_deref() else { return Ok(()) };
    let pod_name = object::name(pod);
    if object::annotation(pod, MIRROR).is_none() {
        return Err(forbidden(
            a,
            format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"),
        ));
    }
    if object::str(pod, &["spec", "nodeName"]) != node {
        return Err(forbidden(a, format!("node {node:?} can only create pods with spec.nodeName set to itself")));
    }
    let owners = object::list(pod, &["metadata", "ownerReferences"]);
    let [owner] = owners else {
        return Err(forbidden(a, format!("node {node:?} can only create pods with an owner reference set to itself")));
    };
    if owner["kind"] != "Node" || owner["name"] != node {
        return Err(forbidden(a, format!("node {node:?} can only create pods with an owner reference set to itself")));
    }
    if !object::str(pod, &["spec", "serviceAccountName"]).is_empty() {
        return Err(forbidden(a, format!("node {node:?} can not create pods that reference a service account")));
    }
    let refers = |v: &Value| {
        ["secret", "configMap", "persistentVolumeClaim"].iter().any(|k| v.get(*k).is_some())
            || object::list(v, &["projected", "sources"]).iter().any(|s| {
                s.get("serviceAccountToken").is_some() || s.get("secret").is_some() || s.get("configMap").is_some()
            })
    };
    if object::list(pod, &["spec", "volumes"]).iter().any(refers) {
        return Err(forbidden(
            a,
            format!(
                "node {node:?} can not create pods that reference secrets, configmaps or persistentvolumeclaims: {pod_name}"
            ),
        ));
    }
    Ok(())
}

fn own_pod(a: &Attributes<'_>, cluster: &dyn Cluster, node: &str) -> Result<(), Status> {
    let of_old = a.old.map(|o| object::str(o, &["spec", "nodeName"]).to_owned());
    let bound = of_old.or_else(|| {
        cluster.get("", "pods", a.namespace, a.name).map(|p| object::str(&p, &["spec", "nodeName"]).to_owned())
    });
    match bound {
        Some(b) if b != node => {
            let verb = if a.operation == Operation::Update { "update pod status for" } else { "delete" };
            Err(forbidden(a, format!("node {node:?} can only {verb} pods with spec.nodeName set to itself")))
        }
        _ => Ok(()),
    }
}

fn own_node(a: &Attributes<'_>, node: &str) -> Result<(), Status> {
    let name = a.object.as_deref().map(object::name).filter(|n| !n.is_empty()).unwrap_or(a.name);
    if name != node {
        return Err(forbidden(a, format!("node {node:?} is not allowed to modify node {name:?}")));
    }
    let Some(new) = a.object.as_deref() else {
        return Err(forbidden(a, format!("node {node:?} is not allowed to delete node {name:?}")));
    };
    let empty = Value::Null;
    let old = a.old.unwrap_or(&empty);
    if a.operation == Operation::Update && a.subresource.is_empty() && new["spec"]["taints"] != old["spec"]["taints"] {
        return Err(forbidden(a, format!("node {node:?} is not allowed to modify taints")));
    }
    if a.operation == Operation::Update
        && object::list(new, &["metadata", "ownerReferences"]) != object::list(old, &["metadata", "ownerReferences"])
    {
        return Err(forbidden(a, format!("node {node:?} is not allowed to modify ownerReferences")));
    }
    let barred: BTreeSet<&str> = changed_labels(new, old).into_iter().filter(|l| !may_set(l)).collect();
    if !barred.is_empty() {
        let list = barred.into_iter().collect::<Vec<_>>().join(", ");
        return Err(forbidden(a, format!("is not allowed to modify labels: {list}")));
    }
    Ok(())
}

fn changed_labels<'a>(new: &'a Value, old: &'a Value) -> Vec<&'a str> {
    let labels = |v: &'a Value| v["metadata"]["labels"].as_object().into_iter().flatten();
    let differs = |k: &str| new["metadata"]["labels"].get(k) != old["metadata"]["labels"].get(k);
    labels(new).chain(labels(old)).map(|(k, _)| k.as_str()).filter(|k| differs(k)).collect()
}

/// Labels of kubernetes.io and k8s.io that a kubelet may set on its node.
const ALLOWED: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "node.kubernetes.io/windows-build",
];

fn may_set(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(d, _)| d);
    let of = |suffix: &str| domain == suffix || domain.ends_with(&format!(".{suffix}"));
    if of("node-restriction.kubernetes.io") {
        return false;
    }
    if !of("kubernetes.io") && !of("k8s.io") {
        return true;
    }
    ALLOWED.contains(&label) || of("kubelet.kubernetes.io") || of("node.kubernetes.io")
}

fn token(a: &Attributes<'_>, cluster: &dyn Cluster, node: &str) -> Result<(), Status> {
    let Some(request) = a.object.as_deref() else { return Ok(()) };
    let bound = &request["spec"]["boundObjectRef"];
    let (kind, name, uid) = (
        bound["kind"].as_str().unwrap_or(""),
        bound["name"].as_str().unwrap_or(""),
        bound["uid"].as_str().unwrap_or(""),
    );
    if kind != "Pod" || name.is_empty() {
        return Err(forbidden(a, "node requested token not bound to a pod"));
    }
    if uid.is_empty() {
        return Err(forbidden(a, "node requested token with a pod binding without a uid"));
    }
    let Some(pod) = cluster.get("", "pods", a.namespace, name) else {
        return Err(forbidden(a, format!("pod {name:?} not found")));
    };
    if object::uid(&pod) != uid {
        return Err(forbidden(
            a,
            format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            ),
        ));
    }
    if object::str(&pod, &["spec", "nodeName"]) != node {
        return Err(forbidden(a, "node requested token bound to a pod scheduled on a different node"));
    }
    Ok(())
}
