//! Whoever changes owner references must be able to delete the object; whoever blocks an owner's deletion must be able to
//! write the owner's finalizers.

use super::forbidden;
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use steersman_apimachinery::{GroupVersionResource, Status, object};
use steersman_auth::Decision;

/// The plug-in (rule: upstream `plugin/pkg/admission/gc`).
#[derive(Debug)]
pub(super) struct OwnerReferencesPermissionEnforcement;

#[async_trait]
impl Plugin for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }
    fn handles(&self, operation: Operation, _: &GroupVersionResource, _: &str) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }
    async fn validate(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let Some(new) = a.object.as_deref() else { return Ok(()) };
        let owners = |o: &serde_json::Value| object::list(o, &["metadata", "ownerReferences"]).to_vec();
        let (now, before) = (owners(new), a.old.map(owners).unwrap_or_default());
        if now == before {
            return Ok(());
        }
        let attributes = |verb, name, subresource| steersman_auth::Attributes {
            user: &a.ctx.user,
            verb,
            namespace: a.namespace,
            group: &a.resource.group,
            version: &a.resource.version,
            resource: &a.resource.resource,
            subresource,
            name,
            resource_request: true,
            path: "",
        };
        let (decision, why) = cluster.authorizer().authorize(&attributes("delete", a.name, a.subresource)).await;
        // On create there is nothing to take from anybody.
        if a.operation == Operation::Update && decision != Decision::Allow {
            let why = format!("cannot set an ownerRef on a resource you can't delete: {why}, <nil>");
            return Err(forbidden(a, why));
        }
        Ok(())
    }
}
