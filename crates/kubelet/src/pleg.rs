//! Noticing what the runtime does by itself: containers that end, sandboxes that are lost, pods nobody wants
//! (rule: kubelet `pleg/generic.go`).

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use jiff::Timestamp;
use steersman_cri::v1;

use crate::{kubelet::Kubelet, names::label, pods::worker::remove_remains};

/// How often the runtime is asked when it does not send events.
const PERIOD: Duration = Duration::from_secs(1);
/// How often it is asked when it does.
const PERIOD_WITH_EVENTS: Duration = Duration::from_secs(300);
/// Folders and cgroups are looked through with every so many lists, or when a list brings news.
const HOUSEKEEPING: u64 = 10;
/// A runtime that has not answered for this long is broken, in seconds.
const HEALTHY_WITHIN: i64 = 180;

/// When the runtime answered last.
#[derive(Default)]
pub struct Pleg {
    answered: AtomicI64,
}

impl Pleg {
    /// `None` while all is well.
    pub fn error(&self) -> Option<String> {
        let last = self.answered.load(Ordering::Relaxed);
        if last == 0 {
            return Some("pleg has yet to be successful".into());
        }
        let ago = Timestamp::now().as_second() - last;
        (ago > HEALTHY_WITHIN).then(|| format!("pleg was last seen active {ago}s ago; threshold is {HEALTHY_WITHIN}s"))
    }
}

type States = HashMap<String, (String, i32)>;

/// Follows the runtime until shutdown.
pub async fn run(k: Arc<Kubelet>) {
    let mut known = States::new();
    let mut orphans: HashMap<String, u32> = HashMap::new();
    let mut events = k.runtime.events().await.ok();
    for round in 0_u64.. {
        match relist(&k).await {
            Ok(states) => {
                k.pleg.answered.store(Timestamp::now().as_second(), Ordering::Relaxed);
                for uid in changed(&known, &states) {
                    k.workers.poke(&uid);
                }
                if states != known || round.is_multiple_of(HOUSEKEEPING) {
                    adopt_or_remove(&k, &states, &mut orphans);
                }
                known = states;
            }
            Err(error) => tracing::warn!(%error, "cannot list what the container runtime has"),
        }
        let period = if events.is_some() { PERIOD_WITH_EVENTS } else { PERIOD };
        let next = async {
            match &mut events {
                Some(stream) => stream.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = k.shutdown.cancelled() => return,
            event = next => match event {
                Some(Ok(event)) => {
                    let uid = event.pod_sandbox_status.as_ref().and_then(|s| s.metadata.as_ref()).map(|m| m.uid.clone());
                    k.workers.poke(&uid.unwrap_or_default());
                }
                // Runtimes without events end the stream at once.
                _ => events = None,
            },
        }
    }
}

async fn relist(k: &Kubelet) -> steersman_cri::Result<States> {
    let (sandboxes, containers) =
        tokio::try_join!(k.runtime.list_pod_sandboxes(None), k.runtime.list_containers(None))?;
    let uid = |labels: &HashMap<String, String>| labels.get(label::POD_UID).cloned().unwrap_or_default();
    let sandboxes = sandboxes.into_iter().map(|s: v1::PodSandbox| (s.id, (uid(&s.labels), s.state)));
    // Numbers of the two kinds of state must not be mistaken for each other; ids never are.
    let containers = containers.into_iter().map(|c| (c.id, (uid(&c.labels), 10 + c.state)));
    Ok(sandboxes.chain(containers).filter(|(_, (uid, _))| !uid.is_empty()).collect())
}

fn changed(before: &States, now: &States) -> Vec<String> {
    let came = now.iter().filter(|(id, state)| before.get(*id) != Some(state)).map(|(_, (uid, _))| uid);
    let went = before.iter().filter(|(id, _)| !now.contains_key(*id)).map(|(_, (uid, _))| uid);
    let mut uids: Vec<String> = came.chain(went).cloned().collect();
    uids.sort();
    uids.dedup();
    uids
}

/// Removes what belongs to no pod. Sources must have been heard first, and a pod that is just being made gets time.
fn adopt_or_remove(k: &Arc<Kubelet>, states: &States, orphans: &mut HashMap<String, u32>) {
    if !k.sources_ready() {
        return;
    }
    let mut uids: Vec<String> = states.values().map(|(uid, _)| uid.clone()).collect();
    let dirs = std::fs::read_dir(k.folders.pods()).into_iter().flatten().flatten();
    uids.extend(dirs.map(|d| d.file_name().to_string_lossy().into_owned()));
    uids.extend(k.cgroups.pods());
    uids.sort();
    uids.dedup();
    uids.retain(|uid| !k.workers.knows(uid));
    orphans.retain(|uid, _| uids.contains(uid));
    for uid in uids {
        let seen = orphans.entry(uid.clone()).or_default();
        *seen += 1;
        // Twice in a row, then now and then, in case a removal failed.
        if *seen % 30 != 2 {
            continue;
        }
        tracing::info!(pod = uid, "removing what is left of a pod that is gone");
        let k = k.clone();
        tokio::spawn(async move { remove_orphan(&k, &uid).await });
    }
}

async fn remove_orphan(k: &Arc<Kubelet>, uid: &str) {
    let Ok(seen) = crate::runtime::observed::observe(k.runtime.as_ref(), uid).await else { return };
    for run in seen.running() {
        let grace =
            run.status.annotations.get(crate::names::annotation::GRACE).and_then(|g| g.parse().ok()).unwrap_or(30);
        if let Err(error) = k.runtime.stop_container(run.id(), Duration::from_secs(grace)).await {
            tracing::debug!(pod = uid, %error, "cannot stop a container yet");
        }
    }
    if k.workers.knows(uid) {
        return;
    }
    remove_remains(k, uid).await;
    let dir = k.folders.pod(uid);
    let cleaned = steersman_volumes::tear_down(k.host.as_ref(), &dir).await.map_err(|e| e.to_string());
    let cleaned = cleaned.and_then(|()| k.cgroups.remove(uid).map_err(|e| e.to_string()));
    match cleaned {
        Ok(()) => drop(std::fs::remove_dir_all(dir)),
        Err(error) => tracing::debug!(pod = uid, error, "cannot clean up yet"),
    }
    let logs = std::fs::read_dir(&k.folders.pod_logs).into_iter().flatten().flatten();
    for entry in logs.filter(|e| e.file_name().to_string_lossy().ends_with(&format!("_{uid}"))) {
        // Logs of a pod that nobody knows are of no use; a failure is met again with the next housekeeping.
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_their_pods() {
        let states = |list: &[(&str, &str, i32)]| -> States {
            list.iter().map(|(id, uid, s)| ((*id).to_owned(), ((*uid).to_owned(), *s))).collect()
        };
        let before = states(&[("a", "p1", 11), ("b", "p2", 11), ("c", "p3", 11)]);
        let now = states(&[("a", "p1", 11), ("b", "p2", 12), ("d", "p4", 10)]);
        assert_eq!(changed(&before, &now), ["p2", "p3", "p4"]);
        assert!(changed(&now, &now).is_empty());
    }
}
