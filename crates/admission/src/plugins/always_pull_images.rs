//! Every container pulls its image, so that private images are seen by nobody who may not pull them.

use super::{forbidden, is_pods};
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use serde_json::Value;
use steersman_apimachinery::{GroupVersionResource, Status};

/// The plug-in (rule: upstream `plugin/pkg/admission/alwayspullimages`).
#[derive(Debug)]
pub(super) struct AlwaysPullImages;

const LISTS: &[&str] = &["initContainers", "containers", "ephemeralContainers"];

#[async_trait]
impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && (is_pods(resource, subresource)
                || (super::is(resource, "", "pods") && subresource == "ephemeralcontainers"))
    }
    async fn admit(&self, a: &mut Attributes<'_>, _: &dyn Cluster) -> Result<(), Status> {
        let Some(pod) = a.object.as_deref_mut() else { return Ok(()) };
        for list in LISTS {
            for c in pod["spec"].get_mut(*list).and_then(Value::as_array_mut).into_iter().flatten() {
                c["imagePullPolicy"] = "Always".into();
            }
        }
        Ok(())
    }
    async fn validate(&self, a: &Attributes<'_>, _: &dyn Cluster) -> Result<(), Status> {
        let Some(pod) = a.object.as_deref() else { return Ok(()) };
        let lists = LISTS.iter().flat_map(|l| crate::pods::containers(&pod["spec"], l));
        match lists.filter(|c| c["imagePullPolicy"] != "Always").count() {
            0 => Ok(()),
            _ => Err(forbidden(
                a,
                "spec.initContainers[0].imagePullPolicy: Unsupported value: supported values: \"Always\"",
            )),
        }
    }
}
