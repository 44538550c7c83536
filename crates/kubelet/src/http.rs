//! A small HTTP client for probes and hooks: one request, no certificate check, redirects within the host only
//! (rule: `probe/http`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

/// No more of an answer than this is read, in bytes.
const MAX_BODY: usize = 10 * 1024;
/// Redirects are followed so often.
const MAX_REDIRECTS: usize = 10;

/// What to ask for.
#[derive(Debug, Clone)]
pub struct Get {
    /// Whether to use TLS.
    pub tls: bool,
    /// Address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Further headers; `Host` and `User-Agent` win over our own.
    pub headers: Vec<(String, String)>,
}

/// Status and the start of the body.
pub type Answer = (u16, String);

/// Asks, within `timeout` for everything.
pub async fn get(request: &Get, timeout: Duration) -> Result<Answer, String> {
    match tokio::time::timeout(timeout, follow(request)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!(
            "Get \"{}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            url(request)
        )),
    }
}

fn url(get: &Get) -> String {
    let scheme = if get.tls { "https" } else { "http" };
    format!("{scheme}://{}{}", authority(get), get.path)
}

fn authority(get: &Get) -> String {
    if get.host.contains(':') { format!("[{}]:{}", get.host, get.port) } else { format!("{}:{}", get.host, get.port) }
}

async fn follow(first: &Get) -> Result<Answer, String> {
    let mut current = first.clone();
    for _ in 0..=MAX_REDIRECTS {
        let (status, location, body) = once(&current).await.map_err(|e| format!("Get \"{}\": {e}", url(&current)))?;
        let Some(location) = location.filter(|_| (300..400).contains(&status)) else { return Ok((status, body)) };
        let base = url::Url::parse(&url(&current)).map_err(|e| e.to_string())?;
        let target = base.join(&location).map_err(|e| e.to_string())?;
        // A redirect to another host counts as success: the pod answered.
        if target.host_str() != base.host_str() {
            return Ok((status, body));
        }
        current.tls = target.scheme() == "https";
        current.port = target.port_or_known_default().unwrap_or(current.port);
        current.path = match target.query() {
            Some(query) => format!("{}?{query}", target.path()),
            None => target.path().to_owned(),
        };
    }
    Err(format!("Get \"{}\": stopped after 10 redirects", url(&current)))
}

async fn once(get: &Get) -> Result<(u16, Option<String>, String), String> {
    let tcp = TcpStream::connect((get.host.as_str(), get.port))
        .await
        .map_err(|e| format!("dial tcp {}: connect: {}", authority(get), os_text(&e)))?;
    if !get.tls {
        return exchange(TokioIo::new(tcp), get).await;
    }
    let name = ServerName::try_from(get.host.clone()).map_err(|e| e.to_string())?;
    let tls = tokio_rustls::TlsConnector::from(trusting()).connect(name, tcp).await.map_err(|e| e.to_string())?;
    exchange(TokioIo::new(tls), get).await
}

/// An error of the kernel in Go's words, which have neither capital nor number.
pub fn os_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}

async fn exchange<I>(io: I, get: &Get) -> Result<(u16, Option<String>, String), String>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(|e| e.to_string())?;
    let task = tokio::spawn(connection);
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_str(&authority(get)).map_err(|e| e.to_string())?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static("kube-probe/1.36"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &get.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value)) else {
            continue;
        };
        headers.insert(name, value);
    }
    let path = if get.path.starts_with('/') { get.path.clone() } else { format!("/{}", get.path) };
    let mut request = Request::get(path).body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    *request.headers_mut() = headers;
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    task.abort();
    Ok((status, location, String::from_utf8_lossy(&body).into_owned()))
}

fn trusting() -> Arc<ClientConfig> {
    static CONFIG: std::sync::OnceLock<Arc<ClientConfig>> = std::sync::OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .expect("the provider supports the default versions")
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(steersman_pki::AnyServer(provider)))
                .with_no_client_auth();
            Arc::new(config)
        })
        .clone()
}

/// The number of a port given by number or by the name of a container's port.
pub fn port_of(port: &crate::api::IntOrString, container: &crate::api::Container) -> Result<u16, String> {
    use crate::api::IntOrString;
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|p| p.name.as_deref() == Some(name))
            .map(|p| p.container_port)
            .or_else(|| name.parse().ok()),
    };
    let valid = number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0);
    valid.ok_or_else(|| format!("couldn't find port: {port:?}"))
}
