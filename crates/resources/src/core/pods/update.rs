//! What may change in a pod (rule: core validation `ValidatePodUpdate`).

use super::validation::metadata_and_spec;
use crate::shared::pod::{Rules, annotations, internal, scheduling};
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object, validation};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const NOTHING: &Value = &Value::Null;

/// A changed pod.
pub fn validate(new: &Value, old: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let rules = Rules::for_pod(new, Some(old));
    metadata_and_spec(&mut e, new, &rules);
    annotations::pod_annotation_updates(&mut e, new, old, &Path::new("metadata").child("annotations"), &rules);
    let (spec, was, at) = (new.get("spec").unwrap_or(NOTHING), old.get("spec").unwrap_or(NOTHING), Path::new("spec"));
    for list in ["containers", "initContainers"] {
        if !images(&mut e, spec, was, list, &at) {
            return e;
        }
    }
    if !active_deadline(&mut e, spec, was, &at.child("activeDeadlineSeconds")) {
        return e;
    }
    tolerations(&mut e, spec, was, &at.child("tolerations"));
    gates(&mut e, spec, was, &at.child("schedulingGates"));
    if spec == was {
        return e;
    }
    let munged = without_mutable(&mut e, spec, was, &at);
    if munged != *was {
        let diff = internal::diff_specs(was, &munged);
        e.forbidden(
            &at,
            format!(
                "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n{diff}"
            ),
        );
    }
    e
}

/// Images may change, but containers neither come nor go. False: nothing else can be compared.
fn images(e: &mut ErrorList, spec: &Value, was: &Value, list: &str, at: &Path) -> bool {
    let (new, old) = (object::list(spec, &[list]), object::list(was, &[list]));
    let at = at.child(list);
    if new.len() != old.len() {
        e.forbidden(&at, "pod updates may not add or remove containers");
        return false;
    }
    for (i, c) in new.iter().enumerate() {
        let image = object::str(c, &["image"]);
        if image.is_empty() {
            e.required(&at.index(i).child("image"), "");
        }
        if image.trim().len() != image.len() {
            let why = "must not have leading or trailing whitespace";
            e.invalid(&at.index(i).child("image"), image, why);
        }
    }
    true
}

/// The deadline may be set and come nearer. False: what follows does not matter any more.
fn active_deadline(e: &mut ErrorList, spec: &Value, was: &Value, at: &Path) -> bool {
    let of = |s: &Value| object::int(s, &["activeDeadlineSeconds"]);
    match (of(spec), of(was)) {
        (Some(n), _) if !(0..=i64::from(i32::MAX)).contains(&n) => {
            e.invalid(at, n, validation::range_error(0, i64::from(i32::MAX)));
            false
        }
        (Some(n), Some(o)) if o < n => {
            e.invalid(at, n, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            e.invalid(at, NOTHING, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

/// Tolerations may be added, and their seconds may change.
fn tolerations(e: &mut ErrorList, spec: &Value, was: &Value, at: &Path) {
    let (new, old) = (object::list(spec, &["tolerations"]), object::list(was, &["tolerations"]));
    let same = |a: &Value, b: &Value| {
        let text = |t: &Value, key: &str| object::str(t, &[key]).to_owned();
        ["key", "operator", "value", "effect"].iter().all(|k| text(a, k) == text(b, k))
    };
    if old.iter().any(|o| !new.iter().any(|n| same(n, o))) {
        e.forbidden(at, "existing toleration can not be modified except its tolerationSeconds");
        return;
    }
    scheduling::tolerations(e, new, at);
}

/// Gates may only go.
fn gates(e: &mut ErrorList, spec: &Value, was: &Value, at: &Path) {
    let names = |s: &Value| -> Vec<String> {
        object::list(s, &["schedulingGates"]).iter().map(|g| object::str(g, &["name"]).to_owned()).collect()
    };
    let old = names(was);
    for (i, name) in names(spec).iter().enumerate().filter(|(_, n)| !old.contains(n)) {
        let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
        e.forbidden(&at.index(i).child("name"), why);
    }
}

/// The new spec with all that may change put back to what it was.
fn without_mutable(e: &mut ErrorList, spec: &Value, was: &Value, at: &Path) -> Value {
    let mut munged = spec.clone();
    for list in ["containers", "initContainers"] {
        let old = object::list(was, &[list]);
        let new = munged.get_mut(list).and_then(Value::as_array_mut);
        for (c, o) in new.into_iter().flatten().zip(old) {
            crate::common::carry_over(c, o, &["image"]);
        }
    }
    for key in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        crate::common::carry_over(&mut munged, was, &[key]);
    }
    let grace = |s: &Value| object::int(s, &["terminationGracePeriodSeconds"]);
    if grace(was).is_some_and(|n| n < 0) && grace(&munged) == Some(1) {
        crate::common::carry_over(&mut munged, was, &["terminationGracePeriodSeconds"]);
    }
    if !object::list(was, &["schedulingGates"]).is_empty() {
        gated(e, &mut munged, was, at);
    }
    munged
}

/// A pod that is not yet to be scheduled may narrow down where it can go.
fn gated(e: &mut ErrorList, munged: &mut Value, was: &Value, at: &Path) {
    let selector = |s: &Value| s.get("nodeSelector").and_then(Value::as_object).cloned().unwrap_or_default();
    let (new, old) = (selector(munged), selector(was));
    if new != old {
        if old.iter().any(|(k, v)| new.get(k) != Some(v)) {
            let shown = munged.get("nodeSelector").unwrap_or(NOTHING);
            let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            e.invalid(&at.child("nodeSelector"), shown, why);
        }
        crate::common::carry_over(munged, was, &["nodeSelector"]);
    }
    let affinity = |s: &Value| object::get(s, &["affinity", "nodeAffinity"]).cloned();
    if affinity(munged) != affinity(was) {
        if let Some(old) = affinity(was) {
            let new = affinity(munged).unwrap_or_default();
            node_affinity(e, &new, &old, &at.child("affinity").child("nodeAffinity").child(REQUIRED));
        }
        crate::common::carry_over(munged, was, &["affinity", "nodeAffinity"]);
        let left = munged.get("affinity").and_then(Value::as_object).is_some_and(|a| !a.is_empty());
        if !left && was.get("affinity").is_none() {
            object::remove(munged, &["affinity"]);
        }
    }
}

fn node_affinity(e: &mut ErrorList, new: &Value, old: &Value, at: &Path) {
    let terms = |a: &Value| object::list(a, &[REQUIRED, "nodeSelectorTerms"]).to_vec();
    let (new, old) = (terms(new), terms(old));
    let at = at.child("nodeSelectorTerms");
    if !old.is_empty() && old.len() != new.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return e.invalid(&at, Value::from(new), why);
    }
    for (i, (n, o)) in new.iter().zip(&old).enumerate() {
        if !only_adds(n, o) {
            e.invalid(&at.index(i), n, "only additions are allowed (no mutations or deletions)");
        }
    }
}

fn only_adds(new: &Value, old: &Value) -> bool {
    let lists = ["matchExpressions", "matchFields"];
    let of = |t: &Value, l: &str| object::list(t, &[l]).to_vec();
    if lists.iter().all(|l| of(old, l).is_empty()) {
        return lists.iter().all(|l| of(new, l).is_empty());
    }
    lists.iter().all(|l| of(new, l).starts_with(&of(old, l)))
}
