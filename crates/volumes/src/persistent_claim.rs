//! `persistentVolumeClaim` and `ephemeral`: the volume that a claim is bound to.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use steersman_api::k8s_openapi::api::core::v1::{PersistentVolumeClaim, Volume};

use crate::{
    local, nfs,
    plugin::{Context, Error, Result, VolumePlugin},
};

pub(crate) struct PersistentClaimPlugin;

#[async_trait]
impl VolumePlugin for PersistentClaimPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/persistent-claim"
    }

    fn handles(&self, volume: &Volume) -> bool {
        volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()
    }

    async fn set_up(&self, cx: &Context<'_>, volume: &Volume, dir: &Path) -> Result<PathBuf> {
        let pod_name = cx.pod.metadata.name.as_deref().unwrap_or_default();
        let (name, read_only) = match &volume.persistent_volume_claim {
            Some(source) => (source.claim_name.clone(), source.read_only.unwrap_or(false)),
            None => (format!("{pod_name}-{}", volume.name), false),
        };
        let claim = cx.objects.claim(cx.namespace(), &name).await?;
        let claim = claim.ok_or(Error::NotFound { kind: "persistentvolumeclaim", name: name.clone() })?;
        check_claim(cx, &claim, &name, volume.ephemeral.is_some())?;
        let bound = claim.spec.as_ref().and_then(|s| s.volume_name.clone()).unwrap_or_default();
        let found = cx.objects.persistent_volume(&bound).await?;
        let found = found.ok_or(Error::NotFound { kind: "persistentvolume", name: bound.clone() })?;
        let spec = found.spec.clone().unwrap_or_default();
        if spec.claim_ref.as_ref().is_none_or(|r| r.uid != claim.metadata.uid) {
            return Err(Error::Invalid(format!("PV {bound} bound to unexpected PVC")));
        }
        if let Some(path) = local::path_of(cx, &found, read_only)? {
            return Ok(path);
        }
        if let Some(source) = &spec.nfs {
            let read_only = read_only || source.read_only.unwrap_or(false);
            let options = spec.mount_options.clone().unwrap_or_default();
            nfs::mount(cx, &source.server, &source.path, read_only, &options, dir)?;
            return Ok(dir.to_owned());
        }
        let kind = spec.csi.map_or("other".to_owned(), |csi| format!("csi ({})", csi.driver));
        Err(Error::Unsupported(kind))
    }
}

fn check_claim(cx: &Context<'_>, claim: &PersistentVolumeClaim, name: &str, ephemeral: bool) -> Result<()> {
    let owned = claim.metadata.owner_references.iter().flatten().any(|o| Some(&o.uid) == cx.pod.metadata.uid.as_ref());
    if ephemeral && !owned {
        return Err(Error::Invalid(format!("PVC {name:?} was not created for the pod")));
    }
    if claim.metadata.deletion_timestamp.is_some() && cx.pod.metadata.deletion_timestamp.is_none() {
        return Err(Error::Invalid(format!("can't start pod because PVC {name} is being deleted")));
    }
    let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
    if phase != "Bound" {
        return Err(Error::Invalid(format!(
            "PVC {}/{name} has non-bound phase ({phase:?}) or empty pvc.Spec.VolumeName",
            cx.namespace()
        )));
    }
    let block = claim.spec.as_ref().and_then(|s| s.volume_mode.as_deref()).is_some_and(|m| m == "Block");
    if block { Err(Error::Unsupported("block".into())) } else { Ok(()) }
}
