//! What is measured: each work is one line of [`TABLE`].

use crate::api::{Api, Connection};
use crate::etcd;
use crate::measure::{Report, cpu, resident};
use anyhow::{Context, Result};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const NAMESPACE: &str = "bench";
const JSON: &str = "application/json";

/// Settings of a run.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Options {
    pub connections: usize,
    pub seconds: u64,
    pub pods: usize,
    pub watchers: usize,
    pub etcd: Option<etcd::Target>,
    pub pid: Option<u32>,
}

type Run = fn(Api, Options) -> BoxFuture<'static, Result<Report>>;

/// The works, by name.
pub const TABLE: [(&str, Run); 11] = [
    ("get", |a, o| Box::pin(get(a, o, ""))),
    ("get-cached", |a, o| Box::pin(get(a, o, "?resourceVersion=0"))),
    ("create", |a, o| Box::pin(create(a, o))),
    ("etcd-create", |_, o| Box::pin(etcd::create(o))),
    ("patch-status", |a, o| Box::pin(patch_status(a, o))),
    ("list-500", |a, o| Box::pin(list(a, o, "?limit=500"))),
    ("list-all", |a, o| Box::pin(list(a, o, ""))),
    ("list-cached", |a, o| Box::pin(list(a, o, "?resourceVersion=0"))),
    ("watch", |a, o| Box::pin(watch(a, o))),
    ("memory", |a, o| Box::pin(memory(a, o))),
    ("lists-at-once", |a, o| Box::pin(lists_at_once(a, o))),
];

fn pods_path() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods")
}

/// The name of a pod by its number.
pub(crate) fn pod_name(i: usize) -> String {
    format!("pod-{i:06}")
}

/// A pod of 2.5 KB as it comes back in a list, managed fields included: the size that the recorded figures of other
/// servers were taken with.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "bench", "tier": "backend", "pod-template-hash": "5d4f8c7b9" }, "annotations": { "example.com/checksum": "0123456789abcdef0123456789abcdef" } },
        "spec": {
            "automountServiceAccountToken": false,
            "nodeSelector": { "kubernetes.io/os": "linux" },
            "containers": [{
                "name": "main", "image": "registry.example.com/team/app:1.2.3", "args": ["--listen=:8080", "--verbose"],
                "env": [{ "name": "SETTING", "value": "a value of some length, as they are" }],
                "ports": [{ "containerPort": 8080, "name": "http" }],
                "resources": { "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } },
            }],
        },
    })
}

/// Makes the namespace and the stored pods, if they are not there.
pub async fn prepare(api: &Api, options: &Options) -> Result<()> {
    let mut c = api.connect().await?;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    c.fetch(Method::POST, "/api/v1/namespaces", JSON, Bytes::from(namespace.to_string())).await?;
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } });
    c.fetch(
        Method::POST,
        &format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"),
        JSON,
        Bytes::from(account.to_string()),
    )
    .await?;
    let last =
        c.fetch(Method::GET, &format!("{}/{}", pods_path(), pod_name(options.pods - 1)), JSON, Bytes::new()).await?;
    if last.0.is_success() {
        return Ok(());
    }
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for _ in 0..options.connections {
        let (mut c, next, pods) = (api.connect().await?, next.clone(), options.pods);
        tasks.push(tokio::spawn(async move {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= pods {
                    return Ok::<_, anyhow::Error>(());
                }
                let (status, body) =
                    c.fetch(Method::POST, &pods_path(), JSON, Bytes::from(pod(&pod_name(i)).to_string())).await?;
                if !status.is_success() && status != http::StatusCode::CONFLICT {
                    anyhow::bail!("{status}: {}", String::from_utf8_lossy(&body));
                }
            }
        }));
    }
    for t in tasks {
        t.await??;
    }
    Ok(())
}

/// Runs `request` on every connection, again and again, until the time is over. `request` gets a running number.
async fn closed_loop<F>(api: Api, o: Options, request: F) -> Result<Report>
where
    F: for<'a> Fn(&'a mut Connection, usize) -> BoxFuture<'a, Result<usize>> + Send + Sync + 'static,
{
    let mut connections = Vec::new();
    for _ in 0..o.connections {
        connections.push(api.connect().await?);
    }
    closed_loop_on(connections, o, request).await
}

