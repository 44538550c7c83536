//! The Node authoriser: a kubelet may read what the pods on its node need, and write what is its own
//! (rule: upstream `plugin/pkg/auth/authorizer/node`).

use crate::{Attributes, Authorizer, Decision, Lookup, Rules, UserInfo};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

/// The authoriser.
pub struct Node {
    lookup: Arc<dyn Lookup>,
}

impl Node {
    /// Over the watch cache.
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup }
    }
}

/// The node's name, if the user is a node: `system:node:<name>` in the group `system:nodes`.
pub fn node_name(user: &UserInfo) -> Option<&str> {
    let name = user.name.strip_prefix("system:node:").filter(|n| !n.is_empty())?;
    user.groups.iter().any(|g| g == "system:nodes").then_some(name)
}

/// What every node may do, whatever runs on it: verbs, group, resource, subresource.
const GENERAL: &[(&str, &str, &str, &str)] = &[
    ("create", "authentication.k8s.io", "tokenreviews", ""),
    ("create", "authorization.k8s.io", "subjectaccessreviews", ""),
    ("create", "authorization.k8s.io", "localsubjectaccessreviews", ""),
    ("get list watch", "", "services", ""),
    ("create", "", "nodes", ""),
    ("create patch update", "", "events", ""),
    ("create patch update", "events.k8s.io", "events", ""),
    ("create", "", "pods", ""),
    ("create get list watch", "certificates.k8s.io", "certificatesigningrequests", ""),
    ("create", "certificates.k8s.io", "certificatesigningrequests", "selfnodeclient"),
    ("get list watch", "storage.k8s.io", "csidrivers", ""),
    ("get list watch", "node.k8s.io", "runtimeclasses", ""),
    ("get", "", "endpoints", ""),
];

#[async_trait]
impl Authorizer for Node {
    async fn authorize(&self, a: &Attributes<'_>) -> (Decision, String) {
        let Some(node) = node_name(a.user) else { return (Decision::NoOpinion, String::new()) };
        if !a.resource_request {
            return (Decision::NoOpinion, String::new());
        }
        let has = |verbs: &str| verbs.split(' ').any(|v| v == a.verb);
        if GENERAL.iter().any(|(verbs, g, r, s)| *g == a.group && *r == a.resource && *s == a.subresource && has(verbs))
        {
            return (Decision::Allow, String::new());
        }
        let no = |why: String| (Decision::NoOpinion, why);
        let unrelated = || no(format!("no relationship found between node '{node}' and this object"));
        match (a.group, a.resource, a.subresource) {
            ("", "nodes", "") if has("patch update get list watch") => self.own(a, node),
            ("", "nodes", "status") if has("patch update get") => self.own(a, node),
            ("", "pods", "") if has("get list watch delete") => self.pod(a, node),
            ("", "pods", "status") if has("patch update") => self.pod(a, node),
            ("", "pods", "eviction") if a.verb == "create" => self.pod(a, node),
            ("", "secrets" | "configmaps" | "persistentvolumeclaims" | "serviceaccounts" | "persistentvolumes", "")
                if has("get list watch") =>
            {
                if a.name.is_empty() {
                    return no("No Object name found".into());
                }
                if self.reaches(node, a) { (Decision::Allow, String::new()) } else { unrelated() }
            }
            ("", "persistentvolumeclaims", "status") if has("get patch update") => {
                if self.reaches(node, a) {
                    (Decision::Allow, String::new())
                } else {
                    unrelated()
                }
            }
            ("", "serviceaccounts", "token") if a.verb == "create" => {
                if self.reaches(node, a) {
                    (Decision::Allow, String::new())
                } else {
                    unrelated()
                }
            }
            ("storage.k8s.io", "volumeattachments", "") if a.verb == "get" => {
                let mine =
                    self.lookup.get(a.group, a.resource, "", a.name).is_some_and(|v| v["spec"]["nodeName"] == node);
                if mine { (Decision::Allow, String::new()) } else { unrelated() }
            }
            ("coordination.k8s.io", "leases", "") => {
                if a.namespace != "kube-node-lease" {
                    return no("can only access leases in the \"kube-node-lease\" system namespace".into());
                }
                if !has("create delete get patch update") {
                    return no("can only get, create, update, patch, or delete a node lease".into());
                }
                if a.verb != "create" && a.name != node {
                    return no("can only access node lease with the same name as the requesting node".into());
                }
                (Decision::Allow, String::new())
            }
            ("storage.k8s.io", "csinodes", "") if has("create delete get patch update") => {
                if a.verb != "create" && a.name != node {
                    return no("can only access CSINode with the same name as the requesting node".into());
                }
                (Decision::Allow, String::new())
            }
            ("resource.k8s.io", "resourceslices", "") => (Decision::Allow, String::new()),
            ("resource.k8s.io", "resourceclaims", "") if a.verb == "get" => {
                if self.reaches(node, a) {
                    (Decision::Allow, String::new())
                } else {
                    unrelated()
                }
            }
            _ => (Decision::NoOpinion, String::new()),
        }
    }

    async fn rules_for(&self, user: &UserInfo, _: &str) -> Rules {
        // As upstream: what a node may do hangs on what runs there and cannot be listed.
        let incomplete = node_name(user).is_some();
        let error =
            if incomplete { "node authorizer does not support user rule resolution".into() } else { String::new() };
        Rules { incomplete, error, ..Rules::default() }
    }
}

