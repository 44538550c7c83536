//! What a new pod gets from the server (rule: pod strategy `PrepareForCreate`).

use crate::shared::pod::annotations::{APPARMOR, apparmor_field};
use crate::shared::pod_warnings::old_apparmor;
use serde_json::{Map, Value, json};
use steersman_apimachinery::{Path, object};
use steersman_registry::Context;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The condition of gated pods, label keys merged into selectors, and AppArmor fields of annotations.
pub fn prepare(ctx: &Context, obj: &mut Value) {
    gated_condition(ctx, obj);
    merge_label_keys(obj);
    apparmor_fields(ctx, obj);
}

fn gated_condition(ctx: &Context, obj: &mut Value) {
    if object::list(obj, &["spec", "schedulingGates"]).is_empty() {
        return;
    }
    let condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
        "lastProbeTime": null,
        "lastTransitionTime": super::binding::rfc3339(ctx.now),
    });
    object::set(obj, &["status", "conditions"], vec![condition]);
}

/// What `matchLabelKeys` and `mismatchLabelKeys` mean for a pod with these labels, as part of the selectors.
fn merge_label_keys(obj: &mut Value) {
    let labels = object::get(obj, &["metadata", "labels"]).and_then(Value::as_object).cloned().unwrap_or_default();
    let Some(spec) = obj.get_mut("spec") else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(terms) = spec.get_mut("affinity").and_then(|a| a.get_mut(kind)) else { continue };
        for weighted in terms.get_mut(PREFERRED).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                merge_into(term, &labels);
            }
        }
        for term in terms.get_mut(REQUIRED).and_then(Value::as_array_mut).into_iter().flatten() {
            merge_into(term, &labels);
        }
    }
    for constraint in spec.get_mut("topologySpreadConstraints").and_then(Value::as_array_mut).into_iter().flatten() {
        merge_into(constraint, &labels);
    }
}

fn merge_into(term: &mut Value, labels: &Map<String, Value>) {
    let mut added = Vec::new();
    for (list, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in object::list(term, &[list]).iter().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                added.push(json!({ "key": key, "operator": operator, "values": [value] }));
            }
        }
    }
    if added.is_empty() {
        return;
    }
    if let Some(selector) = term.get_mut("labelSelector").and_then(Value::as_object_mut)
        && let Value::Array(list) = selector.entry("matchExpressions").or_insert_with(|| json!([]))
    {
        list.extend(added);
    }
}

/// AppArmor fields for pods that still only have the annotations.
fn apparmor_fields(ctx: &Context, obj: &mut Value) {
    let annotations: Vec<(String, String)> = object::get(obj, &["metadata", "annotations"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.strip_prefix(APPARMOR)?.to_owned(), v.as_str()?.to_owned())))
        .collect();
    if annotations.is_empty() || object::str(obj, &["spec", "os", "name"]) == "windows" {
        return;
    }
    let of_pod = object::get(obj, &["spec", "securityContext", "appArmorProfile"]).cloned();
    let at = Path::new("metadata").child("annotations");
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let containers = obj.get_mut("spec").and_then(|s| s.get_mut(list)).and_then(Value::as_array_mut);
        for c in containers.into_iter().flatten() {
            let name = object::str(c, &["name"]).to_owned();
            let Some((_, annotation)) = annotations.iter().find(|(n, _)| *n == name) else { continue };
            if object::get(c, &["securityContext", "appArmorProfile"]).is_some() {
                continue;
            }
            match apparmor_field(annotation) {
                Some(field) if Some(&field) == of_pod.as_ref() => continue,
                Some(field) => object::set(c, &["securityContext", "appArmorProfile"], field),
                None => {}
            }
            ctx.warn(old_apparmor(&at, &format!("{APPARMOR}{name}")));
        }
    }
}
