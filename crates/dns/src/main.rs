//! The `cluster-dns` binary.

use anyhow::{Context, Result};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_server::Server;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use steersman_api::k8s_openapi::api::core::v1::{Namespace, Service};
use steersman_api::k8s_openapi::api::discovery::v1::EndpointSlice;
use steersman_client::{Client, Config, Informer};
use steersman_component::flags::{COMMON, Flags, parse_or_exit};
use steersman_component::health::{Endpoint, Health};
use steersman_component::metrics::Metrics;
use steersman_component::{features, logs, serve, shutdown};
use steersman_dns::handler::{Handler, Responses};
use steersman_dns::zone::{BY_IP, BY_SERVICE, Zone, service_ips, slice_ips, slice_services};
use tokio::net::{TcpListener, UdpSocket};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let flags = parse_or_exit(
        "cluster-dns",
        "Cluster DNS answers for services and pods.",
        &[steersman_dns::flags::FLAGS, COMMON],
    );
    logs::init(&flags);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run(&flags))
        .inspect_err(|e| tracing::error!(error = format!("{e:#}"), "ending"))
}

async fn run(flags: &Flags) -> Result<()> {
    let stop = shutdown::on_signals()?;
    let client = Client::new(Config::from_flags(flags.text("kubeconfig"), "")?)?.with_user_agent("cluster-dns")?;
    let (metrics, health) = (Metrics::new(&features::Gates::default()), Health::new());
    let synced = health.gate("synced", &[Endpoint::Readyz]);
    for name in ["health-address", "metrics-address"] {
        let address = flags.text(name).parse().with_context(|| format!("--{name}"))?;
        serve::Server::new(health.clone(), metrics.clone())
            .start(address, None, stop.clone())
            .await
            .with_context(|| format!("--{name}"))?;
    }
    let services = Informer::<Service>::builder(client.clone()).transform(|s| s.metadata.managed_fields = None).build();
    let slices =
        Informer::<EndpointSlice>::builder(client.clone()).transform(|s| s.metadata.managed_fields = None).build();
    let namespaces = Informer::<Namespace>::builder(client).transform(|n| n.metadata.managed_fields = None).build();
    services.add_index(BY_IP, service_ips);
    slices.add_index(BY_SERVICE, slice_services);
    slices.add_index(BY_IP, slice_ips);
    let tasks = [services.spawn(&stop), slices.spawn(&stop), namespaces.spawn(&stop)];
    let responses = Responses::default();
    metrics.with(|r| r.register("coredns_dns_responses", "Answers by code", responses.clone()));
    let zone = Zone {
        domain: flags.text("domain").trim_matches('.').to_ascii_lowercase(),
        services: services.store().clone(),
        slices: slices.store().clone(),
        namespaces: namespaces.store().clone(),
    };
    let address = SocketAddr::new(
        flags.text("bind-address").parse().context("--bind-address")?,
        u16::try_from(flags.int("port")).context("--port")?,
    );
    let mut server = Server::new(Handler::new(zone, resolver(flags), responses));
    server.register_socket(UdpSocket::bind(address).await.with_context(|| format!("UDP {address}"))?);
    server.register_listener(
        TcpListener::bind(address).await.with_context(|| format!("TCP {address}"))?,
        Duration::from_secs(10),
        64,
    );
    tokio::select! {
        () = stop.cancelled() => {}
        () = async { services.synced().await; slices.synced().await; namespaces.synced().await } => {
            tracing::info!(%address, "answering");
            synced.open();
            stop.cancelled().await;
        }
    }
    // Clients that were told of this server a moment ago still get answers.
    server.shutdown_gracefully().await?;
    for task in tasks {
        task.await?;
    }
    Ok(())
}

/// The resolvers for names that are not the cluster's; none where no file names any.
fn resolver(flags: &Flags) -> Option<TokioResolver> {
    let given: Vec<IpAddr> = flags.list("forward").iter().filter_map(|s| s.parse().ok()).collect();
    let (config, mut options) = if given.is_empty() {
        let text = std::fs::read(flags.text("resolv-conf")).ok()?;
        hickory_resolver::system_conf::parse_resolv_conf(text)
            .inspect_err(|e| tracing::warn!(error = %e, "resolvers"))
            .ok()?
    } else {
        let servers = given.into_iter().map(NameServerConfig::udp_and_tcp).collect();
        (ResolverConfig::from_parts(None, vec![], servers), ResolverOpts::default())
    };
    if config.name_servers().is_empty() {
        return None;
    }
    // Names are asked as they stand: search lists are the client's business.
    options.ndots = 0;
    let config = ResolverConfig::from_parts(None, vec![], config.name_servers().to_vec());
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .inspect_err(|e| tracing::warn!(error = %e, "no resolver for other names"))
        .ok()
}