impl Node {
    fn own(&self, a: &Attributes<'_>, node: &str) -> (Decision, String) {
        // Lists and watches are narrowed by a field selector that names the node.
        if a.name == node {
            (Decision::Allow, String::new())
        } else {
            (Decision::NoOpinion, format!("node '{node}' cannot read '{}', only its own Node object", a.name))
        }
    }

    fn pod(&self, a: &Attributes<'_>, node: &str) -> (Decision, String) {
        if a.name.is_empty() {
            // The kubelet lists and watches by spec.nodeName.
            return match a.verb {
                "list" | "watch" => (Decision::Allow, String::new()),
                _ => (Decision::NoOpinion, "can only list/watch pods with spec.nodeName field selector".into()),
            };
        }
        match self.lookup.get("", "pods", a.namespace, a.name) {
            // One that is gone is not found rather than forbidden.
            None => (Decision::Allow, String::new()),
            Some(p) if p["spec"]["nodeName"] == node => (Decision::Allow, String::new()),
            Some(_) => (Decision::NoOpinion, format!("no relationship found between node '{node}' and this object")),
        }
    }

    /// Whether a pod on the node refers to the object.
    fn reaches(&self, node: &str, a: &Attributes<'_>) -> bool {
        self.lookup.pods_on_node(node).iter().any(|pod| {
            if a.resource == "persistentvolumes" {
                return self.claims_volume(pod, a.name);
            }
            pod["metadata"]["namespace"] == a.namespace && refers(pod, a.resource, a.name)
        })
    }

    fn claims_volume(&self, pod: &Value, volume: &str) -> bool {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or("");
        volumes(pod).filter_map(|v| v["persistentVolumeClaim"]["claimName"].as_str()).any(|claim| {
            self.lookup
                .get("", "persistentvolumeclaims", namespace, claim)
                .is_some_and(|c| c["spec"]["volumeName"] == volume)
        })
    }
}

fn volumes(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["spec"]["volumes"].as_array().into_iter().flatten()
}

/// Whether a pod names an object of its namespace.
fn refers(pod: &Value, resource: &str, name: &str) -> bool {
    let spec = &pod["spec"];
    match resource {
        "serviceaccounts" => spec["serviceAccountName"] == name,
        "persistentvolumeclaims" => volumes(pod).any(|v| {
            v["persistentVolumeClaim"]["claimName"] == name
                || (v.get("ephemeral").is_some()
                    && name
                        == format!(
                            "{}-{}",
                            pod["metadata"]["name"].as_str().unwrap_or(""),
                            v["name"].as_str().unwrap_or("")
                        ))
        }),
        "resourceclaims" => {
            let of_status = pod["status"]["resourceClaimStatuses"].as_array().into_iter().flatten();
            let of_spec = spec["resourceClaims"].as_array().into_iter().flatten();
            of_status.chain(of_spec).any(|c| c["resourceClaimName"] == name)
        }
        "secrets" => {
            spec["imagePullSecrets"].as_array().into_iter().flatten().any(|s| s["name"] == name)
                || env_refers(spec, "secretRef", "secretKeyRef", name)
                || volumes(pod).any(|v| volume_secret(v, name))
        }
        "configmaps" => {
            env_refers(spec, "configMapRef", "configMapKeyRef", name)
                || volumes(pod).any(|v| {
                    v["configMap"]["name"] == name
                        || v["projected"]["sources"]
                            .as_array()
                            .into_iter()
                            .flatten()
                            .any(|s| s["configMap"]["name"] == name)
                })
        }
        _ => false,
    }
}

fn env_refers(spec: &Value, from: &str, key: &str, name: &str) -> bool {
    ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .flat_map(|l| spec[*l].as_array().into_iter().flatten())
        .any(|c| {
            c["envFrom"].as_array().into_iter().flatten().any(|e| e[from]["name"] == name)
                || c["env"].as_array().into_iter().flatten().any(|e| e["valueFrom"][key]["name"] == name)
        })
}

fn volume_secret(v: &Value, name: &str) -> bool {
    const REFS: &[&str] = &["azureFile", "csi", "cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];
    v["secret"]["secretName"] == name
        || v["projected"]["sources"].as_array().into_iter().flatten().any(|s| s["secret"]["name"] == name)
        || REFS.iter().any(|k| {
            let source = &v[*k];
            source["secretName"] == name
                || source["secretRef"]["name"] == name
                || source["nodePublishSecretRef"]["name"] == name
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_refer_to_what_they_mount_and_read() {
        let pod = json!({ "metadata": { "name": "p", "namespace": "a" }, "spec": {
            "serviceAccountName": "sa", "imagePullSecrets": [{ "name": "pull" }],
            "containers": [{ "env": [{ "valueFrom": { "secretKeyRef": { "name": "s1" } } }], "envFrom": [{ "configMapRef": { "name": "c1" } }] }],
            "volumes": [
                { "name": "e", "ephemeral": {} }, { "secret": { "secretName": "s2" } }, { "configMap": { "name": "c2" } },
                { "projected": { "sources": [{ "secret": { "name": "s3" } }, { "configMap": { "name": "c3" } }] } },
                { "persistentVolumeClaim": { "claimName": "pvc" } },
            ] } });
        let check = |resource: &str, names: &[&str]| {
            for n in names {
                assert!(refers(&pod, resource, n), "{resource} {n}");
            }
            assert!(!refers(&pod, resource, "other"), "{resource}");
        };
        check("secrets", &["pull", "s1", "s2", "s3"]);
        check("configmaps", &["c1", "c2", "c3"]);
        check("persistentvolumeclaims", &["pvc", "p-e"]);
        check("serviceaccounts", &["sa"]);
    }
}
