//! fsGroup: the group that shares a volume (rule: volume `SetVolumeOwnership`).

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::Path,
};

use crate::plugin::{Error, Result};

/// Gives `path` and all below it to `group`, readable (and writable, unless `read_only`) for it; new files in its
/// directories will belong to the group too.
pub(crate) fn set(path: &Path, group: i64, read_only: bool) -> Result<()> {
    let group = u32::try_from(group).map_err(|_| Error::Invalid(format!("invalid fsGroup {group}")))?;
    walk(path, group, read_only)
}

/// Whether the root already looks as [`set`] leaves it, so that `OnRootMismatch` may skip the walk.
pub(crate) fn root_matches(path: &Path, group: i64, read_only: bool) -> bool {
    let bits = if read_only { 0o2550 } else { 0o2770 };
    fs::metadata(path).is_ok_and(|m| i64::from(m.gid()) == group && m.mode() & bits == bits)
}

fn walk(path: &Path, group: u32, read_only: bool) -> Result<()> {
    let meta = fs::symlink_metadata(path).map_err(Error::io(path))?;
    lchown(path, None, Some(group)).map_err(Error::io(path))?;
    if meta.file_type().is_symlink() {
        return Ok(());
    }
    let mut add = if read_only { 0o440 } else { 0o660 };
    if meta.is_dir() {
        add |= 0o2110;
    }
    let mode = meta.permissions().mode() | add;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io(path))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path).map_err(Error::io(path))?.flatten() {
            walk(&entry.path(), group, read_only)?;
        }
    }
    Ok(())
}
