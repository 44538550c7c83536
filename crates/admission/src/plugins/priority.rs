//! The number behind a pod's priority class, and at most one default class.

use super::{forbidden, is, is_pods};
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use steersman_apimachinery::{GroupVersionResource, Status, object};

/// The plug-in (rule: upstream `plugin/pkg/admission/priority`).
#[derive(Debug)]
pub(super) struct Priority;

const GROUP: &str = "scheduling.k8s.io";

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        let writes = matches!(operation, Operation::Create | Operation::Update);
        writes && (is_pods(resource, subresource) || (is(resource, GROUP, "priorityclasses") && subresource.is_empty()))
    }

    async fn admit(&self, a: &mut Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if !is(a.resource, "", "pods") {
            return Ok(());
        }
        if let (Operation::Update, Some(old)) = (a.operation, a.old) {
            // What an update leaves out stays.
            let keep: Vec<(&str, Value)> = ["priority", "preemptionPolicy"]
                .into_iter()
                .filter_map(|k| old["spec"].get(k).map(|v| (k, v.clone())))
                .collect();
            if let Some(new) = a.object.as_deref_mut() {
                for (k, v) in keep {
                    if new["spec"].get(k).is_none() {
                        new["spec"][k] = v;
                    }
                }
            }
            return Ok(());
        }
        let Some(pod) = a.object.as_deref() else { return Ok(()) };
        let name = object::str(pod, &["spec", "priorityClassName"]).to_owned();
        let class = if name.is_empty() { default_class(cluster) } else { Some(self.class(a, cluster, &name).await?) };
        let value = class.as_ref().and_then(|c| c["value"].as_i64()).unwrap_or(0);
        let policy =
            class.as_ref().and_then(|c| c["preemptionPolicy"].as_str()).unwrap_or("PreemptLowerPriority").to_owned();
        if let Some(asked) = object::int(pod, &["spec", "priority"]).filter(|p| *p != value) {
            let why = format!(
                "the integer value of priority ({asked}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
            );
            return Err(forbidden(a, why));
        }
        if let Some(asked) = pod["spec"]["preemptionPolicy"].as_str().filter(|p| *p != policy) {
            let why = format!(
                "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
            );
            return Err(forbidden(a, why));
        }
        if let Some(pod) = a.object.as_deref_mut() {
            if let Some(c) = class {
                pod["spec"]["priorityClassName"] = object::name(&c).into();
            }
            pod["spec"]["priority"] = value.into();
            pod["spec"]["preemptionPolicy"] = policy.into();
        }
        Ok(())
    }

    async fn validate(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if !is(a.resource, GROUP, "priorityclasses") {
            return Ok(());
        }
        let Some(class) = a.object.as_deref().filter(|c| object::bool(c, &["globalDefault"])) else { return Ok(()) };
        match default_class(cluster) {
            Some(other) if object::name(&other) != object::name(class) => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    object::name(&other)
                );
                Err(forbidden(a, why))
            }
            _ => Ok(()),
        }
    }
}

impl Priority {
    async fn class(&self, a: &Attributes<'_>, cluster: &dyn Cluster, name: &str) -> Result<Arc<Value>, Status> {
        if let Some(found) = cluster.get(GROUP, "priorityclasses", "", name) {
            return Ok(found);
        }
        match cluster.get_live(GROUP, "priorityclasses", "", name).await {
            Ok(found) => Ok(Arc::new(found)),
            Err(e) if e.code == 404 => Err(forbidden(a, format!("no PriorityClass with name {name} was found"))),
            Err(e) => Err(e),
        }
    }
}

/// Of several defaults (which a race may leave) the lowest counts.
fn default_class(cluster: &dyn Cluster) -> Option<Arc<Value>> {
    let all = cluster.list(GROUP, "priorityclasses", "");
    all.into_iter().filter(|c| object::bool(c, &["globalDefault"])).min_by_key(|c| c["value"].as_i64().unwrap_or(0))
}
