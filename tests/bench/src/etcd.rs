//! What etcd does alone, so that an apiserver's figures can be held against it.

use crate::measure::Report;
use crate::work::{Options, closed_loop_on, pod, pod_name};
use anyhow::{Context, Result};
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, Identity, KvClient, TlsOptions,
};
use etcd_client::{Txn, TxnOp};
use std::path::PathBuf;

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

/// Writes values of a stored pod's size (2.5 KB) under keys that are not there, as an apiserver does: one transaction each,
/// all over one connection, as many at a time as the other works have connections.
pub async fn create(o: Options) -> Result<Report> {
    let client = o.etcd.clone().context("--etcd is needed")?.connect().await?;
    let prefix = format!("/steersman-bench/{}/", std::process::id());
    // Four times what the client sends is what a server with its defaults, status and managed fields stores.
    let value = pod(&pod_name(0)).to_string().repeat(4);
    let connections = vec![client.kv_client(); o.connections];
    let folder = prefix.clone();
    // The server has no part in it: its CPU time is not asked for.
    let report = closed_loop_on(connections, Options { pid: None, ..o }, move |kv: &mut KvClient, i| {
        let (key, value) = (format!("{folder}{}", pod_name(i)), value.clone());
        Box::pin(async move {
            let (absent, size) = (Compare::mod_revision(key.as_str(), CompareOp::Equal, 0), value.len());
            kv.txn(Txn::new().when([absent]).and_then([TxnOp::put(key, value, None)])).await?;
            Ok(size)
        })
    })
    .await?;
    client.kv_client().delete(prefix, Some(DeleteOptions::new().with_prefix())).await?;
    Ok(report)
}
