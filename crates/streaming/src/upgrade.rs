//! Leaving HTTP/1.1 for another protocol on the same connection.

use std::io;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// The longest explanation that is read from a server that does not upgrade, in bytes.
const MAX_REFUSAL: usize = 64 * 1024;

/// Header in which SPDY clients offer and servers choose the protocol of a remote command.
pub const PROTOCOL_HEADER: &str = "x-stream-protocol-version";

/// Which upgrade a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// SPDY/3.1.
    Spdy,
    /// WebSocket.
    WebSocket,
}

/// What the headers of a request ask to upgrade to, if anything.
pub fn wanted(headers: &HeaderMap) -> Option<Wanted> {
    let has = |name: header::HeaderName, word: &str| {
        headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).any(|v| v.to_ascii_lowercase().contains(word))
    };
    if !has(header::CONNECTION, "upgrade") {
        return None;
    }
    if has(header::UPGRADE, "websocket") {
        Some(Wanted::WebSocket)
    } else if has(header::UPGRADE, "spdy/3.1") {
        Some(Wanted::Spdy)
    } else {
        None
    }
}

/// The items of a comma-separated header that may appear several times.
pub fn items<'a>(headers: &'a HeaderMap, name: &'a str) -> Vec<&'a str> {
    let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(str::trim).filter(|v| !v.is_empty()).collect()
}

/// What a server answered to a request to upgrade.
pub enum Answer {
    /// It switched; the head of its answer, and the connection.
    Switched(Response<()>, TokioIo<Upgraded>),
    /// It did not; the head of its answer, and the body.
    Refused(Response<Bytes>),
}

/// Sends `request` over `io` and waits for the switch of protocols.
pub async fn ask<S>(io: S, request: Request<Empty<Bytes>>) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to a streaming server ended");
        }
    });
    let mut response: Response<Incoming> = sender.send_request(request).await.map_err(io::Error::other)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_REFUSAL).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        return Ok(Answer::Refused(Response::from_parts(head, body)));
    }
    let upgraded = hyper::upgrade::on(&mut response).await.map_err(io::Error::other)?;
    let (head, _) = response.into_parts();
    Ok(Answer::Switched(Response::from_parts(head, ()), TokioIo::new(upgraded)))
}

/// Headers of a request that asks for SPDY and offers `protocols` in order of preference.
pub fn spdy_request(method: &str, uri: &str, host: &str, protocols: &[&str]) -> io::Result<Request<Empty<Bytes>>> {
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::HOST, host)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, crate::spdy::UPGRADE);
    for protocol in protocols {
        request = request.header(PROTOCOL_HEADER, *protocol);
    }
    request.body(Empty::new()).map_err(io::Error::other)
}
