//! The Rust client `kube` against a cluster with nodes, named by `KUBECONFIG`. The last line says how many checks passed
//! and failed.

use anyhow::{Context, Result, ensure};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{
    Api, AttachParams, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::{Client, Config, Error, ResourceExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Nothing is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = Client::try_from(Config::infer().await?)?;
    let name = format!("rust-{}", &uuid::Uuid::new_v4().simple().to_string()[..6]);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let body = from(json!({"metadata": {"name": name}}))?;
    namespaces.create(&PostParams::default(), &body).await?;
    let checks = [
        ("objects", tokio::time::timeout(PATIENCE, objects(&client, &name)).await),
        ("watches", tokio::time::timeout(PATIENCE, watches(&client, &name)).await),
        ("pods", tokio::time::timeout(PATIENCE * 2, pods(&client, &name)).await),
    ];
    namespaces.delete(&name, &DeleteParams::default()).await?;
    let (mut passed, mut failed) = (0, 0);
    for (what, outcome) in checks {
        match outcome {
            Ok(Ok(())) => passed += 1,
            Ok(Err(e)) => {
                failed += 1;
                println!("FAIL Rust client: {what}: {e:#}");
            }
            Err(_) => {
                failed += 1;
                println!("FAIL Rust client: {what} took too long");
            }
        }
    }
    println!("Rust client: {passed} passed, {failed} failed");
    ensure!(failed == 0, "{failed} failed");
    Ok(())
}

fn from<T: for<'a> serde::Deserialize<'a>>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

fn code<T>(r: Result<T, Error>) -> u16 {
    match r {
        Err(Error::Api(status)) => status.code,
        _ => 0,
    }
}

async fn objects(client: &Client, namespace: &str) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let body = |name: &str| from::<ConfigMap>(json!({"metadata": {"name": name}, "data": {"a": "1"}}));
    for i in 0..5 {
        maps.create(&PostParams::default(), &body(&format!("c{i}"))?).await?;
    }
    ensure!(code(maps.create(&PostParams::default(), &body("c0")?).await) == 409, "created twice");
    ensure!(code(maps.create(&PostParams::default(), &body("A_b")?).await) == 422, "an invalid name was taken");
    ensure!(code(maps.get("nope").await) == 404, "a missing object was found");
    let (mut names, mut params) = (Vec::new(), ListParams::default().limit(2));
    loop {
        let page = maps.list(&params).await?;
        names.extend(page.items.iter().map(ResourceExt::name_any).filter(|n| n.starts_with('c')));
        match page.metadata.continue_.filter(|c| !c.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => break,
        }
    }
    ensure!(names == ["c0", "c1", "c2", "c3", "c4"], "paged list: {names:?}");
    let value = |map: &ConfigMap, key: &str| map.data.as_ref().and_then(|d| d.get(key).cloned());
    let patched = maps.patch("c0", &PatchParams::default(), &Patch::Merge(json!({"data": {"b": "2"}}))).await?;
    ensure!(value(&patched, "b").as_deref() == Some("2"), "merge patch");
    let patched = maps.patch("c0", &PatchParams::default(), &Patch::Strategic(json!({"data": {"b": null}}))).await?;
    ensure!(value(&patched, "b").is_none(), "strategic patch");
    let apply = |manager: &str, v: &str| {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c0"}, "data": {"d": v}});
        (PatchParams::apply(manager), Patch::Apply(body))
    };
    let (params, patch) = apply("one", "1");
    maps.patch("c0", &params, &patch).await?;
    let (params, patch) = apply("two", "2");
    ensure!(code(maps.patch("c0", &params, &patch).await) == 409, "a conflict was not told");
    let forced = maps.patch("c0", &params.force(), &patch).await?;
    ensure!(value(&forced, "d").as_deref() == Some("2"), "forced apply");
    maps.delete("c1", &DeleteParams::default()).await?;
    Ok(())
}

async fn watches(client: &Client, namespace: &str) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let version = maps.list(&ListParams::default()).await?.metadata.resource_version.context("no version")?;
    maps.delete("c2", &DeleteParams::default()).await?;
    let stream = maps.watch(&WatchParams::default().timeout(10), &version).await?;
    futures::pin_mut!(stream);
    while let Some(event) = stream.try_next().await? {
        if let WatchEvent::Deleted(map) = event {
            ensure!(map.name_any() == "c2", "another object was deleted");
            return Ok(());
        }
    }
    anyhow::bail!("the watch ended without the event that followed its version")
}

async fn pods(client: &Client, namespace: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let container = json!({"name": "web", "image": "steersman.local/web:v1", "imagePullPolicy": "IfNotPresent"});
    let body: Pod = from(json!({"metadata": {"name": "web"}, "spec": {"containers": [container]}}))?;
    // The namespace's account is made by a controller.
    while code(pods.create(&PostParams::default(), &body).await) == 403 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let named = WatchParams::default().fields("metadata.name=web").timeout(60);
    let stream = pods.watch(&named, "0").await?;
    futures::pin_mut!(stream);
    while let Some(event) = stream.try_next().await? {
        if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = event
            && pod.status.and_then(|s| s.phase).as_deref() == Some("Running")
        {
            break;
        }
    }
    let mut run = pods.exec("web", ["cat"], &AttachParams::default().stdin(true).stderr(false)).await?;
    let (mut stdin, mut stdout) = (run.stdin().context("no stdin")?, run.stdout().context("no stdout")?);
    stdin.write_all(b"ping\n").await?;
    let mut line = [0; 5];
    stdout.read_exact(&mut line).await?;
    ensure!(&line == b"ping\n", "exec answered {line:?}");
    drop((stdin, stdout));
    run.abort();
    let mut answer = String::new();
    for _ in 0..50 {
        let mut forward = pods.portforward("web", &[8080]).await?;
        let mut socket = forward.take_stream(8080).context("no stream")?;
        socket.write_all(b"GET /cgi-bin/hostname HTTP/1.0\r\n\r\n").await?;
        answer.clear();
        if socket.read_to_string(&mut answer).await.is_ok() && answer.contains("web") {
            break;
        }
        // The server in the container may need a moment.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(answer.contains("web"), "port-forward answered {answer:?}");
    pods.logs("web", &LogParams::default()).await?;
    pods.delete("web", &DeleteParams::default().grace_period(0)).await?;
    Ok(())
}
