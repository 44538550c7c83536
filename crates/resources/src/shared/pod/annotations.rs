//! Annotations that are older than the fields they became (rule: core validation `ValidatePodSpecificAnnotations`).

use super::{Rules, every_container, security, volumes::descending_path};
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object};

/// On pods made of a manifest file by the kubelet.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The annotation of the pod's profile.
pub const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// How annotations of containers' profiles begin.
pub const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// Followed by the container's name.
pub const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

fn annotations(obj: &Value) -> impl Iterator<Item = (&str, &str)> {
    object::get(obj, &["metadata", "annotations"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default()))
}

/// Whether the deletion cost is no number that upstream accepts: 32 bits, no sign `+`, no leading zeros.
pub fn deletion_cost_error(obj: &Value) -> bool {
    object::annotation(obj, DELETION_COST).is_some_and(|cost| {
        let leading_zero = cost.len() > 1 && cost.trim_start_matches('-').starts_with('0') && cost != "0";
        cost.starts_with('+') || leading_zero || cost.parse::<i32>().is_err()
    })
}

/// The annotations of a pod or template `obj` with the spec `spec`; `at` is the path of the annotations.
pub fn pod_annotations(e: &mut ErrorList, obj: &Value, spec: &Value, at: &Path, rules: &Rules<'_>) {
    if annotations(obj).next().is_none() {
        return;
    }
    if let Some(mirror) = object::annotation(obj, MIRROR)
        && object::str(spec, &["nodeName"]).is_empty()
    {
        e.invalid(&at.key(MIRROR), mirror, "must set spec.nodeName if mirror pod annotation is set");
    }
    if let Some(text) = object::annotation(obj, TOLERATIONS).filter(|t| !t.is_empty()) {
        match serde_json::from_str::<Vec<Value>>(text) {
            Ok(list) => super::scheduling::tolerations(e, &list, &at.child(TOLERATIONS)),
            Err(why) => e.invalid(at, TOLERATIONS, why),
        }
    }
    if !rules.allow_bad_deletion_cost && deletion_cost_error(obj) {
        let cost = object::annotation(obj, DELETION_COST).unwrap_or_default();
        e.invalid(&at.key(DELETION_COST), cost, "must be a 32bit integer");
    }
    if let Some(profile) = object::annotation(obj, SECCOMP_POD) {
        seccomp_profile(e, profile, &at.child(SECCOMP_POD));
    }
    for (key, profile) in annotations(obj).filter(|(k, _)| k.starts_with(SECCOMP_CONTAINER)) {
        seccomp_profile(e, profile, &at.child(key));
    }
    for (key, profile) in annotations(obj) {
        let Some(name) = key.strip_prefix(APPARMOR) else { continue };
        if !every_container(spec, &Path::root()).iter().any(|(_, c)| object::str(c, &["name"]) == name) {
            e.invalid(&at.key(key), name, "container not found");
        }
        if !["", "runtime/default", "unconfined"].contains(&profile) && !profile.starts_with("localhost/") {
            e.invalid(&at.key(key), profile, format_args!("invalid AppArmor profile name: {profile:?}"));
        }
    }
}

fn seccomp_profile(e: &mut ErrorList, profile: &str, at: &Path) {
    if ["runtime/default", "docker/default", "unconfined"].contains(&profile) {
        return;
    }
    match profile.strip_prefix("localhost/") {
        Some(path) => descending_path(e, path, at),
        None => e.invalid(at, profile, "must be a valid seccomp profile"),
    }
}

