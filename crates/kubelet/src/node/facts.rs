//! What the machine says about itself.

use std::{fs, net::IpAddr, path::Path};

use nix::{sys::statvfs::statvfs, sys::utsname::uname};

/// Facts that do not change while the kubelet runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Processors.
    pub cpus: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of swap.
    pub swap: i64,
    /// Bytes of the file system that holds the root folder.
    pub disk: i64,
    /// Huge pages: name of the resource and bytes.
    pub huge_pages: Vec<(String, i64)>,
    /// Id of the installation.
    pub machine_id: String,
    /// Id of the hardware.
    pub system_uuid: String,
    /// Id of this boot.
    pub boot_id: String,
    /// Version of the kernel.
    pub kernel: String,
    /// Name of the operating system.
    pub os_image: String,
    /// `amd64`, `arm64`, …
    pub architecture: &'static str,
    /// Name and version of the runtime, as `containerd://1.6.20`.
    pub runtime: String,
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).ok().and_then(|t| t.lines().next().map(|l| l.trim().to_owned())).unwrap_or_default()
}

fn meminfo(text: &str, key: &str) -> i64 {
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|l| l.split_whitespace().next()?.parse::<i64>().ok()).unwrap_or(0) * 1024
}

impl Facts {
    /// Looks around. `machine_ids` are files that may hold the machine id, `boot_id` the one with the boot id.
    pub fn gather(root: &Path, machine_ids: &[String], boot_id: &str, runtime: String) -> Self {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let uname = uname();
        let kernel = uname.map(|u| u.release().to_string_lossy().into_owned()).unwrap_or_default();
        let disk = statvfs(root).map_or(0, |s| i64::try_from(s.blocks() * s.fragment_size()).unwrap_or(i64::MAX));
        let machine_id = machine_ids.iter().map(|f| first_line(f)).find(|id| !id.is_empty()).unwrap_or_default();
        let system_uuid = first_line("/sys/class/dmi/id/product_uuid");
        Facts {
            cpus: std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1)),
            memory: meminfo(&memory, "MemTotal"),
            swap: meminfo(&memory, "SwapTotal"),
            disk,
            huge_pages: huge_pages(Path::new("/sys/kernel/mm/hugepages")),
            system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid },
            machine_id,
            boot_id: first_line(boot_id),
            kernel,
            os_image: os_image(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
            runtime,
        }
    }
}

fn os_image(text: &str) -> String {
    let name = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Unknown".into(), |n| n.trim_matches('"').to_owned())
}

fn huge_pages(dir: &Path) -> Vec<(String, i64)> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(kib) = name.strip_prefix("hugepages-").and_then(|n| n.strip_suffix("kB")?.parse::<i64>().ok()) else {
            continue;
        };
        let pages: i64 = first_line(&entry.path().join("nr_hugepages").to_string_lossy()).parse().unwrap_or(0);
        let size = if kib % (1 << 20) == 0 {
            format!("{}Gi", kib >> 20)
        } else if kib % 1024 == 0 {
            format!("{}Mi", kib >> 10)
        } else {
            format!("{kib}Ki")
        };
        out.push((format!("hugepages-{size}"), pages * kib * 1024));
    }
    out.sort();
    out
}

/// The name of this host, in lower case.
pub fn hostname() -> String {
    let name = nix::unistd::gethostname().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    name.trim().to_ascii_lowercase()
}

/// The address that packets to the outside would have: that of the interface with the default route, else the first
/// one that is not for this host alone.
pub fn default_ip() -> Option<IpAddr> {
    let route = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|s| {
        // Nothing is sent: the kernel only chooses a source address.
        s.connect("192.0.2.1:9")?;
        s.local_addr()
    });
    if let Ok(address) = route
        && !address.ip().is_unspecified()
    {
        return Some(address.ip());
    }
    let all = nix::ifaddrs::getifaddrs().ok()?;
    all.filter_map(|i| i.address?.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()))).find(|ip| !ip.is_loopback())
}

/// Free and total bytes and inodes of the file system that holds `path`.
pub fn file_system(path: &Path) -> Option<FileSystem> {
    let s = statvfs(path).ok()?;
    Some(FileSystem {
        available: s.blocks_available() * s.fragment_size(),
        capacity: s.blocks() * s.fragment_size(),
        inodes_free: s.files_available(),
        inodes: s.files(),
    })
}

/// How full a file system is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileSystem {
    /// Bytes free for everybody.
    pub available: u64,
    /// Bytes in all.
    pub capacity: u64,
    /// Inodes free for everybody.
    pub inodes_free: u64,
    /// Inodes in all.
    pub inodes: u64,
}

/// Bytes of memory that could be given out now.
pub fn available_memory() -> i64 {
    meminfo(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemAvailable")
}
