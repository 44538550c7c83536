//! `local` persistent volumes: a directory of this node that outlives pods.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use steersman_api::k8s_openapi::api::core::v1::{PersistentVolume, Volume};

use crate::{
    Host, ownership,
    plugin::{Context, Error, Result, VolumePlugin},
};

/// Never the type of a volume in a pod; its directory name appears when a claim is bound to a local volume.
pub(crate) struct LocalPlugin;

#[async_trait]
impl VolumePlugin for LocalPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/local-volume"
    }

    fn handles(&self, _: &Volume) -> bool {
        false
    }

    async fn set_up(&self, _: &Context<'_>, _: &Volume, _: &Path) -> Result<PathBuf> {
        Err(Error::Invalid("local volumes are used through claims".into()))
    }

    async fn tear_down(&self, _: &dyn Host, _: &Path) -> Result<()> {
        Ok(())
    }
}

/// The directory of a bound local or hostPath volume, with the pod's group applied; `None` for other types.
pub(crate) fn path_of(cx: &Context<'_>, volume: &PersistentVolume, read_only: bool) -> Result<Option<PathBuf>> {
    let Some(spec) = &volume.spec else { return Ok(None) };
    if let Some(source) = &spec.host_path {
        let path = PathBuf::from(&source.path);
        crate::host_path::check_type(&path, source.type_.as_deref().unwrap_or_default())?;
        return Ok(Some(path));
    }
    let Some(source) = &spec.local else { return Ok(None) };
    let path = PathBuf::from(&source.path);
    if !path.is_dir() {
        return Err(Error::Invalid(format!("path {:?} does not exist", source.path)));
    }
    if let Some(group) = cx.fs_group() {
        let only_on_mismatch = cx
            .pod
            .spec
            .as_ref()
            .and_then(|s| s.security_context.as_ref()?.fs_group_change_policy.as_deref())
            .is_some_and(|p| p == "OnRootMismatch");
        if !(only_on_mismatch && ownership::root_matches(&path, group, read_only)) {
            ownership::set(&path, group, read_only)?;
        }
    }
    Ok(Some(path))
}
