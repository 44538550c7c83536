//! `projected`: several sources in one directory.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use steersman_api::k8s_openapi::api::core::v1::{ServiceAccountTokenProjection, Volume};

use crate::{
    atomic::{self, FileProjection, Payload},
    config_map, downward_api, ownership,
    plugin::{Context, Error, Result, TokenRequest, VolumePlugin},
    secret,
};

/// The mode of files for which none is given.
pub(crate) const DEFAULT_MODE: i32 = 0o644;
/// The lifetime of tokens for which none is given, in seconds.
const DEFAULT_EXPIRATION: i64 = 3600;

pub(crate) struct ProjectedPlugin;

#[async_trait]
impl VolumePlugin for ProjectedPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/projected"
    }

    fn handles(&self, volume: &Volume) -> bool {
        volume.projected.is_some()
    }

    async fn set_up(&self, cx: &Context<'_>, volume: &Volume, dir: &Path) -> Result<PathBuf> {
        let source = volume.projected.as_ref().ok_or_else(|| Error::Invalid("not a projected volume".into()))?;
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let mut payload = Payload::new();
        for part in source.sources.iter().flatten() {
            if let Some(p) = &part.config_map {
                let items = p.items.as_deref().unwrap_or_default();
                payload.extend(config_map::payload(cx, &p.name, items, p.optional.unwrap_or(false), mode).await?);
            }
            if let Some(p) = &part.secret {
                let items = p.items.as_deref().unwrap_or_default();
                payload.extend(secret::payload(cx, &p.name, items, p.optional.unwrap_or(false), mode).await?);
            }
            if let Some(p) = &part.downward_api {
                payload.extend(downward_api::payload(cx, p.items.as_deref().unwrap_or_default(), mode)?);
            }
            if let Some(p) = &part.service_account_token {
                payload.extend(token(cx, p, mode).await?);
            }
            if part.cluster_trust_bundle.is_some() {
                return Err(Error::Unsupported("projected clusterTrustBundle".into()));
            }
            if part.pod_certificate.is_some() {
                return Err(Error::Unsupported("projected podCertificate".into()));
            }
        }
        place(cx, dir, true, &payload)?;
        Ok(dir.to_owned())
    }
}

async fn token(cx: &Context<'_>, source: &ServiceAccountTokenProjection, mode: i32) -> Result<Payload> {
    let request = TokenRequest {
        audience: source.audience.clone().unwrap_or_default(),
        expiration_seconds: source.expiration_seconds.unwrap_or(DEFAULT_EXPIRATION),
    };
    let data = cx.objects.token(cx.pod, &request).await?.into_bytes();
    let user = cx.fs_user();
    // A token is for its pod's user or group alone, if there is one.
    let mode = if user.is_some() || cx.fs_group().is_some() { 0o600 } else { mode.cast_unsigned() & 0o7777 };
    let user = user.and_then(|u| u32::try_from(u).ok());
    Ok(Payload::from([(source.path.clone(), FileProjection { data, mode, user })]))
}

/// Writes the files of an API-made volume: in memory if `in_memory`, readable for the pod's group if it has one.
pub(crate) fn place(cx: &Context<'_>, dir: &Path, in_memory: bool, payload: &Payload) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::io(dir))?;
    if in_memory && !cx.host.is_mount_point(dir) {
        cx.host.mount_tmpfs(dir, None).map_err(Error::io(dir))?;
    }
    let group = cx.fs_group();
    if fs::metadata(dir).map_err(Error::io(dir))?.permissions().mode() & 0o777 != 0o777 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).map_err(Error::io(dir))?;
    }
    atomic::write(dir, payload, |fresh| group.map_or(Ok(()), |g| ownership::set(fresh, g, true)))?;
    if let Some(group) = group
        && !ownership::root_matches(dir, group, true)
    {
        ownership::set(dir, group, true)?;
    }
    Ok(())
}
