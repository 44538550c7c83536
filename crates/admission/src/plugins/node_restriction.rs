//! A kubelet writes only its own node, the pods on it, and what is theirs.

use super::{forbidden, is};
use crate::pods::api_reference;
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use base64::Engine;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use steersman_apimachinery::{GroupResource, GroupVersionResource, Status, object};

/// The plug-in (rule: upstream `plugin/pkg/admission/noderestriction`).
#[derive(Debug)]
pub(super) struct NodeRestriction;

const MIRROR: &str = "kubernetes.io/config.mirror";
/// What a kubelet may change in the status of a claim: what resizing leads to.
const OF_RESIZING: &[&str] = &["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"];
const SIGNERS: &[&str] = &["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

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
        let request = Request { a, cluster, node };
        let of = |group, resource| is(request.a.resource, group, resource);
        if of("", "pods") {
            match request.a.subresource {
                "" => request.pod(),
                "status" => request.pod_status(),
                "eviction" => request.eviction(),
                other => {
                    let why = format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed");
                    request.refuse(why)
                }
            }
        } else if of("", "nodes") {
            request.node()
        } else if of("", "persistentvolumeclaims") {
            request.claim()
        } else if of("", "serviceaccounts") {
            request.token().await
        } else if of("coordination.k8s.io", "leases") {
            request.lease()
        } else if of("storage.k8s.io", "csinodes") {
            request.own("can only access CSINode with the same name as the requesting node")
        } else if of("resource.k8s.io", "resourceslices") {
            request.slice()
        } else if of("certificates.k8s.io", "certificatesigningrequests") {
            request.signing()
        } else {
            Ok(())
        }
    }
}

/// A request of the kubelet of `node`.
struct Request<'r, 'a> {
    a: &'r Attributes<'a>,
    cluster: &'r dyn Cluster,
    node: &'r str,
}

fn verb(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

fn text<'v>(object: Option<&'v Value>, path: &[&str]) -> &'v str {
    object.map(|o| object::str(o, path)).unwrap_or_default()
}

impl Request<'_, '_> {
    fn refuse(&self, why: impl std::fmt::Display) -> Result<(), Status> {
        Err(forbidden(self.a, why))
    }

    fn sent(&self) -> Option<&Value> {
        self.a.object.as_deref()
    }

    fn unexpected(&self) -> Result<(), Status> {
        self.refuse(format!("unexpected operation {:?}", verb(self.a.operation)))
    }

    fn stored_pod(&self, name: &str) -> Result<Arc<Value>, Status> {
        let found = self.cluster.get("", "pods", self.a.namespace, name);
        found.ok_or_else(|| Status::not_found(&GroupResource::from_static("", "pods"), name))
    }

    /// Pods are created as mirrors of static ones, and deleted where they run.
    fn pod(&self) -> Result<(), Status> {
        let node = self.node;
        match self.a.operation {
            Operation::Create => self.mirror(),
            Operation::Delete => {
                if object::str(&*self.stored_pod(self.a.name)?, &["spec", "nodeName"]) != node {
                    return self.refuse(format!("node {node:?} can only delete pods with spec.nodeName set to itself"));
                }
                Ok(())
            }
            other => self.refuse(format!(
                "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
                verb(other)
            )),
        }
    }

    fn mirror(&self) -> Result<(), Status> {
        let (Some(pod), node) = (self.sent(), self.node) else { return Ok(()) };
        if object::annotation(pod, MIRROR).is_none() {
            let why = format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods");
            return self.refuse(why);
        }
        if object::str(pod, &["spec", "nodeName"]) != node {
            return self.refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
        }
        let owner = match object::list(pod, &["metadata", "ownerReferences"]) {
            [owner] => owner,
            [] => {
                let why = format!("node {node:?} can only create pods with an owner reference set to itself");
                return self.refuse(why);
            }
            _ => {
                let why = format!("node {node:?} can only create pods with a single owner reference set to itself");
                return self.refuse(why);
            }
        };
        if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
            return self.refuse(format!("node {node:?} can only create pods with an owner reference set to itself"));
        }
        if !object::bool(owner, &["controller"]) {
            let why = format!("node {node:?} can only create pods with a controller owner reference set to itself");
            return self.refuse(why);
        }
        if object::bool(owner, &["blockOwnerDeletion"]) {
            return self.refuse(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
        }
        let Some(registered) = self.cluster.get("", "nodes", "", node) else {
            return Err(Status::not_found(&GroupResource::from_static("", "nodes"), node));
        };
        let (uid, given) = (object::uid(&registered), object::str(owner, &["uid"]));
        if uid != given {
            return self.refuse(format!("node {node} UID mismatch: expected {uid} got {given}"));
        }
        match api_reference(pod) {
            Some(what) => self.refuse(format!("node {node:?} can not create pods that reference {what}")),
            None => Ok(()),
        }
    }

