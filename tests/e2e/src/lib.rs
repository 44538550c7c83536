//! End-to-end suite: drives a running cluster of two nodes with the real kubectl, as a user would.
//!
//! `scripts/test.sh end-to-end` brings the cluster up and sets `STEERSMAN_HOME` and `KUBECONFIG`. Each test works in a
//! namespace of its own, which is deleted when the test ends.
//!
//! Invariant: this crate never speaks HTTP to the apiserver itself; what it sees is what kubectl shows.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The image that serves `/cgi-bin/hostname` and `/cgi-bin/version` on port 8080.
pub const WEB: &str = "steersman.local/web:v1";
/// Its next version.
pub const WEB_NEXT: &str = "steersman.local/web:v2";
/// A shell and its tools. Not `latest`, whose pull policy would be to ask a registry each time.
pub const BUSYBOX: &str = "docker.io/library/busybox:stable";
/// The node's addresses (see `scripts/lib/node.sh`).
pub const NODE_IPS: [&str; 2] = ["10.89.0.11", "10.89.0.12"];

/// The cluster's folder.
pub fn home() -> PathBuf {
    let home = std::env::var_os("STEERSMAN_HOME")
        .expect("STEERSMAN_HOME names a running cluster: use scripts/test.sh end-to-end");
    PathBuf::from(home)
}

/// What a command did.
#[derive(Debug)]
pub struct Outcome {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// Runs a program to its end.
pub fn run(program: &str, args: &[&str], input: &str) -> Outcome {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program} cannot be run: {e}"));
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading its input is fine.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().expect("the program was started");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    Outcome { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Runs kubectl, whatever comes of it.
pub fn try_kubectl(args: &[&str]) -> Outcome {
    run("kubectl", args, "")
}

/// Runs kubectl, which must succeed; returns what it printed.
pub fn kubectl(args: &[&str]) -> String {
    let o = try_kubectl(args);
    assert!(o.ok, "kubectl {} failed:\n{}{}", args.join(" "), o.out, o.err);
    o.out
}

/// Tries again until it works or the time is over; then the last error is told.
#[allow(
    clippy::disallowed_methods,
    reason = "an end-to-end test sees the cluster from outside, where there is nothing to wait on"
)]
pub fn eventually<T>(what: &str, within: Duration, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + within;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(e) if Instant::now() > end => panic!("{what}: not within {within:?}: {e}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Fails where `condition` does not hold; for use in [`eventually`].
pub fn must(condition: bool, otherwise: impl Into<String>) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise.into()) }
}

/// Seconds.
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A namespace that lives as long as its test.
pub struct Namespace(String);

