//! The calls a kubelet makes, as a trait.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use thiserror::Error;

use crate::v1;

/// What the runtime answered instead of a result.
#[derive(Debug, Clone, Error)]
pub enum Error {
    /// The runtime said no; the text is its own.
    #[error("rpc error: code = {code} desc = {message}")]
    Rpc {
        /// The gRPC code in upstream's spelling, such as `NotFound`.
        code: String,
        /// The runtime's own words.
        message: String,
    },
    /// The endpoint cannot be used at all.
    #[error("container runtime endpoint {endpoint:?}: {reason}")]
    Endpoint {
        /// The address as configured.
        endpoint: String,
        /// Why it cannot be used.
        reason: String,
    },
}

impl Error {
    /// Whether the object named in the call does not exist (any more).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Rpc { code, .. } if code == "NotFound")
    }

    /// Whether the runtime does not implement the call.
    pub fn is_unimplemented(&self) -> bool {
        matches!(self, Error::Rpc { code, .. } if code == "Unimplemented")
    }

    /// Whether the call ran into its deadline.
    pub fn is_deadline(&self) -> bool {
        matches!(self, Error::Rpc { code, .. } if code == "DeadlineExceeded" || code == "Cancelled")
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Error::Rpc { code: format!("{:?}", status.code()), message: status.message().to_owned() }
    }
}

/// Shorthand for the outcome of a runtime call.
pub type Result<T> = std::result::Result<T, Error>;

/// Container events, for as long as the runtime sends them.
pub type EventStream = BoxStream<'static, Result<v1::ContainerEventResponse>>;

/// The runtime as the kubelet sees it. Every method is one remote call; dropping the future cancels it.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Names the runtime and its version.
    async fn version(&self) -> Result<v1::VersionResponse>;
    /// Conditions (`RuntimeReady`, `NetworkReady`), handlers and features of the runtime.
    async fn status(&self) -> Result<v1::StatusResponse>;
    /// What the runtime tells the kubelet to use, such as the cgroup driver.
    async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse>;
    /// Tells the runtime the pod CIDR of this node.
    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<()>;

    /// Creates and starts a sandbox; returns its id.
    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String>;
    /// Stops a sandbox and frees its network; idempotent.
    async fn stop_pod_sandbox(&self, id: &str) -> Result<()>;
    /// Removes a stopped sandbox; idempotent.
    async fn remove_pod_sandbox(&self, id: &str) -> Result<()>;
    /// State and addresses of one sandbox.
    async fn pod_sandbox_status(&self, id: &str, verbose: bool) -> Result<v1::PodSandboxStatusResponse>;
    /// All sandboxes that match.
    async fn list_pod_sandboxes(&self, filter: Option<v1::PodSandboxFilter>) -> Result<Vec<v1::PodSandbox>>;
    /// Tells the runtime that the resources of a sandbox's cgroup changed.
    async fn update_pod_sandbox_resources(&self, request: v1::UpdatePodSandboxResourcesRequest) -> Result<()>;

    /// Creates a container in a sandbox; returns its id.
    async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String>;
    /// Starts a created container.
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Stops a container, killing it when `grace` has passed; idempotent.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()>;
    /// Removes a container, by force if it runs; idempotent.
    async fn remove_container(&self, id: &str) -> Result<()>;
    /// All containers that match.
    async fn list_containers(&self, filter: Option<v1::ContainerFilter>) -> Result<Vec<v1::Container>>;
    /// State of one container.
    async fn container_status(&self, id: &str, verbose: bool) -> Result<v1::ContainerStatusResponse>;
    /// Changes limits of a container in place.
    async fn update_container_resources(&self, id: &str, linux: v1::LinuxContainerResources) -> Result<()>;
    /// Makes the runtime open the log file anew, after it was rotated away.
    async fn reopen_container_log(&self, id: &str) -> Result<()>;
    /// Writes a checkpoint archive of a container.
    async fn checkpoint_container(&self, id: &str, location: &str, timeout: Duration) -> Result<()>;

    /// Runs a command to its end and returns output and exit code.
    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Duration) -> Result<v1::ExecSyncResponse>;
    /// Prepares a streaming exec; returns the URL to dial.
    async fn exec(&self, request: v1::ExecRequest) -> Result<String>;
    /// Prepares a streaming attach; returns the URL to dial.
    async fn attach(&self, request: v1::AttachRequest) -> Result<String>;
    /// Prepares a port forward into a sandbox; returns the URL to dial.
    async fn port_forward(&self, sandbox: &str, ports: Vec<i32>) -> Result<String>;

    /// Usage of all running containers that match.
    async fn list_container_stats(&self, filter: Option<v1::ContainerStatsFilter>) -> Result<Vec<v1::ContainerStats>>;
    /// Usage of all sandboxes that match.
    async fn list_pod_sandbox_stats(
        &self,
        filter: Option<v1::PodSandboxStatsFilter>,
    ) -> Result<Vec<v1::PodSandboxStats>>;
    /// Starts the event stream; `Unimplemented` with runtimes that have none.
    async fn events(&self) -> Result<EventStream>;

    /// All images that match.
    async fn list_images(&self, image: Option<v1::ImageSpec>) -> Result<Vec<v1::Image>>;
    /// One image, if it is present.
    async fn image_status(&self, image: v1::ImageSpec) -> Result<Option<v1::Image>>;
    /// Pulls an image; returns its reference.
    async fn pull_image(
        &self,
        image: v1::ImageSpec,
        auth: Option<v1::AuthConfig>,
        sandbox: Option<v1::PodSandboxConfig>,
    ) -> Result<String>;
    /// Removes an image; idempotent.
    async fn remove_image(&self, image: v1::ImageSpec) -> Result<()>;
    /// Where images and containers are stored, and how much they take.
    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse>;
}
