//! The numbers of a rollout: pure functions of Deployments and ReplicaSets
//! (rule: `deployment/util/deployment_util.go`).

use steersman_api::k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet},
    apimachinery::pkg::util::intstr::IntOrString,
};
use steersman_client::Object;

use super::rollout::is_rolling;

/// The revision of a Deployment's template, on the Deployment and on each of its ReplicaSets.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Earlier revisions of a ReplicaSet that was rolled back to.
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's replicas when its ReplicaSets were last scaled.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The same, with the surge.
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";

pub fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

pub fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

pub fn annotation_number(set: &ReplicaSet, name: &str) -> Option<i32> {
    set.annotations().get(name)?.parse().ok()
}

pub fn revision(set: &ReplicaSet) -> i64 {
    set.annotations().get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A number, or a share of `total`, rounded up or down; what cannot be read counts as nothing.
pub fn scaled(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.strip_suffix('%').and_then(|p| p.parse().ok()).unwrap_or(0);
            let product = percent * i64::from(total);
            (if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) }) as i32
        }
        None => 0,
    }
}

/// Surge and unavailability as numbers; both zero would never move, so one pod may then be unavailable
/// (rule: `ResolveFenceposts`).
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    let rolling = deployment
        .spec
        .as_ref()
        .and_then(|s| s.strategy.as_ref())
        .and_then(|strategy| strategy.rolling_update.as_ref());
    let total = replicas(deployment);
    let surge = scaled(rolling.and_then(|r| r.max_surge.as_ref()), total, true);
    let unavailable = scaled(rolling.and_then(|r| r.max_unavailable.as_ref()), total, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

pub fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) { fenceposts(deployment).0 } else { 0 }
}

pub fn max_unavailable(deployment: &Deployment) -> i32 {
    if !is_rolling(deployment) || replicas(deployment) == 0 {
        return 0;
    }
    fenceposts(deployment).1.min(replicas(deployment))
}

pub fn total_size<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> i32 {
    sets.into_iter().map(size).sum()
}

/// To what size the new ReplicaSet may grow now, being at `current` (rule: `NewRSNewReplicas`).
pub fn new_size(deployment: &Deployment, all_sets_size: i32, current: i32) -> i32 {
    let wanted = replicas(deployment);
    if !is_rolling(deployment) {
        return wanted;
    }
    let limit = wanted + max_surge(deployment);
    if all_sets_size >= limit {
        return current;
    }
    current + (limit - all_sets_size).min(wanted - current)
}

/// The sizes that ReplicaSets get when a Deployment is scaled in the middle of a rollout: in proportion, what is left
/// over goes to the largest (rule: `DeploymentController.scale`). The sets must be active; the answer is in their order.
pub fn proportional_sizes(deployment: &Deployment, sets: &[ReplicaSet]) -> Vec<(usize, i32)> {
    let wanted = replicas(deployment);
    let allowed = if wanted > 0 { wanted + max_surge(deployment) } else { 0 };
    let to_add = allowed - total_size(sets);
    let mut order: Vec<usize> = (0..sets.len()).collect();
    let created = |n: usize| sets[n].metadata.creation_timestamp.clone();
    // Growing, newer sets win ties; shrinking, older ones.
    order.sort_by(|&a, &b| {
        let by_age = if to_add > 0 { created(b).cmp(&created(a)) } else { created(a).cmp(&created(b)) };
        size(&sets[b]).cmp(&size(&sets[a])).then(by_age).then_with(|| sets[a].name().cmp(sets[b].name()))
    });
    let mut added = 0;
    let mut sizes: Vec<(usize, i32)> = Vec::new();
    for n in order {
        let share = if to_add == 0 { 0 } else { proportion(deployment, &sets[n], to_add, added) };
        added += share;
        sizes.push((n, size(&sets[n]) + share));
    }
    if to_add != 0
        && let Some(first) = sizes.first_mut()
    {
        first.1 = (first.1 + to_add - added).max(0);
    }
    sizes
}

fn proportion(deployment: &Deployment, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    if size(set) == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(deployment, set);
    let left = to_add - added;
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

fn fraction(deployment: &Deployment, set: &ReplicaSet) -> i32 {
    let wanted = replicas(deployment);
    if wanted == 0 {
        return -size(set);
    }
    let before = match annotation_number(set, MAX) {
        Some(before) if before != 0 => before,
        _ => deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0),
    };
    if before == 0 {
        return 0;
    }
    let share = f64::from(size(set)) * f64::from(wanted + max_surge(deployment)) / f64::from(before);
    share.round() as i32 - size(set)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(replicas: i32, surge: &str, unavailable: &str) -> Deployment {
        serde_json::from_value(json!({"metadata": {}, "spec": {
            "replicas": replicas, "selector": {}, "template": {},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
        }}))
        .unwrap()
    }

    fn set(name: &str, replicas: i32, max: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": name, "annotations": {MAX: max.to_string()}},
            "spec": {"replicas": replicas, "selector": {}},
        }))
        .unwrap()
    }

    #[test]
    fn surge_rounds_up_and_unavailable_down() {
        let check = |replicas, surge, unavailable, expect| {
            let deployment = deployment(replicas, surge, unavailable);
            assert_eq!((max_surge(&deployment), max_unavailable(&deployment)), expect);
        };
        check(10, "25%", "25%", (3, 2));
        check(3, "25%", "25%", (1, 0));
        check(3, "0%", "10%", (0, 1));
        check(0, "25%", "25%", (0, 0));
        check(2, "100%", "100%", (2, 2));
    }

    #[test]
    fn the_new_set_grows_within_the_surge() {
        let deployment = deployment(10, "30%", "0%");
        let check = |all, current, expect| assert_eq!(new_size(&deployment, all, current), expect);
        check(10, 0, 3);
        check(13, 3, 3);
        check(11, 3, 5);
        check(0, 0, 10);
    }

    #[test]
    fn scaling_in_the_middle_keeps_proportions() {
        let check = |replicas, sets: &[ReplicaSet], expect: &[i32]| {
            let mut sizes = vec![0; sets.len()];
            for (n, size) in proportional_sizes(&deployment(replicas, "0%", "50%"), sets) {
                sizes[n] = size;
            }
            assert_eq!(sizes, expect);
        };
        check(20, &[set("old", 5, 10), set("new", 5, 10)], &[10, 10]);
        check(5, &[set("old", 8, 10), set("new", 2, 10)], &[4, 1]);
        check(0, &[set("old", 8, 10), set("new", 2, 10)], &[0, 0]);
        check(13, &[set("a", 4, 10), set("b", 3, 10), set("c", 3, 10)], &[5, 4, 4]);
    }
}
