//! Signs of life: the node's registration, its status and its lease.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use steersman_client::{Client, EventType, Patch};
use tokio::time::Instant;

use super::status::{self, Health};
use crate::{api::*, kubelet::Kubelet};

/// Where leases of nodes are kept.
const LEASES: &str = "kube-node-lease";
/// Waits between tries to register.
const REGISTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(7));
/// How often a node that is not ready looks at itself.
const UNREADY: Duration = Duration::from_millis(500);
/// Images with more names than this are shown with so many.
const MAX_NAMES: usize = 5;

/// Registers the node, then reports its status until shutdown.
pub async fn run_status(k: Arc<Kubelet>, client: Client) {
    let mut images = Vec::new();
    let mut looked: Option<Instant> = None;
    let mut reported: Option<Instant> = None;
    let mut registered = false;
    let mut wait = REGISTER.0;
    loop {
        if looked.is_none_or(|t| t.elapsed() > Duration::from_secs(30)) {
            images = list_images(&k).await;
            looked = Some(Instant::now());
        }
        let result = if registered {
            report(&k, &client, images.clone(), &mut reported).await
        } else {
            register(&k, &client, images.clone()).await
        };
        let pause = match result {
            Ok(()) if !registered => {
                registered = true;
                reported = Some(Instant::now());
                k.registered.notify_waiters();
                tracing::info!(node = k.node_name, "registered the node");
                if let Some(recorder) = &k.events.0 {
                    let about = ObjectReference {
                        kind: Some("Node".into()),
                        name: Some(k.node_name.clone()),
                        uid: Some(k.node_name.clone()),
                        ..Default::default()
                    };
                    recorder.event_ref(about, EventType::Normal, "Starting", "Starting kubelet.");
                }
                k.config.node_status_update_frequency.0
            }
            Ok(()) => {
                wait = REGISTER.0;
                k.config.node_status_update_frequency.0
            }
            Err(error) => {
                tracing::warn!(node = k.node_name, %error, registered, "cannot report the node's status");
                if error.is_not_found() {
                    registered = false;
                }
                wait = (wait * 2).min(REGISTER.1);
                wait
            }
        };
        // A node that is not ready yet looks more often whether it has become so.
        let pause = if k.node.is_ready() { pause } else { pause.min(UNREADY) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = k.shutdown.cancelled() => return,
        }
    }
}

async fn health(k: &Kubelet) -> (Health, steersman_cri::v1::StatusResponse) {
    let (mut errors, mut runtime) = (Vec::new(), Default::default());
    match k.runtime.status().await {
        Ok(answer) => {
            runtime = answer;
            let conditions = runtime.status.iter().flat_map(|s| &s.conditions);
            let bad = |kind: &str| conditions.clone().find(|c| c.r#type == kind && !c.status);
            if let Some(c) = bad("RuntimeReady") {
                errors.push(format!("container runtime is down: {} {}", c.reason, c.message));
            }
            let network = bad("NetworkReady").map(|c| {
                format!(
                    "container runtime network not ready: NetworkReady=false reason:{} message:{}",
                    c.reason, c.message
                )
            });
            k.node.set_network(network.clone());
            errors.extend(network);
        }
        Err(error) => errors.push(format!("container runtime is down: {error}")),
    }
    errors.extend(k.pleg.error());
    let pressure = k.pressure.load();
    k.node.set_ready(errors.is_empty());
    let health = Health {
        not_ready: Some(errors.join(", ")).filter(|e| !e.is_empty()),
        memory_pressure: pressure.memory,
        disk_pressure: pressure.disk,
        pid_pressure: pressure.pids,
    };
    (health, runtime)
}

/// Looks at the runtime without telling anybody; for a kubelet on its own.
pub async fn watch_runtime(k: Arc<Kubelet>) {
    loop {
        health(&k).await;
        let pause = if k.node.is_ready() { k.config.node_status_update_frequency.0 } else { UNREADY };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = k.shutdown.cancelled() => return,
        }
    }
}

