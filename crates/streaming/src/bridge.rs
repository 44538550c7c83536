//! A WebSocket client on one side, a SPDY server on the other.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream::SplitSink};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Mutex,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::{
    Channel, Streams,
    spdy::{Session, StreamReader, StreamWriter},
    websocket::{Incoming, Protocol, decode, encode, goodbye},
};

type Sender<S> = Arc<Mutex<SplitSink<WebSocketStream<S>, Message>>>;

/// Carries a remote command: the client speaks `protocol` over `socket`, the server is reached through `session` and
/// speaks `v4.channel.k8s.io` over SPDY. Returns when the command has ended or either side has gone.
pub async fn remote_command<S>(
    socket: WebSocketStream<S>,
    protocol: Protocol,
    session: Session,
    streams: Streams,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, mut source) = socket.split();
    let sink: Sender<S> = Arc::new(Mutex::new(sink));
    let open = async |channel: Channel| session.open([("streamtype", channel.stream_type())].into()).await;

    // The order is the one Go clients use; servers wait for all of them before they start the command.
    let (errors, _error_in) = open(Channel::Error).await?.split();
    let mut stdin = None;
    let mut outputs = Vec::new();
    let mut resize = None;
    let mut unused = Vec::new();
    if streams.stdin {
        let (reader, writer) = open(Channel::Stdin).await?.split();
        unused.push(reader);
        stdin = Some(writer);
    }
    for (wanted, channel) in [(streams.stdout, Channel::Stdout), (streams.stderr && !streams.tty, Channel::Stderr)] {
        if wanted {
            outputs.push((channel, open(channel).await?.split()));
        }
    }
    if streams.tty {
        let (reader, writer) = open(Channel::Resize).await?.split();
        unused.push(reader);
        resize = Some(writer);
    }

    // An empty message tells the client that the streams are there (rule: wsstream, first write on the lowest output).
    let first = outputs.first().map_or(Channel::Error, |(channel, _)| *channel);
    send(&sink, encode(protocol, first as u8, b"")).await?;

    let out = async {
        let pumps = outputs.iter_mut().map(|(channel, (reader, _))| pump(&sink, protocol, *channel, reader));
        let (copied, ended) = tokio::join!(futures::future::join_all(pumps), end(&sink, protocol, errors));
        copied.into_iter().collect::<io::Result<()>>().and(ended)
    };
    let input = async {
        while let Some(message) = source.next().await {
            match decode(protocol, message.map_err(io::Error::other)?) {
                Incoming::Data(0, data) => forward(&mut stdin, data).await,
                Incoming::Data(4, data) => forward(&mut resize, data).await,
                Incoming::Close(0) => {
                    if let Some(mut writer) = stdin.take() {
                        writer.finish().await?;
                    }
                }
                Incoming::End => break,
                _ => {}
            }
        }
        Ok(())
    };
    let outcome = tokio::select! { done = out => done, gone = input => gone };
    // The client may be gone already.
    let _ = sink.lock().await.send(goodbye()).await;
    session.close().await;
    drop(unused);
    outcome
}

/// Input that arrives after the command closed its end is dropped.
async fn forward(writer: &mut Option<StreamWriter>, data: Bytes) {
    if let Some(open) = writer
        && open.send(data).await.is_err()
    {
        *writer = None;
    }
}

async fn send<S>(sink: &Sender<S>, message: Message) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    sink.lock().await.send(message).await.map_err(io::Error::other)
}

async fn pump<S>(sink: &Sender<S>, protocol: Protocol, channel: Channel, reader: &mut StreamReader) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    while let Some(data) = reader.recv().await {
        send(sink, encode(protocol, channel as u8, &data)).await?;
    }
    Ok(())
}

/// Hands on how the command ended; clients older than v4 get only the text of a failure.
async fn end<S>(sink: &Sender<S>, protocol: Protocol, mut errors: StreamReader) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut status = Vec::new();
    while let Some(data) = errors.recv().await {
        status.extend_from_slice(&data);
    }
    let text = if protocol.version >= 4 { status } else { plain(&status) };
    if text.is_empty() {
        return Ok(());
    }
    send(sink, encode(protocol, Channel::Error as u8, &text)).await
}

fn plain(status: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<serde_json::Value>(status) {
        Ok(v) if v["status"] == "Success" => Vec::new(),
        Ok(v) => v["message"].as_str().unwrap_or_default().as_bytes().to_vec(),
        Err(_) => status.to_vec(),
    }
}

/// Carries port forwards of the older WebSocket form: two channels for each port, data and errors, each opened by a
/// message with the port's number (rule: kubelet `portforward/websocket.go`).
pub async fn port_forward<S>(
    socket: WebSocketStream<S>,
    protocol: Protocol,
    session: Session,
    ports: &[u16],
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, mut source) = socket.split();
    let sink: Sender<S> = Arc::new(Mutex::new(sink));
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for (i, port) in ports.iter().enumerate() {
        let request = i.to_string();
        for kind in ["error", "data"] {
            let headers = [("streamtype", kind), ("port", &port.to_string()), ("requestid", &request)];
            let (reader, mut writer) = session.open(headers.into()).await?.split();
            // Channels are numbered data first, although the error stream is opened first.
            let channel = u8::try_from(2 * i + usize::from(kind == "error")).map_err(io::Error::other)?;
            send(&sink, encode(protocol, channel, &port.to_le_bytes())).await?;
            readers.push((channel, reader));
            if kind == "data" {
                writers.push(Some(writer));
            } else {
                writer.finish().await?;
            }
        }
    }
    let out = async {
        let pumps = readers.iter_mut().map(|(channel, reader)| async {
            while let Some(data) = reader.recv().await {
                send(&sink, encode(protocol, *channel, &data)).await?;
            }
            Ok(())
        });
        futures::future::join_all(pumps).await.into_iter().collect::<io::Result<()>>()
    };
    let input = async {
        while let Some(message) = source.next().await {
            match decode(protocol, message.map_err(io::Error::other)?) {
                Incoming::Data(channel, data) if channel % 2 == 0 => {
                    if let Some(writer) = writers.get_mut(usize::from(channel / 2)) {
                        forward(writer, data).await;
                    }
                }
                Incoming::End => break,
                _ => {}
            }
        }
        Ok(())
    };
    let outcome = tokio::select! { done = out => done, gone = input => gone };
    // The client may be gone already.
    let _ = sink.lock().await.send(goodbye()).await;
    session.close().await;
    outcome
}
