//! The words in which a request is refused (rule: apiserver `pkg/endpoints/handlers/responsewriters/errors.go`).

use crate::Attributes;
use steersman_apimachinery::field::go_quote;
use steersman_apimachinery::{GroupResource, Status};

/// 403, because of `reason` where there is one.
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
