//! The service `kubernetes` and its endpoints: this server and all others that are alive
//! (rule: `pkg/controlplane/controller/kubernetesservice`; which servers are alive is read from their identity Leases).

use super::identity;
use crate::api::Api;
use crate::config::SERVICE_PORT;
use serde_json::{Value, json};
use std::time::Duration;
use steersman_apimachinery::status::Reason;
use steersman_apimachinery::{Status, object};
use steersman_registry::{Cluster, Context};
use tokio_util::sync::CancellationToken;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long a server counts as alive after it last said so.
const ALIVE: Duration = Duration::from_secs(25);

/// Looks every ten seconds until `stop`, then takes this server out.
pub async fn keep(api: &Api, stop: CancellationToken) {
    let ctx = Context::loopback();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Err(e) = reconcile(api, &ctx).await {
            tracing::warn!(error = %e, "service kubernetes not reconciled");
        }
    }
    if api.config.endpoint_reconciler
        && let Err(e) = leave(api, &ctx).await
    {
        tracing::debug!(error = %e, "this server's endpoint not removed");
    }
}

/// Makes the service, its Endpoints and its EndpointSlice what they should be.
pub async fn reconcile(api: &Api, ctx: &Context) -> Result<(), Status> {
    let cluster: &dyn Cluster = &*api.registry;
    let port = api.config.bind.port();
    if cluster.get("", "services", "default", "kubernetes").is_none() {
        let created = cluster.create(ctx, "", "services", service(api), false).await;
        ignore(created, Reason::AlreadyExists)?;
    }
    if !api.config.endpoint_reconciler {
        return Ok(());
    }
    let alive = identity::alive(cluster, &api.config.advertise.to_string(), ALIVE);
    write(cluster, ctx, "", "endpoints", endpoints(&alive, port), &["subsets"]).await?;
    write(
        cluster,
        ctx,
        "discovery.k8s.io",
        "endpointslices",
        slice(&alive, port),
        &["addressType", "endpoints", "ports"],
    )
    .await
}

async fn leave(api: &Api, ctx: &Context) -> Result<(), Status> {
    let (cluster, port) = (&*api.registry as &dyn Cluster, api.config.bind.port());
    let own = api.config.advertise.to_string();
    let mut alive = identity::alive(cluster, &own, ALIVE);
    alive.retain(|a| *a != own);
    write(cluster, ctx, "", "endpoints", endpoints(&alive, port), &["subsets"]).await?;
    write(
        cluster,
        ctx,
        "discovery.k8s.io",
        "endpointslices",
        slice(&alive, port),
        &["addressType", "endpoints", "ports"],
    )
    .await
}

fn ignore<T>(r: Result<T, Status>, reason: Reason) -> Result<(), Status> {
    match r {
        Err(e) if e.reason != reason => Err(e),
        _ => Ok(()),
    }
}

/// Creates the object, or makes the fields what they should be where they differ.
async fn write(
    cluster: &dyn Cluster,
    ctx: &Context,
    group: &str,
    resource: &str,
    wanted: Value,
    fields: &[&str],
) -> Result<(), Status> {
    let same = |o: &Value| fields.iter().all(|f| o.get(*f) == wanted.get(*f));
    match cluster.get(group, resource, "default", "kubernetes") {
        Some(stored) if same(&stored) => return Ok(()),
        Some(_) => {}
        None => {
            let created = cluster.create(ctx, group, resource, wanted.clone(), false).await;
            return ignore(created, Reason::AlreadyExists);
        }
    }
    let mut change = |o: &mut Value| {
        for f in fields {
            match wanted.get(*f) {
                Some(v) => object::set(o, &[f], v.clone()),
                None => drop(object::remove(o, &[f])),
            }
        }
        Ok(())
    };
    cluster.update(ctx, (group, resource, ""), ("default", "kubernetes"), false, &mut change).await.map(drop)
}

fn service(api: &Api) -> Value {
    let mut port =
        json!({"name": "https", "port": SERVICE_PORT, "protocol": "TCP", "targetPort": api.config.bind.port()});
    let node_port = api.config.kubernetes_node_port;
    if node_port > 0 {
        port["nodePort"] = node_port.into();
    }
    json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": if node_port > 0 { "NodePort" } else { "ClusterIP" },
            "clusterIP": api.config.service_ip.to_string(),
            "clusterIPs": [api.config.service_ip.to_string()],
            "ipFamilies": [if api.config.service_ip.is_ipv4() { "IPv4" } else { "IPv6" }],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "ports": [port],
            "sessionAffinity": "None",
        },
    })
}

fn endpoints(alive: &[String], port: u16) -> Value {
    let mut o = json!({
        "kind": "Endpoints", "apiVersion": "v1",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
    });
    if !alive.is_empty() {
        let addresses: Vec<Value> = alive.iter().map(|ip| json!({"ip": ip})).collect();
        o["subsets"] = json!([{"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]);
    }
    o
}

fn slice(alive: &[String], port: u16) -> Value {
    let v6 = alive.first().is_some_and(|ip| ip.contains(':'));
    let all: Vec<Value> = alive.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
    json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": if v6 { "IPv6" } else { "IPv4" },
        "endpoints": all,
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}
