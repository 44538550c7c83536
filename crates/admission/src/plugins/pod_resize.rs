//! Resizing a running pod needs a node that can.

use super::{forbidden, is};
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use steersman_apimachinery::{GroupVersionResource, Status, object};

/// The plug-in (rule: upstream `plugin/pkg/admission/podresize`).
#[derive(Debug)]
pub(super) struct PodResizeValidator;

#[async_trait]
impl Plugin for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        operation == Operation::Update && is(resource, "", "pods") && subresource == "resize"
    }
    async fn validate(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let Some(old) = a.old else { return Ok(()) };
        let Some(node) = cluster.get("", "nodes", "", object::str(old, &["spec", "nodeName"])) else { return Ok(()) };
        if object::label(&node, "kubernetes.io/os") == Some("windows") {
            return Err(forbidden(a, "Pod running on node does not support resize: windows"));
        }
        Ok(())
    }
}
