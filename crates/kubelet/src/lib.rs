//! The kubelet: runs the pods of one node.
//!
//! Entry point: [`run`]. The way of a pod: a source ([`pods::static_files`], or the API) hands it to
//! [`pods::worker`], whose task for this pod reads what the container runtime has ([`runtime::observed`]), decides
//! ([`pods::plan`]), acts ([`pods::sync`]) and reports ([`pods::status`], [`pods::status_manager`]).
//!
//! Invariant: this crate never keeps anything that matters in memory alone: a kubelet that is killed and started again
//! finds every container running and goes on. It has no global state, so several may run in one machine.

pub mod api;
pub mod backoff;
pub mod bootstrap;
pub mod cgroups;
pub mod config;
#[cfg(test)]
mod doubles;
pub mod exits;
pub mod flags;
pub mod hooks;
pub mod housekeeping;
pub mod http;
pub mod kubelet;
pub mod names;
pub mod node;
pub mod objects;
pub mod pleg;
pub mod pods;
pub mod probes;
pub mod runtime;
pub mod server;
pub mod yaml;

use std::sync::Arc;

use anyhow::{Context, Result};
use steersman_client::{Client, Config};
use steersman_component::flags::Flags;
use tokio_util::sync::CancellationToken;

use crate::kubelet::Kubelet;

/// Runs a kubelet until `shutdown`.
pub async fn run(flags: Flags, shutdown: CancellationToken) -> Result<()> {
    let loaded = config::load(&flags)?;
    let config = &loaded.typed;
    let runtime = steersman_cri::Client::connect(
        &config.container_runtime_endpoint,
        &config.image_service_endpoint,
        config.runtime_request_timeout.0,
    )?;
    let client = match flags.path("kubeconfig") {
        Some(path) => {
            if let Some(bootstrap) = flags.path("bootstrap-kubeconfig").filter(|_| !path.exists()) {
                tokio::select! {
                    done = bootstrap::client_certificate(&flags, &bootstrap, &path) => done?,
                    () = shutdown.cancelled() => return Ok(()),
                }
            }
            let config =
                Config::from_kubeconfig(&path).with_context(|| format!("invalid kubeconfig {}", path.display()))?;
            Some(Client::new(config)?)
        }
        None => {
            tracing::warn!("no --kubeconfig: running without an API server, static pods only");
            None
        }
    };
    let kubelet = Kubelet::new(&flags, loaded, Arc::new(runtime), client, shutdown.clone()).await?;
    server::start(&kubelet, &flags).await?;
    kubelet.start().await;
    shutdown.cancelled().await;
    Ok(())
}
