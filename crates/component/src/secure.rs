//! The secure port of a component: its certificate, and who may read `/metrics` and the like, by the flags that all
//! components with delegated authentication share.

use std::sync::Arc;

use anyhow::Context as _;
use futures::FutureExt;
use http::StatusCode;
use rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use steersman_api::k8s_openapi::api::{authentication::v1::UserInfo, core::v1::ConfigMap};
use steersman_client::{Client, DelegatedAuth};
use steersman_pki::{Request, Usage, authority, files, reload::ReloadingCert};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    flags::Flags,
    serve::{Guard, Parts, Reply, text},
};

/// The TLS side: the given certificate, followed on disk, or a self-signed one in memory; client certificates are
/// asked for if we know an authority for them.
pub async fn tls(flags: &Flags, client: &Client) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let roots = client_roots(flags, client).await?;
    let builder = if roots.is_empty() {
        builder.with_no_client_auth()
    } else {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
    };
    let mut config = match (flags.path("tls-cert-file"), flags.path("tls-private-key-file")) {
        (Some(certificate), Some(key)) => builder.with_cert_resolver(ReloadingCert::new(certificate, key)?),
        (None, None) => {
            let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
            let issued = authority::self_signed(&Request {
                common_name: "localhost",
                organizations: &[],
                hosts: &hosts,
                usage: Usage::Server,
                days: 365,
            })?;
            let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes())?];
            builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(issued.key.as_bytes())?)?
        }
        _ => anyhow::bail!("--tls-cert-file and --tls-private-key-file must be given together"),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The authorities of client certificates: from the flag, else those that the apiserver publishes for this purpose.
async fn client_roots(flags: &Flags, client: &Client) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = flags.path("client-ca-file") {
        for certificate in files::certificates(&path)? {
            roots.add(certificate).context("invalid --client-ca-file")?;
        }
    } else if !flags.bool("authentication-skip-lookup") {
        let lookup = client.get::<ConfigMap>("kube-system", "extension-apiserver-authentication");
        if let Ok(Ok(map)) = tokio::time::timeout(std::time::Duration::from_secs(2), lookup).await {
            let pem = map.data.and_then(|mut data| data.remove("client-ca-file")).unwrap_or_default();
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                roots.add(certificate?).context("invalid client-ca-file in extension-apiserver-authentication")?;
            }
        }
    }
    Ok(roots)
}

/// Asks the apiserver whether the caller may read the path.
pub fn guard(client: Client, always_allowed: Vec<String>) -> Guard {
    let auth = DelegatedAuth::new(client);
    Arc::new(move |parts: Parts| {
        let (auth, allowed) = (auth.clone(), always_allowed.contains(&parts.path));
        async move { if allowed { Ok(()) } else { check(&auth, &parts).await } }.boxed()
    })
}

async fn check(auth: &DelegatedAuth, parts: &Parts) -> Result<(), Reply> {
    let unavailable = |error: steersman_client::Error| text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"));
    let user = match (&parts.certificate, &parts.token) {
        (Some(der), _) => user_of_certificate(der),
        (None, Some(token)) => auth.user_of_token(token).await.map_err(unavailable)?,
        (None, None) => Some(UserInfo {
            username: Some("system:anonymous".to_owned()),
            groups: Some(vec!["system:unauthenticated".to_owned()]),
            ..UserInfo::default()
        }),
    };
    let Some(user) = user else { return Err(text(StatusCode::UNAUTHORIZED, "Unauthorized\n")) };
    if auth.may_use_path(&user, &parts.verb, &parts.path).await.map_err(unavailable)? {
        return Ok(());
    }
    let name = user.username.unwrap_or_default();
    let body = format!("Forbidden: User \"{name}\" cannot {} path \"{}\"\n", parts.verb, parts.path);
    Err(text(StatusCode::FORBIDDEN, body))
}

/// CommonName is the user, each Organization a group (rule: apiserver `x509.CommonNameUserConversion`).
fn user_of_certificate(der: &[u8]) -> Option<UserInfo> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect();
    groups.push("system:authenticated".to_owned());
    Some(UserInfo { username: Some(name), groups: Some(groups), ..UserInfo::default() })
}
