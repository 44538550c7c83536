//! Pods run as a service account that is there, and get its token mounted.

use super::{forbidden, is_pods};
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use steersman_apimachinery::text::parse_bool;
use steersman_apimachinery::{GroupVersionResource, Status, object};

/// The plug-in (rule: upstream `plugin/pkg/admission/serviceaccount`).
#[derive(Debug)]
pub(super) struct ServiceAccount;

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// How often the account `default` is looked for (rule: `getServiceAccount`), and the time between.
const DEFAULT_ATTEMPTS: usize = 10;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);
/// The alphabet of upstream's random suffixes.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        (operation == Operation::Create && is_pods(resource, subresource))
            || (operation == Operation::Update
                && super::is(resource, "", "pods")
                && subresource == "ephemeralcontainers")
    }

    async fn admit(&self, a: &mut Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if a.operation != Operation::Create {
            return Ok(());
        }
        let Some(pod) = a.object.as_deref() else { return Ok(()) };
        if object::annotation(pod, MIRROR).is_some() {
            return self.check_mirror(a, pod);
        }
        let name = match object::str(pod, &["spec", "serviceAccountName"]) {
            "" => "default".to_owned(),
            n => n.to_owned(),
        };
        let account = self.account(a, cluster, &name).await?;
        let Some(pod) = a.object.as_deref_mut() else { return Ok(()) };
        pod["spec"]["serviceAccountName"] = name.as_str().into();
        // The older spelling follows the newer one.
        pod["spec"]["serviceAccount"] = name.into();
        let wanted = pod["spec"]["automountServiceAccountToken"]
            .as_bool()
            .or_else(|| account["automountServiceAccountToken"].as_bool())
            .unwrap_or(true);
        if wanted {
            mount_token(pod);
        }
        let pulls = account["imagePullSecrets"].as_array().filter(|l| !l.is_empty());
        if let (Some(secrets), true) = (pulls, object::list(pod, &["spec", "imagePullSecrets"]).is_empty()) {
            pod["spec"]["imagePullSecrets"] = secrets.clone().into();
        }
        Ok(())
    }

    async fn validate(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let Some(pod) = a.object.as_deref() else { return Ok(()) };
        if a.operation == Operation::Create && object::annotation(pod, MIRROR).is_some() {
            return self.check_mirror(a, pod);
        }
        let account = self.account(a, cluster, object::str(pod, &["spec", "serviceAccountName"])).await?;
        let enforce = object::annotation(&account, "kubernetes.io/enforce-mountable-secrets");
        if enforce.and_then(parse_bool) == Some(true) {
            return check_mountable(a, pod, &account);
        }
        Ok(())
    }
}

impl ServiceAccount {
    fn check_mirror(&self, a: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
        if !object::str(pod, &["spec", "serviceAccountName"]).is_empty() {
            return Err(forbidden(a, "a mirror pod may not reference service accounts"));
        }
        if refers_to_secrets(pod) {
            return Err(forbidden(a, "a mirror pod may not reference secrets"));
        }
        let projects = |v: &Value| {
            object::list(v, &["projected", "sources"]).iter().any(|s| s.get("serviceAccountToken").is_some())
        };
        if object::list(pod, &["spec", "volumes"]).iter().any(projects) {
            return Err(forbidden(a, "a mirror pod may not use ServiceAccountToken volume projections"));
        }
        Ok(())
    }

    async fn account(&self, a: &Attributes<'_>, cluster: &dyn Cluster, name: &str) -> Result<Arc<Value>, Status> {
        if let Some(found) = cluster.get("", "serviceaccounts", a.namespace, name) {
            return Ok(found);
        }
        let mut found = cluster.get_live("", "serviceaccounts", a.namespace, name).await;
        // A controller makes it for every new namespace: it may be on its way.
        for _ in 1..if name == "default" { DEFAULT_ATTEMPTS } else { 1 } {
            if !found.as_ref().is_err_and(|e| e.code == 404) {
                break;
            }
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
            found = cluster.get_live("", "serviceaccounts", a.namespace, name).await;
        }
        match found {
            Ok(found) => Ok(Arc::new(found)),
            Err(e) if e.code == 404 => {
                let why = format!(
                    "error looking up service account {}/{name}: serviceaccount {name:?} not found",
                    a.namespace
                );
                Err(forbidden(a, why))
            }
            Err(e) => Err(forbidden(a, format!("error looking up service account {}/{name}: {e}", a.namespace))),
        }
    }
}

