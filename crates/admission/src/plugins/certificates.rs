//! Who may approve and sign certificates, and that nobody gets `system:masters` by a request.

use super::{forbidden, is};
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use serde_json::Value;
use steersman_apimachinery::{GroupVersionResource, Status, object};

const GROUP: &str = "certificates.k8s.io";

/// Approving and signing need the verb on the signer (rule: upstream `plugin/pkg/admission/certificates/{approval,signing}`).
#[derive(Debug)]
pub(super) struct Permission {
    name: &'static str,
    verb: &'static str,
    subresource: &'static str,
}

impl Permission {
    pub(super) const APPROVE: Self = Self { name: "CertificateApproval", verb: "approve", subresource: "approval" };
    pub(super) const SIGN: Self = Self { name: "CertificateSigning", verb: "sign", subresource: "status" };
}

#[async_trait]
impl Plugin for Permission {
    fn name(&self) -> &'static str {
        self.name
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        operation == Operation::Update
            && is(resource, GROUP, "certificatesigningrequests")
            && subresource == self.subresource
    }
    async fn validate(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let (Some(new), Some(old)) = (a.object.as_deref(), a.old) else { return Ok(()) };
        // Signing is what changes the certificate or the conditions.
        let same = |k: &str| new["status"].get(k) == old["status"].get(k);
        if self.verb == "sign" && same("certificate") && same("conditions") {
            return Ok(());
        }
        let signer = object::str(old, &["spec", "signerName"]);
        let domain = format!("{}/*", signer.split('/').next().unwrap_or(""));
        for name in [signer, domain.as_str()] {
            let attributes = steersman_auth::Attributes {
                user: &a.ctx.user,
                verb: self.verb,
                namespace: "",
                group: GROUP,
                version: "*",
                resource: "signers",
                subresource: "",
                name,
                resource_request: true,
                path: "",
            };
            if cluster.authorizer().allows(&attributes).await {
                return Ok(());
            }
        }
        Err(forbidden(a, format!("user not permitted to {} requests with signerName {signer:?}", self.verb)))
    }
}

/// The legacy client signer must not make masters (rule: upstream `plugin/pkg/admission/certificates/subjectrestriction`).
#[derive(Debug)]
pub(super) struct SubjectRestriction;

#[async_trait]
impl Plugin for SubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        operation == Operation::Create && is(resource, GROUP, "certificatesigningrequests") && subresource.is_empty()
    }
    async fn validate(&self, a: &Attributes<'_>, _: &dyn Cluster) -> Result<(), Status> {
        let Some(csr) =
            a.object.as_deref().filter(|c| c["spec"]["signerName"] == "kubernetes.io/kube-apiserver-client")
        else {
            return Ok(());
        };
        if organizations(csr).iter().any(|o| o == "system:masters") {
            return Err(forbidden(
                a,
                "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed",
            ));
        }
        Ok(())
    }
}

/// The organisations in the subject of the request; none where it does not parse, since validation refuses that.
fn organizations(csr: &Value) -> Vec<String> {
    use base64::Engine;
    use x509_parser::prelude::FromDer;
    let pem = csr["spec"]["request"].as_str().and_then(|r| base64::engine::general_purpose::STANDARD.decode(r).ok());
    let Some(pem) = pem else { return Vec::new() };
    let Ok((_, block)) = x509_parser::pem::parse_x509_pem(&pem) else { return Vec::new() };
    let Ok((_, request)) = x509_parser::certification_request::X509CertificationRequest::from_der(&block.contents)
    else {
        return Vec::new();
    };
    let names = request.certification_request_info.subject.iter_organization();
    names.filter_map(|o| o.as_str().ok()).map(str::to_owned).collect()
}
