//! `componentstatuses`: deprecated, computed when asked (rule: `pkg/registry/core/componentstatus`).

use super::columns;
use crate::cluster_scoped;
use crate::fields::Fields;
use crate::shared::print;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;
use steersman_apimachinery::{Reason, Status};
use steersman_registry::{Cluster, Column, Context, ResourceInfo, Virtual};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["cs"],
    verbs: &["get", "list"],
    prefix: "",
    ..cluster_scoped("", "v1", "componentstatuses", "componentstatus", "ComponentStatus")
};

/// Each component, and the port of this machine where its health endpoint is; etcd answers whenever this server does.
const COMPONENTS: &[(&str, u16)] = &[("controller-manager", 10257), ("scheduler", 10259), ("etcd-0", 0)];

/// The components and their health.
pub struct ComponentStatuses;

fn probe(port: u16) -> Result<(), String> {
    let address = ([127, 0, 0, 1], port).into();
    match TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        Ok(_) => Ok(()),
        Err(e) => {
            let why = match e.kind() {
                ErrorKind::ConnectionRefused => "connect: connection refused",
                _ => "i/o timeout",
            };
            Err(format!("Get \"https://127.0.0.1:{port}/healthz\": dial tcp 127.0.0.1:{port}: {why}"))
        }
    }
}

fn status(name: &str, port: u16) -> Value {
    let health = if port == 0 { Ok(()) } else { probe(port) };
    let condition = match health {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(why) => json!({"type": "Healthy", "status": "Unknown", "message": "", "error": why}),
    };
    json!({"metadata": {"name": name}, "conditions": [condition]})
}

#[async_trait]
impl Virtual for ComponentStatuses {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    async fn get(&self, _ctx: &Context, _cluster: &dyn Cluster, _namespace: &str, name: &str) -> Result<Value, Status> {
        let found = COMPONENTS.iter().find(|(n, _)| *n == name);
        // Items of a list have no kind; an object of its own has.
        let whole = |mut object: Value| {
            object["kind"] = INFO.kind.into();
            object["apiVersion"] = INFO.version.into();
            object
        };
        // Upstream answers with a plain error.
        found
            .map(|(n, port)| whole(status(n, *port)))
            .ok_or_else(|| Status::failure(500, Reason::Unknown, format!("Component not found: {name}")))
    }
    async fn list(&self, _ctx: &Context, _cluster: &dyn Cluster, _namespace: &str) -> Result<Vec<Value>, Status> {
        Ok(COMPONENTS.iter().map(|(n, port)| status(n, *port)).collect())
    }
    fn columns(&self) -> &'static [Column] {
        columns::COMPONENTSTATUSES
    }
    fn cells(&self, obj: &Value, _now: jiff::Timestamp) -> Vec<Value> {
        let healthy = obj.items("conditions").iter().find(|c| c.s("type") == "Healthy");
        let (mut state, mut message, mut error) = ("Unhealthy", "", "");
        if let Some(c) = healthy {
            if c.s("status") == "True" {
                state = "Healthy";
            }
            (message, error) = (c.s("message"), c.s("error"));
        }
        vec![print::name(obj), state.into(), message.into(), error.into()]
    }
}
