//! The server's side of TLS: certificates that follow their files, chosen by host name.

use crate::config::Config;
use crate::peer::AnyClientCert;
use rustls::ServerConfig;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use steersman_pki::authority::{Request, Usage, self_signed};
use steersman_pki::reload::ReloadingCert;

/// Days that a generated certificate is good for.
const SELF_SIGNED_DAYS: i64 = 365;

/// TLS as the flags say. Without a certificate one is made in `--cert-dir` and used again at the next start.
pub fn server_config(config: &Config) -> Result<Arc<ServerConfig>, steersman_pki::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] =
        if config.tls.only_tls13 { &[&rustls::version::TLS13] } else { rustls::ALL_VERSIONS };
    let (cert, key) = match &config.tls.cert {
        Some(pair) => pair.clone(),
        None => generated(config)?,
    };
    let sni = config
        .tls
        .sni
        .iter()
        .map(|(cert, key, domains)| Ok((ReloadingCert::new(cert.clone(), key.clone())?, domains.clone())));
    let resolver = Resolver {
        default: ReloadingCert::new(cert, key)?,
        by_name: sni.collect::<Result<_, steersman_pki::Error>>()?,
    };
    let mut tls = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(Arc::new(AnyClientCert(provider)))
        .with_cert_resolver(Arc::new(resolver));
    tls.alpn_protocols =
        if config.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(Arc::new(tls))
}

fn generated(config: &Config) -> Result<(std::path::PathBuf, std::path::PathBuf), steersman_pki::Error> {
    let base = config.tls.cert_dir.join("apiserver");
    let (cert, key) = steersman_pki::files::pair(&base);
    if !cert.exists() || !key.exists() {
        let mut hosts: Vec<String> = [
            "localhost",
            "127.0.0.1",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ]
        .map(str::to_owned)
        .to_vec();
        hosts.extend([config.advertise.to_string(), config.service_ip.to_string()]);
        if !config.external_hostname.is_empty() {
            hosts.push(config.external_hostname.clone());
        }
        hosts.sort_unstable();
        hosts.dedup();
        let name = config.advertise.to_string();
        let request = Request {
            common_name: &name,
            organizations: &[],
            hosts: &hosts,
            usage: Usage::Server,
            days: SELF_SIGNED_DAYS,
        };
        self_signed(&request)?.write(&base)?;
        tracing::info!(certificate = %cert.display(), "made a self-signed serving certificate");
    }
    Ok((cert, key))
}

/// Chooses by the name that the client asks for.
#[derive(Debug)]
struct Resolver {
    default: Arc<ReloadingCert>,
    by_name: Vec<(Arc<ReloadingCert>, Vec<String>)>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_owned);
        for (cert, domains) in name.iter().flat_map(|_| &self.by_name) {
            let name = name.as_deref()?;
            if domains.iter().any(|d| covers(d, name)) {
                return Some(cert.current());
            }
            if domains.is_empty() && is_for(&cert.current(), name) {
                return Some(cert.current());
            }
        }
        self.default.resolve(hello)
    }
}

/// Whether a domain, perhaps with a star in front, covers a name.
fn covers(domain: &str, name: &str) -> bool {
    match domain.strip_prefix("*.") {
        Some(rest) => name.split_once('.').is_some_and(|(_, n)| n.eq_ignore_ascii_case(rest)),
        None => domain.eq_ignore_ascii_case(name),
    }
}

/// Whether a certificate itself names a host.
fn is_for(cert: &CertifiedKey, name: &str) -> bool {
    let (Some(own), Ok(name)) = (cert.cert.first(), ServerName::try_from(name)) else { return false };
    ParsedCertificate::try_from(own).is_ok_and(|own| rustls::client::verify_server_name(&own, &name).is_ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn domains() {
        let covers = super::covers;
        assert!(covers("*.example.com", "a.example.com") && !covers("*.example.com", "a.b.example.com"));
        assert!(covers("Example.com", "example.com") && !covers("example.com", "x.example.com"));
    }
}
