//! The service `kubernetes` and its endpoints: this server and all others that are alive
//! (rule: `pkg/controlplane/controller/kubernetesservice`, `pkg/controlplane/reconcilers`).

use crate::api::Api;
use crate::config::SERVICE_PORT;
use serde_json::{Value, json};
use std::time::Duration;
use steersman_apimachinery::status::Reason;
use steersman_apimachinery::{Status, object};
use steersman_registry::{Cluster, Context, MasterLeases};
use tokio_util::sync::CancellationToken;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(10);
/// Why the endpoints stay as they are.
const NONE_ALIVE: &str =
    "no API server IP addresses were listed in storage, refusing to erase all endpoints for the kubernetes Service";

/// The leases of all servers, followed from the first time they are needed.
pub type Leases = tokio::sync::OnceCell<MasterLeases>;

/// Looks every ten seconds until `stop`, then takes this server out.
pub async fn keep(api: &Api, leases: &Leases, stop: CancellationToken) {
    let ctx = Context::loopback();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Err(e) = reconcile(api, leases, &ctx).await {
            tracing::warn!(error = %e, "service kubernetes not reconciled");
        }
    }
    if api.config.endpoint_reconciler
        && let Err(e) = leave(api, leases, &ctx).await
    {
        tracing::debug!(error = %e, "this server's endpoint not removed");
    }
}

/// Makes the service, its Endpoints and its EndpointSlice what they should be.
pub async fn reconcile(api: &Api, leases: &Leases, ctx: &Context) -> Result<(), Status> {
    let cluster: &dyn Cluster = &*api.registry;
    if cluster.get("", "services", "default", "kubernetes").is_none() {
        let created = cluster.create(ctx, "", "services", service(api), false).await;
        ignore(created, Reason::AlreadyExists)?;
    }
    if !api.config.endpoint_reconciler {
        return Ok(());
    }
    let leases = leases.get_or_try_init(|| MasterLeases::attach(&api.registry)).await?;
    leases.renew(&api.config.advertise.to_string()).await?;
    write_alive(api, leases, ctx).await
}

async fn leave(api: &Api, leases: &Leases, ctx: &Context) -> Result<(), Status> {
    let Some(leases) = leases.get() else { return Ok(()) };
    leases.remove(&api.config.advertise.to_string()).await?;
    write_alive(api, leases, ctx).await
}

/// Writes the servers that are alive into Endpoints and EndpointSlice.
async fn write_alive(api: &Api, leases: &MasterLeases, ctx: &Context) -> Result<(), Status> {
    let (cluster, port) = (&*api.registry as &dyn Cluster, api.config.bind.port());
    let alive = leases.alive().await?;
    if alive.is_empty() {
        return Err(Status::internal(NONE_ALIVE));
    }
    write(cluster, ctx, "", "endpoints", endpoints(&alive, port), &["subsets"]).await?;
    let fields = ["addressType", "endpoints", "ports"];
    write(cluster, ctx, "discovery.k8s.io", "endpointslices", slice(&alive, port), &fields).await
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
    let addresses: Vec<Value> = alive.iter().map(|ip| json!({"ip": ip})).collect();
    json!({
        "kind": "Endpoints", "apiVersion": "v1",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    })
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
