//! What etcd does alone, so that an apiserver's figures can be held against it.

use crate::measure::Report;
use crate::work::{Options, pod, pod_name};
use anyhow::{Context, Result};
use etcd_client::{Certificate, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, Identity, TlsOptions};
use etcd_client::{PutOptions, Txn, TxnOp};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where etcd is, and how it is reached.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its URL.
    pub url: String,
    /// Certificate of its authority, client certificate and key, PEM.
    pub files: [PathBuf; 3],
}

impl Target {
    async fn connect(&self) -> Result<Client> {
        let [ca, cert, key] = &self.files;
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| path.display().to_string());
        let tls = TlsOptions::new()
            .ca_certificate(Certificate::from_pem(read(ca)?))
            .identity(Identity::from_pem(read(cert)?, read(key)?));
        Ok(Client::connect([&self.url], Some(ConnectOptions::new().with_tls(tls))).await?)
    }
}

/// Writes values of a stored pod's size (2.5 KB) under keys that are not there, as an apiserver does: one transaction each, all
/// over one connection, as many at a time as the other works have connections.
pub async fn create(o: Options) -> Result<Report> {
    let target = o.etcd.clone().context("--etcd is needed")?;
    let client = target.connect().await?;
    let prefix = format!("/steersman-bench/{}/", std::process::id());
    // Four times what the client sends is what a server with its defaults, status and managed fields stores.
    let value = pod(&pod_name(0)).to_string().repeat(4);
    let (next, started) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let end = started + Duration::from_secs(o.seconds);
    let mut tasks = Vec::new();
    for _ in 0..o.connections {
        let (mut kv, next, prefix, value) = (client.kv_client(), next.clone(), prefix.clone(), value.clone());
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let key = format!("{prefix}{}", pod_name(next.fetch_add(1, Ordering::Relaxed)));
                let absent = Compare::mod_revision(key.as_str(), CompareOp::Equal, 0);
                let put = TxnOp::put(key, value.as_str(), None::<PutOptions>);
                let begun = Instant::now();
                kv.txn(Txn::new().when([absent]).and_then([put])).await?;
                latencies.push(begun.elapsed());
            }
            Ok::<_, etcd_client::Error>(latencies)
        }));
    }
    let mut report = Report::default();
    for task in tasks {
        report.latencies.extend(task.await??);
    }
    report.count = report.latencies.len();
    report.bytes = report.count * value.len();
    report.took = started.elapsed();
    client.kv_client().delete(prefix, Some(DeleteOptions::new().with_prefix())).await?;
    Ok(report)
}
