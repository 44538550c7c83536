//! A connection that carries many streams.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::{Notify, Semaphore, mpsc, oneshot},
};

use super::frame::{Decoder, Encoder, Frame, ResetStatus};
use super::headers::Headers;

/// Most streams open at once in one connection.
const MAX_STREAMS: usize = 4096;
/// Pieces of data (of at most 32 KiB) that wait for a slow reader before the connection stops being read.
const BACKLOG: usize = 8;
/// Data frames sent are no larger than this, so that streams take turns.
const MAX_WRITE: usize = 32 * 1024;
/// Bytes a peer that does flow control accepts at first.
const INITIAL_WINDOW: usize = 64 * 1024;
/// Id of the setting that changes the initial window.
const SETTING_INITIAL_WINDOW: u32 = 7;

/// Which end of the connection this is; it decides the parity of stream ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Opens streams 1, 3, 5 …
    Client,
    /// Opens streams 2, 4, 6 …
    Server,
}

/// One SPDY connection; clones share it. It ends when the peer goes away or [`Session::close`] is called.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
    accepted: Arc<tokio::sync::Mutex<mpsc::Receiver<Stream>>>,
}

struct Shared {
    table: Mutex<Table>,
    out: mpsc::Sender<Frame>,
    closed: Notify,
    is_closed: AtomicBool,
    /// The peer has sent a window update or setting, so its windows are respected.
    flow_control: AtomicBool,
}

struct Table {
    next: u32,
    entries: HashMap<u32, Entry>,
}

struct Entry {
    /// Where data goes; `None` after the peer's half-close.
    data: Option<mpsc::Sender<Bytes>>,
    /// Told when the peer accepts the stream.
    reply: Option<oneshot::Sender<Headers>>,
    window: Arc<Semaphore>,
    local_done: bool,
}

/// A stream: headers, and bytes both ways.
pub struct Stream {
    headers: Headers,
    reader: StreamReader,
    writer: StreamWriter,
}

/// The bytes that come from the peer.
pub struct StreamReader {
    id: u32,
    data: mpsc::Receiver<Bytes>,
}

/// The bytes that go to the peer. Dropping it without [`StreamWriter::finish`] resets the stream.
pub struct StreamWriter {
    id: u32,
    shared: Arc<Shared>,
    window: Arc<Semaphore>,
    finished: bool,
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "SPDY connection or stream is closed")
}

impl Session {
    /// Takes over a connection that both sides agreed to speak SPDY on.
    pub fn new<S: AsyncRead + AsyncWrite + Send + 'static>(io: S, side: Side) -> Self {
        let (read, write) = tokio::io::split(io);
        let (out, frames) = mpsc::channel(32);
        let (incoming, accepted) = mpsc::channel(64);
        let next = if side == Side::Client { 1 } else { 2 };
        let shared = Arc::new(Shared {
            table: Mutex::new(Table { next, entries: HashMap::new() }),
            out,
            closed: Notify::new(),
            is_closed: AtomicBool::new(false),
            flow_control: AtomicBool::new(false),
        });
        tokio::spawn(write_frames(write, frames, shared.clone()));
        tokio::spawn(read_frames(read, shared.clone(), incoming, side));
        Session { shared, accepted: Arc::new(tokio::sync::Mutex::new(accepted)) }
    }

    /// Opens a stream and waits until the peer accepts it.
    pub async fn open(&self, headers: Headers) -> io::Result<Stream> {
        let permit = self.shared.out.reserve().await.map_err(|_| gone())?;
        let (reply, replied) = oneshot::channel();
        let stream = {
            let mut table = self.shared.table.lock();
            if self.shared.is_closed.load(Ordering::Acquire) {
                return Err(gone());
            }
            let id = table.next;
            table.next += 2;
            permit.send(Frame::SynStream { id, fin: false, unidirectional: false, headers: headers.clone() });
            self.shared.insert(&mut table, id, headers, Some(reply), false)
        };
        replied.await.map_err(|_| gone())?;
        Ok(stream)
    }

    /// Waits for a stream that the peer opens; `None` when the connection has ended.
    pub async fn accept(&self) -> Option<Stream> {
        self.accepted.lock().await.recv().await
    }

    /// Ends the connection and every stream in it, after what was already queued is written.
    pub async fn close(&self) {
        let last = self.shared.table.lock().next;
        // A full queue means that a writer is at work or gone; either way the goodbye is a courtesy.
        let _ = self.shared.out.send(Frame::GoAway { last }).await;
        self.shared.shut();
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) {
        self.shared.until_closed().await;
    }
}