impl Namespace {
    /// A new one, named after the test.
    #[allow(clippy::new_without_default, reason = "making one changes the cluster")]
    pub fn new(prefix: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{prefix}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        kubectl(&["create", "namespace", &name]);
        Self(name)
    }
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
    /// kubectl in it; must succeed.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let mut all = vec!["-n", self.name()];
        all.extend(args);
        kubectl(&all)
    }
    /// kubectl in it, whatever comes of it.
    pub fn try_kubectl(&self, args: &[&str]) -> Outcome {
        let mut all = vec!["-n", self.name()];
        all.extend(args);
        try_kubectl(&all)
    }
    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) {
        let o = run("kubectl", &["-n", self.name(), "apply", "-f", "-"], manifest);
        assert!(o.ok, "kubectl apply failed: {}{}\n{manifest}", o.out, o.err);
    }
    /// Starts kubectl in the background; it is killed when dropped.
    pub fn background(&self, args: &[&str]) -> Background {
        let child = Command::new("kubectl")
            .args(["-n", self.name()])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl can be run");
        Background(child)
    }
    /// A field of an object, by JSONPath.
    pub fn field(&self, object: &str, path: &str) -> String {
        self.try_kubectl(&["get", object, "-o", &format!("jsonpath={path}")]).out
    }
    /// Makes a deployment of the web image and waits until it is rolled out.
    pub fn web(&self, replicas: u32) {
        let text = format!("--replicas={replicas}");
        self.kubectl(&["create", "deployment", "web", "--image", WEB, &text]);
        self.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    }
    /// Makes a pod with a shell that waits, and waits until it is ready.
    pub fn shell(&self, name: &str) {
        self.kubectl(&[
            "run",
            name,
            "--image",
            BUSYBOX,
            "--restart=Never",
            "--image-pull-policy=IfNotPresent",
            "--",
            "sleep",
            "3600",
        ]);
        self.ready(name);
    }
    /// Waits until a pod is ready.
    pub fn ready(&self, pod: &str) {
        self.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout=60s"]);
    }
    /// Fetches a URL from inside a pod. A name without dots is a service of this namespace. The request is written by hand
    /// and sent with `nc`, since the wget of some Debian releases' static busybox crashes in the C library.
    pub fn fetch(&self, pod: &str, url: &str) -> Result<String, String> {
        let (authority, path) = url.trim_start_matches("http://").split_once('/').unwrap_or((url, ""));
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        let address = if host.parse::<std::net::IpAddr>().is_ok() { host.to_owned() } else { self.resolve(pod, host)? };
        let script = format!("printf 'GET /{path} HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} {port}");
        let o = self.try_kubectl(&["exec", pod, "--", "sh", "-c", &script]);
        match o.out.split_once("\r\n\r\n") {
            Some((head, body)) if o.ok && head.contains(" 200 ") => Ok(body.trim().to_owned()),
            _ => Err(format!("{}{}", o.out, o.err)),
        }
    }
    /// The address of a name, as a pod's resolver tells it.
    pub fn resolve(&self, pod: &str, name: &str) -> Result<String, String> {
        let full =
            if name.contains('.') { name.to_owned() } else { format!("{name}.{}.svc.cluster.local", self.name()) };
        let o = self.try_kubectl(&["exec", pod, "--", "nslookup", "-type=a", &full]);
        // The first address is the server's, and carries a port.
        let found = o.out.lines().filter_map(|l| l.strip_prefix("Address: ")).find(|a| !a.contains(':'));
        found.map(|a| a.trim().to_owned()).ok_or(o.out)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = try_kubectl(&["delete", "namespace", &self.0, "--wait=false"]);
    }
}

/// A kubectl that runs beside the test.
pub struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fetches a URL from this machine, which is beside the nodes.
pub fn fetch(url: &str) -> Result<String, String> {
    let o = run("curl", &["-sS", "--max-time", "2", url], "");
    if o.ok { Ok(o.out.trim().to_owned()) } else { Err(o.err) }
}

/// Fetches until `count` different answers have come.
pub fn different_answers(count: usize, mut fetch: impl FnMut() -> Result<String, String>) {
    let mut seen = std::collections::BTreeSet::new();
    eventually(&format!("{count} different answers"), seconds(30), || {
        seen.insert(fetch()?);
        must(seen.len() == count, format!("{seen:?}"))
    });
}

/// Sends a signal to a process of the cluster by its name in `run/`; returns its pid.
pub fn signal(name: &str, signal: &str) -> String {
    let file = home().join("run").join(format!("{name}.pid"));
    let pid = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())).trim().to_owned();
    let o = run("kill", &[&format!("-{signal}"), &pid], "");
    assert!(o.ok, "kill -{signal} {name} ({pid}): {}", o.err);
    pid
}

/// Waits until a killed process was started again.
pub fn restarted(name: &str, old_pid: &str) {
    let file = home().join("run").join(format!("{name}.pid"));
    eventually(&format!("{name} starts again"), seconds(30), || {
        let pid = std::fs::read_to_string(&file).map_err(|e| e.to_string())?;
        must(pid.trim() != old_pid, "still the old pid")
    });
}
