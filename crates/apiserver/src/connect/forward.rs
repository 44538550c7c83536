//! A request passed on to another server, and its answer passed back, with switches of protocol
//! (rule: apimachinery `pkg/util/proxy/upgradeaware.go`).

use crate::api::Incomings;
use crate::body::{Body, BoxError};
use crate::respond::Reply;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use steersman_apimachinery::Status;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest wait for a connection.
const DIAL: Duration = Duration::from_secs(30);
/// Headers that concern one connection only, or that must not leave the server.
static OWN: [HeaderName; 9] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    AUTHORIZATION,
    http::header::TE,
    http::header::TRAILER,
    http::header::PROXY_AUTHORIZATION,
    http::header::PROXY_AUTHENTICATE,
    HeaderName::from_static("keep-alive"),
];

/// Where a request goes.
pub struct Target {
    /// Name or IP.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS, if any.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Path and query.
    pub path: String,
}

type Out = UnsyncBoxBody<Bytes, BoxError>;

/// A connection as far as hyper needs it.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Connects to a target.
pub async fn dial(target: &Target) -> Result<Box<dyn Io>, Status> {
    let failed = |e: &dyn std::fmt::Display| {
        Status::unavailable(format!("error trying to reach service: dial tcp {}:{}: {e}", target.host, target.port))
    };
    let connect = TcpStream::connect((target.host.as_str(), target.port));
    let tcp = tokio::time::timeout(DIAL, connect).await.map_err(|_| failed(&"i/o timeout"))?.map_err(|e| failed(&e))?;
    if let Err(e) = tcp.set_nodelay(true) {
        tracing::debug!(error = %e, "no TCP_NODELAY");
    }
    let Some(tls) = &target.tls else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(target.host.clone()).map_err(|e| failed(&e))?;
    let stream = TlsConnector::from(tls.clone()).connect(name, tcp);
    let stream = tokio::time::timeout(DIAL, stream)
        .await
        .map_err(|_| failed(&"TLS handshake timeout"))?
        .map_err(|e| failed(&e))?;
    Ok(Box::new(stream))
}

/// Passes the request on. A switch of protocols joins both connections until either ends.
pub async fn forward(request: &mut Incomings, target: &Target, method: Method) -> Result<Reply, Status> {
    let broken = |e: &dyn std::fmt::Display| Status::unavailable(format!("error trying to reach service: {e}"));
    let upgrade = upgrade_of(request.headers());
    let own = request.parts.extensions.remove::<OnUpgrade>();
    let io = dial(target).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(|e| broken(&e))?;
    tokio::spawn(async move {
        if let Err(e) = connection.with_upgrades().await {
            tracing::debug!(error = %e, "proxied connection ended");
        }
    });
    let out = outgoing(request, target, method, upgrade.as_ref())?;
    let mut answer = sender.send_request(out).await.map_err(|e| broken(&e))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (mut head, body) = answer.into_parts();
        drop_own(&mut head.headers);
        return Ok(Reply::from_parts(head, kept_open(body, sender)));
    }
    let theirs = hyper::upgrade::on(&mut answer);
    let Some(own) = own else { return Err(Status::bad_request("the connection cannot be upgraded")) };
    tokio::spawn(async move {
        match tokio::join!(own, theirs) {
            (Ok(own), Ok(theirs)) => {
                let (mut own, mut theirs) = (TokioIo::new(own), TokioIo::new(theirs));
                if let Err(e) = tokio::io::copy_bidirectional(&mut own, &mut theirs).await {
                    tracing::debug!(error = %e, "upgraded connection ended");
                }
            }
            (own, theirs) => tracing::debug!(own = own.is_ok(), theirs = theirs.is_ok(), "upgrade failed"),
        }
    });
    let (head, _) = answer.into_parts();
    Ok(Reply::from_parts(head, Body::empty()))
}

/// The protocol that a request asks to switch to.
pub fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get_all(CONNECTION)
        .iter()
        .any(|v| v.to_str().is_ok_and(|v| v.to_ascii_lowercase().contains("upgrade")));
    if asked { headers.get(UPGRADE).cloned() } else { None }
}

fn outgoing(
    request: &mut Incomings,
    target: &Target,
    method: Method,
    upgrade: Option<&HeaderValue>,
) -> Result<Request<Out>, Status> {
    let mut headers = request.parts.headers.clone();
    drop_own(&mut headers);
    let impersonation: Vec<HeaderName> =
        headers.keys().filter(|n| n.as_str().starts_with("impersonate-")).cloned().collect();
    for name in impersonation {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
    let bracketed = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    let host = HeaderValue::from_str(&format!("{bracketed}:{}", target.port)).map_err(Status::internal)?;
    headers.insert(HOST, host);
    if let Ok(from) = HeaderValue::from_str(&request.connection.remote.ip().to_string()) {
        headers.append("x-forwarded-for", from);
    }
    let body: Out = match request.body.take() {
        Some(body) if upgrade.is_none() && !http_body::Body::is_end_stream(&body) => {
            body.map_err(Into::into).boxed_unsync()
        }
        _ => Empty::new().map_err(|e| match e {}).boxed_unsync(),
    };
    let mut out = Request::builder()
        .method(method)
        .uri(&target.path)
        .body(body)
        .map_err(|e| Status::bad_request(e.to_string()))?;
    *out.headers_mut() = headers;
    Ok(out)
}

fn drop_own(headers: &mut HeaderMap) {
    for name in &OWN {
        headers.remove(name);
    }
}

/// The connection lives as long as its answer is read.
fn kept_open(body: Incoming, sender: http1::SendRequest<Out>) -> Body {
    Body::stream(body.map_frame(move |frame| {
        let _open = &sender;
        frame
    }))
}