impl Shared {
    fn insert(
        self: &Arc<Self>,
        table: &mut Table,
        id: u32,
        headers: Headers,
        reply: Option<oneshot::Sender<Headers>>,
        remote_done: bool,
    ) -> Stream {
        let (data, receiver) = mpsc::channel(BACKLOG);
        let window = Arc::new(Semaphore::new(INITIAL_WINDOW));
        table.entries.insert(
            id,
            Entry { data: (!remote_done).then_some(data), reply, window: window.clone(), local_done: false },
        );
        Stream {
            headers,
            reader: StreamReader { id, data: receiver },
            writer: StreamWriter { id, shared: self.clone(), window, finished: false },
        }
    }

    fn shut(&self) {
        self.is_closed.store(true, Ordering::Release);
        let entries = std::mem::take(&mut self.table.lock().entries);
        for entry in entries.values() {
            entry.window.close();
        }
        self.closed.notify_waiters();
    }

    async fn until_closed(&self) {
        let notified = self.closed.notified();
        if !self.is_closed.load(Ordering::Acquire) {
            notified.await;
        }
    }

    /// Drops the entry once both directions have ended.
    fn local_done(&self, id: u32) {
        let mut table = self.table.lock();
        if let Some(entry) = table.entries.get_mut(&id) {
            entry.local_done = true;
            if entry.data.is_none() {
                table.entries.remove(&id);
            }
        }
    }

    fn remote_done(&self, id: u32) {
        let mut table = self.table.lock();
        if let Some(entry) = table.entries.get_mut(&id) {
            entry.data = None;
            if entry.local_done {
                table.entries.remove(&id);
            }
        }
    }

    fn reset(&self, id: u32) {
        if let Some(entry) = self.table.lock().entries.remove(&id) {
            entry.window.close();
        }
    }
}

impl Stream {
    /// The headers it was opened with.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Both directions, to be used from different tasks.
    pub fn split(self) -> (StreamReader, StreamWriter) {
        (self.reader, self.writer)
    }

    /// See [`StreamReader::recv`].
    pub async fn recv(&mut self) -> Option<Bytes> {
        self.reader.recv().await
    }

    /// See [`StreamWriter::send`].
    pub async fn send(&mut self, data: Bytes) -> io::Result<()> {
        self.writer.send(data).await
    }

    /// See [`StreamWriter::finish`].
    pub async fn finish(&mut self) -> io::Result<()> {
        self.writer.finish().await
    }
}

impl StreamReader {
    /// The number of the stream.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The next bytes; `None` at the end of the stream.
    pub async fn recv(&mut self) -> Option<Bytes> {
        self.data.recv().await
    }
}

impl StreamWriter {
    /// Sends `data`, waiting while the connection is congested.
    pub async fn send(&mut self, mut data: Bytes) -> io::Result<()> {
        while !data.is_empty() {
            let mut size = data.len().min(MAX_WRITE);
            if self.shared.flow_control.load(Ordering::Acquire) {
                let first = self.window.acquire().await.map_err(|_| gone())?;
                let more = self.window.available_permits().min(size - 1);
                size = 1 + self.window.try_acquire_many(more as u32).map_or(0, |permits| {
                    permits.forget();
                    more
                });
                first.forget();
            } else if self.window.is_closed() {
                return Err(gone());
            }
            self.put(Frame::Data { id: self.id, fin: false, data: data.split_to(size) }).await?;
        }
        Ok(())
    }

