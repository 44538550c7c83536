//! Images that no container uses are removed when the disk fills up (rule: kubelet `images/image_gc_manager.go`).

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use steersman_cri::v1;

use crate::{kubelet::Kubelet, node::facts};

/// How often the disk is looked at.
const PERIOD: Duration = Duration::from_secs(300);

/// Remembers when images were first seen and last used.
#[derive(Default)]
pub(super) struct Collector {
    last: Option<Instant>,
    seen: HashMap<String, (Instant, Instant)>,
}

impl Collector {
    pub(super) async fn look(&mut self, k: &Arc<Kubelet>) {
        if self.last.is_some_and(|t| t.elapsed() < PERIOD) {
            return;
        }
        self.last = Some(Instant::now());
        if let Err(error) = self.collect(k).await {
            tracing::warn!(%error, "cannot look after images");
        }
    }

    async fn collect(&mut self, k: &Kubelet) -> steersman_cri::Result<()> {
        let images = k.runtime.list_images(None).await?;
        let containers = k.runtime.list_containers(None).await?;
        let used: HashSet<&str> = containers.iter().map(|c| c.image_ref.as_str()).collect();
        let now = Instant::now();
        self.seen.retain(|id, _| images.iter().any(|i| i.id == *id));
        for image in &images {
            let times = self.seen.entry(image.id.clone()).or_insert((now, now));
            if used.contains(image.id.as_str()) {
                times.1 = now;
            }
        }
        let usage = k.runtime.image_fs_info().await?;
        let mount = usage.image_filesystems.first().and_then(|f| f.fs_id.as_ref()).map(|f| f.mountpoint.clone());
        let Some(fs) = mount.as_deref().and_then(|m| facts::file_system(Path::new(m))) else { return Ok(()) };
        let percent = 100 - fs.available * 100 / fs.capacity.max(1);
        if percent < u64::from(k.config.image_gc_high_threshold_percent) {
            return Ok(());
        }
        let target = fs.capacity * (100 - u64::from(k.config.image_gc_low_threshold_percent)) / 100;
        let mut missing = target.saturating_sub(fs.available);
        let mut unused: Vec<&v1::Image> = images
            .iter()
            .filter(|i| !used.contains(i.id.as_str()) && !i.pinned)
            .filter(|i| {
                self.seen.get(&i.id).is_some_and(|(first, _)| first.elapsed() > k.config.image_minimum_gc_age.0)
            })
            .collect();
        unused.sort_by_key(|i| self.seen.get(&i.id).map(|(_, last)| *last));
        for image in unused {
            if missing == 0 {
                break;
            }
            k.runtime.remove_image(v1::ImageSpec { image: image.id.clone(), ..Default::default() }).await?;
            tracing::info!(image = image.id, bytes = image.size, "removed an image to free disk space");
            missing = missing.saturating_sub(image.size);
        }
        Ok(())
    }
}
