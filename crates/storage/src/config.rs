//! Where etcd is, and how to talk to it.

use crate::Error;
use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use std::time::Duration;

/// Where etcd is, and how to talk to it.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// `--etcd-servers`.
    pub servers: Vec<String>,
    /// `--etcd-prefix`.
    pub prefix: String,
    /// `--etcd-cafile`, a path to PEM.
    pub ca_file: Option<String>,
    /// `--etcd-certfile`.
    pub cert_file: Option<String>,
    /// `--etcd-keyfile`.
    pub key_file: Option<String>,
    /// `--etcd-compaction-interval`; zero: never.
    pub compaction_interval: Duration,
    /// `--lease-reuse-duration-seconds`.
    pub lease_reuse: Duration,
    /// `--etcd-healthcheck-timeout`.
    pub health_timeout: Duration,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            servers: vec!["http://127.0.0.1:2379".into()],
            prefix: "/registry".into(),
            ca_file: None,
            cert_file: None,
            key_file: None,
            compaction_interval: Duration::from_secs(300),
            lease_reuse: Duration::from_secs(60),
            health_timeout: Duration::from_secs(2),
        }
    }
}

impl StorageConfig {
    /// The prefix with one slash before and none after it, as upstream normalises it.
    pub fn normalised_prefix(&self) -> String {
        let inner = self.prefix.trim_matches('/');
        if inner.is_empty() { String::new() } else { format!("/{inner}") }
    }

    /// The client library's form of it; reads the TLS files.
    pub(crate) fn connect_options(&self) -> Result<ConnectOptions, Error> {
        // Upstream's client pings after 30 s of silence and gives a peer 10 s to answer (rule: `etcd3/factory`).
        let options = ConnectOptions::new()
            .with_keep_alive(Duration::from_secs(30), Duration::from_secs(10))
            .with_keep_alive_while_idle(true)
            .with_connect_timeout(Duration::from_secs(5));
        let tls = self.servers.iter().any(|s| s.starts_with("https://"));
        if !tls {
            return Ok(options);
        }
        let read = |path: &str| std::fs::read(path).map_err(|e| Error::Config(format!("open {path}: {e}")));
        let mut config = TlsOptions::new();
        if let Some(ca) = &self.ca_file {
            config = config.ca_certificate(Certificate::from_pem(read(ca)?));
        }
        match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => config = config.identity(Identity::from_pem(read(cert)?, read(key)?)),
            (None, None) => {}
            _ => return Err(Error::Config("--etcd-certfile and --etcd-keyfile must be given together".into())),
        }
        Ok(options.with_tls(config))
    }
}
