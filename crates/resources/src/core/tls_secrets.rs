//! What is said of a key pair in a Secret that is no good (rule: `pkg/registry/core/secret` warnings, and what Go's
//! `tls.X509KeyPair` says).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A block of PEM: its type and what it holds.
type Block = (String, Vec<u8>);

/// The blocks of a text; what is malformed is passed over, as Go does.
fn blocks(text: &str) -> Vec<Block> {
    let mut out = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.trim_end().strip_prefix("-----BEGIN ").and_then(|l| l.strip_suffix("-----")) else {
            continue;
        };
        let end = format!("-----END {kind}-----");
        let rest = lines.clone();
        let mut body = String::new();
        let closed = lines.by_ref().any(|l| {
            let over = l.trim_end() == end;
            // Lines with a colon are headers.
            if !over && !l.contains(':') {
                body.extend(l.chars().filter(|c| !c.is_whitespace()));
            }
            over
        });
        match STANDARD.decode(&body) {
            Ok(bytes) if closed => out.push((kind.to_owned(), bytes)),
            _ => lines = rest,
        }
    }
    out
}

fn skipped(types: &[Block]) -> String {
    types.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>().join(" ")
}

/// What is wrong with a certificate and its key.
pub(super) fn problem(certificate: &[u8], key: &[u8]) -> Option<String> {
    const AFTER: &str = "after skipping PEM blocks of the following types";
    let (certificates, keys) = (blocks(&String::from_utf8_lossy(certificate)), blocks(&String::from_utf8_lossy(key)));
    let Some((_, first)) = certificates.iter().find(|(kind, _)| kind == "CERTIFICATE") else {
        return Some(match &certificates[..] {
            [] => "tls: failed to find any PEM data in certificate input".to_owned(),
            [(kind, _)] if kind.ends_with("PRIVATE KEY") => "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned(),
            all => {
                format!("tls: failed to find \"CERTIFICATE\" PEM block in certificate input {AFTER}: [{}]", skipped(all))
            }
        });
    };
    if !keys.iter().any(|(kind, _)| kind == "PRIVATE KEY" || kind.ends_with(" PRIVATE KEY")) {
        return Some(match &keys[..] {
            [] => "tls: failed to find any PEM data in key input".to_owned(),
            [(kind, _)] if kind == "CERTIFICATE" => {
                "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
            }
            all => format!(
                "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input {AFTER}: [{}]",
                skipped(all)
            ),
        });
    }
    X509Certificate::from_der(first).is_err().then(|| "x509: malformed certificate".to_owned())
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn key_pairs() {
        let pem = |kind: &str| format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
        let check = |certificate: &str, key: &str, want: &str| {
            assert_eq!(problem(certificate.as_bytes(), key.as_bytes()).as_deref(), Some(want));
        };
        let (certificate, key) = (pem("CERTIFICATE"), pem("RSA PRIVATE KEY"));
        check("", &key, "tls: failed to find any PEM data in certificate input");
        check("-----BEGIN CERTIFICATE-----\n!\n", &key, "tls: failed to find any PEM data in certificate input");
        check(
            &key,
            &key,
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched",
        );
        check(
            &pem("X"),
            &key,
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [X]",
        );
        check(&certificate, "", "tls: failed to find any PEM data in key input");
        check(&certificate, &certificate, "tls: found a certificate rather than a key in the PEM for the private key");
        check(&certificate, &key, "x509: malformed certificate");
    }
}
