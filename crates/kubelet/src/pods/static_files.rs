//! Pods from manifest files: each file is one pod (rule: kubelet `config/file.go`).

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{Interest, unix::AsyncFd};

use super::spec::PodExt;
use crate::{
    api::*,
    kubelet::Kubelet,
    names::{CONFIG_HASH, CONFIG_SEEN, CONFIG_SOURCE},
};

/// Events of the folder are let settle this long, since editors write in several steps.
const SETTLE: Duration = Duration::from_millis(50);

/// Follows the folder (or single file) until shutdown. Mistakes are logged; the other files still count.
pub async fn run(k: Arc<Kubelet>, path: PathBuf) {
    let mut known: HashMap<String, Arc<Pod>> = HashMap::new();
    let mut told: BTreeMap<PathBuf, String> = BTreeMap::new();
    loop {
        // Watching begins before reading, so that nothing is missed between the two.
        let watch = watch(&path);
        let (found, errors) = read(&path, &k.node_name);
        for (file, error) in &errors {
            if told.get(file) != Some(error) {
                tracing::error!(file = %file.display(), error, "cannot read a static pod");
            }
        }
        told = errors;
        for (uid, pod) in &found {
            if !known.contains_key(uid) {
                k.workers.update(&k, pod.clone());
            }
        }
        for uid in known.keys().filter(|uid| !found.contains_key(*uid)) {
            k.workers.remove(uid);
        }
        if known.len() != found.len() || found.keys().any(|uid| !known.contains_key(uid)) {
            k.mirrors.set(&k, found.values().cloned().collect());
        }
        known = found;
        k.static_ready.store(true, std::sync::atomic::Ordering::Release);
        tokio::select! {
            () = changed(watch) => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(k.config.file_check_frequency.0) => {}
            () = k.shutdown.cancelled() => return,
        }
    }
}

fn watch(path: &Path) -> Option<AsyncFd<OwnedFd>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
    let wanted = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_DELETE_SELF;
    inotify.add_watch(path, wanted).ok()?;
    // SAFETY: the descriptor is owned by the AsyncFd from here on and nobody else closes or replaces it.
    unsafe { AsyncFd::register_with_interest(inotify.into(), Interest::READABLE) }.ok()
}

/// Without a watch (the folder does not exist yet) only the timer brings news.
async fn changed(watch: Option<AsyncFd<OwnedFd>>) {
    match watch {
        Some(watch) => drop(watch.readable().await),
        None => std::future::pending().await,
    }
}

fn read(path: &Path, node: &str) -> (HashMap<String, Arc<Pod>>, BTreeMap<PathBuf, String>) {
    let (mut found, mut errors) = (HashMap::new(), BTreeMap::new());
    let files = match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
            let mut files: Vec<PathBuf> = entries
                .filter(|p| p.is_file() && !p.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')))
                .collect();
            files.sort();
            files
        }
        Ok(_) => vec![path.to_owned()],
        Err(e) => {
            errors.insert(path.to_owned(), e.to_string());
            return (found, errors);
        }
    };
    for file in files {
        match std::fs::read_to_string(&file).map_err(|e| e.to_string()).and_then(|text| parse(&text, &file, node)) {
            Ok(pod) => {
                found.insert(pod.uid().to_owned(), Arc::new(pod));
            }
            Err(error) => {
                errors.insert(file, error);
            }
        }
    }
    (found, errors)
}

/// Reads one manifest and completes it: uid from its content, name with the node's, defaults.
pub fn parse(text: &str, file: &Path, node: &str) -> Result<Pod, String> {
    let value: Value = crate::yaml::parse(text).map_err(|e| format!("{e:#}"))?;
    let kind = value["kind"].as_str().unwrap_or_default();
    if kind != "Pod" || value["apiVersion"] != "v1" {
        return Err(format!("not a Pod of v1 but {kind:?} of {}", value["apiVersion"]));
    }
    let mut pod: Pod = serde_json::from_value(value).map_err(|e| {
        // The document was fine, one of its fields is not: find where it stands.
        let why = e.to_string();
        let field = why.split('`').nth(1).unwrap_or_default().to_owned();
        let line = text.lines().position(|l| !field.is_empty() && l.contains(&field)).map_or(1, |n| n + 1);
        format!("line {line}: {why}")
    })?;
    let name = pod.metadata.name.clone().filter(|n| !n.is_empty()).ok_or("the pod has no name")?;
    if pod.spec.as_ref().is_none_or(|s| s.containers.is_empty()) {
        return Err("the pod has no containers".into());
    }
    let hash = Sha256::digest([node.as_bytes(), file.as_os_str().as_encoded_bytes(), text.as_bytes()].join(&0));
    let uid = pod.metadata.uid.clone().filter(|u| !u.is_empty());
    let uid = uid.unwrap_or_else(|| hash.iter().take(16).map(|b| format!("{b:02x}")).collect());
    let meta = &mut pod.metadata;
    meta.uid = Some(uid.clone());
    meta.name = Some(format!("{name}-{}", node.to_ascii_lowercase()));
    meta.namespace.get_or_insert_with(|| "default".into());
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(CONFIG_HASH.into(), uid);
    annotations.insert(CONFIG_SOURCE.into(), "file".into());
    annotations.insert(CONFIG_SEEN.into(), super::status::now().to_string());
    complete(pod.spec.get_or_insert_default(), node);
    Ok(pod)
}

/// The defaults that the API server would have filled in and the kubelet relies on.
fn complete(spec: &mut PodSpec, node: &str) {
    spec.node_name = Some(node.to_owned());
    spec.restart_policy.get_or_insert_with(|| "Always".into());
    spec.dns_policy.get_or_insert_with(|| "ClusterFirst".into());
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.enable_service_links.get_or_insert(true);
    // Static pods run whatever taints the node gets.
    spec.tolerations.get_or_insert_default().push(Toleration {
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        ..Default::default()
    });
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        for port in container.ports.iter_mut().flatten() {
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
        let Some(resources) = &mut container.resources else { continue };
        for (name, limit) in resources.limits.clone().into_iter().flatten() {
            resources.requests.get_or_insert_default().entry(name).or_insert(limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: a\n    image: x\n";

    #[test]
    fn a_manifest_becomes_a_pod_of_this_node() {
        let pod = parse(GOOD, Path::new("/m/web.yaml"), "Node1").unwrap();
        assert_eq!((pod.name(), pod.ns(), pod.uid().len()), ("web-node1", "default", 32));
        assert!(pod.is_static());
        let other = parse(&GOOD.replace("image: x", "image: z"), Path::new("/m/web.yaml"), "Node1").unwrap();
        assert_ne!(pod.uid(), other.uid(), "a change makes another pod");
    }

    #[test]
    fn mistakes_name_the_line_and_do_not_hide_the_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        put("good.yaml", GOOD);
        put("broken.yaml", "apiVersion: v1\nkind: Pod\nmetadata: [\n");
        put("service.yaml", "apiVersion: v1\nkind: Service\n");
        put("empty.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: e}\nspec: {containers: []}\n");
        put(".hidden.yaml", "nonsense");
        let (found, errors) = read(dir.path(), "n");
        assert_eq!(found.len(), 1);
        let names: Vec<_> = errors.keys().map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["broken.yaml", "empty.yaml", "service.yaml"]);
        assert!(errors.values().next().unwrap().contains("line"), "{errors:?}");
    }
}
