//! LimitRanges give containers default resources and refuse pods and claims outside the limits.

use super::{forbidden, is, is_pods};
use crate::pods::{Resources, containers, pod_resources, resources};
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use steersman_apimachinery::{GroupVersionResource, Quantity, Status, object};

/// The plug-in (rule: upstream `plugin/pkg/admission/limitranger`).
#[derive(Debug)]
pub(super) struct LimitRanger;

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        let pods = is_pods(resource, subresource) && operation == Operation::Create;
        let resize = is(resource, "", "pods") && subresource == "resize" && operation == Operation::Update;
        let claims = is(resource, "", "persistentvolumeclaims") && subresource.is_empty();
        pods || resize || (claims && matches!(operation, Operation::Create | Operation::Update))
    }

    async fn admit(&self, a: &mut Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if !is_pods(a.resource, a.subresource) {
            return Ok(());
        }
        let ranges = cluster.list("", "limitranges", a.namespace);
        let Some(pod) = a.object.as_deref_mut() else { return Ok(()) };
        for range in &ranges {
            let (mut requests, mut limits) = (Resources::new(), Resources::new());
            for limit in object::list(range, &["spec", "limits"]).iter().filter(|l| l["type"] == "Container") {
                requests.extend(resources(limit.get("defaultRequest")));
                limits.extend(resources(limit.get("default")));
            }
            fill(pod, &requests, &limits);
        }
        Ok(())
    }

    async fn validate(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let Some(new) = a.object.as_deref() else { return Ok(()) };
        for range in cluster.list("", "limitranges", a.namespace) {
            let mut wrong = Vec::new();
            for limit in object::list(&range, &["spec", "limits"]) {
                let kind = limit["type"].as_str().unwrap_or("");
                if is(a.resource, "", "persistentvolumeclaims") {
                    if kind == "PersistentVolumeClaim" {
                        let requests = resources(new["spec"]["resources"].get("requests"));
                        check(&mut wrong, kind, limit, &requests, &Resources::new(), true);
                    }
                } else if kind == "Container" {
                    for list in ["containers", "initContainers"] {
                        for c in containers(&new["spec"], list) {
                            let of = |which: &str| resources(c["resources"].get(which));
                            check(&mut wrong, kind, limit, &of("requests"), &of("limits"), false);
                        }
                    }
                } else if kind == "Pod" {
                    let of = |which| pod_resources(&new["spec"], which);
                    check(&mut wrong, kind, limit, &of("requests"), &of("limits"), false);
                }
            }
            // What is wrong with several containers alike is told once.
            let mut told = BTreeSet::new();
            wrong.retain(|w: &String| told.insert(w.clone()));
            match wrong.as_slice() {
                [] => {}
                [one] => return Err(forbidden(a, one)),
                many => return Err(forbidden(a, format!("[{}]", many.join(", ")))),
            }
        }
        Ok(())
    }
}

/// Gives every container what it lacks, and notes it in an annotation.
fn fill(pod: &mut Value, requests: &Resources, limits: &Resources) {
    let mut notes = Vec::new();
    for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
        for c in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let name = c["name"].as_str().unwrap_or("").to_owned();
            // Requests first: they are as large as the limits only where the user gave those.
            for (which, defaults, noun) in [("requests", requests, "request"), ("limits", limits, "limit")] {
                let mut set = Resources::new();
                for (k, q) in defaults {
                    if c["resources"][which].get(k).is_none() {
                        c["resources"][which][k] = q.to_string().into();
                        set.insert(k.clone(), q.clone());
                    }
                }
                if !set.is_empty() {
                    notes.push(format!("{} {noun} for {word} {name}", crate::pods::names(&set)));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        object::set(pod, &["metadata", "annotations", "kubernetes.io/limit-ranger"], json!(note));
    }
}

/// Collects what is outside of one limit. Claims are held to their requests alone.
fn check(wrong: &mut Vec<String>, kind: &str, limit: &Value, requests: &Resources, limits: &Resources, claims: bool) {
    for (k, min) in &resources(limit.get("min")) {
        match (requests.get(k), limits.get(k)) {
            (None, _) => wrong.push(format!("minimum {k} usage per {kind} is {min}.  No request is specified")),
            (Some(r), _) if r < min => wrong.push(format!("minimum {k} usage per {kind} is {min}, but request is {r}")),
            (_, Some(l)) if l < min => wrong.push(format!("minimum {k} usage per {kind} is {min}, but limit is {l}")),
            _ => {}
        }
    }
    for (k, max) in &resources(limit.get("max")) {
        let over = |r: &Quantity| format!("maximum {k} usage per {kind} is {max}, but request is {r}");
        match (requests.get(k), limits.get(k)) {
            (Some(r), _) if claims => wrong.extend((r > max).then(|| over(r))),
            (None, _) if claims => {
                wrong.push(format!("maximum {k} usage per {kind} is {max}.  No request is specified"))
            }
            (_, None) => wrong.push(format!("maximum {k} usage per {kind} is {max}.  No limit is specified")),
            (_, Some(l)) if l > max => wrong.push(format!("maximum {k} usage per {kind} is {max}, but limit is {l}")),
            (Some(r), _) if r > max => wrong.push(over(r)),
            _ => {}
        }
    }
    for (k, ratio) in &resources(limit.get("maxLimitRequestRatio")) {
        match (requests.get(k), limits.get(k).filter(|l| !l.is_zero())) {
            (Some(r), Some(l)) if !r.is_zero() => {
                let real = l.as_f64() / r.as_f64();
                if real > ratio.as_f64() {
                    wrong.push(format!(
                        "{k} max limit to request ratio per {kind} is {ratio}, but provided ratio is {real:.6}"
                    ));
                }
            }
            (None, _) => wrong.push(format!(
                "{k} max limit to request ratio per {kind} is {ratio}, but no request is specified or request is 0"
            )),
            (Some(r), _) if r.is_zero() => wrong.push(format!(
                "{k} max limit to request ratio per {kind} is {ratio}, but no request is specified or request is 0"
            )),
            (_, None) => wrong.push(format!(
                "{k} max limit to request ratio per {kind} is {ratio}, but no limit is specified or limit is 0"
            )),
            _ => {}
        }
    }
}
