//! Approving, signing and forgetting certificate signing requests (rule: `pkg/controller/certificates`).

mod request;

pub mod approving;
pub mod cleaner;
pub mod signing;

use steersman_api::k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};

fn condition<'a>(
    request: &'a CertificateSigningRequest,
    type_: &str,
) -> Option<&'a CertificateSigningRequestCondition> {
    request.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_)
}

fn is_approved(request: &CertificateSigningRequest) -> bool {
    condition(request, "Approved").is_some() && condition(request, "Denied").is_none()
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    request.status.as_ref().and_then(|status| status.certificate.as_ref()).is_some_and(|pem| !pem.0.is_empty())
}
