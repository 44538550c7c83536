//! The gRPC implementation of [`Runtime`].

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use futures::StreamExt;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

use crate::{
    runtime::{Error, EventStream, Result, Runtime},
    v1::{self, image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient},
};

/// Largest answer that is accepted; a list on a full node takes a few MiB.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// How long a probe of an image or container may take when the caller set no time limit.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
/// Creating a sandbox sets up the network, which may take longer than other calls
/// (rule: remote runtime `RunPodSandbox`, twice the default).
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(240);

/// A connection to a runtime; cheap to clone, reconnects by itself.
#[derive(Clone)]
pub struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    timeout: Duration,
}

impl Client {
    /// Prepares a connection to `endpoint` (`unix:///path` or an absolute path); it is made on first use. An empty
    /// `image_endpoint` means the same socket; a zero `timeout` the default of two minutes.
    pub fn connect(endpoint: &str, image_endpoint: &str, timeout: Duration) -> Result<Self> {
        let channel = dial(endpoint)?;
        let images = if image_endpoint.is_empty() || image_endpoint == endpoint {
            channel.clone()
        } else {
            dial(image_endpoint)?
        };
        Ok(Client {
            runtime: RuntimeServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
            images: ImageServiceClient::new(images).max_decoding_message_size(MAX_MESSAGE),
            timeout: if timeout.is_zero() { DEFAULT_TIMEOUT } else { timeout },
        })
    }

    fn within<T>(&self, message: T) -> Request<T> {
        limited(message, self.timeout)
    }
}

fn limited<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn dial(endpoint: &str) -> Result<Channel> {
    let path = match endpoint.split_once("://") {
        Some(("unix", path)) => path,
        None if endpoint.starts_with('/') => endpoint,
        _ => {
            return Err(Error::Endpoint {
                endpoint: endpoint.to_owned(),
                reason: "only unix sockets are supported, such as unix:///run/containerd/containerd.sock".into(),
            });
        }
    };
    let path = PathBuf::from(path);
    // The URI is a placeholder that gRPC wants; the connector below decides where the bytes go.
    Ok(Endpoint::from_static("http://runtime.invalid").connect_with_connector_lazy(tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    })))
}

#[async_trait]
impl Runtime for Client {
    async fn version(&self) -> Result<v1::VersionResponse> {
        let request = self.within(v1::VersionRequest { version: "0.1.0".into() });
        Ok(self.runtime.clone().version(request).await?.into_inner())
    }

    async fn status(&self) -> Result<v1::StatusResponse> {
        let request = self.within(v1::StatusRequest { verbose: false });
        Ok(self.runtime.clone().status(request).await?.into_inner())
    }