/// The same on connections of any kind.
pub(crate) async fn closed_loop_on<C, F>(connections: Vec<C>, o: Options, request: F) -> Result<Report>
where
    C: Send + 'static,
    F: for<'a> Fn(&'a mut C, usize) -> BoxFuture<'a, Result<usize>> + Send + Sync + 'static,
{
    let request = Arc::new(request);
    let next = Arc::new(AtomicUsize::new(0));
    let (started, before) = (Instant::now(), cpu(o.pid));
    let end = started + Duration::from_secs(o.seconds);
    let mut tasks = Vec::new();
    for mut c in connections {
        let (request, next) = (request.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            let mut report = Report::default();
            while Instant::now() < end {
                let begun = Instant::now();
                report.bytes += request(&mut c, next.fetch_add(1, Ordering::Relaxed)).await?;
                report.latencies.push(begun.elapsed());
            }
            Ok::<_, anyhow::Error>(report)
        }));
    }
    let mut total = Report::default();
    for t in tasks {
        let one = t.await??;
        total.bytes += one.bytes;
        total.latencies.extend(one.latencies);
    }
    total.count = total.latencies.len();
    finish(&mut total, started, before, o.pid);
    Ok(total)
}

fn finish(report: &mut Report, started: Instant, before: Option<Duration>, pid: Option<u32>) {
    report.took = started.elapsed();
    report.cpu = cpu(pid).zip(before).map(|(after, before)| after - before);
    report.resident = resident(pid);
}

async fn get(api: Api, o: Options, query: &'static str) -> Result<Report> {
    let pods = o.pods;
    closed_loop(api, o, move |c, i| {
        let path = format!("{}/{}{query}", pods_path(), pod_name(i * 7919 % pods));
        Box::pin(async move { c.call(Method::GET, &path, JSON, Bytes::new()).await })
    })
    .await
}

async fn list(api: Api, o: Options, query: &'static str) -> Result<Report> {
    closed_loop(api, o, move |c, _| {
        let path = format!("{}{query}", pods_path());
        Box::pin(async move { c.call(Method::GET, &path, JSON, Bytes::new()).await })
    })
    .await
}

/// Twice as many pods as there are: what each of them adds to the server's memory, and its JSON, are printed. The pods
/// stay, so this comes last.
async fn memory(api: Api, o: Options) -> Result<Report> {
    let bytes = |mut c: Connection| async move { c.call(Method::GET, &pods_path(), JSON, Bytes::new()).await };
    let before = (bytes(api.connect().await?).await?, settled(o.pid).await);
    let more = Options { pods: o.pods * 2, ..o.clone() };
    let (started, used) = (Instant::now(), cpu(o.pid));
    prepare(&api, &more).await?;
    let mut report = Report { count: o.pods, ..Report::default() };
    finish(&mut report, started, used, o.pid);
    let after = (bytes(api.connect().await?).await?, settled(o.pid).await);
    report.bytes = after.0 - before.0;
    if let (Some(a), Some(b)) = (after.1, before.1) {
        let each = (a - b) * 1024.0 / o.pods as f64;
        let json = report.bytes as f64 / 1024.0 / o.pods as f64;
        println!("{:<14} {each:.2} KiB of memory for each stored pod of {json:.2} KiB", "");
    }
    Ok(report)
}

/// Resident memory once it stops falling.
async fn settled(pid: Option<u32>) -> Option<f64> {
    let mut last = resident(pid)?;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = resident(pid)?;
        if now > last - 0.5 {
            return Some(now);
        }
        last = now;
    }
}

