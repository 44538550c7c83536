//! Asking a container how it is: by command, HTTP, TCP or gRPC. The error is what the event shows.

use std::time::Duration;

use tokio::net::TcpStream;
use tonic::{client::Grpc, codegen::http::uri::PathAndQuery, transport::Endpoint};
use tonic_prost::ProstCodec;

use super::{Get, Target, http};
use crate::{api::*, kubelet::Kubelet};

/// No more of a command's output than this is shown, in bytes.
const MAX_OUTPUT: usize = 10 * 1024;

pub(super) async fn run(k: &Kubelet, target: &Target, probe: &Probe, timeout: Duration) -> Result<(), String> {
    if let Some(exec) = &probe.exec {
        return command(k, target, exec.command.clone().unwrap_or_default(), timeout).await;
    }
    if let Some(get) = &probe.http_get {
        let request = Get {
            tls: get.scheme.as_deref() == Some("HTTPS"),
            host: get.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| target.ip.clone()),
            port: http::port_of(&get.port, &target.container)?,
            path: get.path.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "/".into()),
            headers: get.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
        };
        let (status, _) = http::get(&request, timeout).await?;
        let good = (200..400).contains(&status);
        return if good { Ok(()) } else { Err(format!("HTTP probe failed with statuscode: {status}")) };
    }
    if let Some(socket) = &probe.tcp_socket {
        let host = socket.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| target.ip.clone());
        let port = http::port_of(&socket.port, &target.container)?;
        let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        return match tokio::time::timeout(timeout, TcpStream::connect((host.as_str(), port))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(format!("dial tcp {shown}: connect: {}", http::os_text(&e))),
            Err(_) => Err(format!("dial tcp {shown}: i/o timeout")),
        };
    }
    if let Some(grpc) = &probe.grpc {
        let service = grpc.service.clone().unwrap_or_default();
        return match tokio::time::timeout(timeout, health(&target.ip, grpc.port, service)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!(
                "timeout: failed to connect service \"{}:{}\" within {timeout:?}: context deadline exceeded",
                target.ip, grpc.port
            )),
        };
    }
    Err("missing probe handler".into())
}

async fn command(k: &Kubelet, target: &Target, command: Vec<String>, timeout: Duration) -> Result<(), String> {
    let shown = command.join(" ");
    match k.runtime.exec_sync(&target.id, command, timeout).await {
        Ok(out) if out.exit_code == 0 => Ok(()),
        Ok(out) => {
            let text = [out.stdout, out.stderr].concat();
            Err(String::from_utf8_lossy(&text[..text.len().min(MAX_OUTPUT)]).into_owned())
        }
        Err(e) if e.is_deadline() => Err(format!("command timed out: {shown:?} timed out after {timeout:?}")),
        Err(e) => Err(format!("command failed: {e}")),
    }
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`; status 1 is SERVING.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

async fn health(host: &str, port: i32, service: String) -> Result<(), String> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let endpoint = Endpoint::from_shared(format!("http://{host}:{port}")).map_err(|e| e.to_string())?;
    let channel = endpoint.connect().await.map_err(|e| format!("failed to connect service \"{host}:{port}\": {e}"))?;
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|e| e.to_string())?;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec: ProstCodec<HealthRequest, HealthResponse> = ProstCodec::default();
    let answer = client.unary(tonic::Request::new(HealthRequest { service }), path, codec).await;
    match answer {
        Ok(answer) if answer.get_ref().status == 1 => Ok(()),
        Ok(answer) => {
            let name = match answer.get_ref().status {
                0 => "UNKNOWN",
                2 => "NOT_SERVING",
                _ => "SERVICE_UNKNOWN",
            };
            Err(format!("service unhealthy (responded with {name:?})"))
        }
        Err(status) if status.code() == tonic::Code::Unimplemented => {
            Err("this server does not implement the grpc health protocol (grpc.health.v1.Health)".into())
        }
        Err(status) => Err(format!("health rpc probe failed: {}", status.message())),
    }
}
