//! Stand-ins for the runtime, the kernel and cgroups, for tests of everything above them.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use steersman_cri::{Error, EventStream, Result, Runtime, v1};
use steersman_volumes::Host;

use crate::{
    api::Pod,
    cgroups::{Cgroups, Usage},
    runtime::resources::PodLimits,
};

/// A runtime in memory. Every image is there, unless its name contains `missing`.
#[derive(Default)]
pub struct FakeRuntime {
    next: AtomicU64,
    state: Mutex<State>,
    /// What was asked for, in order, as `verb name`.
    pub log: Mutex<Vec<String>>,
}

#[derive(Default)]
struct State {
    sandboxes: Vec<v1::PodSandboxStatus>,
    containers: Vec<(String, v1::ContainerStatus)>,
}

fn unimplemented<T>() -> Result<T> {
    Err(Error::Rpc { code: "Unimplemented".into(), message: String::new() })
}

fn not_found<T>() -> Result<T> {
    Err(Error::Rpc { code: "NotFound".into(), message: String::new() })
}

fn matches(
    wanted: &std::collections::HashMap<String, String>,
    labels: &std::collections::HashMap<String, String>,
) -> bool {
    wanted.iter().all(|(k, v)| labels.get(k) == Some(v))
}

impl FakeRuntime {
    fn tick(&self) -> i64 {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        jiff::Timestamp::now().as_second() * 1_000_000_000 + i64::try_from(n).unwrap_or(0)
    }

    fn note(&self, what: String) {
        self.log.lock().push(what);
    }

    fn with<T>(&self, id: &str, change: impl FnOnce(&mut v1::ContainerStatus) -> T) -> Result<T> {
        let mut state = self.state.lock();
        match state.containers.iter_mut().find(|(_, c)| c.id == id) {
            Some((_, c)) => Ok(change(c)),
            None => not_found(),
        }
    }

    /// Ends the newest run of a container.
    pub fn exit(&self, name: &str, code: i32) {
        let now = self.tick();
        let mut state = self.state.lock();
        let of_name = |c: &v1::ContainerStatus| c.metadata.as_ref().is_some_and(|m| m.name == name);
        if let Some((_, c)) = state.containers.iter_mut().rev().find(|(_, c)| of_name(c)) {
            c.state = v1::ContainerState::ContainerExited.into();
            c.exit_code = code;
            c.finished_at = now;
        }
    }

