//! What a user sees when a request fails: `kind: Status`, made in one place
//! (rule: apimachinery `pkg/api/errors`).

use crate::field::ErrorList;
use crate::gvk::{GroupKind, GroupResource};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a request failed, for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Reason {
    #[default]
    #[serde(rename = "")]
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    StorageReadError,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
    NamespaceTerminating,
    InvalidQuota,
}

/// One detail of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// For programs, e.g. `FieldValueRequired`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The path of the field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What the failure was about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Details {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: i32,
}

fn is_zero(n: &i32) -> bool {
    *n == 0
}

/// The answer to a request that failed (or to a deletion that worked).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `Failure` or `Success`.
    pub status: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// For programs.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub reason: Reason,
    /// What it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
    /// The HTTP status code; 0 where the answer is a success that says none.
    #[serde(default, skip_serializing_if = "is_zero_u16")]
    pub code: u16,
    /// `metadata.continue`: with an expired continue token comes one that goes on with what is there now.
    #[serde(skip)]
    pub continue_token: String,
}
fn is_unknown(r: &Reason) -> bool {
    *r == Reason::Unknown
}
fn is_zero_u16(n: &u16) -> bool {
    *n == 0
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
impl std::error::Error for Status {}

fn about(gr: &GroupResource, name: &str) -> Details {
    Details { name: name.into(), group: gr.group.to_string(), kind: gr.resource.to_string(), ..Details::default() }
}

impl Status {
    /// Any failure.
    pub fn failure(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status: "Failure".into(),
            message: message.into(),
            reason,
            details: None,
            code,
            continue_token: String::new(),
        }
    }
    /// The same with details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }
    /// The same with one more cause.
    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let cause = Cause { reason: reason.into(), message: message.into(), field: field.into() };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }
    /// `pods "p" not found`.
    pub fn not_found(gr: &GroupResource, name: &str) -> Self {
        Self::failure(404, Reason::NotFound, format!("{gr} \"{name}\" not found")).with_details(about(gr, name))
    }
    /// `pods "p" already exists`.
    pub fn already_exists(gr: &GroupResource, name: &str) -> Self {
        Self::failure(409, Reason::AlreadyExists, format!("{gr} \"{name}\" already exists"))
            .with_details(about(gr, name))
    }
    /// `Operation cannot be fulfilled on pods "p": <why>`.
    pub fn conflict(gr: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        Self::failure(409, Reason::Conflict, format!("Operation cannot be fulfilled on {gr} \"{name}\": {why}"))
            .with_details(about(gr, name))
    }
    /// `pods "p" is forbidden: <why>`; without a name `pods is forbidden: <why>`.
    pub fn forbidden(gr: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = if gr.resource.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{gr} is forbidden: {why}")
        } else {
            format!("{gr} \"{name}\" is forbidden: {why}")
        };
        Self::failure(403, Reason::Forbidden, message).with_details(about(gr, name))
    }
    /// 422 with every field error as a cause: `Pod "p" is invalid: ...`.
    pub fn invalid(gk: &GroupKind, name: &str, errors: &ErrorList) -> Self {
        let causes = errors
            .0
            .iter()
            .map(|e| Cause { reason: e.kind.reason().into(), message: e.body.clone(), field: e.field.to_string() })
            .collect();
        let message = if errors.is_empty() {
            format!("{gk} \"{name}\" is invalid")
        } else {
            format!("{gk} \"{name}\" is invalid: {}", errors.joined())
        };
        Self::failure(422, Reason::Invalid, message).with_details(Details {
            name: name.into(),
            group: gk.group.to_string(),
            kind: gk.kind.to_string(),
            causes,
            ..Details::default()
        })
    }
    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, Reason::BadRequest, message)
    }
    /// 401.
    pub fn unauthorized() -> Self {
        Self::failure(401, Reason::Unauthorized, "Unauthorized")
    }
    /// 405.
    pub fn method_not_supported(gr: &GroupResource, action: &str) -> Self {
        let message = format!("{action} is not supported on resources of kind \"{gr}\"");
        Self::failure(405, Reason::MethodNotAllowed, message).with_details(about(gr, ""))
    }
    /// 410 with reason Expired: the resourceVersion or continue token is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, Reason::Expired, message)
    }
    /// 413.
    pub fn too_large(message: impl fmt::Display) -> Self {
        Self::failure(413, Reason::RequestEntityTooLarge, format!("Request entity too large: {message}"))
    }
    /// 429; after `retry` seconds it may go through.
    pub fn too_many_requests(message: impl Into<String>, retry: i32) -> Self {
        Self::failure(429, Reason::TooManyRequests, message)
            .with_details(Details { retry_after_seconds: retry, ..Details::default() })
    }
    /// 500: `Internal error occurred: <why>`.
    pub fn internal(why: impl fmt::Display) -> Self {
        Self::failure(500, Reason::InternalError, format!("Internal error occurred: {why}")).with_cause(
            "",
            why.to_string(),
            "",
        )
    }
    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, Reason::ServiceUnavailable, message)
    }
    /// 504 `Timeout: <why>`.
    pub fn timeout(why: impl fmt::Display, retry: i32) -> Self {
        Self::failure(504, Reason::Timeout, format!("Timeout: {why}"))
            .with_details(Details { retry_after_seconds: retry, ..Details::default() })
    }
    /// The whole object: `{"kind":"Status","apiVersion":"v1","metadata":{},...}`.
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Whole<'a> {
            kind: &'static str,
            api_version: &'static str,
            metadata: serde_json::Map<String, serde_json::Value>,
            #[serde(flatten)]
            status: &'a Status,
        }
        let mut metadata = serde_json::Map::new();
        if !self.continue_token.is_empty() {
            metadata.insert("continue".into(), self.continue_token.as_str().into());
        }
        let whole = Whole { kind: "Status", api_version: "v1", metadata, status: self };
        serde_json::to_vec(&whole).unwrap_or_default()
    }
}