fn mount_token(pod: &mut Value) {
    let existing = object::list(pod, &["spec", "volumes"])
        .iter()
        .map(|v| v["name"].as_str().unwrap_or(""))
        .find(|n| n.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let name = existing.clone().unwrap_or_else(|| {
        let mut rng = rand::rng();
        let suffix: String = (0..5).map(|_| ALPHABET[rng.random_range(0..ALPHABET.len())] as char).collect();
        format!("{VOLUME_PREFIX}{suffix}")
    });
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for c in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mounts = &mut c["volumeMounts"];
            if mounts.as_array().is_some_and(|l| l.iter().any(|m| m["mountPath"] == MOUNT_PATH)) {
                continue;
            }
            push(mounts, json!({ "name": name, "readOnly": true, "mountPath": MOUNT_PATH }));
            mounted = true;
        }
    }
    if mounted && existing.is_none() {
        push(&mut pod["spec"]["volumes"], token_volume(&name));
    }
}

fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(l) => l.push(item),
        other => *other = Value::Array(vec![item]),
    }
}

fn token_volume(name: &str) -> Value {
    json!({ "name": name, "projected": { "defaultMode": 420, "sources": [
        { "serviceAccountToken": { "path": "token", "expirationSeconds": 3607 } },
        { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
        { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } }] } },
    ] } })
}

/// An account that enforces it lets pods use only the Secrets it lists.
fn check_mountable(a: &Attributes<'_>, pod: &Value, account: &Value) -> Result<(), Status> {
    let listed = |secret: &str| object::list(account, &["secrets"]).iter().any(|s| s["name"] == secret);
    let account_name = object::name(account);
    for v in object::list(pod, &["spec", "volumes"]) {
        if let Some(secret) = v["secret"]["secretName"].as_str().filter(|s| !listed(s)) {
            let why = format!(
                "volume with secret.secretName={secret:?} is not allowed because service account {account_name} does not reference that secret"
            );
            return Err(forbidden(a, why));
        }
    }
    for (list, word) in [
        ("initContainers", "init container"),
        ("containers", "container"),
        ("ephemeralContainers", "ephemeral container"),
    ] {
        for c in crate::pods::containers(&pod["spec"], list) {
            for e in object::list(c, &["env"]) {
                if let Some(secret) = e["valueFrom"]["secretKeyRef"]["name"].as_str().filter(|s| !listed(s)) {
                    let (container, env) = (c["name"].as_str().unwrap_or(""), e["name"].as_str().unwrap_or(""));
                    let why = format!(
                        "{word} {container} with envVar {env} referencing secret.secretName={secret:?} is not allowed because service account {account_name} does not reference that secret"
                    );
                    return Err(forbidden(a, why));
                }
            }
            for e in object::list(c, &["envFrom"]) {
                if let Some(secret) = e["secretRef"]["name"].as_str().filter(|s| !listed(s)) {
                    let container = c["name"].as_str().unwrap_or("");
                    let why = format!(
                        "{word} {container} with envFrom referencing secret.secretName={secret:?} is not allowed because service account {account_name} does not reference that secret"
                    );
                    return Err(forbidden(a, why));
                }
            }
        }
    }
    let pulls = |name: &Value| object::list(account, &["imagePullSecrets"]).iter().any(|s| s["name"] == *name);
    for (i, secret) in object::list(pod, &["spec", "imagePullSecrets"]).iter().enumerate() {
        if !pulls(&secret["name"]) {
            let name = secret["name"].as_str().unwrap_or("");
            let why = format!(
                "imagePullSecrets[{i}].name={name:?} is not allowed because service account {account_name} does not reference that imagePullSecret"
            );
            return Err(forbidden(a, why));
        }
    }
    Ok(())
}

/// Whether a pod takes anything out of Secrets (rule: `VisitPodSecretNames`).
fn refers_to_secrets(pod: &Value) -> bool {
    const SOURCES: &[(&str, &str)] = &[
        ("secret", "secretName"),
        ("azureFile", "secretName"),
        ("cephfs", "secretRef"),
        ("cinder", "secretRef"),
        ("flexVolume", "secretRef"),
        ("rbd", "secretRef"),
        ("scaleIO", "secretRef"),
        ("iscsi", "secretRef"),
        ("storageos", "secretRef"),
        ("csi", "nodePublishSecretRef"),
    ];
    let of_volume = |v: &Value| {
        SOURCES.iter().any(|(source, field)| v[*source].get(field).is_some())
            || object::list(v, &["projected", "sources"]).iter().any(|s| s.get("secret").is_some())
    };
    let of_container = |c: &Value| {
        object::list(c, &["env"]).iter().any(|e| e["valueFrom"].get("secretKeyRef").is_some())
            || object::list(c, &["envFrom"]).iter().any(|e| e.get("secretRef").is_some())
    };
    !object::list(pod, &["spec", "imagePullSecrets"]).is_empty()
        || object::list(pod, &["spec", "volumes"]).iter().any(of_volume)
        || ["initContainers", "containers", "ephemeralContainers"]
            .iter()
            .any(|list| crate::pods::containers(&pod["spec"], list).any(of_container))
}
