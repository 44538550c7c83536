//! Watches over WebSocket: one message for each event (rule: apiserver `pkg/endpoints/handlers/watch.go` HandleWS).

use crate::api::Incomings;
use crate::body::Body;
use crate::connect::upgrade_of;
use crate::negotiate::MediaType;
use crate::respond::Reply;
use bytes::Bytes;
use futures::{SinkExt, Stream, StreamExt};
use http::HeaderMap;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::pin::pin;
use steersman_apimachinery::Status;
use steersman_streaming::websocket;
use tokio_tungstenite::tungstenite::Message;

/// Whether a request asks for a WebSocket.
pub fn wanted(headers: &HeaderMap) -> bool {
    upgrade_of(headers).is_some_and(|u| u.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Switches protocols and sends events until either side ends.
pub fn serve(
    request: &mut Incomings,
    events: impl Stream<Item = Bytes> + Send + 'static,
    format: MediaType,
) -> Result<Reply, Status> {
    let refused = || Status::bad_request("the connection cannot be upgraded to a WebSocket");
    let own = request.parts.extensions.remove::<OnUpgrade>().ok_or_else(refused)?;
    let answer = websocket::accept(&request.parts.headers, "").ok_or_else(refused)?;
    tokio::spawn(async move {
        let Ok(io) = own.await else { return };
        let mut socket = websocket::serve(TokioIo::new(io)).await;
        let mut events = pin!(events);
        loop {
            tokio::select! {
                // Clients have nothing to say; reading answers pings and sees the end.
                said = socket.next() => match said {
                    Some(Ok(message)) if !message.is_close() => {}
                    _ => return,
                },
                event = events.next() => {
                    let Some(event) = event else { break };
                    let message = match (format, String::from_utf8(event.to_vec())) {
                        (MediaType::Json, Ok(text)) => Message::text(text),
                        _ => Message::binary(event),
                    };
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
            }
        }
        if let Err(e) = socket.close(None).await {
            tracing::debug!(error = %e, "WebSocket not closed");
        }
    });
    let (head, ()) = answer.into_parts();
    Ok(Reply::from_parts(head, Body::empty()))
}
