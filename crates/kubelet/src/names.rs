//! Names that the outside depends on: labels and annotations of containers, folders and files.

use std::path::{Path, PathBuf};

/// Labels of sandboxes and containers.
pub mod label {
    /// Name of the pod.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// Namespace of the pod.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// Uid of the pod.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// Name of the container.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
}

/// Annotations of containers.
pub mod annotation {
    /// Hash of the parts of the specification whose change restarts the container.
    pub const HASH: &str = "io.kubernetes.container.hash";
    /// How often the container was restarted.
    pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
    /// Where the container leaves its last words, inside.
    pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    /// What to do when it left none.
    pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    /// Grace period of the pod in seconds.
    pub const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
    /// The hook to run before the container is stopped, as JSON.
    pub const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
}

/// Where a pod came from: `api`, `file` or `http`.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// Hash of a static pod's manifest.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// When a static pod was read.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
/// Marks a mirror pod; its value is the hash of the static pod it shows.
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// The folders of one kubelet.
#[derive(Debug, Clone)]
pub struct Folders {
    /// `--root-dir`.
    pub root: PathBuf,
    /// Container logs, one folder for each pod.
    pub pod_logs: PathBuf,
    /// Links to container logs under flat names.
    pub container_logs: PathBuf,
}

impl Folders {
    /// `podLogsDir` names the logs of pods; the flat links stand in `containers` beside it.
    pub fn new(root: &Path, pod_logs: &Path) -> Self {
        let beside = pod_logs.parent().unwrap_or(Path::new("/var/log")).join("containers");
        Folders { root: root.to_owned(), pod_logs: pod_logs.to_owned(), container_logs: beside }
    }

    /// All pods.
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// One pod.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    /// The file that becomes `/etc/hosts`.
    pub fn hosts(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("etc-hosts")
    }

    /// What belongs to one container: its termination messages.
    pub fn container(&self, uid: &str, name: &str) -> PathBuf {
        self.pod(uid).join("containers").join(name)
    }

    /// Logs of one pod.
    pub fn logs(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.pod_logs.join(format!("{namespace}_{name}_{uid}"))
    }

    /// The flat link to a container's log (rule: kuberuntime `legacyLogSymlink`); file names end at 255 bytes.
    pub fn log_link(&self, namespace: &str, pod: &str, container: &str, id: &str) -> PathBuf {
        let mut name = format!("{pod}_{namespace}_{container}");
        let room = 255 - "-.log".len() - id.len();
        while name.len() > room {
            name.pop();
        }
        self.container_logs.join(format!("{name}-{id}.log"))
    }
}

/// The log of a container's n-th run, relative to its pod's log folder.
pub fn log_path(container: &str, restarts: u32) -> String {
    format!("{container}/{restarts}.log")
}
