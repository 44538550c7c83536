//! Connections to the apiserver: one multiplexed HTTP/2 connection for requests, further ones for watches.
//!
//! A server limits how many streams a connection may carry (Go: 100 to 250), and a watch occupies its stream for
//! minutes. So watches live on connections of their own, at most [`WATCHES_PER_CONNECTION`] on each.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use parking_lot::Mutex;
use rustls_pki_types::ServerName;

use crate::{Config, Error, Result, tls};

const WATCHES_PER_CONNECTION: usize = 64;
/// What a server may send ahead on one stream, and on all streams of a connection, before we have read it.
const STREAM_WINDOW: u32 = 512 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// A peer that does not answer pings for so long is gone (rule: client-go's HTTP/2 health check, 30 s and 15 s).
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Makes and keeps connections for one server and one identity.
pub(crate) struct Transport {
    config: rustls::ClientConfig,
    server_name: Option<ServerName<'static>>,
    http1: bool,
    requests: Http,
    watches: Mutex<Vec<(Http, Arc<AtomicUsize>)>>,
}

/// Keeps a watch counted on its connection.
pub(crate) struct WatchSlot(Arc<AtomicUsize>);

impl Drop for WatchSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Transport {
    pub(crate) fn new(config: &Config, https: bool) -> Result<Self> {
        let tls = tls::client_config(config)?;
        let server_name = match &config.tls_server_name {
            Some(name) => Some(
                ServerName::try_from(name.clone())
                    .map_err(|error| Error::Config(format!("invalid tls-server-name \"{name}\": {error}")))?,
            ),
            None => None,
        };
        let http1 = !https || std::env::var_os("DISABLE_HTTP2").is_some_and(|v| !v.is_empty());
        let requests = connect(&tls, server_name.as_ref(), http1);
        Ok(Self { config: tls, server_name, http1, requests, watches: Mutex::new(Vec::new()) })
    }

    /// Sends a request whose answer ends soon.
    pub(crate) fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let answer = self.requests.request(request);
        Box::pin(async move { answer.await.map_err(transport_error) })
    }

    /// Sends a request whose answer may go on for ever; the slot must live as long as the answer.
    pub(crate) fn send_watch(&self, request: Request<Full<Bytes>>) -> (Answer, WatchSlot) {
        let (http, count) = {
            let mut watches = self.watches.lock();
            let free = watches.iter().find(|(_, count)| count.load(Ordering::Relaxed) < WATCHES_PER_CONNECTION);
            let (http, count) = match free {
                Some(found) => found.clone(),
                None => {
                    let http = connect(&self.config, self.server_name.as_ref(), self.http1);
                    watches.push((http, Arc::default()));
                    watches[watches.len() - 1].clone()
                }
            };
            count.fetch_add(1, Ordering::Relaxed);
            (http, count)
        };
        let answer = http.request(request);
        (Box::pin(async move { answer.await.map_err(transport_error) }), WatchSlot(count))
    }
}

/// The answer to a request, to come.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<Incoming>>> + Send>>;

fn connect(tls: &rustls::ClientConfig, server_name: Option<&ServerName<'static>>, http1: bool) -> Http {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(Duration::from_secs(30)));
    tcp.set_connect_timeout(Some(Duration::from_secs(10)));
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http();
    if let Some(name) = server_name {
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name.clone()));
    }
    let connector =
        if http1 { builder.enable_http1().wrap_connector(tcp) } else { builder.enable_http2().wrap_connector(tcp) };
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_only(!http1)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build(connector)
}

fn transport_error(error: hyper_util::client::legacy::Error) -> Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    Error::Transport(text)
}
