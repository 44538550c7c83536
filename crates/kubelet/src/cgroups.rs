//! Cgroups of pods: `<root>/kubepods[/burstable|/besteffort]/pod<uid>`, in version 1 and version 2.
//!
//! The runtime makes the cgroups of containers below them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    api::Pod,
    pods::spec::PodExt,
    runtime::resources::{PodLimits, weight},
};

/// How cgroups are named: as paths, or as systemd slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Paths.
    Cgroupfs,
    /// Slices, which systemd makes when the runtime asks it to.
    Systemd,
}

/// Making and removing the cgroups of pods.
pub trait Cgroups: Send + Sync {
    /// What the runtime is told as the parent of a pod's containers; empty if pods have no cgroup of their own.
    fn parent(&self, pod: &Pod) -> String;
    /// Makes the cgroup of a pod, or adjusts its limits.
    fn ensure(&self, pod: &Pod, limits: &PodLimits) -> io::Result<()>;
    /// Removes the cgroup of a pod; idempotent. Processes still in it are an error.
    fn remove(&self, uid: &str) -> io::Result<()>;
    /// Sets the CPU shares of all burstable pods together.
    fn set_burstable_shares(&self, shares: i64) -> io::Result<()>;
    /// Sets what all pods together may use: CPU shares, and bytes of memory.
    fn limit_all(&self, shares: i64, memory: i64) -> io::Result<()>;
    /// Uids of pods that have a cgroup.
    fn pods(&self) -> Vec<String>;
    /// Whether this is version 2.
    fn unified(&self) -> bool;
    /// CPU time in nanoseconds and memory in bytes (usage, working set) of a pod, or of all pods without `uid`.
    fn usage(&self, pod: Option<&Pod>) -> Option<Usage>;
}

/// What a cgroup uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds of CPU since it exists.
    pub cpu: u64,
    /// Bytes of memory, with caches.
    pub memory: u64,
    /// Bytes of memory that cannot be reclaimed easily.
    pub working_set: u64,
    /// Bytes of anonymous memory.
    pub rss: u64,
    /// Processes.
    pub pids: u64,
}

/// The cgroup file system of this node.
pub struct LinuxCgroups {
    /// Mounted hierarchies: one in version 2, one for each controller in version 1.
    hierarchies: Vec<PathBuf>,
    unified: bool,
    /// `--cgroup-root`, without slashes around it.
    root: String,
    driver: Driver,
    /// Whether pods have cgroups of their own at all.
    per_qos: bool,
}

/// Controllers of version 1 in which limits are written.
const LIMITED: &[&str] = &["cpu", "cpuacct", "memory", "pids"];

impl LinuxCgroups {
    /// Looks at what is mounted below `mount` (`/sys/fs/cgroup`).
    pub fn detect(mount: &Path, root: &str, driver: Driver, per_qos: bool) -> io::Result<Self> {
        let unified = mount.join("cgroup.controllers").exists();
        let hierarchies = if unified {
            vec![mount.to_owned()]
        } else {
            let dirs = fs::read_dir(mount)?.flatten().map(|e| e.path());
            // Aliases such as cpu,cpuacct are links. The tree of version 2 beside them holds no limits, but the runtime
            // uses it too.
            dirs.filter(|p| p.is_dir() && !p.is_symlink()).collect()
        };
        Ok(LinuxCgroups { hierarchies, unified, root: root.trim_matches('/').to_owned(), driver, per_qos })
    }

    fn qos_path(&self, qos: &str) -> String {
        let base = if self.root.is_empty() { "kubepods".to_owned() } else { format!("{}/kubepods", self.root) };
        match qos {
            "Burstable" => format!("{base}/burstable"),
            "BestEffort" => format!("{base}/besteffort"),
            _ => base,
        }
    }

    fn relative(&self, qos: &str, uid: &str) -> String {
        match self.driver {
            Driver::Cgroupfs => format!("{}/pod{uid}", self.qos_path(qos)),
            Driver::Systemd => {
                let qos = match qos {
                    "Burstable" => "-burstable",
                    "BestEffort" => "-besteffort",
                    _ => "",
                };
                let slice = format!("kubepods{qos}-pod{}.slice", uid.replace('-', "_"));
                let parents = if qos.is_empty() { String::new() } else { format!("kubepods{qos}.slice/") };
                format!("kubepods.slice/{parents}{slice}")
            }
        }
    }

