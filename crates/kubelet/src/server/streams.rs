//! Exec, attach and port-forward: the runtime serves SPDY, clients speak SPDY or WebSocket.
//!
//! A SPDY client's connection is passed through as it is. A WebSocket ends here and goes on as SPDY.

use std::io;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use steersman_cri::v1;
use steersman_streaming::{
    Streams, bridge,
    spdy::{Session, Side},
    upgrade::{self, Answer, Wanted},
    websocket::{self, Protocol, TUNNEL_PROTOCOL, Tunnel},
};
use tokio::net::TcpStream;

use super::{
    Server,
    handlers::{Found, Query},
    reply::{Reply, body, error},
};
use crate::{api::*, pods::spec::PodExt, runtime::observed::observe};

/// What the runtime speaks in remote commands.
const REMOTE_COMMAND: &[&str] = &["v4.channel.k8s.io"];
/// What it speaks in port forwards.
const PORT_FORWARD: &[&str] = &["portforward.k8s.io"];
/// Headers that a client and the runtime agree on between themselves.
const FORWARDED: &[&str] = &["connection", "upgrade", upgrade::PROTOCOL_HEADER, "x-accept-stream-protocol-version"];

fn streams_of(query: &Query) -> Streams {
    let tty = query.flag(&["tty"]);
    Streams {
        stdin: query.flag(&["input", "stdin"]),
        stdout: query.flag(&["output", "stdout"]),
        // A terminal mixes the two.
        stderr: query.flag(&["error", "stderr"]) && !tty,
        tty,
    }
}

