//! Answers load balancers on `healthCheckNodePort`: 200 where the service has endpoints on this node, else 503.

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What a probe asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The service.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Endpoints on this node.
    pub local: usize,
}

struct Listener {
    local: Arc<AtomicUsize>,
    _stop: DropGuard,
}

/// The listeners, by port.
#[derive(Default)]
pub struct HealthChecks {
    listeners: HashMap<u16, Listener>,
}

impl HealthChecks {
    /// Opens, closes and updates listeners so that these ports answer.
    pub async fn sync(&mut self, wanted: &BTreeMap<u16, Wanted>) {
        self.listeners.retain(|port, _| wanted.contains_key(port));
        for (port, w) in wanted {
            match self.listeners.get(port) {
                Some(l) => l.local.store(w.local, Ordering::Relaxed),
                None => match open(*port, w).await {
                    Ok(l) => drop(self.listeners.insert(*port, l)),
                    Err(e) => tracing::error!(port, service = w.name, error = %e, "health check port cannot be opened"),
                },
            }
        }
    }
}

async fn open(port: u16, w: &Wanted) -> std::io::Result<Listener> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await?;
    let (local, token) = (Arc::new(AtomicUsize::new(w.local)), CancellationToken::new());
    let (count, stop, namespace, name) = (local.clone(), token.clone(), w.namespace.clone(), w.name.clone());
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => match accepted { Ok((s, _)) => s, Err(_) => continue },
            };
            let n = count.load(Ordering::Relaxed);
            let body = serde_json::json!({
                "service": { "namespace": namespace, "name": name },
                "localEndpoints": n,
                "serviceProxyHealthy": true,
            })
            .to_string();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |_| {
                    let mut reply = http::Response::new(Full::new(Bytes::from(body.clone())));
                    *reply.status_mut() =
                        if n > 0 { http::StatusCode::OK } else { http::StatusCode::SERVICE_UNAVAILABLE };
                    reply.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
                    async move { Ok::<_, Infallible>(reply) }
                });
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    Ok(Listener { local, _stop: token.drop_guard() })
}