async fn list_images(k: &Kubelet) -> Vec<ContainerImage> {
    let mut all = k.runtime.list_images(None).await.unwrap_or_default();
    all.sort_by_key(|i| std::cmp::Reverse(i.size));
    let limit = usize::try_from(k.config.node_status_max_images).unwrap_or(usize::MAX);
    all.into_iter()
        .take(limit)
        .map(|i| ContainerImage {
            names: Some(i.repo_digests.into_iter().chain(i.repo_tags).take(MAX_NAMES).collect()),
            size_bytes: Some(i64::try_from(i.size).unwrap_or(i64::MAX)),
        })
        .collect()
}

async fn status_of(k: &Kubelet, node: &Node, images: Vec<ContainerImage>) -> NodeStatus {
    let (health, runtime) = health(k).await;
    status::generate(status::Input {
        node,
        config: &k.config,
        facts: &k.node.facts,
        capacity: k.node.capacity(),
        name: &k.node_name,
        ips: &k.node.ips(),
        images,
        runtime: &runtime,
        health: &health,
    })
}

async fn register(k: &Kubelet, client: &Client, images: Vec<ContainerImage>) -> steersman_client::Result<()> {
    if !k.config.register_node {
        let node = client.get::<Node>("", &k.node_name).await?;
        k.node.written.store(Some(Arc::new(node)));
        return report(k, client, images, &mut None).await;
    }
    let mut labels = status::labels(&k.node_name, &k.node.facts);
    labels.extend(k.node_labels.clone());
    let mut node = Node {
        metadata: ObjectMeta { name: Some(k.node_name.clone()), labels: Some(labels.clone()), ..Default::default() },
        spec: Some(NodeSpec {
            provider_id: Some(k.config.provider_id.clone()).filter(|p| !p.is_empty()),
            taints: Some(k.config.register_with_taints.iter().map(taint).collect::<Vec<_>>()).filter(|t| !t.is_empty()),
            ..Default::default()
        }),
        ..Default::default()
    };
    if k.config.enable_controller_attach_detach {
        let annotations = node.metadata.annotations.get_or_insert_default();
        annotations.insert("volumes.kubernetes.io/controller-managed-attach-detach".into(), "true".into());
    }
    node.status = Some(status_of(k, &node, images.clone()).await);
    match client.create("", &node).await {
        Ok(node) => {
            k.node.written.store(Some(Arc::new(node)));
            Ok(())
        }
        Err(e) if e.is_already_exists() => {
            let existing = client.get::<Node>("", &k.node_name).await?;
            // Labels that this kubelet owns are brought up to date; everything else stays as people made it.
            let have = existing.metadata.labels.clone().unwrap_or_default();
            let changed: serde_json::Map<String, Value> =
                labels.into_iter().filter(|(k, v)| have.get(k) != Some(v)).map(|(k, v)| (k, json!(v))).collect();
            let mut node = existing;
            if !changed.is_empty() {
                let patch = Patch::Merge(json!({"metadata": {"labels": changed}}));
                node = client.patch::<Node>("", &k.node_name, &patch).await?;
            }
            k.node.written.store(Some(Arc::new(node)));
            report(k, client, images, &mut None).await
        }
        Err(e) => Err(e),
    }
}

fn taint(t: &crate::config::Taint) -> Taint {
    Taint {
        key: t.key.clone(),
        value: Some(t.value.clone()).filter(|v| !v.is_empty()),
        effect: t.effect.clone(),
        time_added: None,
    }
}