pub(super) async fn exec(server: &Server, request: Request<Incoming>, found: &Found) -> Reply {
    let query = Query::of(&request);
    let streams = streams_of(&query);
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return error(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
    }
    let prepared = v1::ExecRequest {
        container_id: found.id.clone(),
        cmd: query.all("command"),
        tty: streams.tty,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    match server.k.runtime.exec(prepared).await {
        Ok(url) => remote_command(request, &url, streams).await,
        Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}

pub(super) async fn attach(server: &Server, request: Request<Incoming>, found: &Found) -> Reply {
    let mut streams = streams_of(&Query::of(&request));
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return error(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
    }
    // Whether there is a terminal was decided when the container was made.
    streams.tty = found.container.tty.unwrap_or(false);
    streams.stderr &= !streams.tty;
    let prepared = v1::AttachRequest {
        container_id: found.id.clone(),
        stdin: streams.stdin,
        tty: streams.tty,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    match server.k.runtime.attach(prepared).await {
        Ok(url) => remote_command(request, &url, streams).await,
        Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}

async fn remote_command(request: Request<Incoming>, url: &str, streams: Streams) -> Reply {
    match upgrade::wanted(request.headers()) {
        Some(Wanted::Spdy) => pass_through(request, url).await,
        Some(Wanted::WebSocket) => {
            let offered = upgrade::items(request.headers(), "sec-websocket-protocol");
            let Some(protocol) = Protocol::negotiate(&offered) else {
                return error(
                    StatusCode::FORBIDDEN,
                    format!("unable to negotiate a protocol: client offers {offered:?}"),
                );
            };
            let session = match dial(url, REMOTE_COMMAND).await {
                Ok(io) => Session::new(io, Side::Client),
                Err(why) => return error(StatusCode::BAD_GATEWAY, why),
            };
            take_over(request, protocol.name, move |io| async move {
                let socket = websocket::serve(io).await;
                bridge::remote_command(socket, protocol, session, streams).await
            })
        }
        None => error(StatusCode::BAD_REQUEST, "Upgrade request required"),
    }
}

pub(super) async fn port_forward(server: &Server, request: Request<Incoming>, pod: &Pod) -> Reply {
    let k = &server.k;
    let seen = match observe(k.runtime.as_ref(), pod.uid()).await {
        Ok(seen) => seen,
        Err(e) => return error(StatusCode::INTERNAL_SERVER_ERROR, e),
    };
    let Some(sandbox) = seen.ready_sandbox() else {
        return error(StatusCode::NOT_FOUND, format!("pod {} is not running", pod.full()));
    };
    let query = Query::of(&request);
    let ports: Vec<u16> = query
        .all("port")
        .iter()
        .chain(&query.all("ports"))
        .flat_map(|p| p.split(','))
        .filter_map(|p| p.parse().ok())
        .collect();
    let url = match k.runtime.port_forward(&sandbox.id, ports.iter().map(|p| i32::from(*p)).collect()).await {
        Ok(url) => url,
        Err(e) => return error(StatusCode::INTERNAL_SERVER_ERROR, e),
    };
    match upgrade::wanted(request.headers()) {
        Some(Wanted::Spdy) => pass_through(request, &url).await,
        Some(Wanted::WebSocket) => {
            let offered = upgrade::items(request.headers(), "sec-websocket-protocol");
            if offered.contains(&TUNNEL_PROTOCOL) {
                let mut backend = match dial(&url, PORT_FORWARD).await {
                    Ok(io) => io,
                    Err(why) => return error(StatusCode::BAD_GATEWAY, why),
                };
                return take_over(request, TUNNEL_PROTOCOL, move |io| async move {
                    let mut tunnel = Tunnel::new(websocket::serve(io).await);
                    tokio::io::copy_bidirectional(&mut tunnel, &mut backend).await.map(drop)
                });
            }
            let Some(protocol) = Protocol::negotiate(&offered) else {
                return error(
                    StatusCode::FORBIDDEN,
                    format!("unable to negotiate a protocol: client offers {offered:?}"),
                );
            };
            if ports.is_empty() {
                return error(StatusCode::BAD_REQUEST, "query parameter \"port\" is required");
            }
            let session = match dial(&url, PORT_FORWARD).await {
                Ok(io) => Session::new(io, Side::Client),
                Err(why) => return error(StatusCode::BAD_GATEWAY, why),
            };
            take_over(request, protocol.name, move |io| async move {
                let socket = websocket::serve(io).await;
                bridge::port_forward(socket, protocol, session, &ports).await
            })
        }
        None => error(StatusCode::BAD_REQUEST, "Upgrade request required"),
    }
}

/// Answers 101 for a WebSocket and runs `work` on the connection once it is ours.
fn take_over<F, W>(request: Request<Incoming>, protocol: &str, work: W) -> Reply
where
    W: FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let Some(reply) = websocket::accept(request.headers(), protocol) else {
        return error(StatusCode::BAD_REQUEST, "missing Sec-WebSocket-Key");
    };
    tokio::spawn(async move {
        let done = match hyper::upgrade::on(request).await {
            Ok(upgraded) => work(TokioIo::new(upgraded)).await,
            Err(e) => Err(io::Error::other(e)),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "stream ended");
        }
    });
    reply.map(|()| body(Bytes::new()))
}

/// Host and path of a URL that the runtime gave.
fn target(url: &str) -> io::Result<(String, String)> {
    let url = url::Url::parse(url).map_err(io::Error::other)?;
    let host = url.host_str().ok_or_else(|| io::Error::other("streaming URL without a host"))?;
    let port = url.port_or_known_default().unwrap_or(80);
    let query = url.query().map(|q| format!("?{q}")).unwrap_or_default();
    Ok((format!("{host}:{port}"), format!("{}{query}", url.path())))
}

async fn dial(url: &str, protocols: &[&str]) -> io::Result<TokioIo<Upgraded>> {
    let (host, path) = target(url)?;
    let tcp = TcpStream::connect(&host).await?;
    tcp.set_nodelay(true)?;
    match upgrade::ask(tcp, upgrade::spdy_request("POST", &path, &host, protocols)?).await? {
        Answer::Switched(_, io) => Ok(io),
        Answer::Refused(answer) => Err(io::Error::other(format!(
            "the container runtime answered {}: {}",
            answer.status(),
            String::from_utf8_lossy(answer.body()).trim()
        ))),
    }
}

/// Joins the client's connection with one to the runtime; the two agree on everything themselves.
async fn pass_through(request: Request<Incoming>, url: &str) -> Reply {
    match begin(&request, url).await {
        Ok(Answer::Refused(answer)) => answer.map(body),
        Ok(Answer::Switched(answer, mut backend)) => {
            tokio::spawn(async move {
                let joined = async {
                    let upgraded = hyper::upgrade::on(request).await.map_err(io::Error::other)?;
                    tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut backend).await
                };
                if let Err(error) = joined.await {
                    tracing::debug!(%error, "stream ended");
                }
            });
            let mut reply = Response::new(body(Bytes::new()));
            *reply.status_mut() = answer.status();
            copy_headers(answer.headers(), reply.headers_mut());
            reply
        }
        Err(why) => error(StatusCode::BAD_GATEWAY, why),
    }
}

async fn begin(request: &Request<Incoming>, url: &str) -> io::Result<Answer> {
    let (host, path) = target(url)?;
    let tcp = TcpStream::connect(&host).await?;
    tcp.set_nodelay(true)?;
    let mut out = Request::builder()
        .method(request.method())
        .uri(path)
        .header(header::HOST, &host)
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    copy_headers(request.headers(), out.headers_mut());
    upgrade::ask(tcp, out).await
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from.iter().filter(|(name, _)| FORWARDED.contains(&name.as_str())) {
        to.append(name, value.clone());
    }
}
