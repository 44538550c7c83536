//! The certificate the kubelet shows, and the authority it checks clients against.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use steersman_component::flags::Flags;
use steersman_pki::{Request, Usage, authority, files, reload::ReloadingCert};

use crate::{bootstrap, kubelet::Kubelet};

/// How long a certificate lasts that the kubelet gives itself, in days.
const SELF_SIGNED_DAYS: i64 = 365;

pub(super) async fn config(k: &Kubelet, flags: &Flags) -> Result<Arc<ServerConfig>> {
    let (certificate, key) = match (&k.client, k.config.server_tls_bootstrap && k.config.tls_cert_file.is_empty()) {
        (Some(client), true) => {
            let file = bootstrap::serving_certificate(flags, client, &k.node_name, &k.node.ips()).await?;
            (file.clone(), file)
        }
        _ => serving_pair(k, flags)?,
    };
    let resolver = ReloadingCert::new(certificate, key).context("cannot use the serving certificate")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let ca = &k.config.authentication.x509.client_ca_file;
    let builder = if ca.is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        let found = files::certificates(ca.as_ref()).with_context(|| format!("unable to load client CA file {ca}"))?;
        for certificate in found {
            roots.add(certificate)?;
        }
        // Tokens and anonymous requests come without a certificate.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).allow_unauthenticated();
        builder.with_client_cert_verifier(verifier.build()?)
    };
    let mut config = builder.with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The files that are configured, or a pair in `--cert-dir` that is made if it is missing.
fn serving_pair(k: &Kubelet, flags: &Flags) -> Result<(PathBuf, PathBuf)> {
    let config = &k.config;
    if !config.tls_cert_file.is_empty() && !config.tls_private_key_file.is_empty() {
        return Ok((config.tls_cert_file.clone().into(), config.tls_private_key_file.clone().into()));
    }
    let dir = flags.path("cert-dir").unwrap_or_else(|| "/var/lib/kubelet/pki".into());
    let pair = files::pair(&dir.join("kubelet"));
    if pair.0.exists() && pair.1.exists() {
        return Ok(pair);
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut hosts = vec![k.node_name.clone()];
    hosts.extend(k.node.ips());
    let common_name = format!("{}@{}", k.node_name, jiff::Timestamp::now().as_second());
    let request = Request {
        common_name: &common_name,
        organizations: &[],
        hosts: &hosts,
        usage: Usage::Server,
        days: SELF_SIGNED_DAYS,
    };
    let issued = authority::self_signed(&request).context("cannot make a serving certificate")?;
    issued.write(&dir.join("kubelet")).with_context(|| format!("cannot write to {}", dir.display()))?;
    tracing::info!(certificate = %pair.0.display(), "using a self-signed serving certificate");
    Ok(pair)
}
