//! No new external IPs on services.

use super::{forbidden, is};
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use steersman_apimachinery::{GroupVersionResource, Status, object};

/// The plug-in (rule: upstream `plugin/pkg/admission/network/denyserviceexternalips`).
#[derive(Debug)]
pub(super) struct DenyServiceExternalIps;

#[async_trait]
impl Plugin for DenyServiceExternalIps {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && is(resource, "", "services")
            && subresource.is_empty()
    }
    async fn validate(&self, a: &Attributes<'_>, _: &dyn Cluster) -> Result<(), Status> {
        let Some(new) = a.object.as_deref() else { return Ok(()) };
        let had = a.old.map(|o| object::list(o, &["spec", "externalIPs"])).unwrap_or_default();
        if object::list(new, &["spec", "externalIPs"]).iter().all(|ip| had.contains(ip)) {
            return Ok(());
        }
        Err(forbidden(a, "Use of external IPs is denied by admission control"))
    }
}
