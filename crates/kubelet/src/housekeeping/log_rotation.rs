//! Container logs that grow too large are renamed and begun anew (rule: kubelet `logs/container_log_manager.go`).

use std::{fs, path::Path, sync::Arc};

use super::threshold;
use crate::{
    kubelet::Kubelet,
    names::{label, log_path},
    runtime::observed::State,
};

pub(super) async fn look(k: &Arc<Kubelet>) {
    let max = threshold(&k.config.container_log_max_size, 0).unwrap_or(10 << 20);
    let containers = k.runtime.list_containers(None).await.unwrap_or_default();
    for container in containers.iter().filter(|c| c.state() == State::ContainerRunning) {
        let of = |key: &str| container.labels.get(key).map_or("", String::as_str);
        let dir = k.folders.logs(of(label::POD_NAMESPACE), of(label::POD_NAME), of(label::POD_UID));
        let restarts = container.metadata.as_ref().map_or(0, |m| m.attempt);
        let log = dir.join(log_path(of(label::CONTAINER_NAME), restarts));
        if fs::metadata(&log).map_or(0, |m| m.len()) <= max {
            continue;
        }
        if let Err(error) = rotate(k, &container.id, &log).await {
            tracing::warn!(log = %log.display(), error, "cannot rotate a container log");
        }
    }
}

async fn rotate(k: &Kubelet, id: &str, log: &Path) -> Result<(), String> {
    let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let rotated = log.with_file_name(format!("{}.{stamp}", log.file_name().unwrap_or_default().to_string_lossy()));
    fs::rename(log, &rotated).map_err(|e| e.to_string())?;
    if let Err(error) = k.runtime.reopen_container_log(id).await {
        // The runtime goes on writing to the old file: give it its name back.
        fs::rename(&rotated, log).map_err(|e| e.to_string())?;
        return Err(error.to_string());
    }
    let keep = k.config.container_log_max_files.max(2) - 1;
    let prefix = format!("{}.", log.file_name().unwrap_or_default().to_string_lossy());
    let dir = log.parent().map(fs::read_dir).into_iter().flatten().flatten().flatten();
    let mut old: Vec<_> = dir
        .map(|e| e.path())
        .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
        .collect();
    old.sort();
    for path in old.iter().rev().skip(keep) {
        fs::remove_file(path).map_err(|e| e.to_string())?;
    }
    Ok(())
}
