//! Closing a connection so that the client still gets the last answer (rule: Go's `net/http`, `closeWriteAndWait`).
//!
//! A socket that is closed while it holds unread input resets the connection, and the client's system may throw away an
//! answer that it has not handed over yet. Whoever is answered before all was read, as for headers or a body that are too
//! large, must therefore be read from for another moment.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// How long the client has to take note of the end.
const DELAY: Duration = Duration::from_millis(500);

/// A stream that lingers when it is dropped before the other side has ended.
pub struct Lingering<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> {
    /// Always there until dropped.
    stream: Option<S>,
    /// The other side has ended, or the stream is broken.
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Lingering<S> {
    pub fn new(stream: S) -> Self {
        Lingering { stream: Some(stream), ended: false }
    }

    /// Does something with the stream, and notes if that fails.
    fn with<T>(&mut self, act: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(stream) = self.stream.as_mut() else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let done = act(Pin::new(stream));
        self.ended |= matches!(done, Poll::Ready(Err(_)));
        done
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncRead for Lingering<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let done = this.with(|stream| stream.poll_read(cx, buf));
        this.ended |= done.is_ready() && buf.filled().len() == before && buf.remaining() > 0;
        done
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncWrite for Lingering<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().with(|stream| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().with(|stream| stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().with(|stream| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Drop for Lingering<S> {
    fn drop(&mut self) {
        // Without a runtime the process is about to end.
        let (Some(mut stream), false, Ok(runtime)) =
            (self.stream.take(), self.ended, tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(tokio::time::timeout(DELAY, async move {
            let mut unread = [0; 4096];
            if stream.shutdown().await.is_ok() {
                while stream.read(&mut unread).await.is_ok_and(|n| n > 0) {}
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_other_side_may_finish_what_it_sends() {
        let (mut client, server) = tokio::io::duplex(16);
        let mut server = Lingering::new(server);
        server.write_all(b"no").await.unwrap();
        drop(server);
        // More than the pipe holds: somebody must be reading.
        client.write_all(&[0; 1000]).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "no");
    }

    #[tokio::test]
    async fn an_endless_sender_is_left_after_a_moment() {
        let (mut client, server) = tokio::io::duplex(16);
        drop(Lingering::new(server));
        // The end of the pipe is an error here.
        while client.write_all(&[0; 16]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