    async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse> {
        Ok(self.runtime.clone().runtime_config(self.within(v1::RuntimeConfigRequest {})).await?.into_inner())
    }

    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<()> {
        let network_config = Some(v1::NetworkConfig { pod_cidr: pod_cidr.to_owned() });
        let runtime_config = Some(v1::RuntimeConfig { network_config });
        let request = self.within(v1::UpdateRuntimeConfigRequest { runtime_config });
        self.runtime.clone().update_runtime_config(request).await?;
        Ok(())
    }

    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String> {
        let message = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        let request = limited(message, self.timeout.max(SANDBOX_TIMEOUT));
        Ok(self.runtime.clone().run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        let request = self.within(v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() });
        self.runtime.clone().stop_pod_sandbox(request).await?;
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        let request = self.within(v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() });
        self.runtime.clone().remove_pod_sandbox(request).await?;
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &str, verbose: bool) -> Result<v1::PodSandboxStatusResponse> {
        let request = self.within(v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose });
        Ok(self.runtime.clone().pod_sandbox_status(request).await?.into_inner())
    }

    async fn list_pod_sandboxes(&self, filter: Option<v1::PodSandboxFilter>) -> Result<Vec<v1::PodSandbox>> {
        let request = self.within(v1::ListPodSandboxRequest { filter });
        Ok(self.runtime.clone().list_pod_sandbox(request).await?.into_inner().items)
    }

    async fn update_pod_sandbox_resources(&self, request: v1::UpdatePodSandboxResourcesRequest) -> Result<()> {
        let request = self.within(request);
        self.runtime.clone().update_pod_sandbox_resources(request).await?;
        Ok(())
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String> {
        let request = self.within(v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        });
        Ok(self.runtime.clone().create_container(request).await?.into_inner().container_id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let request = self.within(v1::StartContainerRequest { container_id: id.to_owned() });
        self.runtime.clone().start_container(request).await?;
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let message = v1::StopContainerRequest { container_id: id.to_owned(), timeout };
        let request = limited(message, self.timeout.saturating_add(grace));
        self.runtime.clone().stop_container(request).await?;
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let request = self.within(v1::RemoveContainerRequest { container_id: id.to_owned() });
        self.runtime.clone().remove_container(request).await?;
        Ok(())
    }

    async fn list_containers(&self, filter: Option<v1::ContainerFilter>) -> Result<Vec<v1::Container>> {
        let request = self.within(v1::ListContainersRequest { filter });
        Ok(self.runtime.clone().list_containers(request).await?.into_inner().containers)
    }

    async fn container_status(&self, id: &str, verbose: bool) -> Result<v1::ContainerStatusResponse> {
        let request = self.within(v1::ContainerStatusRequest { container_id: id.to_owned(), verbose });
        Ok(self.runtime.clone().container_status(request).await?.into_inner())
    }

    async fn update_container_resources(&self, id: &str, linux: v1::LinuxContainerResources) -> Result<()> {
        let request = self.within(v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(linux),
            annotations: Default::default(),
        });
        self.runtime.clone().update_container_resources(request).await?;
        Ok(())
    }

    async fn reopen_container_log(&self, id: &str) -> Result<()> {
        let request = self.within(v1::ReopenContainerLogRequest { container_id: id.to_owned() });
        self.runtime.clone().reopen_container_log(request).await?;
        Ok(())
    }

    async fn checkpoint_container(&self, id: &str, location: &str, timeout: Duration) -> Result<()> {
        let message = v1::CheckpointContainerRequest {
            container_id: id.to_owned(),
            location: location.to_owned(),
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        };
        let request = limited(message, if timeout.is_zero() { self.timeout } else { timeout });
        self.runtime.clone().checkpoint_container(request).await?;
        Ok(())
    }

    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Duration) -> Result<v1::ExecSyncResponse> {
        let message = v1::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command,
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        };
        // The runtime ends the command at its timeout; our own deadline only catches a runtime that hangs. A zero
        // timeout means no limit at all.
        let request = if timeout.is_zero() {
            Request::new(message)
        } else {
            limited(message, timeout.saturating_add(self.timeout))
        };
        Ok(self.runtime.clone().exec_sync(request).await?.into_inner())
    }

    async fn exec(&self, request: v1::ExecRequest) -> Result<String> {
        Ok(self.runtime.clone().exec(self.within(request)).await?.into_inner().url)
    }

    async fn attach(&self, request: v1::AttachRequest) -> Result<String> {
        Ok(self.runtime.clone().attach(self.within(request)).await?.into_inner().url)
    }

    async fn port_forward(&self, sandbox: &str, ports: Vec<i32>) -> Result<String> {
        let request = self.within(v1::PortForwardRequest { pod_sandbox_id: sandbox.to_owned(), port: ports });
        Ok(self.runtime.clone().port_forward(request).await?.into_inner().url)
    }

    async fn list_container_stats(&self, filter: Option<v1::ContainerStatsFilter>) -> Result<Vec<v1::ContainerStats>> {
        let request = self.within(v1::ListContainerStatsRequest { filter });
        Ok(self.runtime.clone().list_container_stats(request).await?.into_inner().stats)
    }

    async fn list_pod_sandbox_stats(
        &self,
        filter: Option<v1::PodSandboxStatsFilter>,
    ) -> Result<Vec<v1::PodSandboxStats>> {
        let request = self.within(v1::ListPodSandboxStatsRequest { filter });
        Ok(self.runtime.clone().list_pod_sandbox_stats(request).await?.into_inner().stats)
    }

    async fn events(&self) -> Result<EventStream> {
        let stream = self.runtime.clone().get_container_events(v1::GetEventsRequest {}).await?.into_inner();
        Ok(stream.map(|event| event.map_err(Error::from)).boxed())
    }

    async fn list_images(&self, image: Option<v1::ImageSpec>) -> Result<Vec<v1::Image>> {
        let filter = image.map(|image| v1::ImageFilter { image: Some(image) });
        Ok(self.images.clone().list_images(self.within(v1::ListImagesRequest { filter })).await?.into_inner().images)
    }

    async fn image_status(&self, image: v1::ImageSpec) -> Result<Option<v1::Image>> {
        let request = self.within(v1::ImageStatusRequest { image: Some(image), verbose: false });
        Ok(self.images.clone().image_status(request).await?.into_inner().image)
    }

    async fn pull_image(
        &self,
        image: v1::ImageSpec,
        auth: Option<v1::AuthConfig>,
        sandbox: Option<v1::PodSandboxConfig>,
    ) -> Result<String> {
        // A pull takes as long as it takes (rule: remote image service `PullImage` sets no deadline).
        let request = v1::PullImageRequest { image: Some(image), auth, sandbox_config: sandbox };
        Ok(self.images.clone().pull_image(request).await?.into_inner().image_ref)
    }

    async fn remove_image(&self, image: v1::ImageSpec) -> Result<()> {
        self.images.clone().remove_image(self.within(v1::RemoveImageRequest { image: Some(image) })).await?;
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse> {
        Ok(self.images.clone().image_fs_info(self.within(v1::ImageFsInfoRequest {})).await?.into_inner())
    }
}
