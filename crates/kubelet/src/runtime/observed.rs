//! What the runtime says about one pod.

use std::collections::HashMap;

use futures::future::try_join_all;
use steersman_cri::{Result, Runtime, v1};

use crate::names::{annotation, label};

pub use steersman_cri::v1::{ContainerState as State, PodSandboxState};

/// One run of a container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// The sandbox it belongs to.
    pub sandbox: String,
    /// What the runtime reports.
    pub status: v1::ContainerStatus,
}

impl Run {
    /// The container's name.
    pub fn name(&self) -> &str {
        self.status
            .labels
            .get(label::CONTAINER_NAME)
            .map_or_else(|| self.status.metadata.as_ref().map(|m| m.name.as_str()).unwrap_or_default(), String::as_str)
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.status.id
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.status.state()
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.state() == State::ContainerRunning
    }

    /// How often the container was restarted before this run.
    pub fn restarts(&self) -> u32 {
        let text = self.status.annotations.get(annotation::RESTART_COUNT);
        text.and_then(|t| t.parse().ok()).or(self.status.metadata.as_ref().map(|m| m.attempt)).unwrap_or(0)
    }

    /// Hash of the specification it was made from.
    pub fn hash(&self) -> &str {
        self.status.annotations.get(annotation::HASH).map_or("", String::as_str)
    }
}

/// Sandboxes and containers of one pod, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Sandboxes.
    pub sandboxes: Vec<v1::PodSandboxStatus>,
    /// Runs of containers, of all sandboxes.
    pub runs: Vec<Run>,
}

impl Observed {
    /// The newest sandbox.
    pub fn sandbox(&self) -> Option<&v1::PodSandboxStatus> {
        self.sandboxes.first()
    }

    /// The newest sandbox, if it is ready.
    pub fn ready_sandbox(&self) -> Option<&v1::PodSandboxStatus> {
        self.sandbox().filter(|s| s.state() == PodSandboxState::SandboxReady)
    }

    /// The newest run of a container, whatever sandbox it was in.
    pub fn newest(&self, name: &str) -> Option<&Run> {
        self.runs.iter().find(|r| r.name() == name)
    }

    /// The newest run of a container in the newest sandbox.
    pub fn current(&self, name: &str) -> Option<&Run> {
        let sandbox = &self.sandbox()?.id;
        self.runs.iter().find(|r| r.name() == name && r.sandbox == *sandbox)
    }

    /// Containers that run.
    pub fn running(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|r| r.is_running())
    }

    /// Addresses of the pod; empty with the node's network.
    pub fn ips(&self) -> Vec<String> {
        let Some(network) = self.ready_sandbox().and_then(|s| s.network.as_ref()) else { return Vec::new() };
        let more = network.additional_ips.iter().map(|ip| ip.ip.clone());
        std::iter::once(network.ip.clone()).chain(more).filter(|ip| !ip.is_empty()).collect()
    }
}

/// Asks the runtime about a pod.
pub async fn observe(runtime: &dyn Runtime, uid: &str) -> Result<Observed> {
    let selector = HashMap::from([(label::POD_UID.to_owned(), uid.to_owned())]);
    let sandboxes = v1::PodSandboxFilter { label_selector: selector.clone(), ..Default::default() };
    let containers = v1::ContainerFilter { label_selector: selector, ..Default::default() };
    let (sandboxes, containers) =
        tokio::try_join!(runtime.list_pod_sandboxes(Some(sandboxes)), runtime.list_containers(Some(containers)))?;
    let sandboxes = try_join_all(sandboxes.iter().map(|s| sandbox_status(runtime, &s.id))).await?;
    let runs = try_join_all(containers.iter().map(|c| async move {
        let status = match runtime.container_status(&c.id, false).await {
            Err(e) if e.is_not_found() => None,
            other => other?.status,
        };
        Ok::<_, steersman_cri::Error>(status.map(|status| Run { sandbox: c.pod_sandbox_id.clone(), status }))
    }))
    .await?;
    let mut out =
        Observed { sandboxes: sandboxes.into_iter().flatten().collect(), runs: runs.into_iter().flatten().collect() };
    out.sandboxes.sort_by_key(|s| std::cmp::Reverse(s.created_at));
    out.runs.sort_by_key(|r| std::cmp::Reverse(r.status.created_at));
    Ok(out)
}

async fn sandbox_status(runtime: &dyn Runtime, id: &str) -> Result<Option<v1::PodSandboxStatus>> {
    match runtime.pod_sandbox_status(id, false).await {
        Err(e) if e.is_not_found() => Ok(None),
        other => Ok(other?.status),
    }
}
