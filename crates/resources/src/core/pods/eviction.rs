//! `eviction`: deletes a pod where its disruption budget allows it (rule: pod storage `EvictionREST`).

use super::binding::{rfc3339, success};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;
use steersman_apimachinery::options::{DeleteOptions, Propagation};
use steersman_apimachinery::selector::LabelSelector;
use steersman_apimachinery::{GroupResource, Reason, Status, object};
use steersman_registry::{Cluster, Context, CreateSubresource};

/// The subresource.
pub struct PodEviction;

const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// More pods on their way out than a budget may list: its controller has fallen behind.
const MAX_DISRUPTED: usize = 2000;
/// How often a deletion is tried that somebody else's change got in the way of.
const ATTEMPTS: usize = 20;

#[async_trait]
impl CreateSubresource for PodEviction {
    async fn create(
        &self,
        ctx: &Context,
        cluster: &dyn Cluster,
        namespace: &str,
        name: &str,
        body: Value,
        dry_run: bool,
    ) -> Result<Value, Status> {
        if object::name(&body) != name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let asked = delete_options(&body, dry_run);
        let mut attempt = 0;
        let pod = loop {
            attempt += 1;
            let pod = cluster.get_live("", "pods", namespace, name).await?;
            if !needs_no_budget(&pod) {
                break pod;
            }
            let mut options = asked.clone();
            if phase(&pod) == "Pending" && !object::is_deleting(&pod) && options.precondition_resource_version.is_none()
            {
                options.precondition_resource_version = Some(object::resource_version(&pod).to_owned());
            }
            match cluster.delete(ctx, "", "pods", namespace, name, options).await {
                Ok(_) => return Ok(success()),
                Err(s) if s.code == 409 && asked.precondition_resource_version.is_none() && attempt < ATTEMPTS => {}
                Err(s) => return Err(s),
            }
        };
        let budget = match &budgets(cluster, &pod)[..] {
            [] => None,
            [one] => Some(one.clone()),
            _ => {
                return Err(Status::failure(
                    500,
                    Reason::Unknown,
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        };
        let mut options = asked.clone();
        let mut free_of = None;
        if let Some(budget) = budget {
            if does_not_count(&pod, &budget) {
                options.precondition_resource_version.get_or_insert_with(|| object::resource_version(&pod).to_owned());
                free_of = Some(object::name(&budget).to_owned());
            } else {
                spend(ctx, cluster, namespace, name, object::name(&budget), asked.dry_run).await?;
            }
        }
        match cluster.delete(ctx, "", "pods", namespace, name, options).await {
            Err(s) if s.code == 409 && asked.precondition_resource_version.is_none() => {
                Err(free_of.map_or(s, |budget| still_processed(&budget)))
            }
            Err(s) => Err(s),
            Ok(_) => Ok(success()),
        }
    }
}

fn phase(pod: &Value) -> &str {
    object::str(pod, &["status", "phase"])
}

/// A pod that does not run any more, or not yet, is of no use to anyone.
fn needs_no_budget(pod: &Value) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed" | "Pending") || object::is_deleting(pod)
}

fn delete_options(body: &Value, dry_run: bool) -> DeleteOptions {
    let asked = body.get("deleteOptions").unwrap_or(&Value::Null);
    let precondition =
        |key: &str| object::get(asked, &["preconditions", key]).and_then(Value::as_str).map(str::to_owned);
    DeleteOptions {
        dry_run: dry_run || !object::list(asked, &["dryRun"]).is_empty(),
        grace_period_seconds: object::int(asked, &["gracePeriodSeconds"]),
        precondition_uid: precondition("uid"),
        precondition_resource_version: precondition("resourceVersion"),
        orphan_dependents: asked.get("orphanDependents").and_then(Value::as_bool),
        propagation: match object::str(asked, &["propagationPolicy"]) {
            "Orphan" => Some(Propagation::Orphan),
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            _ => None,
        },
    }
}

/// The budgets whose selector picks the pod; an empty selector picks none here.
fn budgets(cluster: &dyn Cluster, pod: &Value) -> Vec<Arc<Value>> {
    let labels = object::get(pod, &["metadata", "labels"]);
    cluster
        .list("policy", "poddisruptionbudgets", object::namespace(pod))
        .into_iter()
        .filter(|budget| {
            LabelSelector::from_object(object::get(budget, &["spec", "selector"]))
                .is_ok_and(|s| !s.is_empty() && s.matches_map(labels))
        })
        .collect()
}

/// Whether the pod is not ready, and so not among those that the budget counts as healthy.
fn does_not_count(pod: &Value, budget: &Value) -> bool {
    let ready = object::list(pod, &["status", "conditions"])
        .iter()
        .any(|c| object::str(c, &["type"]) == "Ready" && object::str(c, &["status"]) == "True");
    let of = |key: &str| object::int(budget, &["status", key]).unwrap_or(0);
    let healthy = of("currentHealthy") >= of("desiredHealthy") && of("desiredHealthy") > 0;
    let always = object::str(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    !ready && (healthy || always)
}

fn still_processed(budget: &str) -> Status {
    let why = format!("The disruption budget {budget} is still being processed by the server.");
    Status::too_many_requests(VIOLATES, 10).with_cause("DisruptionBudget", why, "")
}

/// Takes one disruption from the budget, if it has any left.
async fn spend(
    ctx: &Context,
    cluster: &dyn Cluster,
    namespace: &str,
    pod: &str,
    budget: &str,
    dry_run: bool,
) -> Result<(), Status> {
    if dry_run {
        let mut current = cluster.get_live("policy", "poddisruptionbudgets", namespace, budget).await?;
        return take(&mut current, pod, &rfc3339(ctx.now));
    }
    cluster
        .update(ctx, ("policy", "poddisruptionbudgets", "status"), (namespace, budget), false, &mut |current| {
            take(current, pod, &rfc3339(ctx.now))
        })
        .await
        .map(|_| ())
}

fn take(budget: &mut Value, pod: &str, now: &str) -> Result<(), Status> {
    let name = object::name(budget).to_owned();
    let of = |key: &str| object::int(budget, &["status", key]).unwrap_or(0);
    let generation = object::int(budget, &["metadata", "generation"]).unwrap_or(0);
    if of("observedGeneration") < generation {
        return Err(still_processed(&name));
    }
    let forbidden =
        |why: &str| Status::forbidden(&GroupResource::from_static("policy", "poddisruptionbudget"), &name, why);
    let allowed = of("disruptionsAllowed");
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    let disrupted = object::get(budget, &["status", "disruptedPods"]).and_then(Value::as_object);
    if disrupted.is_some_and(|d| d.len() > MAX_DISRUPTED) {
        return Err(forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller"));
    }
    if allowed == 0 {
        let why = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            of("desiredHealthy"),
            of("currentHealthy")
        );
        return Err(Status::too_many_requests(VIOLATES, 0).with_cause("DisruptionBudget", why, ""));
    }
    object::set(budget, &["status", "disruptionsAllowed"], allowed - 1);
    if allowed == 1 {
        none_left(budget, generation, now);
    }
    object::set(budget, &["status", "disruptedPods", pod], now);
    Ok(())
}

/// The condition of a budget that is spent (rule: component-helpers `UpdateDisruptionAllowedCondition`).
fn none_left(budget: &mut Value, generation: i64, now: &str) {
    let mut condition = json!({
        "type": "DisruptionAllowed",
        "status": "False",
        "reason": "InsufficientPods",
        "message": "",
        "observedGeneration": generation,
        "lastTransitionTime": now,
    });
    let list = object::entry(budget, &["status"]).entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    match list.iter_mut().find(|c| object::str(c, &["type"]) == "DisruptionAllowed") {
        Some(old) => {
            if old["status"] == "False" {
                condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = condition;
        }
        None => list.push(condition),
    }
}
