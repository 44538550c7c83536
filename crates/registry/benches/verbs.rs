//! What the verbs cost in CPU time, against a real etcd: `cargo bench -p steersman-registry`.
//!
//! CPU time of this process per operation (etcd runs in another) is the figure to trust on a noisy machine.

#[path = "../tests/common/mod.rs"]
mod common;

use common::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use steersman_apimachinery::options::*;
use steersman_registry::PatchType;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// User and system time of this process in microseconds.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks = |i: usize| fields[i].parse::<u64>().expect("ticks");
    (ticks(11) + ticks(12)) * 10_000
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// About 2.5 KB, as a pod is.
fn object(n: usize) -> Value {
    let containers: Vec<Value> = (0..3)
        .map(|c| {
            json!({"name": format!("c{c}"), "image": "registry.example.com/some/image:v1.2.3", "imagePullPolicy": "IfNotPresent",
            "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "250m", "memory": "64Mi"}},
            "env": [{"name": "A", "value": "some value"}, {"name": "B", "value": "another value"}],
            "volumeMounts": [{"name": "data", "mountPath": "/var/lib/data"}, {"name": "token", "mountPath": "/var/run/secrets"}],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"})
        })
        .collect();
    let mut w = work(&format!("pod-{n:06}"), json!({}));
    w["metadata"]["labels"] = json!({"app": "web", "node": format!("n{}", n % 100), "tier": "front"});
    w["spec"]["template"]["spec"] = json!({"containers": containers, "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30});
    w
}

async fn measure<F>(
    what: &str,
    count: usize,
    parallel: usize,
    op: impl Fn(Arc<Server>, usize) -> F + Copy + Send + 'static,
    s: &Arc<Server>,
) where
    F: Future<Output = ()> + Send,
{
    let (begin, cpu_before) = (Instant::now(), cpu());
    let tasks: Vec<_> = (0..parallel)
        .map(|p| {
            let s = s.clone();
            tokio::spawn(async move {
                for n in (p..count).step_by(parallel) {
                    op(s.clone(), n).await;
                }
            })
        })
        .collect();
    for t in tasks {
        t.await.expect("done");
    }
    let (wall, used) = (begin.elapsed(), cpu() - cpu_before);
    println!("{what:32} {:>9.0}/s {:>8.1} µs CPU each", count as f64 / wall.as_secs_f64(), used as f64 / count as f64);
}

#[tokio::main]
async fn main() {
    let s = Arc::new(serve().await);
    let before = resident();
    const N: usize = 5_000;
    measure(
        "create",
        N,
        16,
        |s, n| async move { drop(s.create("deployments", object(n)).await.expect("created")) },
        &s,
    )
    .await;
    println!("resident: {before} KiB empty, {} KiB with {N} objects", resident());
    let store = s.store("deployments");
    let size = store.get(&s.ctx, "ns", "pod-000001", &GetOptions::default()).await.expect("there").bytes().len();
    println!("an object has {size} bytes");
    let get = |version: &'static str| {
        move |s: Arc<Server>, n: usize| async move {
            let options = GetOptions { resource_version: version.into() };
            s.store("deployments").get(&s.ctx, "ns", &format!("pod-{:06}", n % N), &options).await.expect("there");
        }
    };
    measure("get, consistent", 40_000, 16, get(""), &s).await;
    measure("get, resourceVersion=0", 400_000, 16, get("0"), &s).await;
    let status = |s: Arc<Server>, n: usize| async move {
        let body = json!({"status": {"replicas": n, "conditions": [{"type": "Ready", "status": "True", "reason": "r", "message": "m"}]}});
        s.patch("deployments", &format!("pod-{:06}/status", n % N), PatchType::Merge, body, &UpdateOptions::default())
            .await
            .expect("patched");
    };
    measure("merge patch of status", N, 16, status, &s).await;
    measure(
        "strategic patch of status",
        N,
        16,
        |s, n| async move {
            let body = json!({"status": {"replicas": n + 1}});
            s.patch(
                "deployments",
                &format!("pod-{:06}/status", n % N),
                PatchType::Strategic,
                body,
                &UpdateOptions::default(),
            )
            .await
            .expect("patched");
        },
        &s,
    )
    .await;
    let list = |limit: i64| {
        move |s: Arc<Server>, _| async move {
            let list = s
                .store("deployments")
                .list(&s.ctx, "ns", &ListOptions { limit, ..ListOptions::default() })
                .await
                .expect("list");
            assert!(list.items.map(|o| o.bytes().len()).sum::<usize>() > 0);
        }
    };
    measure("list of 5,000", 200, 4, list(0), &s).await;
    measure("list, limit=500", 2_000, 4, list(500), &s).await;
    println!("resident: {} KiB at the end", resident());
}
