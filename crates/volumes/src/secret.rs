//! `secret`: the keys of a Secret as files, in memory only.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use steersman_api::k8s_openapi::api::core::v1::{KeyToPath, Secret, Volume};

use crate::{
    atomic::Payload,
    config_map::choose,
    plugin::{Context, Error, Result, VolumePlugin},
    projected::{self, DEFAULT_MODE},
};

pub(crate) struct SecretPlugin;

#[async_trait]
impl VolumePlugin for SecretPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/secret"
    }

    fn handles(&self, volume: &Volume) -> bool {
        volume.secret.is_some()
    }

    async fn set_up(&self, cx: &Context<'_>, volume: &Volume, dir: &Path) -> Result<PathBuf> {
        let source = volume.secret.as_ref().ok_or_else(|| Error::Invalid("not a secret".into()))?;
        let items = source.items.as_deref().unwrap_or_default();
        let name = source.secret_name.as_deref().unwrap_or_default();
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let payload = payload(cx, name, items, source.optional.unwrap_or(false), mode).await?;
        projected::place(cx, dir, true, &payload)?;
        Ok(dir.to_owned())
    }
}

/// The files that a Secret (or the chosen keys of it) makes.
pub(crate) async fn payload(
    cx: &Context<'_>,
    name: &str,
    items: &[KeyToPath],
    optional: bool,
    mode: i32,
) -> Result<Payload> {
    let found = match cx.objects.secret(cx.namespace(), name).await? {
        Some(found) => found,
        None if optional => Secret::default(),
        None => return Err(Error::NotFound { kind: "secret", name: name.to_owned() }),
    };
    let data = found.data.into_iter().flatten().map(|(k, v)| (k, v.0));
    choose(data, items, optional, mode, "secret")
}
