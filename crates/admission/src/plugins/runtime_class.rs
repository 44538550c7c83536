//! A runtime class brings its overhead, node selector and tolerations into the pod.

use super::{forbidden, is_pods};
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use steersman_apimachinery::{GroupVersionResource, Status, object};

/// The plug-in (rule: upstream `plugin/pkg/admission/runtimeclass`).
#[derive(Debug)]
pub(super) struct RuntimeClass;

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        operation == Operation::Create && is_pods(resource, subresource)
    }

    async fn admit(&self, a: &mut Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let Some(class) = class(a, cluster).await? else { return Ok(()) };
        if let Some(fixed) = class["overhead"].get("podFixed") {
            let has = a.object.as_deref().and_then(|p| p["spec"].get("overhead"));
            if has.is_some_and(|o| crate::pods::resources(Some(o)) != crate::pods::resources(Some(fixed))) {
                return Err(forbidden(a, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"));
            }
            if let Some(pod) = a.object.as_deref_mut() {
                pod["spec"]["overhead"] = fixed.clone();
            }
        }
        let selector = class["scheduling"]["nodeSelector"].as_object();
        for (k, v) in selector.into_iter().flatten() {
            let mine = a.object.as_deref().and_then(|p| p["spec"]["nodeSelector"].get(k)).filter(|m| *m != v);
            if let Some(mine) = mine {
                let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
                let why = format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{k}] = {}; pod.spec.nodeSelector[{k}] = {}",
                    text(v),
                    text(mine)
                );
                return Err(forbidden(a, why));
            }
            if let Some(pod) = a.object.as_deref_mut() {
                pod["spec"]["nodeSelector"][k] = v.clone();
            }
        }
        if let (Some(more), Some(pod)) = (class["scheduling"]["tolerations"].as_array(), a.object.as_deref_mut()) {
            let mut all = object::list(pod, &["spec", "tolerations"]).to_vec();
            for t in more {
                if !all.contains(t) {
                    all.push(t.clone());
                }
            }
            pod["spec"]["tolerations"] = all.into();
        }
        Ok(())
    }

    async fn validate(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let class = class(a, cluster).await?;
        let has = a.object.as_deref().is_some_and(|p| p["spec"]["overhead"].as_object().is_some_and(|o| !o.is_empty()));
        if has && class.is_none_or(|c| c["overhead"].get("podFixed").is_none()) {
            return Err(forbidden(
                a,
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            ));
        }
        Ok(())
    }
}

async fn class(a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<Option<Arc<Value>>, Status> {
    let name = a.object.as_deref().map(|p| object::str(p, &["spec", "runtimeClassName"])).unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    if let Some(found) = cluster.get("node.k8s.io", "runtimeclasses", "", name) {
        return Ok(Some(found));
    }
    match cluster.get_live("node.k8s.io", "runtimeclasses", "", name).await {
        Ok(found) => Ok(Some(Arc::new(found))),
        Err(e) if e.code == 404 => Err(forbidden(a, format!("pod rejected: RuntimeClass {name:?} not found"))),
        Err(e) => Err(e),
    }
}
