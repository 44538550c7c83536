//! A pod that is bound gets its node's zone and region as labels.

use super::is;
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use steersman_apimachinery::{GroupVersionResource, Status, object};

/// The plug-in (rule: upstream `plugin/pkg/admission/podtopologylabels`).
#[derive(Debug)]
pub(super) struct PodTopologyLabels;

const LABELS: &[&str] = &["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

#[async_trait]
impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        operation == Operation::Create
            && ((is(resource, "", "pods") && matches!(subresource, "" | "binding")) || is(resource, "", "bindings"))
    }
    async fn admit(&self, a: &mut Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let binds = a.subresource == "binding" || is(a.resource, "", "bindings");
        let Some(object) = a.object.as_deref_mut() else { return Ok(()) };
        let node =
            if binds { object::str(object, &["target", "name"]) } else { object::str(object, &["spec", "nodeName"]) };
        if node.is_empty() {
            return Ok(());
        }
        let Some(node) = cluster.get("", "nodes", "", node) else { return Ok(()) };
        for label in LABELS {
            if let Some(value) = object::label(&node, label) {
                object::set(object, &["metadata", "labels", label], value);
            }
        }
        Ok(())
    }
}
