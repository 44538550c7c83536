//! `status` of pods (rule: pod strategy `podStatusStrategy`).

use super::{INFO, default, drop_disabled, status_validation};
use crate::common::carry_over;
use serde_json::Value;
use std::collections::HashMap;
use std::collections::VecDeque;
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::{Context, ResourceInfo, Strategy};

/// The subresource.
pub struct PodStatus;

impl Strategy for PodStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        default(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
        carry_over(new, old, &["metadata", "deletionTimestamp"]);
        carry_over(new, old, &["metadata", "ownerReferences"]);
        if object::str(new, &["status", "qosClass"]).is_empty() {
            carry_over(new, old, &["status", "qosClass"]);
        }
        keep_observed_generations(new, old);
        drop_disabled(new, Some(old));
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        status_validation::validate(new, old)
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, _old: &Value) {
        for list in ["podIPs", "hostIPs"] {
            for (i, ip) in object::list(new, &["status", list]).iter().enumerate() {
                let at = Path::new("status").child(list).index(i).child("ip");
                for warning in validation::ip_warnings(&at, object::str(ip, &["ip"])) {
                    ctx.warn(warning);
                }
            }
        }
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"]
    }
}

/// Writers that know nothing of `observedGeneration` do not clear it.
fn keep_observed_generations(new: &mut Value, old: &Value) {
    let unset = |v: &Value| object::int(v, &["observedGeneration"]).unwrap_or(0) == 0;
    if new.get("status").is_none_or(unset) && object::get(old, &["status", "observedGeneration"]).is_some() {
        carry_over(new, old, &["status", "observedGeneration"]);
    }
    let mut known: HashMap<&str, VecDeque<i64>> = HashMap::new();
    for c in object::list(old, &["status", "conditions"]) {
        let generation = object::int(c, &["observedGeneration"]).unwrap_or(0);
        known.entry(object::str(c, &["type"])).or_default().push_back(generation);
    }
    let conditions = new.get_mut("status").and_then(|s| s.get_mut("conditions")).and_then(Value::as_array_mut);
    for c in conditions.into_iter().flatten() {
        let was = known.get_mut(object::str(c, &["type"])).and_then(VecDeque::pop_front).unwrap_or(0);
        if unset(c) && was != 0 {
            object::set(c, &["observedGeneration"], was);
        }
    }
}
