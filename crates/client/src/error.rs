//! What can go wrong between a component and the apiserver.

use steersman_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

/// A failed request, watch or configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The apiserver answered with a failure.
    #[error("{}", status_message(.0))]
    Api(Box<Status>),
    /// The request did not reach the apiserver, or its answer got lost.
    #[error("request to the apiserver failed: {0}")]
    Transport(String),
    /// An object could not be encoded or an answer not decoded.
    #[error("cannot decode or encode an object: {0}")]
    Codec(#[from] serde_json::Error),
    /// The kubeconfig, the in-cluster configuration or a credential is not usable.
    #[error("{0}")]
    Config(String),
}

fn status_message(status: &Status) -> String {
    match &status.message {
        Some(message) if !message.is_empty() => message.clone(),
        _ => format!("the server answered {} {}", status.code.unwrap_or(0), status.reason.as_deref().unwrap_or("")),
    }
}

impl Error {
    /// The HTTP status of the apiserver's answer, 0 if there was none.
    pub fn code(&self) -> u16 {
        match self {
            Error::Api(status) => status.code.unwrap_or(0).clamp(0, 999) as u16,
            _ => 0,
        }
    }

    /// The machine-readable reason of the apiserver's answer, such as `NotFound`; empty if there was none.
    pub fn reason(&self) -> &str {
        match self {
            Error::Api(status) => status.reason.as_deref().unwrap_or(""),
            _ => "",
        }
    }

    /// The status that the apiserver answered with.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Error::Api(status) => Some(status),
            _ => None,
        }
    }

    /// The object, or its whole resource, is not there (404).
    pub fn is_not_found(&self) -> bool {
        self.code() == 404
    }

    /// The object exists already (409, reason AlreadyExists).
    pub fn is_already_exists(&self) -> bool {
        self.reason() == "AlreadyExists"
    }

    /// The object has changed since it was read, or an applied field belongs to somebody else (409, reason Conflict).
    pub fn is_conflict(&self) -> bool {
        self.reason() == "Conflict"
    }

    /// The wanted resource version is no longer, or not yet, in the history (410).
    pub fn is_gone(&self) -> bool {
        self.code() == 410
    }

    /// The caller may not do this (403).
    pub fn is_forbidden(&self) -> bool {
        self.code() == 403
    }

    /// The object is not acceptable as it is (422).
    pub fn is_invalid(&self) -> bool {
        self.code() == 422
    }

    /// The server is busy or a disruption budget does not allow an eviction now (429).
    pub fn is_too_many_requests(&self) -> bool {
        self.code() == 429
    }

    /// The namespace is being deleted, so that nothing can be created in it (403 with the cause NamespaceTerminating).
    pub fn is_namespace_terminating(&self) -> bool {
        let Error::Api(status) = self else { return false };
        let causes = status.details.as_ref().and_then(|details| details.causes.as_deref()).unwrap_or_default();
        causes.iter().any(|cause| cause.reason.as_deref() == Some("NamespaceTerminating"))
    }

    /// The answer never came: the same request may have been carried out or not.
    pub fn is_transport(&self) -> bool {
        matches!(self, Error::Transport(_))
    }

    pub(crate) fn api(code: u16, body: &[u8]) -> Self {
        let status = serde_json::from_slice::<Status>(body).ok().filter(|status| status.code.is_some());
        Error::Api(Box::new(status.unwrap_or_else(|| Status {
            code: Some(i32::from(code)),
            message: Some(String::from_utf8_lossy(&body[..body.len().min(1024)]).into_owned()),
            reason: Some(reason_of(code).to_owned()),
            status: Some("Failure".to_owned()),
            ..Status::default()
        })))
    }
}

/// The reason for a status code that came without a Status (rule: apimachinery `errors.NewGenericServerResponse`).
fn reason_of(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        410 => "Expired",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    }
}