/// Sends what has changed; the times of heartbeats alone are sent only every five minutes, since the lease tells that
/// the node lives.
async fn report(
    k: &Kubelet,
    client: &Client,
    images: Vec<ContainerImage>,
    reported: &mut Option<Instant>,
) -> steersman_client::Result<()> {
    let node = match k.node.current() {
        Some(node) => node,
        None => Arc::new(client.get::<Node>("", &k.node_name).await?),
    };
    let new = status_of(k, &node, images).await;
    let old = node.status.clone().unwrap_or_default();
    let due = reported.is_none_or(|t| t.elapsed() >= k.config.node_status_report_frequency.0);
    if !due && without_times(&old) == without_times(&new) {
        return Ok(());
    }
    let patch = patch(&old, &new);
    let answer = client.patch_status::<Node>("", &k.node_name, &Patch::Strategic(patch)).await?;
    k.node.written.store(Some(Arc::new(answer)));
    *reported = Some(Instant::now());
    Ok(())
}

fn without_times(status: &NodeStatus) -> Value {
    let mut status = status.clone();
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_heartbeat_time = None;
    }
    serde_json::to_value(status).unwrap_or_default()
}

fn patch(old: &NodeStatus, new: &NodeStatus) -> Value {
    let fields = |s: &NodeStatus| match serde_json::to_value(s) {
        Ok(Value::Object(map)) => map,
        _ => Default::default(),
    };
    let old = fields(old);
    let mut changed = fields(new);
    changed.retain(|key, value| old.get(key) != Some(value));
    if let Some(Value::Array(addresses)) = changed.get_mut("addresses") {
        // Addresses merge by type, which several share.
        addresses.insert(0, json!({"$patch": "replace"}));
    }
    if let Some(Value::Array(conditions)) = changed.get_mut("conditions") {
        conditions.retain(|c| c["type"].as_str().is_some_and(|t| t == "Ready" || t.ends_with("Pressure")));
    }
    json!({ "status": changed })
}

/// Renews the node's lease until shutdown.
pub async fn run_lease(k: Arc<Kubelet>, client: Client) {
    let duration = k.config.node_lease_duration_seconds.max(4);
    // A quarter of its life (rule: kubelet `nodeLeaseRenewIntervalFraction`).
    let period = Duration::from_secs(u64::try_from(duration / 4).unwrap_or(10));
    let mut lease: Option<Lease> = None;
    loop {
        let pause = match renew(&k, &client, lease.take(), duration).await {
            Ok(renewed) => {
                lease = Some(renewed);
                period
            }
            Err(error) => {
                tracing::debug!(%error, "cannot renew the node's lease");
                // The next try reads it anew.
                Duration::from_millis(500)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = k.shutdown.cancelled() => return,
        }
    }
}

async fn renew(k: &Kubelet, client: &Client, known: Option<Lease>, duration: i32) -> steersman_client::Result<Lease> {
    let existing = match known {
        Some(lease) => Some(lease),
        None => client.get_opt::<Lease>(LEASES, &k.node_name).await?,
    };
    let now = MicroTime(Timestamp::now());
    let spec = LeaseSpec {
        holder_identity: Some(k.node_name.clone()),
        lease_duration_seconds: Some(duration),
        renew_time: Some(now),
        ..Default::default()
    };
    if let Some(mut lease) = existing {
        lease.spec = Some(spec);
        own(&mut lease, k);
        return client.update(&lease).await;
    }
    let mut lease = Lease {
        metadata: ObjectMeta { name: Some(k.node_name.clone()), namespace: Some(LEASES.into()), ..Default::default() },
        spec: Some(spec),
    };
    own(&mut lease, k);
    client.create(LEASES, &lease).await
}

/// The lease goes when the node goes.
fn own(lease: &mut Lease, k: &Kubelet) {
    if lease.metadata.owner_references.as_ref().is_some_and(|o| !o.is_empty()) {
        return;
    }
    let uid = k.node.current().and_then(|n| n.metadata.uid.clone());
    lease.metadata.owner_references = uid.map(|uid| {
        vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: k.node_name.clone(),
            uid,
            ..Default::default()
        }]
    });
}
