//! What a volume type implements and what it may use.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use steersman_api::k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Volume,
};
use thiserror::Error;

use crate::{Host, PLUGINS, fieldref::NodeResources};

/// Why a volume is not ready. The text is what users read in the event `FailedMount`.
#[derive(Debug, Error)]
pub enum Error {
    /// An object the volume is made of does not exist.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// Resource in the singular, such as `configmap`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The specification cannot be carried out.
    #[error("{0}")]
    Invalid(String),
    /// The API server did not answer as hoped.
    #[error("{0}")]
    Api(String),
    /// The node has no way to provide this type.
    #[error("volume type {0:?} is not supported on this node")]
    Unsupported(String),
    /// A file operation failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}

/// Shorthand for the outcome of a volume operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A token that a projected volume needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    /// Whom the token is for; empty for the API server.
    pub audience: String,
    /// Wanted lifetime in seconds.
    pub expiration_seconds: i64,
}

/// Where the objects come from. `None` means that the object does not exist.
#[async_trait]
pub trait Objects: Send + Sync {
    /// A ConfigMap.
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>>;
    /// A Secret.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>>;
    /// A claim.
    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<PersistentVolumeClaim>>;
    /// A persistent volume.
    async fn persistent_volume(&self, name: &str) -> Result<Option<PersistentVolume>>;
    /// A token of the pod's service account, bound to the pod; fresh enough to be used for some time.
    async fn token(&self, pod: &Pod, request: &TokenRequest) -> Result<String>;
}

/// What a plug-in works with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The pod that the volume belongs to.
    pub pod: &'a Pod,
    /// Where objects come from.
    pub objects: &'a dyn Objects,
    /// How mounts are made.
    pub host: &'a dyn Host,
    /// What the node offers, for downward fields of containers without limits.
    pub node: &'a NodeResources,
}

impl Context<'_> {
    /// The namespace of the pod.
    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or("default")
    }

    /// The group that owns the pod's volumes, if one is asked for.
    pub fn fs_group(&self) -> Option<i64> {
        self.pod.spec.as_ref()?.security_context.as_ref()?.fs_group
    }

    /// The user that all containers run as, if it is one and the same (rule: volume util `FsUserFrom`).
    pub fn fs_user(&self) -> Option<i64> {
        let spec = self.pod.spec.as_ref()?;
        let of_pod = spec.security_context.as_ref().and_then(|s| s.run_as_user);
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let mut users = containers.map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(of_pod));
        let first = users.next().flatten()?;
        users.all(|user| user == Some(first)).then_some(first)
    }
}

/// One type of volume.
#[async_trait]
pub trait VolumePlugin: Send + Sync {
    /// The plug-in's name as upstream spells it, such as `kubernetes.io/configmap`.
    fn name(&self) -> &'static str;

    /// Whether the volume is of this type.
    fn handles(&self, volume: &Volume) -> bool;

    /// Makes the volume, or brings it up to date, and returns what is to be mounted into containers. `dir` is the
    /// volume's own directory; it may not exist yet.
    async fn set_up(&self, cx: &Context<'_>, volume: &Volume, dir: &Path) -> Result<PathBuf>;

    /// Undoes [`VolumePlugin::set_up`] so that nothing is left of `dir`; called without the pod's specification, since
    /// that may be gone. Idempotent.
    async fn tear_down(&self, host: &dyn Host, dir: &Path) -> Result<()> {
        remove_with_mount(host, dir)
    }
}

/// The plug-in for a volume.
pub fn plugin_for(volume: &Volume) -> Option<&'static dyn VolumePlugin> {
    PLUGINS.iter().copied().find(|p| p.handles(volume))
}

/// Unmounts `dir` if it is a mount, then removes it.
pub(crate) fn remove_with_mount(host: &dyn Host, dir: &Path) -> Result<()> {
    while host.is_mount_point(dir) {
        host.unmount(dir).map_err(Error::io(dir))?;
    }
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(dir)(e)),
        _ => Ok(()),
    }
}
