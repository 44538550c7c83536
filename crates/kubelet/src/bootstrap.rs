//! Getting certificates from the cluster: with a bootstrap token for the kubelet's own identity, and with that for what
//! it shows to its clients (rule: kubelet `certificate/bootstrap`).

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::json;
use steersman_api::k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec},
};
use steersman_client::{Client, Config};
use steersman_component::flags::Flags;
use steersman_pki::{Issued, Request, Usage, authority, files};

use crate::{api::ObjectMeta, kubelet::node_name};

/// Signs certificates by which kubelets prove who they are.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signs certificates that kubelets show.
const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";
/// How often the answer is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Whoever signs has this long; then the request is made anew.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

fn cert_dir(flags: &Flags) -> PathBuf {
    flags.path("cert-dir").unwrap_or_else(|| "/var/lib/kubelet/pki".into())
}

/// Asks for a client certificate with the credentials in `bootstrap`, and writes the kubeconfig that uses it.
pub async fn client_certificate(flags: &Flags, bootstrap: &Path, kubeconfig: &Path) -> Result<()> {
    let config = Config::from_kubeconfig(bootstrap)
        .with_context(|| format!("unable to load bootstrap kubeconfig {}", bootstrap.display()))?;
    let (server, ca) = (config.server.clone(), config.ca.clone());
    let client = Client::new(config)?;
    let name = node_name(flags);
    tracing::info!(node = name, "asking for a client certificate");
    let file = obtain(&client, &cert_dir(flags), "kubelet-client", CLIENT_SIGNER, "client auth", &name, &[]).await?;
    let ca_text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, ca);
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "default-cluster", "cluster": {"server": server, "certificate-authority-data": ca_text}}],
        "users": [{"name": "default-auth", "user": {"client-certificate": file, "client-key": file}}],
        "contexts": [{"name": "default-context",
            "context": {"cluster": "default-cluster", "user": "default-auth", "namespace": "default"}}],
        "current-context": "default-context",
    });
    // JSON is YAML too.
    let text = serde_json::to_vec_pretty(&document)?;
    files::write_private(kubeconfig, &text).with_context(|| format!("cannot write {}", kubeconfig.display()))?;
    Ok(())
}

/// Asks for a serving certificate, unless one is there; returns the file with certificate and key.
pub async fn serving_certificate(flags: &Flags, client: &Client, node: &str, ips: &[String]) -> Result<PathBuf> {
    let dir = cert_dir(flags);
    let current = dir.join("kubelet-server-current.pem");
    if current.exists() {
        return Ok(current);
    }
    let mut hosts = vec![node.to_owned()];
    hosts.extend(ips.iter().cloned());
    obtain(client, &dir, "kubelet-server", SERVING_SIGNER, "server auth", node, &hosts).await
}

async fn obtain(
    client: &Client,
    dir: &Path,
    base: &str,
    signer: &str,
    usage: &str,
    node: &str,
    hosts: &[String],
) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let made = authority::signing_request(&Request {
        common_name: &format!("system:node:{node}"),
        organizations: &["system:nodes"],
        hosts,
        usage: if hosts.is_empty() { Usage::Client } else { Usage::Server },
        days: 365,
    })
    .context("cannot make a signing request")?;
    loop {
        match ask(client, &made, signer, usage).await {
            Ok(certificate) => return keep(dir, base, &certificate, &made.key),
            Err(error) => {
                tracing::warn!(signer, error = format!("{error:#}"), "cannot get a certificate yet");
                tokio::time::sleep(LOOK * 5).await;
            }
        }
    }
}

async fn ask(client: &Client, made: &Issued, signer: &str, usage: &str) -> Result<Vec<u8>> {
    let request = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("csr-".into()), ..Default::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(made.certificate.clone().into_bytes()),
            signer_name: signer.into(),
            usages: Some(vec!["digital signature".into(), usage.into()]),
            ..Default::default()
        },
        status: None,
    };
    let created = client.create("", &request).await?;
    let name = created.metadata.name.unwrap_or_default();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        let status = client.get::<CertificateSigningRequest>("", &name).await?.status.unwrap_or_default();
        let refused = status.conditions.iter().flatten().find(|c| c.type_ == "Denied" || c.type_ == "Failed");
        if let Some(condition) = refused {
            bail!(
                "certificate signing request {name} is {}: {}",
                condition.type_,
                condition.message.clone().unwrap_or_default()
            );
        }
        if let Some(certificate) = status.certificate {
            return Ok(certificate.0);
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("certificate signing request {name} was not answered in time")
}

/// Stores certificate and key in one file with a date, and lets `<base>-current.pem` point to it.
fn keep(dir: &Path, base: &str, certificate: &[u8], key: &str) -> Result<PathBuf> {
    let stamp = jiff::Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S");
    let file = dir.join(format!("{base}-{stamp}.pem"));
    files::write_private(&file, &[certificate, b"\n", key.as_bytes()].concat())?;
    let current = dir.join(format!("{base}-current.pem"));
    let fresh = dir.join(format!(".{base}-new.pem"));
    // A link left by an attempt that was interrupted is in the way.
    let _ = std::fs::remove_file(&fresh);
    symlink(&file, &fresh).with_context(|| format!("cannot link {}", fresh.display()))?;
    std::fs::rename(&fresh, &current).with_context(|| format!("cannot link {}", current.display()))?;
    Ok(current)
}