    /// Says that no more bytes follow; the peer may still send.
    pub async fn finish(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        self.put(Frame::Data { id: self.id, fin: true, data: Bytes::new() }).await?;
        self.shared.local_done(self.id);
        Ok(())
    }

    async fn put(&self, frame: Frame) -> io::Result<()> {
        if self.shared.is_closed.load(Ordering::Acquire) {
            return Err(gone());
        }
        self.shared.out.send(frame).await.map_err(|_| gone())
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.reset(self.id);
            // With a full queue the peer learns of it when the connection ends.
            let _ = self.shared.out.try_send(Frame::RstStream { id: self.id, status: ResetStatus::CANCEL });
        }
    }
}

async fn write_frames<S: AsyncWrite>(mut io: WriteHalf<S>, mut frames: mpsc::Receiver<Frame>, shared: Arc<Shared>) {
    let (mut encoder, mut buffer) = (Encoder::default(), BytesMut::new());
    loop {
        let frame = tokio::select! {
            biased;
            frame = frames.recv() => frame,
            () = shared.until_closed() => None,
        };
        let Some(frame) = frame else { break };
        encoder.encode(&frame, &mut buffer);
        while buffer.len() < MAX_WRITE {
            let Ok(frame) = frames.try_recv() else { break };
            encoder.encode(&frame, &mut buffer);
        }
        if io.write_all(&buffer).await.is_err() || io.flush().await.is_err() {
            break;
        }
        buffer.clear();
    }
    shared.shut();
    let _ = io.shutdown().await;
}

async fn read_frames<S: AsyncRead>(
    mut io: ReadHalf<S>,
    shared: Arc<Shared>,
    incoming: mpsc::Sender<Stream>,
    side: Side,
) {
    let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::with_capacity(16 * 1024));
    'connection: loop {
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => {
                    if !dispatch(frame, &shared, &incoming, side).await {
                        break 'connection;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "closing a SPDY connection");
                    break 'connection;
                }
            }
        }
        buffer.reserve(16 * 1024);
        tokio::select! {
            read = io.read_buf(&mut buffer) => if !matches!(read, Ok(n) if n > 0) { break },
            () = shared.until_closed() => break,
        }
    }
    shared.shut();
}

/// Acts on one frame; false ends the connection.
async fn dispatch(frame: Frame, shared: &Arc<Shared>, incoming: &mpsc::Sender<Stream>, side: Side) -> bool {
    let ours = |id: u32| (id % 2 == 1) == (side == Side::Client);
    match frame {
        Frame::SynStream { id, fin, headers, .. } => {
            let stream = {
                let mut table = shared.table.lock();
                let fresh = !ours(id) && id != 0 && !table.entries.contains_key(&id);
                (fresh && table.entries.len() < MAX_STREAMS).then(|| shared.insert(&mut table, id, headers, None, fin))
            };
            let Some(stream) = stream else {
                return put(shared, Frame::RstStream { id, status: ResetStatus::REFUSED_STREAM }).await;
            };
            put(shared, Frame::SynReply { id, fin: false, headers: Headers::default() }).await
                && tokio::select! {
                    sent = incoming.send(stream) => sent.is_ok(),
                    () = shared.until_closed() => false,
                }
        }
        Frame::SynReply { id, fin, headers } => {
            let reply = shared.table.lock().entries.get_mut(&id).and_then(|e| e.reply.take());
            if let Some(reply) = reply {
                // The opener may have given up waiting.
                let _ = reply.send(headers);
            }
            if fin {
                shared.remote_done(id);
            }
            true
        }
        Frame::Data { id, fin, data } => {
            let sink = shared.table.lock().entries.get(&id).and_then(|e| e.data.clone());
            if let (Some(sink), false) = (sink, data.is_empty()) {
                let size = data.len() as u32;
                let delivered = tokio::select! {
                    sent = sink.send(data) => sent.is_ok(),
                    () = shared.until_closed() => return false,
                };
                let credit = delivered && shared.flow_control.load(Ordering::Acquire);
                if credit && !put(shared, Frame::WindowUpdate { id, delta: size }).await {
                    return false;
                }
            }
            if fin {
                shared.remote_done(id);
            }
            true
        }
        Frame::Headers { id, fin, .. } => {
            if fin {
                shared.remote_done(id);
            }
            true
        }
        Frame::RstStream { id, .. } => {
            shared.reset(id);
            true
        }
        Frame::Ping(id) => ours(id) || put(shared, Frame::Ping(id)).await,
        Frame::Settings(values) => {
            if values.iter().any(|(id, _)| *id == SETTING_INITIAL_WINDOW) {
                shared.flow_control.store(true, Ordering::Release);
            }
            true
        }
        Frame::WindowUpdate { id, delta } => {
            shared.flow_control.store(true, Ordering::Release);
            if let Some(entry) = shared.table.lock().entries.get(&id) {
                let room = (Semaphore::MAX_PERMITS / 2).saturating_sub(entry.window.available_permits());
                entry.window.add_permits((delta as usize).min(room));
            }
            true
        }
        // Streams that were accepted go on; the peer closes the connection when it is done.
        Frame::GoAway { .. } | Frame::Unknown(_) => true,
    }
}