/// Annotations of AppArmor and of mirror pods stay as they are (rule: `ValidatePodSpecificAnnotationUpdates`).
pub fn pod_annotation_updates(e: &mut ErrorList, new: &Value, old: &Value, at: &Path, rules: &Rules<'_>) {
    for (key, was) in annotations(old).filter(|(k, v)| object::annotation(new, k) != Some(v)) {
        let _ = was;
        if key.starts_with(APPARMOR) {
            e.forbidden(&at.key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            e.forbidden(&at.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in annotations(new).filter(|(k, _)| object::annotation(old, k).is_none()) {
        if key.starts_with(APPARMOR) {
            e.forbidden(&at.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            e.forbidden(&at.key(key), "may not add mirror pod annotation");
        }
    }
    pod_annotations(e, new, new.get("spec").unwrap_or(&Value::Null), at, rules);
}

/// Where both the seccomp annotation and the field are there, they say the same.
pub fn seccomp_matches(e: &mut ErrorList, obj: &Value, spec: &Value, at: &Path) {
    let mut check = |key: &str, field: Option<&Value>, path: &dyn Fn() -> Path| {
        let (Some(annotation), Some(field)) = (object::annotation(obj, key), field) else { return };
        let profile = object::str(field, &["localhostProfile"]);
        let kind_matches = match object::str(field, &["type"]) {
            "Unconfined" => annotation == "unconfined",
            "RuntimeDefault" => ["runtime/default", "docker/default"].contains(&annotation),
            "Localhost" => annotation.starts_with("localhost/"),
            _ => true,
        };
        if !kind_matches {
            e.forbidden(&path().child("type"), "seccomp type in annotation and field must match");
        } else if annotation.strip_prefix("localhost/").is_some_and(|p| p != profile) {
            e.forbidden(&path().child("localhostProfile"), "seccomp profile in annotation and field must match");
        }
    };
    check(SECCOMP_POD, object::get(spec, &["securityContext", "seccompProfile"]), &|| {
        at.child("securityContext").child("seccompProfile")
    });
    if annotations(obj).any(|(k, _)| k.starts_with(SECCOMP_CONTAINER)) {
        for (path, c) in every_container(spec, at) {
            let key = format!("{SECCOMP_CONTAINER}{}", object::str(c, &["name"]));
            check(&key, object::get(c, &["securityContext", "seccompProfile"]), &|| {
                path.child("securityContext").child("seccompProfile")
            });
        }
    }
}

/// Where both the AppArmor annotation and the field are there, they say the same; not for Windows.
pub fn apparmor_matches(e: &mut ErrorList, obj: &Value, spec: &Value, at: &Path) {
    if object::str(spec, &["os", "name"]) == "windows" || !annotations(obj).any(|(k, _)| k.starts_with(APPARMOR)) {
        return;
    }
    let of_pod = object::get(spec, &["securityContext", "appArmorProfile"]);
    for (path, c) in every_container(spec, at) {
        let field = object::get(c, &["securityContext", "appArmorProfile"]).or(of_pod);
        let key = format!("{APPARMOR}{}", object::str(c, &["name"]));
        let (Some(annotation), Some(field)) = (object::annotation(obj, &key), field) else { continue };
        let path = path.child("securityContext").child("appArmorProfile");
        let matches = match object::str(field, &["type"]) {
            "Unconfined" => annotation == "unconfined",
            "RuntimeDefault" => annotation == "runtime/default",
            "Localhost" => annotation.starts_with("localhost/"),
            _ => true,
        };
        if !matches {
            e.forbidden(&path.child("type"), "apparmor type in annotation and field must match");
        } else if annotation.strip_prefix("localhost/").is_some_and(|p| p != object::str(field, &["localhostProfile"]))
        {
            e.forbidden(&path.child("localhostProfile"), "apparmor profile in annotation and field must match");
        }
    }
}

/// The field that an AppArmor annotation means, where it means anything
/// (rule: pod strategy `applyAppArmorVersionSkew`).
pub fn apparmor_field(annotation: &str) -> Option<Value> {
    let field = match annotation {
        "unconfined" => serde_json::json!({ "type": "Unconfined" }),
        "runtime/default" => serde_json::json!({ "type": "RuntimeDefault" }),
        _ => serde_json::json!({ "type": "Localhost", "localhostProfile": annotation.strip_prefix("localhost/")? }),
    };
    let mut e = ErrorList::new();
    security::apparmor_profile(&mut e, &field, &Path::root());
    e.is_empty().then_some(field)
}
