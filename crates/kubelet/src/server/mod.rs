//! What the kubelet serves: health for its supervisor, and to the API server everything about its pods.

mod auth;
mod handlers;
pub mod logs;
mod metrics;
mod reply;
mod stats;
mod streams;
mod tls;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use steersman_component::flags::Flags;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub use self::stats::Samples;
use self::{auth::Auth, reply::Reply};
use crate::kubelet::Kubelet;

/// A handshake may take this long.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What the parts of the server share.
pub struct Server {
    k: Arc<Kubelet>,
    auth: Auth,
    samples: Samples,
    metrics: steersman_component::metrics::Metrics,
}

/// Who asks, as far as the connection tells.
#[derive(Debug, Clone, Default)]
struct Peer {
    /// The client's certificate, if it was verified.
    certificate: Option<Vec<u8>>,
    /// Whether the port is for reading by everybody.
    read_only: bool,
}

/// Opens all ports; they are served until shutdown.
pub async fn start(k: &Arc<Kubelet>, flags: &Flags) -> Result<()> {
    let config = &k.config;
    let gates: Vec<(String, String)> = config.feature_gates.iter().map(|(k, v)| (k.clone(), v.to_string())).collect();
    let gates = steersman_component::features::Gates::parse(&gates).map_err(|e| anyhow::anyhow!(e))?;
    let server = Arc::new(Server {
        k: k.clone(),
        auth: Auth::new(config, k.client.clone(), &k.node_name),
        samples: Samples::default(),
        metrics: steersman_component::metrics::Metrics::new(&gates),
    });
    let address = |host: &str, port: u16| -> Result<SocketAddr> {
        Ok(SocketAddr::new(host.parse().with_context(|| format!("bad address {host:?}"))?, port))
    };
    if config.healthz_port != 0 {
        let listener = bind(address(&config.healthz_bind_address, config.healthz_port)?).await?;
        let server = server.clone();
        tokio::spawn(accept(server, listener, None, Peer { read_only: true, ..Peer::default() }, true));
    }
    if !config.enable_server {
        return Ok(());
    }
    if config.read_only_port != 0 {
        let listener = bind(address(&config.address, config.read_only_port)?).await?;
        let server = server.clone();
        tokio::spawn(accept(server, listener, None, Peer { read_only: true, ..Peer::default() }, false));
    }
    let tls = tls::config(k, flags).await?;
    let listener = bind(address(&config.address, config.port)?).await?;
    tokio::spawn(accept(server, listener, Some(TlsAcceptor::from(tls)), Peer::default(), false));
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

async fn accept(server: Arc<Server>, listener: TcpListener, tls: Option<TlsAcceptor>, peer: Peer, health_only: bool) {
    let shutdown = server.k.shutdown.clone();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = shutdown.cancelled() => return,
        };
        let (server, tls, peer) = (server.clone(), tls.clone(), peer.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(server, stream, tls, peer, health_only).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

async fn connection(
    server: Arc<Server>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    mut peer: Peer,
    health_only: bool,
) -> Result<()> {
    // Terminal sessions consist of small packets that must not wait for each other.
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return serve(server, TokioIo::new(stream), peer, health_only).await };
    let stream = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await??;
    peer.certificate = stream.get_ref().1.peer_certificates().and_then(|c| c.first()).map(|c| c.to_vec());
    serve(server, TokioIo::new(stream), peer, health_only).await
}

async fn serve<I>(server: Arc<Server>, io: I, peer: Peer, health_only: bool) -> Result<()>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, peer) = (server.clone(), peer.clone());
        async move { Ok::<Reply, Infallible>(handlers::answer(&server, request, &peer, health_only).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    builder.serve_connection_with_upgrades(io, service).await.map_err(|e| anyhow::anyhow!(e))
}