    fn pod_status(&self) -> Result<(), Status> {
        if self.a.operation != Operation::Update {
            return self.unexpected();
        }
        let (Some(new), Some(old), node) = (self.sent(), self.a.old, self.node) else { return Ok(()) };
        if object::str(old, &["spec", "nodeName"]) != node {
            let why = format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself");
            return self.refuse(why);
        }
        let differs = |path: &[&str]| object::get(new, path) != object::get(old, path);
        if differs(&["metadata", "labels"]) {
            return self.refuse(format!("node {node:?} cannot update labels through pod status"));
        }
        if differs(&["status", "resourceClaimStatuses"]) {
            return self.refuse(format!("node {node:?} cannot update resource claim statues"));
        }
        if differs(&["status", "extendedResourceClaimStatus"]) {
            return self.refuse(format!("node {node:?} cannot update extended resource claim status"));
        }
        Ok(())
    }

    fn eviction(&self) -> Result<(), Status> {
        if self.a.operation != Operation::Create {
            return self.refuse(format!("unexpected operation {}", verb(self.a.operation)));
        }
        let name = if self.a.name.is_empty() { text(self.sent(), &["metadata", "name"]) } else { self.a.name };
        if name.is_empty() {
            return self.refuse("could not determine pod from request data");
        }
        if object::str(&*self.stored_pod(name)?, &["spec", "nodeName"]) != self.node {
            let why = format!("node {} can only evict pods with spec.nodeName set to itself", self.node);
            return self.refuse(why);
        }
        Ok(())
    }

    fn node(&self) -> Result<(), Status> {
        let (node, create) = (self.node, self.a.operation == Operation::Create);
        let name = match self.a.name {
            "" if create => text(self.sent(), &["metadata", "name"]),
            name => name,
        };
        if name != node {
            return self.refuse(format!("node {node:?} is not allowed to modify node {name:?}"));
        }
        let Some(new) = self.sent() else { return Ok(()) };
        let null = Value::Null;
        let old = self.a.old.unwrap_or(&null);
        let source = object::get(new, &["spec", "configSource"]);
        if source.is_some() && source != object::get(old, &["spec", "configSource"]) {
            return self.refuse(if create {
                format!("node {node:?} is not allowed to create pods with a non-nil configSource")
            } else {
                format!("node {node:?} is not allowed to update configSource to a new non-nil configSource")
            });
        }
        let differs = |path: &[&str]| object::list(new, path) != object::list(old, path);
        if !create && differs(&["spec", "taints"]) {
            return self.refuse(format!("node {node:?} is not allowed to modify taints"));
        }
        if !create && differs(&["metadata", "ownerReferences"]) {
            return self.refuse(format!("node {node:?} is not allowed to modify ownerReferences"));
        }
        let barred: BTreeSet<&str> = changed_labels(new, old).into_iter().filter(|l| !may_set(l)).collect();
        if barred.is_empty() {
            return Ok(());
        }
        let list = barred.into_iter().collect::<Vec<_>>().join(", ");
        self.refuse(if create {
            format!("node {node:?} is not allowed to set the following labels: {list}")
        } else {
            format!("is not allowed to modify labels: {list}")
        })
    }

