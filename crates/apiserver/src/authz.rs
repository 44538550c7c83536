//! Whether a request may go on.

use crate::request_info::RequestInfo;
use steersman_apimachinery::Status;
use steersman_auth::{Attributes, Authorizer, Decision, UserInfo, forbidden};

/// Asks the authoriser about a request.
pub async fn authorize(user: &UserInfo, info: &RequestInfo, authorizer: &dyn Authorizer) -> Result<(), Status> {
    require(&attributes(user, info), authorizer).await
}

/// A request as authorisers see it.
pub fn attributes<'a>(user: &'a UserInfo, info: &'a RequestInfo) -> Attributes<'a> {
    Attributes {
        user,
        verb: &info.verb,
        namespace: &info.namespace,
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        name: &info.name,
        resource_request: info.is_resource,
        path: &info.path,
    }
}

/// 403 unless the authoriser allows it.
pub async fn require(a: &Attributes<'_>, authorizer: &dyn Authorizer) -> Result<(), Status> {
    let (decision, reason) = authorizer.authorize(a).await;
    if decision == Decision::Allow {
        return Ok(());
    }
    Err(forbidden(a, &reason))
}
