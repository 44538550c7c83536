//! Where a node's kubelet listens, and TLS towards it.

use crate::config::KubeletConfig;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::sync::Arc;
use steersman_apimachinery::{Reason, Status, object};

/// The way to kubelets, pods and services.
pub struct Kubelets {
    config: KubeletConfig,
    /// With the client certificate for kubelets.
    pub tls: Arc<ClientConfig>,
    /// Without a certificate, taking any server: for pods and services, whose certificates nobody vouches for.
    pub plain_tls: Arc<ClientConfig>,
}

/// Where a kubelet listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or IP.
    pub host: String,
    /// Port of HTTPS.
    pub port: u16,
}

impl Kubelets {
    /// Reads the certificates.
    pub fn new(config: KubeletConfig) -> Result<Self, steersman_pki::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = || ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let any = Arc::new(steersman_pki::AnyServer(provider.clone()));
        let builder = match &config.ca {
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for cert in steersman_pki::files::certificates(ca)? {
                    roots.add(cert)?;
                }
                versions()?.with_root_certificates(roots)
            }
            None => versions()?.dangerous().with_custom_certificate_verifier(any.clone()),
        };
        let tls = match &config.client {
            Some((cert, key)) => builder.with_client_auth_cert(
                steersman_pki::files::certificates(cert)?,
                steersman_pki::files::private_key(key)?,
            )?,
            None => builder.with_no_client_auth(),
        };
        let plain_tls = versions()?.dangerous().with_custom_certificate_verifier(any).with_no_client_auth();
        Ok(Self { config, tls: Arc::new(tls), plain_tls: Arc::new(plain_tls) })
    }

    /// How long a kubelet may take to accept a connection.
    pub fn timeout(&self) -> std::time::Duration {
        self.config.timeout
    }

    /// Where the kubelet of a node listens (rule: `pkg/kubelet/client` and `util/node.GetPreferredNodeAddress`).
    pub fn address(&self, node: &Value) -> Result<Address, Status> {
        let addresses = object::list(node, &["status", "addresses"]);
        let of_type =
            |t: &str| addresses.iter().find(|a| object::str(a, &["type"]) == t).map(|a| object::str(a, &["address"]));
        let host = self.config.address_types.iter().find_map(|t| {
            let address = of_type(t).filter(|a| !a.is_empty());
            // Nodes that say nothing of a host name are told by their label.
            address.or_else(|| {
                if t == "Hostname" {
                    object::label(node, "kubernetes.io/hostname").filter(|_| addresses.is_empty())
                } else {
                    None
                }
            })
        });
        let Some(host) = host else {
            let known: Vec<&str> = addresses.iter().map(|a| object::str(a, &["type"])).collect();
            // Upstream answers with a plain error.
            let why = format!("no preferred addresses found; known addresses: [{}]", known.join(" "));
            return Err(Status::failure(500, Reason::Unknown, why));
        };
        let port = object::int(node, &["status", "daemonEndpoints", "kubeletEndpoint", "Port"]);
        let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0).unwrap_or(self.config.port);
        Ok(Address { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_by_preference() {
        let config = KubeletConfig {
            ca: None,
            client: None,
            address_types: vec!["Hostname".into(), "InternalIP".into()],
            port: 10250,
            timeout: std::time::Duration::from_secs(5),
        };
        let k = Kubelets::new(config).expect("no files");
        let check = |node: Value, want: Option<(&str, u16)>| {
            assert_eq!(k.address(&node).ok(), want.map(|(h, port)| Address { host: h.into(), port }), "{node}");
        };
        let ip = json!({"type": "InternalIP", "address": "10.1.2.3"});
        check(json!({"status": {"addresses": [ip]}}), Some(("10.1.2.3", 10250)));
        check(
            json!({"status": {"addresses": [ip, {"type": "Hostname", "address": "n"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 7}}}}),
            Some(("n", 7)),
        );
        check(json!({"status": {"addresses": []}}), None);
    }
}
