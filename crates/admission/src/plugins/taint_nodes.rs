//! New nodes are not ready until the node life-cycle controller says so.

use super::is;
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use serde_json::{Value, json};
use steersman_apimachinery::{GroupVersionResource, Status};

/// The plug-in (rule: upstream `plugin/pkg/admission/nodetaint`).
#[derive(Debug)]
pub(super) struct TaintNodesByCondition;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        operation == Operation::Create && is(resource, "", "nodes") && subresource.is_empty()
    }
    async fn admit(&self, a: &mut Attributes<'_>, _: &dyn Cluster) -> Result<(), Status> {
        let Some(node) = a.object.as_deref_mut() else { return Ok(()) };
        let taints = &mut node["spec"]["taints"];
        let is_it = |t: &Value| t["key"] == NOT_READY && t["effect"] == "NoSchedule";
        if taints.as_array().is_some_and(|l| l.iter().any(is_it)) {
            return Ok(());
        }
        let taint = json!({ "key": NOT_READY, "effect": "NoSchedule" });
        match taints {
            Value::Array(l) => l.push(taint),
            other => *other = json!([taint]),
        }
        Ok(())
    }
}
