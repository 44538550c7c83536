//! What is wrong with a CertificateSigningRequest (rule: `pkg/apis/certificates/validation`).

use crate::checks;
use crate::fields::Fields;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, validation};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};

const LEGACY: &str = "kubernetes.io/legacy-unknown";
const SHORTEST: i64 = 600;
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The request itself: one PEM block with a PKCS#10 request.
fn request(text: &str) -> Result<(), String> {
    const WRONG: &str = "PEM block type must be CERTIFICATE REQUEST";
    let bytes = STANDARD.decode(text).map_err(|_| WRONG.to_owned())?;
    let block = Pem::iter_from_buffer(&bytes).next().and_then(Result::ok).filter(|b| b.label == "CERTIFICATE REQUEST");
    let block = block.ok_or(WRONG)?;
    match X509CertificationRequest::from_der(&block.contents) {
        Ok(([], csr)) => csr.verify_signature().map_err(|_| "x509: verification failure".to_owned()),
        Ok(_) => Err("asn1: syntax error: trailing data".into()),
        Err(_) => Err("asn1: structure error: malformed certificate request".into()),
    }
}

/// A chain of certificates in PEM.
fn certificate(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let bytes = STANDARD.decode(text).unwrap_or_default();
    let mut count = 0;
    for block in Pem::iter_from_buffer(&bytes) {
        let Ok(block) = block else { break };
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found \"{}\"", block.label));
        }
        match X509Certificate::from_der(&block.contents) {
            Ok(([], _)) => count += 1,
            _ => return Err("x509: malformed certificate".into()),
        }
    }
    if count == 0 { Err("must contain at least one CERTIFICATE PEM block".into()) } else { Ok(()) }
}

/// A signer's name: a domain with a path of one part.
fn signer_name(e: &mut ErrorList, path: &Path, name: &str) {
    if name.is_empty() {
        e.required(path, "");
        return;
    }
    let parts: Vec<&str> = name.split('/').collect();
    let [domain, rest] = parts[..] else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        e.invalid(path, name, why);
        return;
    };
    if domain.len() > 253 {
        e.too_long(path, 253);
    }
    let labels: Vec<&str> = domain.split('.').collect();
    first_bad_label(e, path, domain, &labels, |l| validation::dns_label(l, false));
    if labels.len() < 2 {
        e.invalid(path, domain, "should be a domain with at least two segments separated by dots");
    }
    let labels: Vec<&str> = rest.split('.').collect();
    first_bad_label(e, path, rest, &labels, |l| validation::dns_subdomain(l, false));
    const LONGEST: usize = 253 + (253 + 63 + 1) + 1;
    if name.len() > LONGEST {
        e.too_long(path, LONGEST);
    }
}

fn first_bad_label(e: &mut ErrorList, path: &Path, whole: &str, labels: &[&str], check: fn(&str) -> Vec<String>) {
    for label in labels {
        let messages = check(label);
        for m in &messages {
            e.invalid(path, whole, format!("validating label \"{label}\": {m}"));
        }
        if !messages.is_empty() {
            return;
        }
    }
}

fn conditions(e: &mut ErrorList, obj: &Value) {
    let path = Path::new("status").child("conditions");
    let mut seen = BTreeSet::new();
    let (mut approved, mut denied) = (false, false);
    for (i, c) in obj.at("status").items("conditions").iter().enumerate() {
        let p = path.index(i);
        let (kind, status) = (c.s("type"), c.s("status"));
        if kind.is_empty() {
            e.required(&p.child("type"), "");
        }
        approved |= kind == "Approved";
        denied |= kind == "Denied";
        let allowed: &[&str] =
            if matches!(kind, "Approved" | "Denied" | "Failed") { &["True"] } else { &["False", "True", "Unknown"] };
        if status.is_empty() {
            e.required(&p.child("status"), "");
        } else {
            checks::one_of(e, &p.child("status"), status, allowed);
        }
        if approved && denied {
            e.invalid(&p.child("type"), kind, "Approved and Denied conditions are mutually exclusive");
            (approved, denied) = (false, false);
        }
        if !seen.insert(kind) {
            e.duplicate(&p.child("type"), kind);
        }
    }
}

