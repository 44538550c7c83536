//! A kube-apiserver of the test's own: its binary, an etcd, certificates, all gone when the test ends. Requests are
//! written by hand, since no client library would send what these tests send.

#![allow(dead_code, reason = "each test file uses a part of this")]

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use steersman_pki::{cluster, files};
use steersman_testkit::{Etcd, free_port};
use tempfile::TempDir;

/// A connection of the administrator.
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code; 0 where the server only closed the connection.
    pub code: u16,
    /// The body.
    pub body: String,
}

/// The server.
pub struct Server {
    child: Child,
    home: TempDir,
    port: u16,
    etcd: Arc<Etcd>,
}

impl Server {
    /// Starts it and waits until it is ready.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more flags.
    pub fn start_with(flags: &[&str]) -> Self {
        Self::with(Arc::new(Etcd::start().expect("etcd starts")), "192.0.2.1", flags)
    }

    /// Another server of the same cluster, that says it is reached at `address`.
    pub fn beside(&self, address: &str) -> Self {
        self.beside_with(address, &[])
    }

    /// The same with more flags.
    pub fn beside_with(&self, address: &str, flags: &[&str]) -> Self {
        Self::with(self.etcd.clone(), address, flags)
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill can be run").success());
        assert!(self.child.wait().expect("the server can be waited for").success(), "{}", self.log());
    }

    fn with(etcd: Arc<Etcd>, address: &str, flags: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let port = free_port().expect("a free port");
        cluster::create(&cluster::Options {
            home: home.path().into(),
            server: format!("https://127.0.0.1:{port}"),
            apiserver_hosts: vec!["localhost".into(), "127.0.0.1".into()],
            nodes: Vec::new(),
        })
        .expect("certificates can be made");
        let file = |name: &str| home.path().join("pki").join(name).display().to_string();
        let log = std::fs::File::create(home.path().join("log")).expect("the folder is writable");
        let child = Command::new(env!("CARGO_BIN_EXE_kube-apiserver"))
            .args(["--etcd-servers", &etcd.url(), "--secure-port", &port.to_string(), "--bind-address", "127.0.0.1"])
            .args(["--advertise-address", address, "--service-cluster-ip-range", "10.0.0.0/16"])
            .args(["--tls-cert-file", &file("apiserver.crt"), "--tls-private-key-file", &file("apiserver.key")])
            .args(["--client-ca-file", &file("ca.crt"), "--authorization-mode", "RBAC"])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--service-account-key-file", &file("sa.pub")])
            .args(["--service-account-signing-key-file", &file("sa.key")])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("the binary can be run");
        let server = Self { child, home, port, etcd };
        server.wait();
        server
    }

    #[allow(clippy::disallowed_methods, reason = "another process tells nobody when it begins to listen")]
    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.get("/readyz").code == 200 {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server is not ready:\n{}", self.log());
    }

    fn pki(&self, name: &str) -> PathBuf {
        self.home.path().join("pki").join(name)
    }

    /// A plain connection, on which nothing was said yet.
    pub fn tcp(&self) -> TcpStream {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
        tcp.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
        tcp.set_write_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
        tcp
    }

    /// A connection of the administrator that offers one protocol.
    pub fn tls(&self, protocol: &str) -> Tls {
        let mut roots = RootCertStore::empty();
        for certificate in read(&self.pki("ca.crt")) {
            roots.add(certificate).expect("the authority's certificate is sound");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has both versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(
                read(&self.pki("admin.crt")),
                files::private_key(&self.pki("admin.key")).expect("the key was written"),
            )
            .expect("key and certificate belong together");
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from("localhost").expect("it is a name");
        StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("the settings are sound"), self.tcp())
    }

    /// Sends bytes and reads until the server closes the connection, or says nothing for long.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut tls = self.tls("http/1.1");
        // The server may answer, and close, before it has read everything.
        let _ = tls.write_all(bytes).and_then(|()| tls.flush());
        let mut got = Vec::new();
        let _ = tls.read_to_end(&mut got);
        let text = String::from_utf8_lossy(&got).into_owned();
        let code = text.split(' ').nth(1).and_then(|c| c.parse().ok()).unwrap_or(0);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, b)| b).to_owned();
        Answer { code, body }
    }

    /// One request; `headers` are whole lines, each with its end.
    pub fn request(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let mut bytes = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes)
    }

    /// GET.
    pub fn get(&self, target: &str) -> Answer {
        self.request("GET", target, "", b"")
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// Resident memory in MiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the server runs");
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("a process has resident memory");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("it is a number");
        kib >> 10
    }

    /// It still answers, quickly, has not panicked, and did not grow without bound.
    pub fn is_well(&self, after: &str) {
        let began = Instant::now();
        assert_eq!(self.get("/api/v1/namespaces/default").code, 200, "after {after}:\n{}", self.log());
        assert!(began.elapsed() < Duration::from_secs(5), "slow after {after}: {:?}", began.elapsed());
        assert!(!self.log().contains("panicked"), "after {after}:\n{}", self.log());
        let memory = self.memory();
        assert!(memory < 600, "{memory} MiB after {after}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    files::certificates(path).expect("the certificate was written")
}
