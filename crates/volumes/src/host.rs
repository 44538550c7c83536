//! Mounts, behind a trait so that tests need no privileges.

use std::{
    io,
    path::Path,
    process::{Command, Stdio},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// What volumes ask of the kernel.
pub trait Host: Send + Sync {
    /// Mounts a memory file system; `size` in bytes limits it.
    fn mount_tmpfs(&self, dir: &Path, size: Option<u64>) -> io::Result<()>;
    /// Makes `source` appear at `target` too.
    fn bind(&self, source: &Path, target: &Path) -> io::Result<()>;
    /// Mounts a network file system with the system's `mount` command.
    fn mount_command(&self, kind: &str, source: &str, options: &[String], dir: &Path) -> io::Result<()>;
    /// Takes the topmost mount off `dir`; a busy one goes away when its last user does.
    fn unmount(&self, dir: &Path) -> io::Result<()>;
    /// Whether something is mounted at `dir`.
    fn is_mount_point(&self, dir: &Path) -> bool;
}

/// The kernel this process runs on.
pub struct LinuxHost;

impl Host for LinuxHost {
    fn mount_tmpfs(&self, dir: &Path, size: Option<u64>) -> io::Result<()> {
        let options = size.map(|bytes| format!("size={bytes}"));
        mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), options.as_deref())?;
        Ok(())
    }

    fn bind(&self, source: &Path, target: &Path) -> io::Result<()> {
        mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
        Ok(())
    }

    fn mount_command(&self, kind: &str, source: &str, options: &[String], dir: &Path) -> io::Result<()> {
        let mut command = Command::new("mount");
        command.args(["-t", kind]).stdin(Stdio::null());
        if !options.is_empty() {
            command.args(["-o", &options.join(",")]);
        }
        let output = command.arg(source).arg(dir).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("mount failed: {}", String::from_utf8_lossy(&output.stderr).trim())))
    }

    fn unmount(&self, dir: &Path) -> io::Result<()> {
        match umount2(dir, MntFlags::empty()) {
            Err(nix::errno::Errno::EBUSY) => umount2(dir, MntFlags::MNT_DETACH)?,
            other => other?,
        }
        Ok(())
    }

    fn is_mount_point(&self, dir: &Path) -> bool {
        // A bind mount shares its device with the parent, so the mount table is the only full answer. It writes a
        // space as \040 and so on.
        let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else { return false };
        let Ok(dir) = dir.canonicalize() else { return false };
        let wanted = dir.to_string_lossy();
        table.lines().filter_map(|line| line.split(' ').nth(4)).any(|at| unescape(at) == wanted)
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}
