//! All volumes of one pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use steersman_api::k8s_openapi::api::core::v1::{Pod, Volume};

use crate::{
    Host, PLUGINS,
    plugin::{Context, Error, Result, VolumePlugin, plugin_for},
    subpath,
};

/// The volumes of a pod that are ready, by name: what containers mount.
pub type Ready = BTreeMap<String, PathBuf>;

fn volumes(pod: &Pod) -> &[Volume] {
    pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default()
}

fn dir_of(pod_dir: &Path, plugin: &dyn VolumePlugin, name: &str) -> PathBuf {
    pod_dir.join("volumes").join(plugin.name().replace('/', "~")).join(name)
}

/// Makes all volumes of the pod, or brings them up to date. `pod_dir` is `<root-dir>/pods/<uid>`. Volumes that fail are
/// returned with their error beside the ready ones.
pub async fn set_up(cx: &Context<'_>, pod_dir: &Path) -> (Ready, Vec<(String, Error)>) {
    let (mut ready, mut failed) = (Ready::new(), Vec::new());
    for volume in volumes(cx.pod) {
        let made = match plugin_for(volume) {
            Some(plugin) => plugin.set_up(cx, volume, &dir_of(pod_dir, plugin, &volume.name)).await,
            None => Err(Error::Unsupported(kind_of(volume))),
        };
        match made {
            Ok(path) => {
                ready.insert(volume.name.clone(), path);
            }
            Err(error) => failed.push((volume.name.clone(), error)),
        }
    }
    (ready, failed)
}

/// The name of the field that says what the volume is.
fn kind_of(volume: &Volume) -> String {
    let value = serde_json::to_value(volume).unwrap_or_default();
    let kind = value.as_object().and_then(|o| o.keys().find(|k| *k != "name").cloned());
    kind.unwrap_or_else(|| "none".into())
}

/// Takes away all volumes found below `pod_dir`, whatever made them; idempotent, needs no specification.
pub async fn tear_down(host: &dyn Host, pod_dir: &Path) -> Result<()> {
    subpath::clean(host, &pod_dir.join("volume-subpaths"))?;
    let all = pod_dir.join("volumes");
    for kind in fs::read_dir(&all).into_iter().flatten().flatten() {
        let name = kind.file_name().to_string_lossy().replace('~', "/");
        for volume in fs::read_dir(kind.path()).into_iter().flatten().flatten() {
            match PLUGINS.iter().find(|p| p.name() == name) {
                Some(plugin) => plugin.tear_down(host, &volume.path()).await?,
                None => crate::plugin::remove_with_mount(host, &volume.path())?,
            }
        }
    }
    match fs::remove_dir_all(&all) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::Io { path: all, source: e }),
        _ => Ok(()),
    }
}

/// Whether nothing is left of a pod's volumes.
pub fn is_torn_down(pod_dir: &Path) -> bool {
    !pod_dir.join("volumes").exists()
}

/// Volumes on disk that are limited in size: name and bytes.
pub fn disk_limits(pod: &Pod) -> Vec<(String, u64)> {
    let limit = |v: &Volume| {
        let source = v.empty_dir.as_ref().filter(|e| e.medium.as_deref().unwrap_or_default().is_empty())?;
        let bytes = source.size_limit.as_ref()?.0.parse::<steersman_apimachinery::Quantity>().ok()?.value();
        u64::try_from(bytes).ok().map(|bytes| (v.name.clone(), bytes))
    };
    volumes(pod).iter().filter_map(limit).collect()
}

/// The objects of its own namespace that a pod is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Names of ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Names of Secrets.
    pub secrets: BTreeSet<String>,
    /// Some volume holds a token, which must be renewed in time.
    pub tokens: bool,
}

/// What the volumes, environments and image pulls of a pod refer to.
pub fn references(pod: &Pod) -> References {
    let mut refs = References::default();
    let Some(spec) = &pod.spec else { return refs };
    for volume in volumes(pod) {
        refs.config_maps.extend(volume.config_map.as_ref().map(|s| s.name.clone()));
        refs.secrets.extend(volume.secret.as_ref().and_then(|s| s.secret_name.clone()));
        for part in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            refs.config_maps.extend(part.config_map.as_ref().map(|s| s.name.clone()));
            refs.secrets.extend(part.secret.as_ref().map(|s| s.name.clone()));
            refs.tokens |= part.service_account_token.is_some();
        }
    }
    refs.secrets.extend(spec.image_pull_secrets.iter().flatten().map(|s| s.name.clone()));
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        for from in container.env_from.iter().flatten() {
            refs.config_maps.extend(from.config_map_ref.as_ref().map(|r| r.name.clone()));
            refs.secrets.extend(from.secret_ref.as_ref().map(|r| r.name.clone()));
        }
        for from in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
            refs.config_maps.extend(from.config_map_key_ref.as_ref().map(|r| r.name.clone()));
            refs.secrets.extend(from.secret_key_ref.as_ref().map(|r| r.name.clone()));
        }
    }
    refs.config_maps.remove("");
    refs.secrets.remove("");
    refs
}