async fn put(shared: &Shared, frame: Frame) -> bool {
    tokio::select! {
        sent = shared.out.send(frame) => sent.is_ok(),
        () = shared.until_closed() => false,
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    fn pair() -> (Session, Session) {
        let (a, b) = tokio::io::duplex(4096);
        (Session::new(a, Side::Client), Session::new(b, Side::Server))
    }

    #[tokio::test]
    async fn streams_carry_bytes_both_ways_and_half_close() {
        let (client, server) = pair();
        let echo = tokio::spawn(async move {
            let mut total = 0;
            while let Some(mut stream) = server.accept().await {
                assert_eq!(stream.headers().get("streamType"), Some("data"));
                while let Some(bytes) = stream.recv().await {
                    total += bytes.len();
                    stream.send(bytes).await.unwrap();
                }
                stream.finish().await.unwrap();
            }
            total
        });
        for _ in 0..3 {
            let (mut reader, mut writer) = client.open([("streamType", "data")].into()).await.unwrap().split();
            let sent = vec![7u8; 300_000];
            let send = async {
                writer.send(Bytes::from(sent.clone())).await.unwrap();
                writer.finish().await.unwrap();
            };
            let receive = async {
                let mut got = Vec::new();
                while let Some(bytes) = reader.recv().await {
                    got.extend_from_slice(&bytes);
                }
                got
            };
            let ((), got) = tokio::join!(send, receive);
            assert_eq!(got, sent);
        }
        client.close().await;
        assert_eq!(echo.await.unwrap(), 900_000);
    }

    #[tokio::test]
    async fn dropping_a_writer_resets_and_the_connection_lives_on() {
        let (client, server) = pair();
        let first = client.open([("n", "1")].into()).await.unwrap();
        let mut seen = server.accept().await.unwrap();
        drop(first);
        assert_eq!(seen.recv().await, None);
        client.open([("n", "2")].into()).await.unwrap();
        assert_eq!(server.accept().await.unwrap().headers().get("n"), Some("2"));
    }

    #[tokio::test]
    async fn a_hostile_peer_only_ends_its_own_connection() {
        for seed in 0..100 {
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            let session = Session::new(ours, Side::Server);
            let mut rng = StdRng::seed_from_u64(seed);
            let noise: Vec<u8> = (0..2000).map(|_| rng.random::<u8>() & rng.random::<u8>()).collect();
            let _ = theirs.write_all(&noise).await;
            drop(theirs);
            while session.accept().await.is_some() {}
            session.closed().await;
        }
    }
}
