//! The body of an answer: bytes at hand, or a stream that is made while it is sent.

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Whatever breaks a body off.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How many bytes of a stream are handed to the connection at once.
pub const CHUNK: usize = 64 << 10;

/// The body of an answer.
pub enum Body {
    /// At hand; empty once it was sent.
    Full(Bytes),
    /// Many pieces, copied together into chunks while they are sent: memory stays at one chunk.
    Pieces(Pieces),
    /// Anything else.
    Stream(Pin<Box<dyn HttpBody<Data = Bytes, Error = BoxError> + Send>>),
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::Full(Bytes::new())
    }
    /// Any other body.
    pub fn stream<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        use http_body_util::BodyExt;
        Self::Stream(Box::pin(body.map_err(Into::into)))
    }
    /// Compresses what this body holds, for answers that are large enough.
    pub fn gzip(self) -> Self {
        Self::stream(Gzip {
            inner: Some(Box::pin(self)),
            encoder: GzEncoder::new(Vec::with_capacity(CHUNK), Compression::new(1)),
        })
    }
}

impl From<Bytes> for Body {
    fn from(b: Bytes) -> Self {
        Self::Full(b)
    }
}
impl From<Vec<u8>> for Body {
    fn from(b: Vec<u8>) -> Self {
        Self::Full(b.into())
    }
}
impl From<String> for Body {
    fn from(b: String) -> Self {
        Self::Full(b.into())
    }
}
impl From<&'static str> for Body {
    fn from(b: &'static str) -> Self {
        Self::Full(Bytes::from_static(b.as_bytes()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Full(b) if b.is_empty() => Poll::Ready(None),
            Self::Full(b) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(b))))),
            Self::Pieces(p) => Poll::Ready(p.next_chunk(CHUNK).map(|b| Ok(Frame::data(b)))),
            Self::Stream(s) => s.as_mut().poll_frame(cx),
        }
    }
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(b) => b.is_empty(),
            Self::Pieces(p) => p.done,
            Self::Stream(s) => s.is_end_stream(),
        }
    }
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(b) => SizeHint::with_exact(b.len() as u64),
            Self::Pieces(_) => SizeHint::default(),
            Self::Stream(s) => s.size_hint(),
        }
    }
}

/// A list: a head, items that stay where they are cached, and a tail. Items are fetched while the body is sent.
pub struct Pieces {
    items: Box<dyn Iterator<Item = Bytes> + Send>,
    first: &'static [u8],
    between: &'static [u8],
    tail: Bytes,
    current: Bytes,
    /// What follows `current` before the next item.
    resume: Bytes,
    started: bool,
    done: bool,
}

impl Pieces {
    /// `first` stands before the first item, `between` before every other.
    pub fn new(
        head: Bytes,
        items: impl Iterator<Item = Bytes> + Send + 'static,
        first: &'static [u8],
        between: &'static [u8],
        tail: Bytes,
    ) -> Self {
        Self {
            items: Box::new(items),
            first,
            between,
            tail,
            current: head,
            resume: Bytes::new(),
            started: false,
            done: false,
        }
    }
    /// The same with bytes put before what is still to come.
    #[must_use]
    pub fn after(mut self, head: Bytes) -> Self {
        self.resume = std::mem::replace(&mut self.current, head);
        self
    }

    /// The next bytes, at most `max`; `None` at the end.
    pub fn next_chunk(&mut self, max: usize) -> Option<Bytes> {
        let mut out = BytesMut::new();
        while !self.done && out.len() < max {
            if self.current.is_empty() {
                if !self.resume.is_empty() {
                    self.current = std::mem::take(&mut self.resume);
                } else if let Some(item) = self.items.next() {
                    out.put_slice(if self.started { self.between } else { self.first });
                    self.started = true;
                    self.current = item;
                } else if self.tail.is_empty() {
                    self.done = true;
                } else {
                    self.current = std::mem::take(&mut self.tail);
                }
                continue;
            }
            if out.capacity() == 0 {
                // A short list must not cost a whole chunk.
                out.reserve(if self.started { max } else { 4 << 10 });
            }
            let n = self.current.len().min(max.saturating_sub(out.len()).max(1));
            out.put_slice(&self.current.split_to(n));
        }
        (!out.is_empty()).then(|| out.freeze())
    }
}

/// A body that is compressed while it is sent.
struct Gzip {
    inner: Option<Pin<Box<Body>>>,
    encoder: GzEncoder<Vec<u8>>,
}

impl HttpBody for Gzip {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            let Some(inner) = this.inner.as_mut() else { return Poll::Ready(None) };
            match ready!(inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.encoder.write_all(&data)?;
                    }
                    if this.encoder.get_ref().len() >= CHUNK / 2 {
                        let out = std::mem::replace(this.encoder.get_mut(), Vec::with_capacity(CHUNK));
                        return Poll::Ready(Some(Ok(Frame::data(out.into()))));
                    }
                }
                Some(Err(e)) => return Poll::Ready(Some(Err(e))),
                None => {
                    this.inner = None;
                    this.encoder.try_finish()?;
                    let out = std::mem::take(this.encoder.get_mut());
                    return Poll::Ready(Some(Ok(Frame::data(out.into()))));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn pieces(sizes: &[usize]) -> (Body, Vec<u8>) {
        let items: Vec<Bytes> = sizes.iter().map(|n| Bytes::from(vec![b'x'; *n])).collect();
        let mut want = b"[".to_vec();
        want.extend_from_slice(&items.iter().map(|b| b.to_vec()).collect::<Vec<_>>().join(&b","[..]));
        want.extend_from_slice(b"]");
        (Body::Pieces(Pieces::new("[".into(), items.into_iter(), b"", b",", "]".into())), want)
    }

    #[tokio::test]
    async fn pieces_come_whole() {
        for sizes in [&[][..], &[1], &[1, 2, 3], &[CHUNK, 1, CHUNK * 3], &[CHUNK - 1, 1]] {
            let (body, want) = pieces(sizes);
            assert_eq!(body.collect().await.expect("no error").to_bytes(), want);
        }
    }

    #[tokio::test]
    async fn gzip_gives_back_what_went_in() {
        let (body, want) = pieces(&[10, CHUNK * 2, 7]);
        let packed = body.gzip().collect().await.expect("no error").to_bytes();
        let mut got = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut got).expect("unpacks");
        assert!(got == want && packed.len() < want.len());
    }
}
