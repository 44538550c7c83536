//! `resize`: requests and limits of cpu and memory may change while the pod runs
//! (rule: pod strategy `podResizeStrategy`, core validation `ValidatePodResize`).

use super::validation::metadata_and_spec;
use super::{INFO, count_generation, default, drop_disabled, keep_metadata, qos};
use crate::common::carry_over;
use crate::shared::pod::{Rules, annotations, internal};
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_registry::{Context, ResourceInfo, Strategy};

/// The subresource.
pub struct Resize;

const LISTS: [&str; 2] = ["containers", "initContainers"];

fn names<'a>(obj: &'a Value, list: &str) -> Vec<&'a str> {
    object::list(obj, &["spec", list]).iter().map(|c| object::str(c, &["name"])).collect()
}

/// The old spec with the resources and resize policies of the new one. Where containers came, went or moved, it stays
/// as it is, for validation to refuse.
fn drop_other_changes(new: &mut Value, old: &Value) {
    if LISTS.iter().any(|l| names(new, l) != names(old, l)) {
        return;
    }
    let mut spec = old.get("spec").cloned().unwrap_or_default();
    let asked = new.get("spec").cloned().unwrap_or_default();
    carry_over(&mut spec, &asked, &["resources"]);
    for list in LISTS {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for (c, n) in containers.into_iter().flatten().zip(object::list(&asked, &[list])) {
            for key in ["resources", "resizePolicy"] {
                carry_over(c, n, &[key]);
            }
        }
    }
    object::set(new, &["spec"], spec);
    carry_over(new, old, &["status"]);
    keep_metadata(new, old);
}

impl Strategy for Resize {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        default(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        drop_other_changes(new, old);
        drop_disabled(new, Some(old));
        count_generation(new, old);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        validate(new, old)
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status", "metadata.labels", "metadata.annotations"]
    }
}

fn validate(new: &Value, old: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    if object::annotation(old, annotations::MIRROR).is_some() {
        e.forbidden(&Path::root(), "static pods cannot be resized");
        return e;
    }
    if object::str(old, &["spec", "os", "name"]) == "windows" {
        e.forbidden(&Path::root(), "windows pods cannot be resized");
        return e;
    }
    metadata_and_spec(&mut e, new, &Rules::for_pod(new, Some(old)));
    let at = Path::new("spec");
    let class = object::str(old, &["status", "qosClass"]);
    let was = if class.is_empty() { qos::class(old) } else { class };
    if was != qos::class(new) {
        e.invalid(
            &at,
            object::str(new, &["status", "qosClass"]),
            "Pod QOS Class may not change as a result of resizing",
        );
    }
    if !node_supports_it(old) {
        e.forbidden(&at, "Pod running on node without support for resize");
    }
    if !same_containers(&mut e, new, old, &at) {
        return e;
    }
    removals(&mut e, new, old, &at);
    let spec = old.get("spec").unwrap_or(&Value::Null);
    let munged = without_resizes(new, spec);
    if munged != *spec {
        let diff = internal::diff_specs(spec, &munged);
        e.forbidden(&at, format!("only cpu and memory resources are mutable\n{diff}"));
    }
    e
}

/// Nodes that can resize say what their containers have.
fn node_supports_it(old: &Value) -> bool {
    object::list(old, &["status", "containerStatuses"])
        .iter()
        .find(|s| object::get(s, &["state", "running"]).is_some())
        .is_none_or(|s| s.get("resources").is_some())
}

fn same_containers(e: &mut ErrorList, new: &Value, old: &Value, at: &Path) -> bool {
    let before = e.0.len();
    for list in LISTS {
        let (is, was) = (names(new, list), names(old, list));
        let at = at.child(list);
        if is.len() != was.len() {
            e.forbidden(&at, format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (i, _) in is.iter().zip(&was).enumerate().filter(|(_, (a, b))| a != b) {
            e.forbidden(&at.index(i).child("name"), format!("{list} may not be renamed or reordered on resize"));
        }
    }
    e.0.len() == before
}

fn removals(e: &mut ErrorList, new: &Value, old: &Value, at: &Path) {
    let mut check = |is: &Value, was: &Value, at: Path| {
        for (kind, why) in
            [("requests", "resource requests cannot be removed"), ("limits", "resource limits cannot be removed")]
        {
            let of = |v: &Value| {
                object::get(v, &["resources", kind]).and_then(Value::as_object).cloned().unwrap_or_default()
            };
            let is = of(is);
            if of(was).keys().any(|k| !is.contains_key(k)) {
                e.forbidden(&at.child(kind), why);
            }
        }
    };
    for list in LISTS {
        let of = |o| object::list(o, &["spec", list]);
        for (i, (is, was)) in of(new).iter().zip(of(old)).enumerate() {
            check(is, was, at.child(list).index(i).child("resources"));
        }
    }
    let spec = |o: &Value| o.get("spec").cloned().unwrap_or_default();
    check(&spec(new), &spec(old), at.child("resources"));
}

/// The new spec with cpu, memory and resize policies as they were.
fn without_resizes(new: &Value, was: &Value) -> Value {
    let mut spec = new.get("spec").cloned().unwrap_or_default();
    restore(&mut spec, was);
    for list in LISTS {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for (c, old) in containers.into_iter().flatten().zip(object::list(was, &[list])) {
            restore(c, old);
            carry_over(c, old, &["resizePolicy"]);
        }
    }
    spec
}

fn restore(holder: &mut Value, old: &Value) {
    for kind in ["requests", "limits"] {
        for name in ["cpu", "memory"] {
            if object::get(holder, &["resources", kind, name]).is_some()
                || object::get(old, &["resources", kind, name]).is_some()
            {
                carry_over(holder, old, &["resources", kind, name]);
            }
        }
        let emptied =
            object::get(holder, &["resources", kind]).and_then(Value::as_object).is_some_and(serde_json::Map::is_empty);
        if emptied && object::get(old, &["resources", kind]).is_none() {
            object::remove(holder, &["resources", kind]);
        }
    }
    if old.get("resources").is_none()
        && holder.get("resources").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
    {
        object::remove(holder, &["resources"]);
    }
}
