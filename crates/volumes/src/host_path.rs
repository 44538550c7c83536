//! `hostPath`: a file or directory of the node.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use steersman_api::k8s_openapi::api::core::v1::Volume;

use crate::{
    Host,
    plugin::{Context, Error, Result, VolumePlugin},
};

pub(crate) struct HostPathPlugin;

#[async_trait]
impl VolumePlugin for HostPathPlugin {
    fn name(&self) -> &'static str {
        "kubernetes.io/host-path"
    }

    fn handles(&self, volume: &Volume) -> bool {
        volume.host_path.is_some()
    }

    async fn set_up(&self, _: &Context<'_>, volume: &Volume, _: &Path) -> Result<PathBuf> {
        let source = volume.host_path.as_ref().ok_or_else(|| Error::Invalid("not a hostPath".into()))?;
        let path = PathBuf::from(&source.path);
        check_type(&path, source.type_.as_deref().unwrap_or_default())?;
        Ok(path)
    }

    async fn tear_down(&self, _: &dyn Host, _: &Path) -> Result<()> {
        Ok(())
    }
}

/// Makes what is missing if the type says so, then checks that it is what the type says
/// (rule: hostpath `checkTypeInternal`).
pub(crate) fn check_type(path: &Path, kind: &str) -> Result<()> {
    let create = |make: &dyn Fn() -> std::io::Result<()>, mode: u32| {
        if path.exists() {
            return Ok(());
        }
        make().and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode))).map_err(Error::io(path))
    };
    let wanted = match kind {
        "" => return Ok(()),
        "DirectoryOrCreate" => {
            create(&|| fs::create_dir_all(path), 0o755)?;
            "a directory"
        }
        "FileOrCreate" => {
            create(&|| fs::File::create(path).map(drop), 0o644)?;
            "a file"
        }
        "Directory" => "a directory",
        "File" => "a file",
        "Socket" => "a socket file",
        "CharDevice" => "a character device",
        "BlockDevice" => "a block device",
        other => return Err(Error::Invalid(format!("{other:?} is an invalid volume type"))),
    };
    let kind = fs::metadata(path).map(|m| m.file_type());
    let fits = kind.is_ok_and(|t| match wanted {
        "a directory" => t.is_dir(),
        "a file" => t.is_file(),
        "a socket file" => t.is_socket(),
        "a character device" => t.is_char_device(),
        _ => t.is_block_device(),
    });
    if fits {
        Ok(())
    } else {
        Err(Error::Invalid(format!("hostPath type check failed: {} is not {wanted}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_made() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, kind: &str, ok: bool| {
            let path = if name.starts_with('/') { PathBuf::from(name) } else { dir.path().join(name) };
            assert_eq!(check_type(&path, kind).is_ok(), ok, "{name} as {kind}");
        };
        check("nothing", "", true);
        check("nothing", "Directory", false);
        check("a/b", "DirectoryOrCreate", true);
        check("a/b", "File", false);
        check("a/f", "FileOrCreate", true);
        check("missing/f", "FileOrCreate", false);
        check("a/f", "File", true);
        check("/dev/null", "CharDevice", true);
        check("/dev/null", "BlockDevice", false);
        check("a/f", "Socket", false);
        check("a/f", "Sofa", false);
    }
}
