//! Nodes that have the pod's images are liked, by the images' size and how widely they are spread.

use super::{MAX_SCORE, Score};
use crate::node::{ImageId, NodeInfo};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

const MIB: i64 = 1024 * 1024;
/// Below it an image is quick to pull.
const MIN: i64 = 23 * MIB;
/// For each container: more does not count.
const MAX: i64 = 1000 * MIB;

struct ImageLocality {
    /// Image, and its bytes times the share of nodes that have it.
    images: Vec<(ImageId, i64)>,
}

pub(super) fn score(pod: &PodInfo, cluster: &Snapshot, _: &[&NodeInfo]) -> Option<Box<dyn Score>> {
    let all = cluster.nodes.len().max(1) as f64;
    let scaled = |i: &ImageId| {
        let (bytes, nodes) = cluster.images.get(i).copied().unwrap_or((0, 0));
        (*i, (bytes as f64 * (nodes as f64 / all)) as i64)
    };
    Some(Box::new(ImageLocality { images: pod.images.iter().map(scaled).collect() }))
}

impl Score for ImageLocality {
    fn score(&self, _: &PodInfo, node: &NodeInfo, _: usize) -> i64 {
        let found = self.images.iter().filter(|(i, _)| node.has_image(*i)).map(|(_, scaled)| scaled);
        let max = MAX * self.images.len() as i64;
        let sum = found.sum::<i64>().clamp(MIN, max.max(MIN));
        if max <= MIN { 0 } else { MAX_SCORE * (sum - MIN) / (max - MIN) }
    }
}
