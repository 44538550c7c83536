//! Starting, electing, running and stopping the controllers (rule: `cmd/kube-controller-manager/app`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use steersman_client::{
    Client, Config, EventRecorder, Informers, LeaderElectionConfig, LeaderElectionError, LeaderElector,
};
use steersman_component::{
    features::Gates,
    flags::Flags,
    health::{Endpoint, Health},
    metrics::Metrics,
    secure,
    serve::Server,
    shutdown,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{CONTROLLERS, Controller, context::Context, credentials::Credentials};

/// Runs until a signal; the error is what the user sees.
pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let flags = Arc::new(flags);
    let gates = Gates::parse(&flags.map("feature-gates")).map_err(anyhow::Error::msg)?;
    let selected = select(&flags.list("controllers"))?;
    let stop = shutdown::on_signals()?;
    let client = connect(&flags, "kubeconfig")?;

    let (health, metrics) = (Health::new(), Metrics::new(&gates));
    serve(&flags, &client, &health, &metrics, &stop).await?;

    let lead = |shutdown: CancellationToken| {
        let (flags, client) = (flags.clone(), client.clone());
        async move {
            if let Err(error) = run_controllers(flags, gates, client, &selected, &health, shutdown).await {
                tracing::error!(error = format!("{error:#}"), "controllers cannot run");
                std::process::exit(1);
            }
        }
    };
    if !flags.bool("leader-elect") {
        lead(stop).await;
        return Ok(());
    }
    let config = LeaderElectionConfig {
        lease_duration: flags.duration("leader-elect-lease-duration"),
        renew_deadline: flags.duration("leader-elect-renew-deadline"),
        retry_period: flags.duration("leader-elect-retry-period"),
        ..LeaderElectionConfig::new(
            flags.text("leader-elect-resource-namespace"),
            flags.text("leader-elect-resource-name"),
        )
    };
    if config.lease_duration <= config.renew_deadline {
        anyhow::bail!("leaseDuration must be greater than renewDeadline");
    }
    if config.renew_deadline <= config.retry_period.mul_f64(1.2) {
        anyhow::bail!("renewDeadline must be greater than retryPeriod*JitterFactor");
    }
    match LeaderElector::new(client.clone(), config).run(&stop, lead).await {
        Ok(()) => Ok(()),
        Err(LeaderElectionError::Lost) => anyhow::bail!("leaderelection lost"),
    }
}

fn connect(flags: &Flags, kubeconfig: &str) -> anyhow::Result<Client> {
    let config = Config::from_flags(flags.text(kubeconfig), flags.text("master"))?;
    Ok(Client::new(config)?)
}

async fn serve(
    flags: &Flags,
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
        _ => connect(flags, "authentication-kubeconfig")?,
    };
    let address = SocketAddr::new(flags.text("bind-address").parse().context("invalid --bind-address")?, port);
    let tls = secure::tls(flags, client).await?;
    let mut server = Server::new(health.clone(), metrics.clone());
    server.guard = Some(secure::guard(reviewer, flags.list("authorization-always-allow-paths")));
    server.start(address, Some(tls), stop.clone()).await.with_context(|| format!("failed to listen on {address}"))?;
    Ok(())
}

/// The controllers that `--controllers` asks for; unknown names are an error (rule: `app.IsControllerEnabled`).
pub fn select(wanted: &[String]) -> anyhow::Result<Vec<&'static Controller>> {
    for name in wanted.iter().map(|name| name.trim_start_matches(['-', '+'])) {
        let known = name == "*" || CONTROLLERS.iter().any(|c| c.name == name || c.alias == name);
        // Upstream accepts the names of controllers that run elsewhere or that are off; so do we.
        if !known && !crate::KNOWN_ELSEWHERE.contains(&name) {
            anyhow::bail!("\"{name}\" is not in the list of known controllers");
        }
    }
    let named = |prefix: &str, controller: &Controller| {
        wanted.iter().any(|w| {
            w.strip_prefix(prefix).is_some_and(|n| n == controller.name || (!n.is_empty() && n == controller.alias))
        })
    };
    let all = wanted.iter().any(|w| w == "*");
    let enabled = |controller: &&Controller| {
        if named("-", controller) {
            false
        } else {
            named("", controller) || named("+", controller) || (all && controller.on)
        }
    };
    Ok(CONTROLLERS.iter().filter(enabled).collect())
}

async fn run_controllers(
    flags: Arc<Flags>,
    gates: Gates,
    client: Client,
    selected: &[&'static Controller],
    health: &Health,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Some(credentials) = Credentials::prepare(&client, &flags, selected, &shutdown).await? else { return Ok(()) };
    let informers = Informers::new(client.with_user_agent("kube-controller-manager/shared-informers")?);
    let recorder = EventRecorder::new(client.clone(), "kube-controller-manager", "", &shutdown);
    let mut running = JoinSet::new();
    let mut prepared = Vec::new();
    for controller in selected {
        let context = Context {
            client: credentials.client(controller)?,
            informers: informers.scope(),
            flags: flags.clone(),
            gates: gates.clone(),
            recorder: recorder.with_component(controller.event_source()),
            shutdown: shutdown.clone(),
        };
        let work = (controller.start)(&context).with_context(|| format!("error starting \"{}\"", controller.name))?;
        match work {
            Some(work) => prepared.push((controller.name, context.informers, work)),
            None => tracing::warn!(controller = controller.name, "Skipping controller"),
        }
    }
    informers.start(&shutdown);
    tracing::info!(controllers = prepared.len(), "Started controllers");
    for (name, caches, work) in prepared {
        health.add(name, &[Endpoint::Healthz], Arc::new(|| Ok(())));
        let shutdown = shutdown.clone();
        running.spawn(async move {
            tokio::select! {
                () = caches.synced() => {}
                () = shutdown.cancelled() => return,
            }
            tracing::debug!(controller = name, "caches are synced");
            work.await;
        });
    }
    shutdown.cancelled().await;
    let limit = flags.duration("controller-shutdown-timeout").max(Duration::from_millis(100));
    let joined = tokio::time::timeout(limit, async {
        while running.join_next().await.is_some() {}
        informers.stopped().await;
    });
    if joined.await.is_err() {
        tracing::warn!("some controllers did not stop in time");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection() {
        let names = |wanted: &[&str]| {
            select(&wanted.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
                .map(|all| all.iter().map(|c| c.name).collect::<Vec<_>>())
                .map_err(|error| error.to_string())
        };
        assert_eq!(names(&["namespace"]).unwrap(), ["namespace-controller"]);
        assert!(!names(&["*", "-deployment"]).unwrap().contains(&"deployment-controller"));
        assert!(names(&["*"]).unwrap().contains(&"deployment-controller"));
        assert_eq!(names(&["nonsense"]).unwrap_err(), "\"nonsense\" is not in the list of known controllers");
    }
}
