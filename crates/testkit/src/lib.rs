//! Test helpers: an etcd of the test's own, on a free port, gone when the test ends.
//!
//! Entry point: [`Etcd::start`].
//!
//! Invariant: nothing outside the test's own processes and temporary folders is touched.

use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running etcd; killed, and its data deleted, on drop.
pub struct Etcd {
    child: Child,
    dir: TempDir,
    client: u16,
    peer: u16,
}

impl Etcd {
    /// Starts the `etcd` that `$ETCD` names, or else the first on the PATH, and waits until it listens.
    pub fn start() -> Result<Self> {
        let mut last = None;
        // Between finding a port free and etcd binding it somebody else may take it.
        for _ in 0..5 {
            let (dir, client, peer) = (tempfile::tempdir()?, free_port()?, free_port()?);
            let child = spawn(&dir, client, peer)?;
            let mut etcd = Self { child, dir, client, peer };
            match etcd.wait() {
                Ok(()) => return Ok(etcd),
                Err(e) => last = Some(e),
            }
        }
        bail!("etcd does not start: {last:?}")
    }

    /// The address for clients.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    /// Kills it, as a crash would; the data stays.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same port and data.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.child = spawn(&self.dir, self.client, self.peer)?;
        self.wait()
    }

    #[allow(clippy::disallowed_methods, reason = "another process tells nobody when it begins to listen")]
    fn wait(&mut self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        let address = SocketAddr::from(([127, 0, 0, 1], self.client));
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                bail!("etcd ended: {status}");
            }
            if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("etcd does not listen after 20 s")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A TCP port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn spawn(dir: &TempDir, client: u16, peer: u16) -> Result<Child> {
    let binary = std::env::var("ETCD").unwrap_or_else(|_| "etcd".into());
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    Command::new(&binary)
        .arg("--data-dir")
        .arg(dir.path())
        .args(["--name", "test", "--log-level", "error", "--logger", "zap"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("test={peer}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {binary}: is etcd installed?"))
}