    fn set(&self, path: &str, controller: &str, file: &str, value: &str) -> io::Result<()> {
        let dir = if self.unified {
            self.hierarchies.first().cloned().unwrap_or_default()
        } else {
            match self
                .hierarchies
                .iter()
                .find(|h| h.file_name().is_some_and(|n| n.to_string_lossy().split(',').any(|c| c == controller)))
            {
                Some(dir) => dir.clone(),
                None => return Ok(()),
            }
        };
        let file = dir.join(path).join(file);
        if !file.exists() {
            // The kernel has no such controller or limit.
            return Ok(());
        }
        fs::write(&file, value).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", file.display())))
    }

    fn make(&self, path: &str) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            if !self.unified && !LIMITED.iter().any(|c| hierarchy.ends_with(c)) {
                continue;
            }
            let mut at = hierarchy.clone();
            for part in Path::new(path).components() {
                if self.unified {
                    delegate(&at);
                }
                at.push(part);
                match fs::create_dir(&at) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(io::Error::new(e.kind(), format!("{}: {e}", at.display())));
                    }
                    _ => {}
                }
            }
            if self.unified {
                delegate(&at);
            }
        }
        Ok(())
    }

    fn number(&self, path: &str, controller: &str, file: &str) -> Option<u64> {
        self.text(path, controller, file)?.trim().parse().ok()
    }

    fn text(&self, path: &str, controller: &str, file: &str) -> Option<String> {
        let dir = if self.unified {
            self.hierarchies.first()?
        } else {
            self.hierarchies.iter().find(|h| h.ends_with(controller))?
        };
        fs::read_to_string(dir.join(path).join(file)).ok()
    }
}

