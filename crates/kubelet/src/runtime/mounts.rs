//! What a container sees mounted: volumes, `/etc/hosts`, and the file for its last words.

use std::{fs, io, os::unix::fs::PermissionsExt, path::PathBuf};

use steersman_cri::v1::{Mount, MountPropagation};
use steersman_volumes::{Host, Ready, subpath};

use super::{dns, expand::expand};
use crate::{api::*, names::Folders, pods::spec::PodExt};

/// Where a container leaves its last words if its specification does not say.
const TERMINATION_PATH: &str = "/dev/termination-log";

/// What the mounts of a container are made of.
pub struct Input<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// Volumes that are ready, by name.
    pub volumes: &'a Ready,
    /// The environment, for `subPathExpr`.
    pub env: &'a [(String, String)],
    /// Addresses of the pod.
    pub ips: &'a [String],
    /// Folders of this kubelet.
    pub folders: &'a Folders,
    /// How bind mounts are made.
    pub host: &'a dyn Host,
    /// The cluster's domain.
    pub domain: &'a str,
}

/// All mounts; files that they need are written. The error text appears as `CreateContainerConfigError`.
pub fn of_container(input: &Input<'_>) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    let known = input.env.iter().cloned().collect();
    for (index, want) in input.container.volume_mounts.iter().flatten().enumerate() {
        let Some(path) = input.volumes.get(&want.name) else {
            return Err(format!(
                "cannot find volume {:?} to mount into container {:?}",
                want.name, input.container.name
            ));
        };
        let sub = match (&want.sub_path, &want.sub_path_expr) {
            (_, Some(expr)) if !expr.is_empty() => expand(expr, &known),
            (Some(sub), _) => sub.clone(),
            _ => String::new(),
        };
        let host_path = if sub.is_empty() {
            path.clone()
        } else {
            let target = input
                .folders
                .pod(input.pod.uid())
                .join("volume-subpaths")
                .join(&want.name)
                .join(&input.container.name)
                .join(index.to_string());
            subpath::bind(input.host, path, &sub, &target).map_err(|e| {
                format!(
                    "failed to prepare subPath for volumeMount {:?} of container {:?}: {e}",
                    want.name, input.container.name
                )
            })?
        };
        let propagation = match want.mount_propagation.as_deref() {
            Some("Bidirectional") => MountPropagation::PropagationBidirectional,
            Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
            _ => MountPropagation::PropagationPrivate,
        };
        let container_path =
            if want.mount_path.starts_with('/') { want.mount_path.clone() } else { format!("/{}", want.mount_path) };
        mounts.push(Mount {
            container_path,
            host_path: host_path.to_string_lossy().into_owned(),
            readonly: want.read_only.unwrap_or(false),
            propagation: propagation.into(),
            ..Default::default()
        });
    }
    if !mounts.iter().any(|m| m.container_path == "/etc/hosts") {
        let path = write_hosts(input).map_err(|e| format!("cannot write the hosts file: {e}"))?;
        mounts.push(plain("/etc/hosts", path));
    }
    let words = input.container.termination_message_path.as_deref().unwrap_or(TERMINATION_PATH);
    if !words.is_empty() {
        let path =
            make_termination_file(input).map_err(|e| format!("cannot make the termination message file: {e}"))?;
        mounts.push(plain(words, path));
    }
    Ok(mounts)
}

fn plain(inside: &str, outside: PathBuf) -> Mount {
    Mount {
        container_path: inside.to_owned(),
        host_path: outside.to_string_lossy().into_owned(),
        selinux_relabel: true,
        ..Default::default()
    }
}

fn write_hosts(input: &Input<'_>) -> io::Result<PathBuf> {
    let path = input.folders.hosts(input.pod.uid());
    let host = input.pod.host_network().then(|| fs::read_to_string("/etc/hosts").unwrap_or_default());
    let content = dns::hosts_file(input.pod, input.ips, input.domain, host.as_deref());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    // Written in place: running containers have this very file mounted.
    fs::write(&path, content)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    Ok(path)
}

fn make_termination_file(input: &Input<'_>) -> io::Result<PathBuf> {
    let dir = input.folders.container(input.pod.uid(), &input.container.name);
    fs::create_dir_all(&dir)?;
    let path = dir.join(format!("{:08x}", rand::random::<u32>()));
    fs::write(&path, b"")?;
    // Whoever the container runs as may write.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    Ok(path)
}
