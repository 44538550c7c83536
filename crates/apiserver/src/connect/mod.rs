//! Subresources that need a connection to somewhere else: logs, exec, attach, port-forward, proxy
//! (rule: `pkg/registry/core/{pod,node,service}/rest`).

mod forward;
mod kubelet;
mod pods;
mod proxy;

pub use forward::upgrade_of;
pub use kubelet::Kubelets;

use crate::api::{Api, Incomings};
use crate::negotiate::no_such_route;
use crate::respond::Reply;
use std::sync::Arc;
use steersman_apimachinery::Status;
use steersman_registry::{Context, Store, Subresource};

/// Serves a connecting subresource.
pub async fn serve(
    api: &Arc<Api>,
    request: &mut Incomings,
    ctx: &Context,
    store: &Store,
    sub: &Subresource,
) -> Result<Reply, Status> {
    match (store.info().resource, sub.name) {
        ("pods", "log") => pods::log(api, request, ctx, store).await,
        ("pods", "exec" | "attach" | "portforward") => pods::stream(api, request, ctx, store, sub.name).await,
        (resource @ ("pods" | "services" | "nodes"), "proxy") => proxy::serve(api, request, ctx, store, resource).await,
        _ => Err(no_such_route()),
    }
}