fn issued(e: &mut ErrorList, obj: &Value) {
    if let Err(why) = certificate(obj.at("status").s("certificate")) {
        e.invalid(&Path::new("status").child("certificate"), "<certificate data>", why);
    }
}

/// A new request.
pub(super) fn create(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    if let Err(why) = request(spec.s("request")) {
        e.invalid(&path.child("request"), spec.at("request"), why);
    }
    let at = path.child("usages");
    let usages = spec.strings("usages");
    if usages.is_empty() {
        e.required(&at, "");
    }
    for (i, usage) in usages.iter().enumerate() {
        checks::one_of(&mut e, &at.index(i), usage, USAGES);
    }
    let mut seen = BTreeSet::new();
    for (i, usage) in usages.into_iter().enumerate() {
        if !seen.insert(usage) {
            e.duplicate(&at.index(i), usage);
        }
    }
    let (at, signer) = (path.child("signerName"), spec.s("signerName"));
    if signer == LEGACY {
        e.invalid(&at, signer, "the legacy signerName is not allowed via this API version");
    } else {
        signer_name(&mut e, &at, signer);
    }
    if let Some(seconds) = spec.int("expirationSeconds").filter(|s| *s < SHORTEST) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        e.invalid(&path.child("expirationSeconds"), seconds, why);
    }
    conditions(&mut e, obj);
    issued(&mut e, obj);
    e
}

/// What an update may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// Neither approve nor issue.
    Nothing,
    /// Approve and deny.
    Approval,
    /// Issue the certificate.
    Certificate,
}

/// A changed request.
pub(super) fn update(new: &Value, old: &Value, allowed: Allowed) -> ErrorList {
    let mut e = ErrorList::new();
    conditions(&mut e, new);
    issued(&mut e, new);
    let path = Path::new("status").child("conditions");
    let of = |o: &Value, kind: &str| -> Vec<Value> {
        o.at("status").items("conditions").iter().filter(|c| c.s("type") == kind).cloned().collect()
    };
    for kind in ["Approved", "Denied", "Failed"] {
        if of(new, kind).len() < of(old, kind).len() {
            e.forbidden(&path, format!("updates may not remove a condition of type \"{kind}\""));
        }
    }
    if allowed != Allowed::Approval {
        for kind in ["Approved", "Denied"] {
            let (is, was) = (of(new, kind), of(old, kind));
            if is.len() > was.len() {
                e.forbidden(&path, format!("updates may not add a condition of type \"{kind}\""));
            } else if is.len() == was.len() && is != was {
                e.forbidden(&path, format!("updates may not modify a condition of type \"{kind}\""));
            }
        }
    }
    let issued = |o: &Value| o.at("status").s("certificate").to_owned();
    if issued(new) != issued(old) {
        let path = Path::new("status").child("certificate");
        if allowed != Allowed::Certificate {
            e.forbidden(&path, "updates may not set certificate content");
        } else if !issued(old).is_empty() {
            e.forbidden(&path, "updates may not modify existing certificate content");
        }
    }
    e
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signer_names() {
        let check = |name: &str, want: &str| {
            let mut e = ErrorList::new();
            signer_name(&mut e, &Path::new("s"), name);
            let got = e.0.first().map(|e| e.body.clone()).unwrap_or_default();
            assert!(got.starts_with(want) && got.is_empty() == want.is_empty(), "{name}: {got}");
        };
        check("example.com/x", "");
        check("", "Required value");
        check("plain", "Invalid value: \"plain\": must be a fully qualified domain");
        check("UPPER.com/x", "Invalid value: \"UPPER.com\": validating label \"UPPER\": a lowercase RFC 1123 label");
        check("com/x", "Invalid value: \"com\": should be a domain with at least two segments");
    }
}