/// Every connection takes the whole list once, all at the same time; the most memory that this took is printed.
async fn lists_at_once(api: Api, o: Options) -> Result<Report> {
    let mut connections = Vec::new();
    for _ in 0..o.connections {
        connections.push(api.connect().await?);
    }
    let idle = settled(o.pid).await;
    let highest = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let watching = tokio::spawn({
        let (highest, pid) = (highest.clone(), o.pid);
        async move {
            loop {
                highest.fetch_max((resident(pid).unwrap_or(0.0) * 1024.0) as u64, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    let (started, before) = (Instant::now(), cpu(o.pid));
    let calls = connections.into_iter().map(|mut c| async move {
        let begun = Instant::now();
        c.call(Method::GET, &pods_path(), JSON, Bytes::new()).await.map(|n| (n, begun.elapsed()))
    });
    let mut report = Report::default();
    for (bytes, took) in futures::future::try_join_all(calls).await? {
        report.bytes += bytes;
        report.latencies.push(took);
    }
    report.count = report.latencies.len();
    finish(&mut report, started, before, o.pid);
    watching.abort();
    if let Some(idle) = idle {
        let more = highest.load(Ordering::Relaxed) as f64 / 1024.0 - idle;
        println!("{:<14} {:.1} MiB more than at rest, {:.2} MiB for each list", "", more, more / report.count as f64);
    }
    Ok(report)
}

/// Pods are made beside the stored ones and taken away afterwards.
async fn create(api: Api, o: Options) -> Result<Report> {
    let run = std::process::id();
    let report = closed_loop(api.clone(), o, move |c, i| {
        let mut body = pod(&format!("new-{run}-{i}"));
        body["metadata"]["labels"]["app"] = "bench-new".into();
        Box::pin(async move { c.call(Method::POST, &pods_path(), JSON, Bytes::from(body.to_string())).await })
    })
    .await?;
    let path = format!("{}?labelSelector=app%3Dbench-new&gracePeriodSeconds=0", pods_path());
    api.connect().await?.call(Method::DELETE, &path, JSON, Bytes::new()).await.context("taking the new pods away")?;
    Ok(report)
}

/// A patch that changes something, unless the same `i` came last.
fn status_patch(i: usize) -> Bytes {
    let patch = json!({ "status": { "phase": "Running", "podIP": "10.1.2.3", "message": format!("update {i}"), "conditions": [
        { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" },
        { "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" },
    ] } });
    Bytes::from(patch.to_string())
}

async fn patch_status(api: Api, o: Options) -> Result<Report> {
    let pods = o.pods;
    closed_loop(api, o, move |c, i| {
        let path = format!("{}/{}/status", pods_path(), pod_name(i * 7919 % pods));
        Box::pin(async move { c.call(Method::PATCH, &path, "application/merge-patch+json", status_patch(i)).await })
    })
    .await
}

/// Many watchers on a few connections; one writer. A delivery is one event at one watcher; its latency runs from the
/// moment before the write.
async fn watch(api: Api, o: Options) -> Result<Report> {
    const WATCHERS_ON_ONE: usize = 50;
    let mut c = api.connect().await?;
    let (_, body) = c.fetch(Method::GET, &format!("{}?limit=1", pods_path()), JSON, Bytes::new()).await?;
    let list: Value = serde_json::from_slice(&body)?;
    let version = list["metadata"]["resourceVersion"].as_str().context("the list has no resourceVersion")?;
    let path = format!("{}?watch=1&resourceVersion={version}", pods_path());
    let (delivered, bytes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let sent: Arc<std::sync::Mutex<Vec<Instant>>> = Arc::default();
    let latencies: Arc<std::sync::Mutex<Vec<Duration>>> = Arc::default();
    let mut tasks = Vec::new();
    let mut connection = api.connect().await?;
    for i in 0..o.watchers {
        if i % WATCHERS_ON_ONE == 0 {
            connection = api.connect().await?;
        }
        let answer = connection.open(Method::GET, &path, JSON, Bytes::new()).await?;
        let (delivered, bytes, sent, latencies) = (delivered.clone(), bytes.clone(), sent.clone(), latencies.clone());
        tasks.push(tokio::spawn(async move {
            let (mut body, mut mine) = (answer.into_body(), 0);
            while let Some(Ok(frame)) = body.frame().await {
                let Some(data) = frame.data_ref() else { continue };
                bytes.fetch_add(data.len(), Ordering::Relaxed);
                let lines = memchr::memchr_iter(b'\n', data).count();
                delivered.fetch_add(lines, Ordering::Relaxed);
                mine += lines;
                // One watcher in fifty keeps time: more would measure this program.
                if i % 50 == 0 && lines > 0 {
                    let begun = sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(mine - 1).copied();
                    if let Some(begun) = begun {
                        latencies.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(begun.elapsed());
                    }
                }
            }
        }));
    }
    let (started, before) = (Instant::now(), cpu(o.pid));
    let mut written = 0;
    while started.elapsed() < Duration::from_secs(o.seconds) {
        sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(Instant::now());
        let path = format!("{}/{}/status", pods_path(), pod_name(written % o.pods));
        c.call(Method::PATCH, &path, "application/merge-patch+json", status_patch(rand::random::<u32>() as usize))
            .await?;
        written += 1;
        // The writer goes on when most have what was written, so that no backlog builds up.
        while delivered.load(Ordering::Relaxed) + 14 * o.watchers < written * o.watchers {
            anyhow::ensure!(started.elapsed() < Duration::from_secs(o.seconds + 10), "the watchers stopped hearing");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let want = written * o.watchers;
    let patience = Instant::now() + Duration::from_secs(10);
    while delivered.load(Ordering::Relaxed) < want && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut report =
        Report { count: delivered.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed), ..Report::default() };
    finish(&mut report, started, before, o.pid);
    report.latencies = std::mem::take(&mut *latencies.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    for t in tasks {
        t.abort();
    }
    Ok(report)
}
