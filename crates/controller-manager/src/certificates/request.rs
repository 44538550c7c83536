//! What is asked for: the parsed PKCS#10 request, and the rules of upstream's signers
//! (rule: `pkg/apis/certificates/helpers.go`).

use std::collections::BTreeSet;

use steersman_api::k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

pub const APISERVER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
pub const LEGACY_UNKNOWN: &str = "kubernetes.io/legacy-unknown";

const CLIENT_USAGES: &[&[&str]] =
    &[&["key encipherment", "digital signature", "client auth"], &["digital signature", "client auth"]];
const SERVER_USAGES: &[&[&str]] =
    &[&["key encipherment", "digital signature", "server auth"], &["digital signature", "server auth"]];

/// Subject and alternative names of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: usize,
    pub addresses: usize,
    /// E-mail addresses, URIs and other kinds.
    pub others: usize,
}

/// Parses a PEM request.
pub fn parse(pem: &[u8]) -> Result<Parsed, String> {
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(pem).map_err(|_| "PEM block type must be CERTIFICATE REQUEST".to_owned())?;
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).map_err(|error| error.to_string())?;
    let subject = &request.certification_request_info.subject;
    let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().unwrap_or("").to_owned();
    let mut parsed = Parsed {
        common_name: subject.iter_common_name().next().map(text).unwrap_or_default(),
        organizations: subject.iter_organization().map(text).collect(),
        ..Parsed::default()
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(names) = extension {
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(_) => parsed.dns_names += 1,
                    GeneralName::IPAddress(_) => parsed.addresses += 1,
                    _ => parsed.others += 1,
                }
            }
        }
    }
    Ok(parsed)
}

fn has_usages(spec: &CertificateSigningRequestSpec, allowed: &[&[&str]]) -> bool {
    let given: BTreeSet<&str> = spec.usages.iter().flatten().map(String::as_str).collect();
    allowed.iter().any(|set| set.iter().copied().collect::<BTreeSet<_>>() == given)
}

/// Whether this is what a kubelet asks for to be a client.
pub fn is_kubelet_client(parsed: &Parsed, spec: &CertificateSigningRequestSpec) -> bool {
    parsed.organizations == ["system:nodes"]
        && parsed.dns_names + parsed.addresses + parsed.others == 0
        && parsed.common_name.starts_with("system:node:")
        && has_usages(spec, CLIENT_USAGES)
}

/// Whether this is what a kubelet asks for to serve.
pub fn is_kubelet_serving(parsed: &Parsed, spec: &CertificateSigningRequestSpec) -> bool {
    parsed.organizations == ["system:nodes"]
        && parsed.dns_names + parsed.addresses > 0
        && parsed.others == 0
        && parsed.common_name.starts_with("system:node:")
        && spec.username.as_deref() == Some(&parsed.common_name)
        && has_usages(spec, SERVER_USAGES)
}

/// Whether any client of the apiserver may ask for this: usages for clients only.
pub fn is_client(spec: &CertificateSigningRequestSpec) -> bool {
    let allowed = ["digital signature", "key encipherment", "client auth"];
    spec.usages.iter().flatten().all(|usage| allowed.contains(&usage.as_str()))
        && spec.usages.iter().flatten().any(|usage| usage == "client auth")
}

#[cfg(test)]
mod tests {
    use steersman_pki::{Request, Usage, authority};

    use super::*;

    #[test]
    fn kubelets_are_recognised() {
        let check = |name: &str, group: &str, hosts: &[&str], usages: &[&str], client: bool, serving: bool| {
            let hosts: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
            let issued = authority::signing_request(&Request {
                common_name: name,
                organizations: &[group],
                hosts: &hosts,
                usage: Usage::Client,
                days: 1,
            })
            .unwrap();
            let parsed = parse(issued.certificate.as_bytes()).unwrap();
            let spec = CertificateSigningRequestSpec {
                username: Some("system:node:a".to_owned()),
                usages: Some(usages.iter().map(|u| (*u).to_owned()).collect()),
                ..CertificateSigningRequestSpec::default()
            };
            assert_eq!((is_kubelet_client(&parsed, &spec), is_kubelet_serving(&parsed, &spec)), (client, serving));
        };
        let client = ["digital signature", "client auth"];
        let server = ["server auth", "digital signature"];
        check("system:node:a", "system:nodes", &[], &client, true, false);
        check("system:node:a", "system:nodes", &["a"], &client, false, false);
        check("system:node:a", "system:nodes", &["a", "10.0.0.1"], &server, false, true);
        check("system:node:b", "system:nodes", &["a"], &server, false, false);
        check("admin", "system:nodes", &[], &client, false, false);
        check("system:node:a", "system:masters", &[], &client, false, false);
        assert!(parse(b"nonsense").is_err());
    }
}
