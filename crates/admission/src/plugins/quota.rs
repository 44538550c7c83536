//! ResourceQuotas: what a new or grown object uses must fit, and is booked at once
//! (rule: apiserver `plugin/resourcequota`, upstream `pkg/quota/v1/evaluator/core`).

mod usage;

use super::forbidden;
use crate::pods::Resources;
use crate::{Attributes, Cluster, Context, Operation, Plugin};
use async_trait::async_trait;
use serde_json::{Value, json};
use steersman_apimachinery::{GroupVersionResource, Quantity, Status, object};

/// The plug-in.
#[derive(Debug)]
pub(super) struct ResourceQuota;

#[async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        match operation {
            Operation::Create => subresource.is_empty(),
            Operation::Update => {
                (subresource.is_empty() && usage::grows(resource))
                    || (super::is(resource, "", "pods") && subresource == "resize")
            }
            _ => false,
        }
    }

    async fn validate(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let Some(new) = a.object.as_deref() else { return Ok(()) };
        if a.namespace.is_empty() || super::is(a.resource, "", "namespaces") || usage::uncounted(a.resource) {
            return Ok(());
        }
        let quotas = cluster.list("", "resourcequotas", a.namespace);
        if quotas.is_empty() {
            return Ok(());
        }
        let mut delta = usage::of(a.resource, new);
        if let (Operation::Update, Some(old)) = (a.operation, a.old) {
            for (k, q) in usage::of(a.resource, old) {
                match delta.get_mut(&k) {
                    Some(have) => have.sub(&q),
                    None => continue,
                }
            }
            delta.retain(|_, q| q.sign() > 0);
        }
        let negative: Vec<&str> = delta.iter().filter(|(_, q)| q.sign() < 0).map(|(k, _)| k.as_str()).collect();
        if !negative.is_empty() {
            return Err(forbidden(a, format!("quota usage is negative for resource(s): {}", negative.join(","))));
        }
        let mut bookings = Vec::new();
        for quota in quotas {
            if !usage::scopes_match(&quota, a.resource, new) {
                continue;
            }
            let hard = hard(&quota);
            if a.operation == Operation::Create {
                let missing = usage::missing(a.resource, new, &hard);
                if !missing.is_empty() {
                    return Err(forbidden(
                        a,
                        format!("failed quota: {}: must specify {missing}", object::name(&quota)),
                    ));
                }
            }
            let mine: Resources = delta
                .iter()
                .filter(|(k, q)| hard.contains_key(*k) && q.sign() > 0)
                .map(|(k, q)| (k.clone(), q.clone()))
                .collect();
            if !mine.is_empty() {
                bookings.push((quota, mine));
            }
        }
        // Nothing is booked anywhere if one of several refuses.
        if bookings.len() > 1 {
            for (quota, mine) in &bookings {
                self.book(a, cluster, object::name(quota), mine, true).await?;
            }
        }
        for (quota, mine) in &bookings {
            self.book(a, cluster, object::name(quota), mine, a.dry_run).await?;
        }
        Ok(())
    }
}

/// What a quota limits to: its status as the controller confirmed it. One that it has not seen yet limits nothing.
fn hard(quota: &Value) -> Resources {
    crate::pods::resources(quota["status"].get("hard"))
}

/// What a quota says is used, with `delta` more; refuses what does not fit.
fn booked(a: &Attributes<'_>, quota: &Value, delta: &Resources) -> Result<Resources, Status> {
    let name = object::name(quota);
    let hard = hard(quota);
    let used = crate::pods::resources(quota["status"].get("used"));
    let unknown: Vec<&str> =
        delta.keys().filter(|k| hard.contains_key(*k) && !used.contains_key(*k)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(forbidden(a, format!("status unknown for quota: {name}, resources: {}", unknown.join(","))));
    }
    let (mut over, mut booked) = (Resources::new(), used.clone());
    for (k, q) in delta {
        let (Some(limit), Some(have)) = (hard.get(k), booked.get_mut(k)) else { continue };
        have.add(q);
        if *have > *limit {
            over.insert(k.clone(), q.clone());
        }
    }
    if over.is_empty() {
        return Ok(booked);
    }
    let pick = |from: &Resources| {
        over.keys().filter_map(|k| from.get(k).map(|q| (k.clone(), q.clone()))).collect::<Resources>()
    };
    let why = format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        pretty(&over),
        pretty(&pick(&used)),
        pretty(&pick(&hard))
    );
    Err(forbidden(a, why))
}

impl ResourceQuota {
    /// Adds `delta` to the quota's use, or refuses; a dry run only asks.
    async fn book(
        &self,
        a: &Attributes<'_>,
        cluster: &dyn Cluster,
        name: &str,
        delta: &Resources,
        dry_run: bool,
    ) -> Result<(), Status> {
        let mut change = |quota: &mut Value| {
            let booked = booked(a, quota, delta)?;
            quota["status"]["used"] =
                booked.iter().map(|(k, q)| (k.clone(), json!(q.to_string()))).collect::<serde_json::Map<_, _>>().into();
            Ok(())
        };
        let ctx = Context::loopback();
        cluster.update(&ctx, ("", "resourcequotas", "status"), (a.namespace, name), dry_run, &mut change).await?;
        Ok(())
    }
}

fn pretty(r: &Resources) -> String {
    let show = |(k, q): (&String, &Quantity)| format!("{k}={q}");
    r.iter().map(show).collect::<Vec<_>>().join(",")
}
