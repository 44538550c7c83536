//! Connections: TLS, HTTP/1.1 and HTTP/2, who the client's certificate names, and an orderly end.

use crate::body::Body;
use crate::linger::Lingering;
use crate::peer::{ClientCas, Peer};
use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Streams that a client may open on one connection, unless a flag says otherwise (upstream's default).
const MAX_STREAMS: u32 = 250;
/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest wait for the headers of a request, as upstream's server has it.
const READ_HEADERS: Duration = Duration::from_secs(32);
/// Most bytes of headers in one request.
const MAX_HEADERS: u32 = 1 << 20;

/// Answers one request.
pub type Handler = Arc<dyn Fn(Request<Incoming>, Arc<Connection>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// What requests of one connection share.
#[derive(Debug)]
pub struct Connection {
    /// The client's address.
    pub remote: SocketAddr,
    /// Who the client's certificate names.
    pub peer: Peer,
    /// Asks the connection to go away after the requests it has (GOAWAY).
    pub go_away: tokio::sync::Notify,
    /// Cancelled when the server ends: watches end with it. One for each connection, so that watches of different
    /// connections do not share a lock.
    pub closing: CancellationToken,
}

/// Settings of the server.
pub struct Server {
    /// TLS, with ALPN set.
    pub tls: Arc<rustls::ServerConfig>,
    /// Against what client certificates are checked.
    pub client_cas: ClientCas,
    /// `--http2-max-streams-per-connection`; 0: the default.
    pub max_streams: u32,
    /// Answers requests.
    pub handler: Handler,
}

impl Server {
    /// Accepts connections until `stop`, then lets those that are there finish, at most for `drain`.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken, drain: Duration) {
        let acceptor = TlsAcceptor::from(self.tls.clone());
        let (server, tracker) = (Arc::new(self), TaskTracker::new());
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, remote)) => (stream, remote),
                    Err(e) => {
                        // Mostly too many open files: others must end first.
                        tracing::warn!(error = %e, "accept failed");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let connection = server.clone().connection(acceptor.clone(), stream, stop.clone());
            tracker.spawn(connection);
        }
        drop(listener);
        tracker.close();
        if tokio::time::timeout(drain, tracker.wait()).await.is_err() {
            tracing::warn!(connections = tracker.len(), "connections were cut off at shutdown");
        }
    }

    async fn connection(
        self: Arc<Self>,
        acceptor: TlsAcceptor,
        (tcp, remote): (TcpStream, SocketAddr),
        stop: CancellationToken,
    ) {
        if let Err(e) = tcp.set_nodelay(true) {
            tracing::debug!(error = %e, "no TCP_NODELAY");
        }
        let tls = match tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(e)) => {
                tracing::debug!(%remote, error = %e, "TLS handshake error");
                return;
            }
            Err(_) => return,
        };
        let (_, session) = tls.get_ref();
        let http2 = session.alpn_protocol() == Some(b"h2");
        let peer = self.client_cas.identify(session.peer_certificates().unwrap_or(&[]));
        let shared =
            Arc::new(Connection { remote, peer, go_away: tokio::sync::Notify::new(), closing: stop.child_token() });
        let service = {
            let (handler, shared) = (self.handler.clone(), shared.clone());
            hyper::service::service_fn(move |req| {
                let answer = handler(req, shared.clone());
                async move { Ok::<_, Infallible>(answer.await) }
            })
        };
        // Both kinds of connection end alike: the futures differ only in type.
        macro_rules! serve {
            ($connection:expr) => {{
                let connection = $connection;
                tokio::pin!(connection);
                let ended = tokio::select! {
                    r = connection.as_mut() => Some(r),
                    () = stop.cancelled() => None,
                    () = shared.go_away.notified() => None,
                };
                let ended = match ended {
                    Some(r) => r,
                    None => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                if let Err(e) = ended {
                    tracing::trace!(%remote, error = %e, "connection ended");
                }
            }};
        }
        if http2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(if self.max_streams == 0 { MAX_STREAMS } else { self.max_streams })
                .initial_stream_window_size(256 << 10)
                .initial_connection_window_size(4 << 20)
                .max_header_list_size(MAX_HEADERS)
                .max_send_buf_size(256 << 10)
                .keep_alive_interval(Some(Duration::from_secs(30)))
                .keep_alive_timeout(Duration::from_secs(15));
            serve!(builder.serve_connection(TokioIo::new(tls), service));
        } else {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(READ_HEADERS).half_close(true);
            serve!(builder.serve_connection(TokioIo::new(Lingering::new(tls)), service).with_upgrades());
        }
    }
}
