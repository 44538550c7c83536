//! `subPath`: a part of a volume, which the volume's own content must not be able to redirect
//! (rule: `subpath_linux.go`, safe open and bind mount).

use std::{
    fs,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::{Mode, mkdirat},
};

use crate::{
    Host,
    plugin::{Error, Result},
};

/// Opens `sub` below `root` without ever leaving it, making missing directories.
fn open_below(root: &Path, sub: &Path) -> Result<OwnedFd> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |e: nix::errno::Errno| Error::Io { path, source: e.into() }
    };
    let dir = open(root, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(fail(root))?;
    let how = |flags: OFlag| {
        OpenHow::new()
            .flags(flags | OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS)
    };
    match openat2(&dir, sub, how(OFlag::empty())) {
        Ok(fd) => return Ok(fd),
        Err(nix::errno::Errno::ENOENT) => {}
        Err(e) => return Err(fail(&root.join(sub))(e)),
    }
    let mut parent = dir;
    for part in sub.components() {
        match mkdirat(&parent, part.as_os_str(), Mode::from_bits_truncate(0o750)) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(e) => return Err(fail(&root.join(sub))(e)),
        }
        parent = openat2(&parent, part.as_os_str(), how(OFlag::O_DIRECTORY)).map_err(fail(&root.join(sub)))?;
    }
    Ok(parent)
}

/// Makes `sub` of the volume at `root` available at `target` (which this makes too) and returns `target`.
pub fn bind(host: &dyn Host, root: &Path, sub: &str, target: &Path) -> Result<PathBuf> {
    let sub = Path::new(sub);
    let inside = sub.components().all(|c| matches!(c, std::path::Component::Normal(_) | std::path::Component::CurDir));
    if !inside {
        return Err(Error::Invalid(format!("subPath {:?} must stay in its volume", sub.display())));
    }
    let fd = open_below(root, sub)?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    if host.is_mount_point(target) {
        host.unmount(target).map_err(Error::io(target))?;
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(Error::io(parent))?;
    }
    if fs::metadata(&source).map_err(Error::io(root.join(sub)))?.is_dir() {
        fs::create_dir_all(target).map_err(Error::io(target))?;
    } else if !target.exists() {
        fs::File::create(target).map_err(Error::io(target))?;
    }
    host.bind(&source, target).map_err(Error::io(target))?;
    Ok(target.to_owned())
}

/// Takes all subPath mounts below `dir` away.
pub fn clean(host: &dyn Host, dir: &Path) -> Result<()> {
    let Ok(volumes) = fs::read_dir(dir) else { return Ok(()) };
    for container in volumes.flatten().flat_map(|v| fs::read_dir(v.path()).into_iter().flatten().flatten()) {
        for mount in fs::read_dir(container.path()).into_iter().flatten().flatten() {
            let path = mount.path();
            while host.is_mount_point(&path) {
                host.unmount(&path).map_err(Error::io(&path))?;
            }
        }
    }
    fs::remove_dir_all(dir).map_err(Error::io(dir))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_cannot_lead_out_of_the_volume() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("volume");
        fs::create_dir_all(root.join("real")).unwrap();
        symlink("real", root.join("inside")).unwrap();
        symlink("/etc", root.join("absolute")).unwrap();
        symlink("../..", root.join("up")).unwrap();
        let check = |sub: &str, ok: bool| assert_eq!(open_below(&root, Path::new(sub)).is_ok(), ok, "{sub}");
        check("real", true);
        check("inside", true);
        check("new/deep", true);
        check("absolute", false);
        check("absolute/passwd", false);
        check("up/x", false);
        assert!(root.join("new/deep").is_dir());
    }
}
