//! Whether a request may go on, and the words of the answer if not
//! (rule: apiserver `pkg/endpoints/handlers/responsewriters/errors.go`).

use crate::request_info::RequestInfo;
use steersman_apimachinery::field::go_quote;
use steersman_apimachinery::{GroupResource, Status};
use steersman_auth::{Attributes, Authorizer, Decision, UserInfo};

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

/// 403.
pub fn forbidden(a: &Attributes<'_>, reason: &str) -> Status {
    let mut why = sanitized(&message(a));
    if !reason.is_empty() {
        why = format!("{why}: {reason}");
    }
    let gr = GroupResource::new(a.group.to_owned(), a.resource.to_owned());
    Status::forbidden(&gr, a.name, why)
}

fn message(a: &Attributes<'_>) -> String {
    let user = go_quote(&a.user.name);
    if !a.resource_request {
        return format!("User {user} cannot {} path {}", a.verb, go_quote(a.path));
    }
    let resource =
        if a.subresource.is_empty() { a.resource.to_owned() } else { format!("{}/{}", a.resource, a.subresource) };
    let place = if a.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {}", go_quote(a.namespace))
    };
    format!("User {user} cannot {} resource {} in API group {} {place}", a.verb, go_quote(&resource), go_quote(a.group))
}

/// Upstream escapes what could be taken for HTML.
fn sanitized(s: &str) -> String {
    s.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
