//! `emptyDir`: a directory that lives as long as its pod, on disk or in memory.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use steersman_api::k8s_openapi::api::core::v1::Volume;
use steersman_apimachinery::Quantity;

use crate::{
    ownership,
    plugin::{Context, Error, Result, VolumePlugin},
};

pub(crate) struct EmptyDirPlugin;

#[async_trait]
impl VolumePlugin for EmptyDirPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/empty-dir"
    }

    fn handles(&self, volume: &Volume) -> bool {
        volume.empty_dir.is_some()
    }

    async fn set_up(&self, cx: &Context<'_>, volume: &Volume, dir: &Path) -> Result<PathBuf> {
        let Some(source) = &volume.empty_dir else {
            return Err(Error::Invalid("not an emptyDir".into()));
        };
        let existed = dir.exists();
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        match source.medium.as_deref().unwrap_or_default() {
            "" => {}
            "Memory" => {
                if !cx.host.is_mount_point(dir) {
                    cx.host
                        .mount_tmpfs(dir, memory_size(cx, source.size_limit.as_ref().map(|q| q.0.as_str())))
                        .map_err(Error::io(dir))?;
                }
            }
            other => return Err(Error::Unsupported(format!("emptyDir with medium {other}"))),
        }
        // Containers may change the mode later; only a new directory is given its first one.
        if !existed || source.medium.is_some() && fs::read_dir(dir).map_err(Error::io(dir))?.next().is_none() {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).map_err(Error::io(dir))?;
            if let Some(group) = cx.fs_group() {
                ownership::set(dir, group, false)?;
            }
        }
        Ok(dir.to_owned())
    }
}

/// The smaller of the volume's own limit and what the pod's containers may use in memory together
/// (rule: emptydir `calculateEmptyDirMemorySize`); none means the kernel's default, half of the memory.
fn memory_size(cx: &Context<'_>, limit: Option<&str>) -> Option<u64> {
    let bytes =
        |text: &str| text.parse::<Quantity>().ok().and_then(|q| u64::try_from(q.value()).ok()).filter(|v| *v > 0);
    let containers = cx.pod.spec.iter().flat_map(|s| &s.containers);
    let limits: Option<Vec<u64>> =
        containers.map(|c| bytes(&c.resources.as_ref()?.limits.as_ref()?.get("memory")?.0)).collect();
    let of_pod = limits.map(|l| l.iter().sum::<u64>()).filter(|v| *v > 0);
    [limit.and_then(bytes), of_pod].into_iter().flatten().min()
}
