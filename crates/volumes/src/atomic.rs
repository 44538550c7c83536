//! Files that change all at once: a directory with a timestamp holds them, the link `..data` points to it, and what
//! users see are links through `..data` (rule: volume util `AtomicWriter`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink},
    path::{Component, Path, PathBuf},
};

use crate::plugin::{Error, Result};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// One file to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileProjection {
    pub data: Vec<u8>,
    pub mode: u32,
    pub user: Option<u32>,
}

/// Files by path relative to the volume.
pub(crate) type Payload = BTreeMap<String, FileProjection>;

/// Brings `dir` to hold exactly `payload`. `finish` may change owners and modes of the new files before they are shown.
/// Returns whether anything changed.
pub(crate) fn write(dir: &Path, payload: &Payload, finish: impl FnOnce(&Path) -> Result<()>) -> Result<bool> {
    for path in payload.keys() {
        check_path(path)?;
    }
    let current = fs::read_link(dir.join(DATA)).ok().map(|target| dir.join(target));
    if let Some(current) = &current
        && unchanged(current, payload)
    {
        return link_visible(dir, payload).map(|()| false);
    }
    let fresh = make_fresh(dir)?;
    let name = fresh.file_name().map(PathBuf::from).unwrap_or_default();
    let filled = fill(&fresh, payload).and_then(|()| finish(&fresh));
    if let Err(e) = filled {
        // The attempt is repeated; what it left must not pile up.
        let _ = fs::remove_dir_all(&fresh);
        return Err(e);
    }
    let link = dir.join(DATA_NEW);
    let _ = fs::remove_file(&link);
    symlink(&name, &link).map_err(Error::io(&link))?;
    fs::rename(&link, dir.join(DATA)).map_err(Error::io(&link))?;
    link_visible(dir, payload)?;
    remove_stale(dir, payload, &fresh)?;
    Ok(true)
}

fn check_path(path: &str) -> Result<()> {
    let proper = !path.is_empty()
        && path.len() <= 4096
        && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)))
        && !path.starts_with("..");
    if proper { Ok(()) } else { Err(Error::Invalid(format!("invalid path {path:?}"))) }
}

fn make_fresh(dir: &Path) -> Result<PathBuf> {
    let stamp = jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    for attempt in 0..1000 {
        let nanos = jiff::Timestamp::now().subsec_nanosecond();
        let fresh = dir.join(format!("{stamp}.{}", u64::from(nanos.unsigned_abs()) + attempt));
        match fs::create_dir(&fresh) {
            Ok(()) => {
                fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).map_err(Error::io(&fresh))?;
                return Ok(fresh);
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io(fresh)(e)),
        }
    }
    Err(Error::Invalid(format!("{}: no free name for a data directory", dir.display())))
}

fn fill(fresh: &Path, payload: &Payload) -> Result<()> {
    for (path, file) in payload {
        let full = fresh.join(path);
        if let Some(parent) = full.parent() {
            fs::create_dir_all(parent).map_err(Error::io(parent))?;
        }
        let mut out =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&full).map_err(Error::io(&full))?;
        out.write_all(&file.data).map_err(Error::io(&full))?;
        // The umask must not narrow the mode that was asked for.
        out.set_permissions(fs::Permissions::from_mode(file.mode)).map_err(Error::io(&full))?;
        if let Some(user) = file.user {
            chown(&full, Some(user), None).map_err(Error::io(&full))?;
        }
    }
    Ok(())
}

fn unchanged(current: &Path, payload: &Payload) -> bool {
    let mut seen = BTreeSet::new();
    if list_files(current, Path::new(""), &mut seen).is_err() || seen.len() != payload.len() {
        return false;
    }
    payload.iter().all(|(path, file)| {
        let full = current.join(path);
        seen.contains(Path::new(path))
            && fs::read(&full).is_ok_and(|data| data == file.data)
            && fs::metadata(&full).is_ok_and(|m| {
                // Group bits may have been widened for fsGroup.
                m.mode() & 0o7707 == file.mode & 0o7707 && file.user.is_none_or(|user| user == m.uid())
            })
    })
}

fn list_files(root: &Path, below: &Path, out: &mut BTreeSet<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list_files(root, &path, out)?;
        } else {
            out.insert(path);
        }
    }
    Ok(())
}

fn top(path: &str) -> &str {
    path.split('/').find(|p| !p.is_empty()).unwrap_or(path)
}

fn link_visible(dir: &Path, payload: &Payload) -> Result<()> {
    for name in payload.keys().map(|p| top(p)).collect::<BTreeSet<_>>() {
        let link = dir.join(name);
        let target = Path::new(DATA).join(name);
        if fs::read_link(&link).is_ok_and(|t| t == target) {
            continue;
        }
        let _ = fs::remove_file(&link);
        symlink(&target, &link).map_err(Error::io(&link))?;
    }
    Ok(())
}

fn remove_stale(dir: &Path, payload: &Payload, fresh: &Path) -> Result<()> {
    let wanted: BTreeSet<&str> = payload.keys().map(|p| top(p)).collect();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        if name == DATA || path == fresh || wanted.contains(name.as_ref()) {
            continue;
        }
        let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
        if name.starts_with("..") && is_dir {
            fs::remove_dir_all(&path).map_err(Error::io(&path))?;
        } else if !is_dir {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |data: &str| FileProjection { data: data.into(), mode: 0o640, user: None };
        files.iter().map(|(p, d)| ((*p).to_owned(), file(d))).collect()
    }

    fn visible(dir: &Path) -> Vec<(String, String)> {
        let mut seen = BTreeSet::new();
        list_files(&fs::canonicalize(dir.join(DATA)).unwrap(), Path::new(""), &mut seen).unwrap();
        let read = |p: &PathBuf| fs::read_to_string(dir.join(p)).unwrap();
        seen.iter().map(|p| (p.to_string_lossy().into_owned(), read(p))).collect()
    }

    #[test]
    fn the_directory_always_shows_one_whole_generation() {
        let dir = tempfile::tempdir().unwrap();
        let check = |files: &[(&str, &str)], changed: bool| {
            assert_eq!(write(dir.path(), &payload(files), |_| Ok(())).unwrap(), changed, "{files:?}");
            let expect: Vec<_> = files.iter().map(|(p, d)| ((*p).to_owned(), (*d).to_owned())).collect();
            assert_eq!(visible(dir.path()), expect);
            let generations = fs::read_dir(dir.path()).unwrap().flatten().filter(|e| e.path().is_dir());
            let real = generations.filter(|e| e.file_type().unwrap().is_dir()).count();
            assert_eq!(real, 1, "old generations are removed");
        };
        check(&[("a", "1"), ("sub/b", "2")], true);
        check(&[("a", "1"), ("sub/b", "2")], false);
        check(&[("a", "1"), ("sub/b", "3")], true);
        check(&[("c", "4")], true);
        assert!(!dir.path().join("a").exists() && !dir.path().join("sub").exists());
        check(&[], true);
    }

    #[test]
    fn paths_cannot_leave_the_volume() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../x", "/etc/passwd", "a/../../x", "..data", "", "./a"] {
            assert!(write(dir.path(), &payload(&[(path, "x")]), |_| Ok(())).is_err(), "{path}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
