//! `configMap`: the keys of a ConfigMap as files.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use steersman_api::k8s_openapi::api::core::v1::{ConfigMap, KeyToPath, Volume};

use crate::{
    atomic::{FileProjection, Payload},
    plugin::{Context, Error, Result, VolumePlugin},
    projected::{self, DEFAULT_MODE},
};

pub(crate) struct ConfigMapPlugin;

#[async_trait]
impl VolumePlugin for ConfigMapPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/configmap"
    }

    fn handles(&self, volume: &Volume) -> bool {
        volume.config_map.is_some()
    }

    async fn set_up(&self, cx: &Context<'_>, volume: &Volume, dir: &Path) -> Result<PathBuf> {
        let source = volume.config_map.as_ref().ok_or_else(|| Error::Invalid("not a configMap".into()))?;
        let items = source.items.as_deref().unwrap_or_default();
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let payload = payload(cx, &source.name, items, source.optional.unwrap_or(false), mode).await?;
        projected::place(cx, dir, false, &payload)?;
        Ok(dir.to_owned())
    }
}

/// The files that a ConfigMap (or the chosen keys of it) makes.
pub(crate) async fn payload(
    cx: &Context<'_>,
    name: &str,
    items: &[KeyToPath],
    optional: bool,
    mode: i32,
) -> Result<Payload> {
    let found = match cx.objects.config_map(cx.namespace(), name).await? {
        Some(found) => found,
        None if optional => ConfigMap::default(),
        None => return Err(Error::NotFound { kind: "configmap", name: name.to_owned() }),
    };
    let text = found.data.into_iter().flatten().map(|(k, v)| (k, v.into_bytes()));
    let binary = found.binary_data.into_iter().flatten().map(|(k, v)| (k, v.0));
    choose(text.chain(binary), items, optional, mode, "configmap")
}

/// All keys as files, or just `items` at their paths; a missing item is an error unless `optional`.
pub(crate) fn choose(
    data: impl Iterator<Item = (String, Vec<u8>)>,
    items: &[KeyToPath],
    optional: bool,
    mode: i32,
    kind: &str,
) -> Result<Payload> {
    let file = |data: Vec<u8>, mode: i32| FileProjection { data, mode: mode.cast_unsigned() & 0o7777, user: None };
    if items.is_empty() {
        return Ok(data.map(|(key, value)| (key, file(value, mode))).collect());
    }
    let data: std::collections::BTreeMap<String, Vec<u8>> = data.collect();
    let mut payload = Payload::new();
    for item in items {
        match data.get(&item.key) {
            Some(value) => {
                payload.insert(item.path.clone(), file(value.clone(), item.mode.unwrap_or(mode)));
            }
            None if optional => {}
            None => return Err(Error::Invalid(format!("{kind} references non-existent {kind} key: {}", item.key))),
        }
    }
    Ok(payload)
}
