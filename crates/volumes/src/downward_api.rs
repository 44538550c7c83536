//! `downwardAPI`: facts about the pod as files.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use steersman_api::k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, Volume};

use crate::{
    atomic::{FileProjection, Payload},
    fieldref,
    plugin::{Context, Error, Result, VolumePlugin},
    projected::{self, DEFAULT_MODE},
};

pub(crate) struct DownwardApiPlugin;

#[async_trait]
impl VolumePlugin for DownwardApiPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/downward-api"
    }

    fn handles(&self, volume: &Volume) -> bool {
        volume.downward_api.is_some()
    }

    async fn set_up(&self, cx: &Context<'_>, volume: &Volume, dir: &Path) -> Result<PathBuf> {
        let source = volume.downward_api.as_ref().ok_or_else(|| Error::Invalid("not a downwardAPI".into()))?;
        let items = source.items.as_deref().unwrap_or_default();
        let payload = payload(cx, items, source.default_mode.unwrap_or(DEFAULT_MODE))?;
        projected::place(cx, dir, true, &payload)?;
        Ok(dir.to_owned())
    }
}

/// The files that the items make.
pub(crate) fn payload(cx: &Context<'_>, items: &[DownwardAPIVolumeFile], mode: i32) -> Result<Payload> {
    let mut payload = Payload::new();
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            fieldref::pod_field(cx.pod, &field.field_path)
        } else if let Some(resource) = &item.resource_field_ref {
            let container = resource.container_name.as_deref().unwrap_or_default();
            fieldref::container_resource(cx.pod, container, resource, cx.node)
        } else {
            continue;
        };
        let data = text.map_err(Error::Invalid)?.into_bytes();
        let mode = item.mode.unwrap_or(mode).cast_unsigned() & 0o7777;
        payload.insert(item.path.clone(), FileProjection { data, mode, user: None });
    }
    Ok(payload)
}
