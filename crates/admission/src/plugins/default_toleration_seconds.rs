//! Pods tolerate a node that is not ready or unreachable for five minutes, unless they say something else.

use super::is_pods;
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use serde_json::{Value, json};
use steersman_apimachinery::{GroupVersionResource, Status};

/// The plug-in (rule: upstream `plugin/pkg/admission/defaulttolerationseconds`).
#[derive(Debug)]
pub(super) struct DefaultTolerationSeconds;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        matches!(operation, Operation::Create | Operation::Update) && is_pods(resource, subresource)
    }
    async fn admit(&self, a: &mut Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let (not_ready, unreachable) = cluster.config().default_toleration_seconds;
        let Some(pod) = a.object.as_deref_mut() else { return Ok(()) };
        for (key, seconds) in [(NOT_READY, not_ready), (UNREACHABLE, unreachable)] {
            let tolerates = |t: &Value| {
                let text = |k: &str| t[k].as_str().unwrap_or("");
                (text("key") == key || text("key").is_empty())
                    && (text("effect") == "NoExecute" || text("effect").is_empty())
            };
            let tolerations = &mut pod["spec"]["tolerations"];
            if tolerations.as_array().is_some_and(|l| l.iter().any(tolerates)) {
                continue;
            }
            let new = json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds });
            match tolerations {
                Value::Array(list) => list.push(new),
                other => *other = json!([new]),
            }
        }
        Ok(())
    }
}
