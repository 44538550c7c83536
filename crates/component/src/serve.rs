//! The side server of a component: health, metrics and whatever it adds, over TLS or, on loopback, in the clear.

use crate::health::{Endpoint, Health};
use crate::metrics::{CONTENT_TYPE, Metrics};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// An answer.
pub type Reply = Response<Full<Bytes>>;
/// Answers paths that the server does not know; `None` is 404.
pub type Extra = Arc<dyn Fn(&Request<Incoming>) -> Option<Reply> + Send + Sync>;
/// Says whether a request may pass; `Err` is the answer (401, 403). Health paths are never asked for.
pub type Guard = Arc<dyn Fn(Parts) -> BoxFuture<'static, Result<(), Reply>> + Send + Sync>;

/// What a [`Guard`] sees.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Lower-case method.
    pub verb: String,
    /// The path.
    pub path: String,
    /// The token of `Authorization: Bearer`.
    pub token: Option<String>,
    /// DER of the client's certificate, if TLS gave one that was verified.
    pub certificate: Option<Vec<u8>>,
}

/// The server.
#[derive(Clone)]
pub struct Server {
    /// Answers the health paths.
    pub health: Health,
    /// Answers `/metrics`.
    pub metrics: Metrics,
    /// Protects everything but health; none: all may read (for loopback only).
    pub guard: Option<Guard>,
    /// Answers further paths.
    pub extra: Option<Extra>,
    /// The `/configz` document.
    pub configz: Option<Arc<serde_json::Value>>,
}

impl Server {
    /// Health and metrics only, unguarded.
    pub fn new(health: Health, metrics: Metrics) -> Self {
        Self { health, metrics, guard: None, extra: None, configz: None }
    }

    /// Listens at `address`; with `tls` as HTTPS. Returns the bound address; serves until `stop`.
    pub async fn start(
        self,
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        stop: CancellationToken,
    ) -> std::io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        tokio::spawn(self.accept(listener, tls.map(TlsAcceptor::from), stop));
        Ok(bound)
    }

    async fn accept(self, listener: TcpListener, tls: Option<TlsAcceptor>, stop: CancellationToken) {
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(e) => {
                        tracing::warn!(error = %e, "accept failed");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let (server, tls, stop) = (self.clone(), tls.clone(), stop.clone());
            tokio::spawn(async move {
                match tls {
                    None => server.connection(TokioIo::new(stream), None, stop).await,
                    Some(acceptor) => {
                        match tokio::time::timeout(Duration::from_secs(10), acceptor.accept(stream)).await {
                            Ok(Ok(stream)) => {
                                let certificate =
                                    stream.get_ref().1.peer_certificates().and_then(|c| c.first()).map(|c| c.to_vec());
                                server.connection(TokioIo::new(stream), certificate, stop).await;
                            }
                            Ok(Err(e)) => tracing::debug!(error = %e, "TLS handshake failed"),
                            Err(_) => tracing::debug!("TLS handshake timed out"),
                        }
                    }
                }
            });
        }
    }

    async fn connection<I>(self, io: I, certificate: Option<Vec<u8>>, stop: CancellationToken)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let service = hyper::service::service_fn(move |req| {
            let (server, certificate) = (self.clone(), certificate.clone());
            async move { Ok::<_, Infallible>(server.answer(req, certificate).await) }
        });
        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection(io, service);
        tokio::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => {}
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                drop(tokio::time::timeout(Duration::from_secs(2), connection).await);
            }
        }
    }

    async fn answer(&self, req: Request<Incoming>, certificate: Option<Vec<u8>>) -> Reply {
        let path = req.uri().path();
        if let Some((endpoint, single)) = Endpoint::of_path(path) {
            return self.answer_health(endpoint, single, req.uri().query().unwrap_or(""));
        }
        if let Some(guard) = &self.guard {
            let token = req.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
            let parts = Parts {
                verb: req.method().as_str().to_ascii_lowercase(),
                path: path.to_owned(),
                token: token.and_then(|t| t.strip_prefix("Bearer ")).map(str::to_owned),
                certificate,
            };
            if let Err(refused) = guard(parts).await {
                return refused;
            }
        }
        match path {
            "/metrics" => typed(StatusCode::OK, CONTENT_TYPE, self.metrics.text()),
            "/version" => typed(StatusCode::OK, "application/json", crate::version::info().to_string()),
            "/configz" if self.configz.is_some() => typed(
                StatusCode::OK,
                "application/json",
                self.configz.as_deref().map(ToString::to_string).unwrap_or_default(),
            ),
            _ => self
                .extra
                .as_ref()
                .and_then(|extra| extra(&req))
                .unwrap_or_else(|| text(StatusCode::NOT_FOUND, "404 page not found\n")),
        }
    }

    fn answer_health(&self, endpoint: Endpoint, single: &str, query: &str) -> Reply {
        let mut exclude = Vec::new();
        let mut verbose = false;
        for (k, v) in query.split('&').map(|p| p.split_once('=').unwrap_or((p, ""))) {
            match k {
                "verbose" => verbose = true,
                "exclude" => exclude.push(v.to_owned()),
                _ => {}
            }
        }
        let answer = self.health.answer(endpoint, single, verbose, &exclude);
        text(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), answer.body)
    }
}

/// A plain-text answer.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    typed(status, "text/plain; charset=utf-8", body)
}

/// An answer of some content type.
pub fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    reply
}
