//! The two strategies: RollingUpdate and Recreate (rule: `deployment/rolling.go`, `recreate.go`).

use steersman_api::k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use steersman_client::{Action, Object, Result};

use super::{Sync, arithmetic::*, status};
use crate::{context::index, pods};

pub fn is_rolling(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate") == "RollingUpdate"
}

/// By how much each old ReplicaSet may shrink now: first pods that are not available, then available ones as far as
/// the minimum allows (rule: `reconcileOldReplicaSets`). The sets are sorted by age; the answer holds their new sizes.
fn shrink(deployment: &Deployment, new: &ReplicaSet, old: &[ReplicaSet]) -> Vec<i32> {
    let mut sizes: Vec<i32> = old.iter().map(size).collect();
    let minimum = replicas(deployment) - max_unavailable(deployment);
    let new_unavailable = size(new) - available(new);
    let mut may_go = sizes.iter().sum::<i32>() + size(new) - minimum - new_unavailable;
    if may_go <= 0 {
        return sizes;
    }
    for (set, size) in old.iter().zip(&mut sizes) {
        let unhealthy = (*size - available(set)).clamp(0, may_go.max(0));
        *size -= unhealthy;
        may_go -= unhealthy;
    }
    let mut surplus = old.iter().map(available).sum::<i32>() + available(new) - minimum;
    for size in &mut sizes {
        let going = (*size).min(surplus).max(0);
        *size -= going;
        surplus -= going;
    }
    sizes
}

impl Sync<'_> {
    pub async fn roll(mut self) -> Result<Action> {
        self.sync_revision(true).await?;
        let Some(new) = self.new_set().cloned() else { return Ok(Action::Done) };
        let wanted = replicas(&self.deployment);
        let target =
            if size(&new) > wanted { wanted } else { new_size(&self.deployment, total_size(&self.sets), size(&new)) };
        if self.resize(&new, target).await? {
            return self.sync_rollout_status().await;
        }
        let mut old: Vec<_> = self.old_sets().into_iter().filter(|set| size(set) > 0).collect();
        old.sort_by_key(|set| (set.metadata.creation_timestamp.clone(), set.name().to_owned()));
        let mut shrunk = false;
        for (set, to) in old.iter().zip(shrink(&self.deployment, &new, &old)) {
            shrunk |= self.resize(set, to).await?;
        }
        if !shrunk && status::is_complete(&self.deployment, &self.deployment.status.clone().unwrap_or_default()) {
            self.clean_up().await?;
        }
        self.sync_rollout_status().await
    }

    pub async fn recreate(mut self) -> Result<Action> {
        self.sync_revision(false).await?;
        let mut shrunk = false;
        for set in self.old_sets() {
            shrunk |= self.resize(&set, 0).await?;
        }
        if shrunk || self.old_pods_run() {
            return self.sync_rollout_status().await;
        }
        self.sync_revision(true).await?;
        if let Some(new) = self.new_set().cloned() {
            let wanted = replicas(&self.deployment);
            self.resize(&new, wanted).await?;
        }
        if status::is_complete(&self.deployment, &self.deployment.status.clone().unwrap_or_default()) {
            self.clean_up().await?;
        }
        self.sync_rollout_status().await
    }

    fn old_pods_run(&self) -> bool {
        self.old_sets().iter().any(|set| {
            let pods = self.controller.pods.by_index(index::CONTROLLER, set.uid());
            pods.iter().any(|pod| !pods::is_terminal(pod))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shrinks_within_the_minimum() {
        let deployment: Deployment = serde_json::from_value(json!({"spec": {
            "replicas": 10, "selector": {}, "template": {},
            "strategy": {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 2}},
        }}))
        .unwrap();
        let set = |replicas: i32, available: i32| -> ReplicaSet {
            serde_json::from_value(json!({
                "spec": {"replicas": replicas, "selector": {}},
                "status": {"replicas": replicas, "availableReplicas": available},
            }))
            .unwrap()
        };
        let check = |new: (i32, i32), old: &[(i32, i32)], expect: &[i32]| {
            let old: Vec<_> = old.iter().map(|(size, available)| set(*size, *available)).collect();
            assert_eq!(shrink(&deployment, &set(new.0, new.1), &old), expect);
        };
        check((2, 0), &[(10, 10)], &[8]);
        check((4, 0), &[(8, 8)], &[8]);
        check((4, 4), &[(8, 8)], &[4]);
        check((2, 2), &[(5, 0), (5, 5)], &[1, 5]);
        check((10, 10), &[(1, 1)], &[0]);
    }
}