    /// How many containers run.
    pub fn running(&self) -> usize {
        let state = self.state.lock();
        state.containers.iter().filter(|(_, c)| c.state() == v1::ContainerState::ContainerRunning).count()
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn version(&self) -> Result<v1::VersionResponse> {
        Ok(v1::VersionResponse { runtime_name: "fake".into(), runtime_version: "1".into(), ..Default::default() })
    }

    async fn status(&self) -> Result<v1::StatusResponse> {
        Ok(v1::StatusResponse::default())
    }

    async fn runtime_config(&self) -> Result<v1::RuntimeConfigResponse> {
        unimplemented()
    }

    async fn update_runtime_config(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, _: &str) -> Result<String> {
        let created_at = self.tick();
        let id = format!("s{created_at}");
        self.note(format!("sandbox {}", config.metadata.as_ref().map_or(0, |m| m.attempt)));
        self.state.lock().sandboxes.push(v1::PodSandboxStatus {
            id: id.clone(),
            metadata: config.metadata,
            created_at,
            labels: config.labels,
            network: Some(v1::PodSandboxNetworkStatus { ip: "10.1.1.1".into(), ..Default::default() }),
            ..Default::default()
        });
        Ok(id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        self.note("stop sandbox".into());
        let mut state = self.state.lock();
        state.sandboxes.iter_mut().filter(|s| s.id == id).for_each(|s| s.state = 1);
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        self.state.lock().sandboxes.retain(|s| s.id != id);
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &str, _: bool) -> Result<v1::PodSandboxStatusResponse> {
        match self.state.lock().sandboxes.iter().find(|s| s.id == id) {
            Some(s) => Ok(v1::PodSandboxStatusResponse { status: Some(s.clone()), ..Default::default() }),
            None => not_found(),
        }
    }

    async fn list_pod_sandboxes(&self, filter: Option<v1::PodSandboxFilter>) -> Result<Vec<v1::PodSandbox>> {
        let wanted = filter.unwrap_or_default().label_selector;
        let state = self.state.lock();
        let all = state.sandboxes.iter().filter(|s| matches(&wanted, &s.labels));
        Ok(all
            .map(|s| v1::PodSandbox {
                id: s.id.clone(),
                state: s.state,
                labels: s.labels.clone(),
                ..Default::default()
            })
            .collect())
    }

    async fn update_pod_sandbox_resources(&self, _: v1::UpdatePodSandboxResourcesRequest) -> Result<()> {
        unimplemented()
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        _: v1::PodSandboxConfig,
    ) -> Result<String> {
        let created_at = self.tick();
        let id = format!("c{created_at}");
        self.state.lock().containers.push((
            sandbox.to_owned(),
            v1::ContainerStatus {
                id: id.clone(),
                metadata: config.metadata,
                created_at,
                labels: config.labels,
                annotations: config.annotations,
                ..Default::default()
            },
        ));
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let now = self.tick();
        let name = self.with(id, |c| {
            c.state = v1::ContainerState::ContainerRunning.into();
            c.started_at = now;
            c.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default()
        })?;
        self.note(format!("start {name}"));
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let now = self.tick();
        let name = self.with(id, |c| {
            c.state = v1::ContainerState::ContainerExited.into();
            c.exit_code = 137;
            c.finished_at = now;
            c.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default()
        })?;
        self.note(format!("stop {name} {}", grace.as_secs()));
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.state.lock().containers.retain(|(_, c)| c.id != id);
        Ok(())
    }

    async fn list_containers(&self, filter: Option<v1::ContainerFilter>) -> Result<Vec<v1::Container>> {
        let wanted = filter.unwrap_or_default().label_selector;
        let state = self.state.lock();
        let all = state.containers.iter().filter(|(_, c)| matches(&wanted, &c.labels));
        Ok(all
            .map(|(sandbox, c)| v1::Container {
                id: c.id.clone(),
                pod_sandbox_id: sandbox.clone(),
                state: c.state,
                labels: c.labels.clone(),
                ..Default::default()
            })
            .collect())
    }

    async fn container_status(&self, id: &str, _: bool) -> Result<v1::ContainerStatusResponse> {
        let status = self.with(id, |c| c.clone())?;
        Ok(v1::ContainerStatusResponse { status: Some(status), ..Default::default() })
    }

    async fn update_container_resources(&self, _: &str, _: v1::LinuxContainerResources) -> Result<()> {
        self.note("resize".into());
        Ok(())
    }

    async fn reopen_container_log(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn checkpoint_container(&self, _: &str, _: &str, _: Duration) -> Result<()> {
        unimplemented()
    }

    async fn exec_sync(&self, _: &str, _: Vec<String>, _: Duration) -> Result<v1::ExecSyncResponse> {
        Ok(v1::ExecSyncResponse::default())
    }

    async fn exec(&self, _: v1::ExecRequest) -> Result<String> {
        unimplemented()
    }

    async fn attach(&self, _: v1::AttachRequest) -> Result<String> {
        unimplemented()
    }

    async fn port_forward(&self, _: &str, _: Vec<i32>) -> Result<String> {
        unimplemented()
    }

    async fn list_container_stats(&self, _: Option<v1::ContainerStatsFilter>) -> Result<Vec<v1::ContainerStats>> {
        Ok(Vec::new())
    }

    async fn list_pod_sandbox_stats(&self, _: Option<v1::PodSandboxStatsFilter>) -> Result<Vec<v1::PodSandboxStats>> {
        Ok(Vec::new())
    }

    async fn events(&self) -> Result<EventStream> {
        unimplemented()
    }

    async fn list_images(&self, _: Option<v1::ImageSpec>) -> Result<Vec<v1::Image>> {
        Ok(Vec::new())
    }

    async fn image_status(&self, image: v1::ImageSpec) -> Result<Option<v1::Image>> {
        let there = !image.image.contains("missing");
        Ok(there.then(|| v1::Image { id: format!("sha256:{}", image.image), ..Default::default() }))
    }

    async fn pull_image(
        &self,
        image: v1::ImageSpec,
        _: Option<v1::AuthConfig>,
        _: Option<v1::PodSandboxConfig>,
    ) -> Result<String> {
        self.note(format!("pull {}", image.image));
        not_found()
    }

    async fn remove_image(&self, _: v1::ImageSpec) -> Result<()> {
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse> {
        Ok(v1::ImageFsInfoResponse::default())
    }
}

/// A kernel that mounts nothing.
pub struct FakeHost;

impl Host for FakeHost {
    fn mount_tmpfs(&self, _: &Path, _: Option<u64>) -> io::Result<()> {
        Ok(())
    }

    fn bind(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn mount_command(&self, _: &str, _: &str, _: &[String], _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn unmount(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn is_mount_point(&self, _: &Path) -> bool {
        false
    }
}

/// Cgroups that only remember which pods have one.
#[derive(Default, Clone)]
pub struct FakeCgroups {
    /// Uids of pods.
    pub pods: Arc<Mutex<Vec<String>>>,
    /// Whether processes are left in them, so that they cannot be removed.
    pub busy: Arc<AtomicBool>,
}

impl Cgroups for FakeCgroups {
    fn parent(&self, _: &Pod) -> String {
        "/kubepods".into()
    }

    fn ensure(&self, pod: &Pod, _: &PodLimits) -> io::Result<()> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut all = self.pods.lock();
        if !all.contains(&uid) {
            all.push(uid);
        }
        Ok(())
    }

    fn remove(&self, uid: &str) -> io::Result<()> {
        if self.busy.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        self.pods.lock().retain(|u| u != uid);
        Ok(())
    }

    fn set_burstable_shares(&self, _: i64) -> io::Result<()> {
        Ok(())
    }

    fn limit_all(&self, _: i64, _: i64) -> io::Result<()> {
        Ok(())
    }

    fn pods(&self) -> Vec<String> {
        self.pods.lock().clone()
    }

    fn unified(&self) -> bool {
        true
    }

    fn usage(&self, _: Option<&Pod>) -> Option<Usage> {
        None
    }
}
