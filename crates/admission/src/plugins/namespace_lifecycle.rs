//! Objects need a namespace that is there and is not being deleted; reserved namespaces stay.

use super::is;
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use steersman_apimachinery::{GroupResource, GroupVersionResource, Status, object};

/// The plug-in (rule: apiserver `plugin/namespace/lifecycle`).
#[derive(Debug)]
pub(super) struct NamespaceLifecycle;

const RESERVED: &[&str] = &["default", "kube-system", "kube-public"];
const NAMESPACES: GroupResource = GroupResource::from_static("", "namespaces");

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, operation: Operation, _: &GroupVersionResource, _: &str) -> bool {
        operation != Operation::Connect
    }

    async fn admit(&self, a: &mut Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if is(a.resource, "", "namespaces") {
            if a.operation == Operation::Delete && RESERVED.contains(&a.name) {
                return Err(Status::forbidden(&NAMESPACES, a.name, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        // Only what makes something new needs the namespace; reviews may be asked of any.
        if a.namespace.is_empty()
            || a.operation == Operation::Delete
            || is(a.resource, "authorization.k8s.io", "localsubjectaccessreviews")
        {
            return Ok(());
        }
        let namespace = match cluster.get("", "namespaces", "", a.namespace) {
            Some(found) => found,
            // The cache may lag behind a creation a moment ago.
            None => std::sync::Arc::new(cluster.get_live("", "namespaces", "", a.namespace).await?),
        };
        if a.operation == Operation::Create
            && a.subresource.is_empty()
            && object::str(&namespace, &["status", "phase"]) == "Terminating"
        {
            let gr = GroupResource { group: a.resource.group.clone(), resource: a.resource.resource.clone() };
            let ns = a.namespace;
            let why = format!("unable to create new content in namespace {ns} because it is being terminated");
            return Err(Status::forbidden(&gr, a.name, why).with_cause(
                "NamespaceTerminating",
                format!("namespace {ns} is being terminated"),
                "metadata.namespace",
            ));
        }
        Ok(())
    }
}
