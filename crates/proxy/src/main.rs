//! The `kube-proxy` binary.

use anyhow::{Context, Result, bail};
use std::net::IpAddr;
use std::time::Duration;
use steersman_api::k8s_openapi::api::core::v1::{Node, Service};
use steersman_api::k8s_openapi::api::discovery::v1::EndpointSlice;
use steersman_client::{Client, Config, Informer};
use steersman_component::flags::{COMMON, Flags, parse_or_exit};
use steersman_component::health::{Endpoint, Health};
use steersman_component::metrics::Metrics;
use steersman_component::serve::Server;
use steersman_component::{features, logs, shutdown};
use steersman_proxy::controller::{self, Controller, zone_of};
use steersman_proxy::model::NodeView;
use steersman_proxy::nftables::{Nft, Program};
use steersman_proxy::rules::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let flags = parse_or_exit(
        "kube-proxy",
        "The Kubernetes network proxy runs on each node: it makes services reachable by rules of the kernel's packet filter.",
        &[steersman_proxy::flags::FLAGS, COMMON],
    );
    logs::init(&flags);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run(&flags))
        .inspect_err(|e| tracing::error!(error = format!("{e:#}"), "ending"))
}

async fn run(flags: &Flags) -> Result<()> {
    if flags.bool("cleanup") {
        let script = "add table ip kube-proxy\ndelete table ip kube-proxy\nadd table ip6 kube-proxy\ndelete table ip6 kube-proxy\n";
        return Ok(Program.run(script.to_owned()).await?);
    }
    match flags.text("proxy-mode") {
        "nftables" | "" => {}
        "iptables" | "ipvs" => {
            tracing::warn!(asked = flags.text("proxy-mode"), "only the nftables mode is there; using it")
        }
        other => bail!("invalid configuration: Mode: Invalid value: {other:?}: must be nftables"),
    }
    let gates = features::Gates::parse(&flags.map("feature-gates")).map_err(anyhow::Error::msg)?;
    let stop = shutdown::on_signals()?;
    let config = Config::from_flags(flags.text("kubeconfig"), flags.text("master"))?;
    let client = Client::new(config)?.with_user_agent("kube-proxy")?;
    let (metrics, health) = (Metrics::new(&gates), Health::new());
    let synced = health.gate("proxy-synced", &[Endpoint::Healthz, Endpoint::Readyz]);
    serve(flags, &health, &metrics, &stop).await?;

    let name = match flags.text("hostname-override") {
        "" => hostname()?,
        n => n.to_lowercase(),
    };
    let nodes = Informer::<Node>::builder(client.clone()).fields(format!("metadata.name={name}")).build();
    let services = Informer::<Service>::builder(client.clone()).transform(|s| s.metadata.managed_fields = None).build();
    let slices = Informer::<EndpointSlice>::builder(client)
        .labels("!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name")
        .transform(|s| s.metadata.managed_fields = None)
        .build();
    let mut tasks = vec![nodes.spawn(&stop)];
    let node = own_node(flags, &name, &nodes).await;
    tracing::info!(node = name, addresses = ?node.addresses, "node ports are served here");
    let settings = Settings { masquerade_all: flags.bool("masquerade-all"), cluster_cidrs: flags.list("cluster-cidr") };
    let figures = controller::Metrics::new(&metrics);
    let controller = Controller::new(&services, &slices, &nodes, node, settings, figures, Box::new(Program));
    tasks.push(services.spawn(&stop));
    tasks.push(slices.spawn(&stop));
    tokio::select! {
        () = stop.cancelled() => {}
        () = async { services.synced().await; slices.synced().await } => controller.run(move || synced.open(), &stop).await,
    }
    for task in tasks {
        task.await?;
    }
    Ok(())
}

/// How long to wait for the kubelet to register the node; node ports are served nowhere after that.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the node says which addresses it has: at boot the kubelet may come later than this program.
async fn own_node(flags: &Flags, name: &str, nodes: &Informer<Node>) -> NodeView {
    let (found, mut seen) = tokio::sync::watch::channel(NodeView::default());
    let current = || view(flags, name, nodes.store().find("", name).as_deref());
    let (own_flags, own_name) = (flags.clone(), name.to_owned());
    nodes.add_handler(move |event| {
        found.send_replace(view(&own_flags, &own_name, Some(event.object())));
    });
    nodes.synced().await;
    let view = current();
    if !view.addresses.is_empty() {
        return view;
    }
    match tokio::time::timeout(PATIENCE, seen.wait_for(|v| !v.addresses.is_empty())).await {
        Ok(Ok(view)) => view.clone(),
        _ => {
            tracing::warn!(node = name, "the node has no address: node ports are not served");
            current()
        }
    }
}

/// This node: node ports are served on its primary address, or on those in the ranges given.
fn view(flags: &Flags, name: &str, node: Option<&Node>) -> NodeView {
    let of_node = node.and_then(|n| n.status.as_ref()).and_then(|s| s.addresses.as_ref());
    let internal =
        of_node.into_iter().flatten().filter(|a| a.type_ == "InternalIP").filter_map(|a| a.address.parse().ok());
    let bind = flags.text("bind-address").parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified());
    let mut addresses: Vec<IpAddr> = bind.into_iter().chain(internal).collect();
    addresses.dedup();
    let ranges: Vec<ipnet::IpNet> = flags.list("nodeport-addresses").iter().filter_map(|r| r.parse().ok()).collect();
    if !ranges.is_empty() {
        addresses.retain(|a| ranges.iter().any(|r| r.contains(a)));
    }
    NodeView { name: name.to_owned(), zone: node.map(zone_of).unwrap_or_default(), addresses }
}

async fn serve(
    flags: &Flags,
    health: &Health,
    metrics: &Metrics,
    stop: &tokio_util::sync::CancellationToken,
) -> Result<()> {
    for name in ["healthz-bind-address", "metrics-bind-address"] {
        let text = flags.text(name);
        if text.is_empty() {
            continue;
        }
        let address = text.parse().with_context(|| format!("--{name} {text:?} is no address with a port"))?;
        let started = Server::new(health.clone(), metrics.clone()).start(address, None, stop.clone()).await;
        if let Err(e) = started {
            if flags.bool("bind-address-hard-fail") {
                bail!("--{name} {text}: {e}");
            }
            tracing::error!(flag = name, address = text, error = %e, "cannot listen; going on without");
        }
    }
    Ok(())
}

fn hostname() -> Result<String> {
    let name = nix::unistd::gethostname().context("the host has no name")?;
    Ok(name.to_string_lossy().trim().to_lowercase())
}
