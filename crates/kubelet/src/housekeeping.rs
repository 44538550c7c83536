//! What is done now and then: evicting pods when the node runs short, removing images nobody uses, turning logs over.

use std::{path::Path, sync::Arc, time::Duration};

use steersman_apimachinery::Quantity;

use crate::kubelet::Kubelet;

mod eviction;
mod images;
mod log_rotation;

/// How often the node is looked at.
const PERIOD: Duration = Duration::from_secs(10);

/// Runs until shutdown.
pub async fn run(k: Arc<Kubelet>) {
    let mut evictions = eviction::Manager::default();
    let mut images = images::Collector::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = k.shutdown.cancelled() => return,
        }
        k.share_among_classes();
        evictions.look(&k).await;
        log_rotation::look(&k).await;
        images.look(&k).await;
    }
}

/// A limit given as an amount or as a part of the whole, in the unit of `whole`.
fn threshold(text: &str, whole: u64) -> Option<u64> {
    if let Some(percent) = text.strip_suffix('%') {
        return percent.parse::<f64>().ok().map(|p| (whole as f64 * p / 100.0) as u64);
    }
    text.parse::<Quantity>().ok().and_then(|q| u64::try_from(q.value()).ok())
}

/// Bytes that the files below a folder take on disk.
pub fn disk_usage(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|e| Some((e.path(), e.metadata().ok()?)))
        .map(|(path, meta)| meta.blocks() * 512 + if meta.is_dir() { disk_usage(&path) } else { 0 })
        .sum()
}
