//! From flags to shutdown (rule: `cmd/kube-scheduler/app`).

use crate::binder::Binder;
use crate::config::Config;
use crate::informers;
use crate::metrics::Metrics as Figures;
use crate::scheduler::{Scheduler, Settings};
use anyhow::Context;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use steersman_client::{Client, Config as Connection, EventRecorder, LeaderElectionError, LeaderElector};
use steersman_component::features::Gates;
use steersman_component::flags::Flags;
use steersman_component::health::{Endpoint, Health};
use steersman_component::metrics::Metrics;
use steersman_component::serve::Server;
use steersman_component::{secure, shutdown};
use tokio_util::sync::CancellationToken;

/// Runs until a signal; the error is what the user sees.
pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let gates = Gates::parse(&flags.map("feature-gates")).map_err(anyhow::Error::msg)?;
    let config = Config::load(&flags)?;
    if let Some(path) = flags.path("write-config-to") {
        let text = serde_json::to_string_pretty(&config.shown)?;
        return std::fs::write(&path, text).with_context(|| format!("write {}", path.display()));
    }
    let stop = shutdown::on_signals()?;
    let client = Client::new(Connection::from_flags(&config.kubeconfig, flags.text("master"))?)?;
    let (health, metrics) = (Health::new(), Metrics::new(&gates));
    let syncing = Arc::new(AtomicBool::new(false));
    add_checks(&health, &syncing, &stop);
    serve(&flags, &config, &client, &health, &metrics, &stop).await?;

    let figures = Figures::new(&metrics);
    let lead = |stop: CancellationToken| {
        let (client, settings) = (client.clone(), config.settings.clone());
        async move { schedule(client, settings, figures, &syncing, stop).await }
    };
    match config.election {
        None => lead(stop).await,
        Some(election) => {
            let elected = LeaderElector::new(client.clone(), election).run(&stop, lead).await;
            if let Err(LeaderElectionError::Lost) = elected {
                anyhow::bail!("leaderelection lost");
            }
        }
    }
    Ok(())
}

/// Follows the cluster and schedules pods until cancelled.
async fn schedule(client: Client, settings: Settings, figures: Figures, syncing: &AtomicBool, stop: CancellationToken) {
    syncing.store(true, Ordering::Release);
    let (changes, receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut informers = informers::start(&client, &changes, &stop);
    tokio::select! {
        () = informers.synced() => {
            syncing.store(false, Ordering::Release);
            tracing::info!("caches are synced");
            let recorder = EventRecorder::new(client.clone(), "default-scheduler", "", &stop);
            let binder = Binder::new(client, changes, recorder);
            Scheduler::new(settings, binder, figures, receiver).run(&stop).await;
        }
        () = stop.cancelled() => {}
    }
    informers.stopped().await;
}

/// A candidate that does not lead is well without informers.
fn add_checks(health: &Health, syncing: &Arc<AtomicBool>, stop: &CancellationToken) {
    for name in ["informer-sync", "sched-handler-sync"] {
        let syncing = syncing.clone();
        let check =
            move || if syncing.load(Ordering::Acquire) { Err("informers not synced yet".to_owned()) } else { Ok(()) };
        health.add(name, &[Endpoint::Readyz], Arc::new(check));
    }
    health.add("leaderElection", &[Endpoint::Healthz, Endpoint::Livez, Endpoint::Readyz], Arc::new(|| Ok(())));
    let stop = stop.clone();
    let check = move || if stop.is_cancelled() { Err("process is shutting down".to_owned()) } else { Ok(()) };
    health.add("shutdown", &[Endpoint::Readyz], Arc::new(check));
}

async fn serve(
    flags: &Flags,
    config: &Config,
    client: &Client,
    health: &Health,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let port = u16::try_from(flags.int("secure-port")).context("--secure-port is not a port")?;
    if port == 0 {
        return Ok(());
    }
    let reviewer = match flags.text("authentication-kubeconfig") {
        "" => client.clone(),
        path => Client::new(Connection::from_flags(path, flags.text("master"))?)?,
    };
    let address = SocketAddr::new(flags.text("bind-address").parse().context("invalid --bind-address")?, port);
    let tls = secure::tls(flags, client).await?;
    let mut server = Server::new(health.clone(), metrics.clone());
    server.guard = Some(secure::guard(reviewer, flags.list("authorization-always-allow-paths")));
    server.configz = Some(Arc::new(serde_json::json!({"kubescheduler.config.k8s.io": config.shown})));
    server.start(address, Some(tls), stop.clone()).await.with_context(|| format!("failed to listen on {address}"))?;
    Ok(())
}
