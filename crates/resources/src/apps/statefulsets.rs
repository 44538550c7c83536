//! Stateful sets (rule: `pkg/registry/apps/statefulset`).

use crate::common::{
    AGE, NAME, age_cell, carry_over, column, first_generation, next_generation, object_subresource, same,
};
use crate::shared::defaults::{claim_spec, fill, fill_absent, member, members, pod_template};
use crate::shared::print::{self, CONTAINERS, IMAGES};
use crate::shared::workload::{self, SCALE_BY_SELECTOR};
use crate::{ALL, namespaced};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, object, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["sts"],
    categories: ALL,
    ..namespaced("apps", "v1", "statefulsets", "statefulset", "StatefulSet")
};

static COLUMNS: &[Column] =
    &[NAME, column("Ready", "string", "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES];

/// The resource.
pub struct StatefulSets;
/// Its status.
pub struct StatefulSetStatus;

static SUBRESOURCES: &[Subresource] = &[SCALE_BY_SELECTOR, object_subresource("status", &StatefulSetStatus)];

fn default(obj: &mut Value) {
    let spec = object::entry(obj, &["spec"]);
    fill(spec, "podManagementPolicy", "OrderedReady");
    fill_absent(spec, "updateStrategy", json!({}));
    if let Some(strategy) = member(spec, "updateStrategy") {
        fill(strategy, "type", "RollingUpdate");
        if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
            fill_absent(strategy, "rollingUpdate", json!({}));
            if let Some(rolling) = member(strategy, "rollingUpdate") {
                fill_absent(rolling, "partition", 0);
            }
        }
    }
    fill_absent(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
    if let Some(policy) = member(spec, "persistentVolumeClaimRetentionPolicy") {
        fill(policy, "whenDeleted", "Retain");
        fill(policy, "whenScaled", "Retain");
    }
    fill_absent(spec, "replicas", 1);
    fill_absent(spec, "revisionHistoryLimit", 10);
    fill_absent(spec, "template", json!({}));
    pod_template(spec, "template");
    for claim in members(spec, "volumeClaimTemplates") {
        fill(claim, "apiVersion", "v1");
        fill(claim, "kind", "PersistentVolumeClaim");
        fill_absent(claim, "status", json!({}));
        if let Some(status) = member(claim, "status") {
            fill(status, "phase", "Pending");
        }
        fill_absent(claim, "spec", json!({}));
        if let Some(spec) = member(claim, "spec") {
            claim_spec(spec);
        }
    }
}

impl Strategy for StatefulSets {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        default(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({ "replicas": 0, "availableReplicas": 0 }));
        first_generation(obj);
        drop_max_unavailable(obj, None);
        workload::prepare_template(obj, None, &["spec", "template"]);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        drop_max_unavailable(new, Some(old));
        workload::prepare_template(new, Some(old), &["spec", "template"]);
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, ctx: &Context, obj: &Value) -> ErrorList {
        super::validation::stateful_set(ctx, obj, None)
    }
    fn validate_update(&self, ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        super::validation::stateful_set(ctx, new, Some(old))
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        validation::dns_label(name, prefix)
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        workload::warn_about_template(ctx, obj, &["spec", "template"]);
        warn(ctx, obj, "");
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, old: &Value) {
        if !same(new, old, &["metadata", "generation"]) {
            workload::warn_about_template(ctx, new, &["spec", "template"]);
        }
        warn(ctx, new, ".Spec");
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let ready = object::int(obj, &["status", "readyReplicas"]).unwrap_or(0);
        let desired = object::int(obj, &["spec", "replicas"]).unwrap_or(0);
        let [containers, images] = print::containers(object::get(obj, &["spec", "template"]));
        vec![print::name(obj), format!("{ready}/{desired}").into(), age_cell(obj, now), containers, images]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        SUBRESOURCES
    }
}

/// The feature gate `MaxUnavailableStatefulSet` is off: the field is kept only where it already was.
fn drop_max_unavailable(new: &mut Value, old: Option<&Value>) {
    const PATH: &[&str] = &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"];
    if old.is_none_or(|o| object::get(o, PATH).is_none()) {
        object::remove(new, PATH);
    }
}

/// Warns of claims and of the limit of revisions. Upstream's paths of claims are not their real ones: `step` follows the
/// claim's index.
fn warn(ctx: &Context, new: &Value, step: &str) {
    for (i, claim) in object::list(new, &["spec", "volumeClaimTemplates"]).iter().enumerate() {
        if let Some(spec) = object::get(claim, &["spec"]) {
            workload::warn_about_claim(ctx, spec, &format!("spec.volumeClaimTemplates[{i}]{step}"));
        }
    }
    if object::int(new, &["spec", "revisionHistoryLimit"]).is_some_and(|n| n < 0) {
        ctx.warn(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended",
        );
    }
}

impl Strategy for StatefulSetStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        default(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        super::validation::stateful_set_status(new, old)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
