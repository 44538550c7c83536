//! A minimal HTTP/2 client: one connection, one request at a time, bodies read to their end.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where the server is, and who asks.
#[derive(Clone)]
pub struct Api {
    host: String,
    port: u16,
    tls: TlsConnector,
    accept: Arc<str>,
}

impl Api {
    /// Reads the certificates. `accept` is the media type that answers shall have.
    pub fn new(server: &str, cert: &Path, key: &Path, ca: &Path, accept: &str) -> Result<Self> {
        let uri: Uri = server.parse().context("--server is no URL")?;
        let mut roots = RootCertStore::empty();
        for c in CertificateDer::pem_file_iter(ca)? {
            roots.add(c?)?;
        }
        let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let host = uri.host().context("--server names no host")?.to_owned();
        Ok(Self {
            host,
            port: uri.port_u16().unwrap_or(443),
            tls: TlsConnector::from(Arc::new(config)),
            accept: accept.into(),
        })
    }

    /// A new connection.
    pub async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::try_from(self.host.clone())?, stream).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(connection);
        let base = format!("https://{}:{}", self.host, self.port);
        Ok(Connection { sender, base, accept: self.accept.clone() })
    }
}

/// One connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    base: String,
    accept: Arc<str>,
}

impl Connection {
    /// Sends a request and returns the answer as it begins.
    pub async fn open(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<http::Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("accept", &*self.accept)
            .header("content-type", content_type)
            .body(Full::new(body))?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// Sends a request and reads the whole answer; returns its length. Answers that are no success are errors.
    pub async fn call(&mut self, method: Method, path: &str, content_type: &str, body: Bytes) -> Result<usize> {
        let (status, bytes) = self.fetch(method, path, content_type, body).await?;
        if !status.is_success() {
            bail!("{path}: {status}: {}", String::from_utf8_lossy(&bytes[..bytes.len().min(300)]));
        }
        Ok(bytes.len())
    }

    /// The same, with the answer itself.
    pub async fn fetch(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let answer = self.open(method, path, content_type, body).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}
