//! `nfs`: a share of a file server, mounted with the system's `mount` command.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use steersman_api::k8s_openapi::api::core::v1::Volume;

use crate::plugin::{Context, Error, Result, VolumePlugin};

pub(crate) struct NfsPlugin;

#[async_trait]
impl VolumePlugin for NfsPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/nfs"
    }

    fn handles(&self, volume: &Volume) -> bool {
        volume.nfs.is_some()
    }

    async fn set_up(&self, cx: &Context<'_>, volume: &Volume, dir: &Path) -> Result<PathBuf> {
        let source = volume.nfs.as_ref().ok_or_else(|| Error::Invalid("not an nfs volume".into()))?;
        mount(cx, &source.server, &source.path, source.read_only.unwrap_or(false), &[], dir)?;
        Ok(dir.to_owned())
    }
}

/// Mounts a share at `dir` unless it is mounted already.
pub(crate) fn mount(
    cx: &Context<'_>,
    server: &str,
    path: &str,
    read_only: bool,
    options: &[String],
    dir: &Path,
) -> Result<()> {
    if cx.host.is_mount_point(dir) {
        return Ok(());
    }
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let mut options = options.to_vec();
    if read_only {
        options.push("ro".into());
    }
    cx.host.mount_command("nfs", &format!("{server}:{path}"), &options, dir).map_err(Error::io(dir))
}
