//! Claims and ingresses that name no class get the default one: the newest that is marked so.

use super::is;
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use steersman_apimachinery::{GroupVersionResource, Status, object};

/// For persistent volume claims (rule: upstream `plugin/pkg/admission/storage/storageclass/setdefault`).
#[derive(Debug)]
pub(super) struct DefaultStorageClass;

/// For ingresses (rule: upstream `plugin/pkg/admission/network/defaultingressclass`).
#[derive(Debug)]
pub(super) struct DefaultIngressClass;

/// The newest class with the annotation, by name among those made in the same second.
fn default_of(cluster: &dyn Cluster, group: &str, resource: &str, annotations: &[&str]) -> Option<Arc<Value>> {
    let marked = |c: &Arc<Value>| annotations.iter().any(|a| object::annotation(c, a) == Some("true"));
    let mut all: Vec<_> = cluster.list(group, resource, "").into_iter().filter(marked).collect();
    all.sort_by(|a, b| {
        object::creation_timestamp(b).cmp(object::creation_timestamp(a)).then(object::name(a).cmp(object::name(b)))
    });
    all.into_iter().next()
}

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        operation == Operation::Create && is(resource, "", "persistentvolumeclaims") && subresource.is_empty()
    }
    async fn admit(&self, a: &mut Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let Some(claim) = a.object.as_deref_mut() else { return Ok(()) };
        let named = claim["spec"].get("storageClassName").is_some()
            || object::annotation(claim, "volume.beta.kubernetes.io/storage-class").is_some();
        if named {
            return Ok(());
        }
        let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
        if let Some(class) = default_of(cluster, "storage.k8s.io", "storageclasses", &marks) {
            claim["spec"]["storageClassName"] = object::name(&class).into();
        }
        Ok(())
    }
}

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        operation == Operation::Create && is(resource, "networking.k8s.io", "ingresses") && subresource.is_empty()
    }
    async fn admit(&self, a: &mut Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let Some(ingress) = a.object.as_deref_mut() else { return Ok(()) };
        if ingress["spec"].get("ingressClassName").is_some()
            || object::annotation(ingress, "kubernetes.io/ingress.class").is_some()
        {
            return Ok(());
        }
        let marks = ["ingressclass.kubernetes.io/is-default-class"];
        if let Some(class) = default_of(cluster, "networking.k8s.io", "ingressclasses", &marks) {
            ingress["spec"]["ingressClassName"] = object::name(&class).into();
        }
        Ok(())
    }
}
