//! WebSocket as Kubernetes uses it: one message per piece of a numbered channel, or a tunnel for another protocol.

mod protocol;
mod tunnel;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
pub use protocol::{Incoming, Protocol, TUNNEL_PROTOCOL, decode, encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
pub use tunnel::Tunnel;

/// The largest message accepted from a client, in bytes.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// The answer that accepts a WebSocket, with the chosen subprotocol; `None` if the request lacks a key.
pub fn accept(headers: &HeaderMap, protocol: &str) -> Option<Response<()>> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()?);
    if !protocol.is_empty() {
        out.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocol).ok()?);
    }
    Some(response)
}

/// Takes over an upgraded connection on the serving side.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    socket(io, Role::Server).await
}

/// Takes over an upgraded connection on the asking side.
pub async fn client<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    socket(io, Role::Client).await
}

async fn socket<S: AsyncRead + AsyncWrite + Unpin>(io: S, role: Role) -> WebSocketStream<S> {
    let limits = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(io, role, Some(limits)).await
}

/// The message that ends a WebSocket in order; clients take an end without a code for a failure.
pub fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Default::default() }))
}