/// Lets children of a version 2 cgroup be limited, by every controller that is there.
fn delegate(dir: &Path) {
    let Ok(have) = fs::read_to_string(dir.join("cgroup.controllers")) else { return };
    for controller in have.split_whitespace() {
        // Some controllers cannot be delegated on some kernels; the limits that need them are skipped later.
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

impl Cgroups for LinuxCgroups {
    fn parent(&self, pod: &Pod) -> String {
        if !self.per_qos {
            return String::new();
        }
        let path = self.relative(pod.qos(), pod.uid());
        match self.driver {
            Driver::Cgroupfs => format!("/{path}"),
            // The runtime wants the slice alone.
            Driver::Systemd => path.rsplit('/').next().unwrap_or_default().to_owned(),
        }
    }

    fn ensure(&self, pod: &Pod, limits: &PodLimits) -> io::Result<()> {
        if !self.per_qos || self.driver == Driver::Systemd {
            return Ok(());
        }
        let path = self.relative(pod.qos(), pod.uid());
        self.make(&path)?;
        if self.unified {
            self.set(&path, "cpu", "cpu.weight", &weight(limits.shares).to_string())?;
            let quota = limits.quota.map_or("max".to_owned(), |q| q.to_string());
            self.set(&path, "cpu", "cpu.max", &format!("{quota} {}", limits.period))?;
            self.set(&path, "memory", "memory.max", &limits.memory.map_or("max".to_owned(), |m| m.to_string()))?;
            self.set(&path, "pids", "pids.max", &limits.pids.map_or("max".to_owned(), |p| p.to_string()))?;
        } else {
            self.set(&path, "cpu", "cpu.shares", &limits.shares.to_string())?;
            self.set(&path, "cpu", "cpu.cfs_period_us", &limits.period.to_string())?;
            self.set(&path, "cpu", "cpu.cfs_quota_us", &limits.quota.unwrap_or(-1).to_string())?;
            self.set(&path, "memory", "memory.limit_in_bytes", &limits.memory.unwrap_or(-1).to_string())?;
            self.set(&path, "pids", "pids.max", &limits.pids.map_or("max".to_owned(), |p| p.to_string()))?;
        }
        Ok(())
    }

    fn remove(&self, uid: &str) -> io::Result<()> {
        if !self.per_qos {
            return Ok(());
        }
        // The class of a pod whose specification is gone is not known any more.
        for qos in ["Guaranteed", "Burstable", "BestEffort"] {
            let path = self.relative(qos, uid);
            for hierarchy in &self.hierarchies {
                remove_tree(&hierarchy.join(&path))?;
            }
        }
        Ok(())
    }

    fn set_burstable_shares(&self, value: i64) -> io::Result<()> {
        if !self.per_qos || self.driver == Driver::Systemd {
            return Ok(());
        }
        let (burstable, besteffort) = (self.qos_path("Burstable"), self.qos_path("BestEffort"));
        self.make(&burstable)?;
        self.make(&besteffort)?;
        let (file, of) = if self.unified {
            ("cpu.weight", weight as fn(i64) -> i64)
        } else {
            ("cpu.shares", (|s| s) as fn(i64) -> i64)
        };
        self.set(&burstable, "cpu", file, &of(value).to_string())?;
        self.set(&besteffort, "cpu", file, &of(2).to_string())
    }

    fn limit_all(&self, shares: i64, memory: i64) -> io::Result<()> {
        if !self.per_qos || self.driver == Driver::Systemd {
            return Ok(());
        }
        let path = self.qos_path("Guaranteed");
        self.make(&path)?;
        if self.unified {
            self.set(&path, "cpu", "cpu.weight", &weight(shares).to_string())?;
            self.set(&path, "memory", "memory.max", &memory.to_string())
        } else {
            self.set(&path, "cpu", "cpu.shares", &shares.to_string())?;
            self.set(&path, "memory", "memory.limit_in_bytes", &memory.to_string())
        }
    }

    fn pods(&self) -> Vec<String> {
        if !self.per_qos || self.driver == Driver::Systemd {
            return Vec::new();
        }
        let mut uids: Vec<String> = Vec::new();
        for hierarchy in &self.hierarchies {
            for qos in ["Guaranteed", "Burstable", "BestEffort"] {
                let entries = fs::read_dir(hierarchy.join(self.qos_path(qos))).into_iter().flatten().flatten();
                let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
                uids.extend(names.filter_map(|n| n.strip_prefix("pod").map(str::to_owned)));
            }
        }
        uids.sort();
        uids.dedup();
        uids
    }

    fn unified(&self) -> bool {
        self.unified
    }

    fn usage(&self, pod: Option<&Pod>) -> Option<Usage> {
        let path = match pod {
            Some(pod) => self.relative(pod.qos(), pod.uid()),
            None => self.qos_path("Guaranteed"),
        };
        if self.unified {
            let cpu = field(&self.text(&path, "cpu", "cpu.stat")?, "usage_usec")? * 1000;
            let memory = self.number(&path, "memory", "memory.current").unwrap_or(0);
            let stat = self.text(&path, "memory", "memory.stat").unwrap_or_default();
            return Some(Usage {
                cpu,
                memory,
                working_set: memory.saturating_sub(field(&stat, "inactive_file").unwrap_or(0)),
                rss: field(&stat, "anon").unwrap_or(0),
                pids: self.number(&path, "pids", "pids.current").unwrap_or(0),
            });
        }
        let memory = self.number(&path, "memory", "memory.usage_in_bytes").unwrap_or(0);
        let stat = self.text(&path, "memory", "memory.stat").unwrap_or_default();
        Some(Usage {
            cpu: self.number(&path, "cpuacct", "cpuacct.usage")?,
            memory,
            working_set: memory.saturating_sub(field(&stat, "total_inactive_file").unwrap_or(0)),
            rss: field(&stat, "total_rss").unwrap_or(0),
            pids: self.number(&path, "pids", "pids.current").unwrap_or(0),
        })
    }
}

/// Removes a cgroup and those below it; only directories count there.
fn remove_tree(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        remove_tree(&entry.path())?;
    }
    match fs::remove_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(io::Error::new(e.kind(), format!("{}: {e}", dir.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": "a-b"}, "spec": {"containers": [
            {"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}))
        .unwrap()
    }

    #[test]
    fn pods_have_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let parent = |root: &str, driver| LinuxCgroups::detect(dir.path(), root, driver, true).unwrap().parent(&pod());
        assert_eq!(parent("", Driver::Cgroupfs), "/kubepods/burstable/poda-b");
        assert_eq!(parent("/node1/", Driver::Cgroupfs), "/node1/kubepods/burstable/poda-b");
        assert_eq!(parent("", Driver::Systemd), "kubepods-burstable-poda_b.slice");
        assert_eq!(LinuxCgroups::detect(dir.path(), "", Driver::Cgroupfs, false).unwrap().parent(&pod()), "");
    }

    #[test]
    fn pods_come_and_go_in_every_hierarchy() {
        let dir = tempfile::tempdir().unwrap();
        for controller in ["cpu", "memory", "devices"] {
            fs::create_dir(dir.path().join(controller)).unwrap();
        }
        let cgroups = LinuxCgroups::detect(dir.path(), "", Driver::Cgroupfs, true).unwrap();
        assert!(!cgroups.unified());
        cgroups.ensure(&pod(), &PodLimits::default()).unwrap();
        // The runtime makes its own below, also where no limit of ours is.
        fs::create_dir_all(dir.path().join("devices/kubepods/burstable/poda-b/container")).unwrap();
        assert_eq!(cgroups.pods(), ["a-b"]);
        cgroups.remove("a-b").unwrap();
        cgroups.remove("a-b").unwrap();
        assert!(cgroups.pods().is_empty());
    }
}
