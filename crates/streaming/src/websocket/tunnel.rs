//! A WebSocket as a plain byte stream: what is written becomes binary messages, what they carry is read.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message},
};

/// The most bytes put into one message.
const MAX_PIECE: usize = 32 * 1024;

/// A byte stream through a WebSocket.
pub struct Tunnel<S> {
    socket: WebSocketStream<S>,
    unread: Bytes,
    closing: bool,
}

impl<S> Tunnel<S> {
    /// Wraps `socket`.
    pub fn new(socket: WebSocketStream<S>) -> Self {
        Tunnel { socket, unread: Bytes::new(), closing: false }
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(e) => e,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        other => io::Error::other(other),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            match ready!(Pin::new(&mut this.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => this.unread = bytes,
                None | Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Ok(_)) => {}
                Some(Err(e)) => return Poll::Ready(Err(io_error(e))),
            }
        }
        let size = this.unread.len().min(buf.remaining());
        buf.put_slice(&this.unread[..size]);
        this.unread.advance(size);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.socket).poll_ready(cx)).map_err(io_error)?;
        let size = data.len().min(MAX_PIECE);
        Pin::new(&mut this.socket).start_send(Message::binary(data[..size].to_vec())).map_err(io_error)?;
        // The message is taken; a flush that is not finished goes on with the next call.
        if let Poll::Ready(Err(e)) = Pin::new(&mut this.socket).poll_flush(cx) {
            return Poll::Ready(Err(io_error(e)));
        }
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closing {
            ready!(Pin::new(&mut this.socket).poll_ready(cx)).map_err(io_error)?;
            Pin::new(&mut this.socket).start_send(super::goodbye()).map_err(io_error)?;
            this.closing = true;
        }
        match ready!(Pin::new(&mut this.socket).poll_flush(cx)) {
            Err(Error::ConnectionClosed | Error::AlreadyClosed) | Ok(()) => Poll::Ready(Ok(())),
            Err(e) => Poll::Ready(Err(io_error(e))),
        }
    }
}