    fn claim(&self) -> Result<(), Status> {
        if self.a.subresource != "status" {
            return self.refuse("may only update PVC status");
        }
        if self.a.operation != Operation::Update {
            return self.unexpected();
        }
        let (Some(new), Some(old)) = (self.sent(), self.a.old) else { return Ok(()) };
        let rest = |claim: &Value| {
            let mut rest = claim.clone();
            object::remove(&mut rest, &["metadata", "resourceVersion"]);
            object::remove(&mut rest, &["metadata", "managedFields"]);
            for field in OF_RESIZING {
                object::remove(&mut rest, &["status", field]);
            }
            rest
        };
        if rest(new) == rest(old) {
            return Ok(());
        }
        let node = self.node;
        self.refuse(format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        ))
    }

    /// Tokens are for pods on the node, and for whom those have them anyway.
    async fn token(&self) -> Result<(), Status> {
        let Some(request) = self.sent().filter(|_| self.a.subresource == "token") else { return Ok(()) };
        let of = |key: &str| object::str(request, &["spec", "boundObjectRef", key]);
        if of("apiVersion") != "v1" || of("kind") != "Pod" || of("name").is_empty() {
            return self.refuse("node requested token not bound to a pod");
        }
        let uid = of("uid");
        if uid.is_empty() {
            return self.refuse("node requested token with a pod binding without a uid");
        }
        let pod = self.stored_pod(of("name"))?;
        if object::uid(&pod) != uid {
            return self.refuse(format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            ));
        }
        if object::str(&pod, &["spec", "nodeName"]) != self.node {
            return self.refuse("node requested token bound to a pod scheduled on a different node");
        }
        let audience = match object::list(request, &["spec", "audiences"]) {
            [] => "",
            [one] => one.as_str().unwrap_or_default(),
            _ => return self.refuse("node may only request 0 or 1 audiences"),
        };
        if self.pod_uses(&pod, audience) || self.may_ask_for(audience).await {
            return Ok(());
        }
        self.refuse(format!(
            "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            self.a.ctx.user.name
        ))
    }

    /// Whether a volume of the pod has a token for `audience`, or its CSI driver gets one.
    fn pod_uses(&self, pod: &Value, audience: &str) -> bool {
        object::list(pod, &["spec", "volumes"]).iter().any(|volume| {
            let sources = object::list(volume, &["projected", "sources"]);
            let mut tokens = sources.iter().filter_map(|s| object::get(s, &["serviceAccountToken"]));
            tokens.any(|t| object::str(t, &["audience"]) == audience)
                || self.driver(pod, volume).is_some_and(|driver| self.driver_asks_for(&driver, audience))
        })
    }

    /// The CSI driver of a volume, or of what it claims.
    fn driver(&self, pod: &Value, volume: &Value) -> Option<String> {
        let of_claim = |name: &str| {
            let claim = self.cluster.get("", "persistentvolumeclaims", object::namespace(pod), name)?;
            let bound = object::str(&claim, &["spec", "volumeName"]);
            let volume = self.cluster.get("", "persistentvolumes", "", bound).filter(|_| !bound.is_empty())?;
            Some(object::str(&volume, &["spec", "csi", "driver"]).to_owned())
        };
        if object::get(volume, &["ephemeral", "volumeClaimTemplate"]).is_some() {
            of_claim(&format!("{}-{}", object::name(pod), object::str(volume, &["name"])))
        } else if let Some(claim) = object::get(volume, &["persistentVolumeClaim", "claimName"]).and_then(Value::as_str)
        {
            of_claim(claim)
        } else {
            Some(object::str(volume, &["csi", "driver"]).to_owned())
        }
    }

    fn driver_asks_for(&self, driver: &str, audience: &str) -> bool {
        let found = self.cluster.get("storage.k8s.io", "csidrivers", "", driver).filter(|_| !driver.is_empty());
        found.is_some_and(|d| {
            object::list(&d, &["spec", "tokenRequests"]).iter().any(|r| object::str(r, &["audience"]) == audience)
        })
    }

    async fn may_ask_for(&self, audience: &str) -> bool {
        let asked = steersman_auth::Attributes {
            user: &self.a.ctx.user,
            verb: "request-serviceaccounts-token-audience",
            namespace: self.a.namespace,
            group: "",
            version: "v1",
            resource: audience,
            subresource: "",
            name: self.a.name,
            resource_request: true,
            path: "",
        };
        self.cluster.authorizer().allows(&asked).await
    }

    fn lease(&self) -> Result<(), Status> {
        if self.a.namespace != "kube-node-lease" {
            return self.refuse("can only access leases in the \"kube-node-lease\" system namespace");
        }
        self.own("can only access node lease with the same name as the requesting node")
    }

    /// Objects that are named after their node.
    fn own(&self, why: &str) -> Result<(), Status> {
        let created = self.a.operation == Operation::Create;
        let name = if created { text(self.sent(), &["metadata", "name"]) } else { self.a.name };
        if name == self.node { Ok(()) } else { self.refuse(why) }
    }

    fn slice(&self) -> Result<(), Status> {
        let (object, what) = match self.a.operation {
            Operation::Create => (self.sent(), "create"),
            Operation::Delete => (self.a.old, "delete"),
            _ => return Ok(()),
        };
        let stored = self.cluster.get("resource.k8s.io", "resourceslices", "", self.a.name);
        if text(object.or(stored.as_deref()), &["spec", "nodeName"]) == self.node {
            return Ok(());
        }
        self.refuse(format!("can only {what} ResourceSlice with the same NodeName as the requesting node"))
    }

    /// Certificates of kubelets are asked for by the node that they are for.
    fn signing(&self) -> Result<(), Status> {
        let Some(request) = self.sent().filter(|_| self.a.operation == Operation::Create) else { return Ok(()) };
        if !self.a.subresource.is_empty() || !SIGNERS.contains(&object::str(request, &["spec", "signerName"])) {
            return Ok(());
        }
        let wanted = format!("system:node:{}", self.node);
        match common_name(object::str(request, &["spec", "request"])) {
            Err(why) => self.refuse(format!("unable to parse csr: {why}")),
            Ok(name) if name != wanted => self.refuse(format!("can only create a node CSR with CN={wanted}")),
            Ok(_) => Ok(()),
        }
    }
}

