//! Volumes and claims in use are not deleted, and grow only where their class lets them.

use super::{forbidden, is};
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use serde_json::Value;
use steersman_apimachinery::{GroupVersionResource, Quantity, Status, object};

/// Adds the finalizers that the protection controllers take away
/// (rule: upstream `plugin/pkg/admission/storage/storageobjectinuseprotection`).
#[derive(Debug)]
pub(super) struct StorageObjectInUseProtection;

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        operation == Operation::Create && subresource.is_empty() && finalizer(resource).is_some()
    }
    async fn admit(&self, a: &mut Attributes<'_>, _: &dyn Cluster) -> Result<(), Status> {
        let (Some(finalizer), Some(object)) = (finalizer(a.resource), a.object.as_deref_mut()) else { return Ok(()) };
        if object::finalizers(object).any(|f| f == finalizer) {
            return Ok(());
        }
        match &mut object["metadata"]["finalizers"] {
            Value::Array(l) => l.push(finalizer.into()),
            other => *other = Value::Array(vec![finalizer.into()]),
        }
        Ok(())
    }
}

fn finalizer(resource: &GroupVersionResource) -> Option<&'static str> {
    const TABLE: &[(&str, &str, &str)] = &[
        ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
        ("", "persistentvolumes", "kubernetes.io/pv-protection"),
        ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
    ];
    TABLE.iter().find(|(g, r, _)| is(resource, g, r)).map(|(_, _, f)| *f)
}

/// Refuses to enlarge claims of classes that do not allow it (rule: upstream `plugin/pkg/admission/storage/persistentvolume/resize`).
#[derive(Debug)]
pub(super) struct PersistentVolumeClaimResize;

#[async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        operation == Operation::Update && is(resource, "", "persistentvolumeclaims") && subresource.is_empty()
    }
    async fn validate(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let (Some(new), Some(old)) = (a.object.as_deref(), a.old) else { return Ok(()) };
        let size = |c: &Value| object::str(c, &["spec", "resources", "requests", "storage"]).parse::<Quantity>().ok();
        match (size(new), size(old)) {
            (Some(n), Some(o)) if n > o => {}
            _ => return Ok(()),
        }
        if object::str(old, &["status", "phase"]) != "Bound" {
            return Err(forbidden(a, "Only bound persistent volume claims can be expanded"));
        }
        let class = object::str(new, &["spec", "storageClassName"]);
        let class = cluster.get("storage.k8s.io", "storageclasses", "", class);
        if class.is_some_and(|c| object::bool(&c, &["allowVolumeExpansion"])) {
            return Ok(());
        }
        Err(forbidden(
            a,
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ))
    }
}