/// The common name in the subject of a request in base64.
fn common_name(request: &str) -> Result<String, String> {
    use x509_parser::prelude::FromDer;
    const NO_PEM: &str = "PEM block type must be CERTIFICATE REQUEST";
    let pem = base64::engine::general_purpose::STANDARD.decode(request).map_err(|e| e.to_string())?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem).map_err(|_| NO_PEM.to_owned())?;
    if block.label != "CERTIFICATE REQUEST" {
        return Err(NO_PEM.into());
    }
    let (_, request) = x509_parser::certification_request::X509CertificationRequest::from_der(&block.contents)
        .map_err(|e| e.to_string())?;
    let subject = &request.certification_request_info.subject;
    let name = subject.iter_common_name().next().and_then(|n| n.as_str().ok());
    Ok(name.unwrap_or_default().to_owned())
}

fn changed_labels<'a>(new: &'a Value, old: &'a Value) -> Vec<&'a str> {
    let labels = |v: &'a Value| v["metadata"]["labels"].as_object().into_iter().flatten();
    let differs = |k: &str| new["metadata"]["labels"].get(k) != old["metadata"]["labels"].get(k);
    labels(new).chain(labels(old)).map(|(k, _)| k.as_str()).filter(|k| differs(k)).collect()
}

/// Labels of kubernetes.io and k8s.io that a kubelet may set on its node (rule: `k8s.io/kubelet/pkg/apis`).
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
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

fn may_set(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(d, _)| d);
    let of = |suffix: &str| domain.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    if of("node-restriction.kubernetes.io") {
        return false;
    }
    if !of("kubernetes.io") && !of("k8s.io") {
        return true;
    }
    ALLOWED.contains(&label) || of("kubelet.kubernetes.io") || of("node.kubernetes.io")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_a_kubelet_may_set() {
        for (label, want) in [
            ("example.com/x", true),
            ("x", true),
            ("kubernetes.io/hostname", true),
            ("kubernetes.io/other", false),
            ("node-role.kubernetes.io/control-plane", false),
            ("a.kubelet.kubernetes.io/x", true),
            ("node.kubernetes.io/x", true),
            ("node-restriction.kubernetes.io/x", false),
            ("a.node-restriction.kubernetes.io/x", false),
            ("notkubernetes.io/x", true),
        ] {
            assert_eq!(may_set(label), want, "{label}");
        }
    }

    #[test]
    fn names_in_requests() {
        assert!(common_name("!").is_err());
        assert_eq!(common_name("eA=="), Err("PEM block type must be CERTIFICATE REQUEST".to_owned()));
    }
}
