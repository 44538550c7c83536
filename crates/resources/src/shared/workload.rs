//! What the kinds with pod templates do alike: the scale subresource, fields of features that are off, warnings.

use super::defaults::{member, members, service_account_name};
use super::{pod_warnings, volume_warnings};
use crate::GET_PATCH_UPDATE;
use serde_json::{Map, Value};
use steersman_apimachinery::{Path, object, validation};
use steersman_registry::{Context, ScalePaths, SubBehaviour, Subresource};

static PATHS: ScalePaths = ScalePaths {
    spec_replicas: &["spec", "replicas"],
    status_replicas: &["status", "replicas"],
    selector: &["spec", "selector"],
};

/// The scale of a workload.
pub const SCALE_BY_SELECTOR: Subresource = Subresource {
    name: "scale",
    kind: ("autoscaling", "v1", "Scale"),
    verbs: GET_PATCH_UPDATE,
    behaviour: SubBehaviour::Scale(&PATHS),
};

/// Readies the template at `path` for storage: the deprecated `serviceAccount` says what `serviceAccountName` says, and
/// fields of features that are off go, unless `old` has them (rule: `DropDisabledTemplateFields`).
pub fn prepare_template(new: &mut Value, old: Option<&Value>, path: &[&str]) {
    let old_spec = old.and_then(|o| object::get(o, path)).and_then(|t| t.get("spec"));
    if object::get(new, path).is_none_or(|t| t.get("spec").is_none()) {
        return;
    }
    let template = object::entry(new, path);
    if let Some(spec) = member(template, "spec") {
        drop_disabled(spec, old_spec);
        service_account_name(spec);
    }
}

/// Takes away what belongs to features that are off, unless the old spec has it.
pub fn drop_disabled(spec: &mut Map<String, Value>, old: Option<&Value>) {
    let used = |list: &str, path: &[&str]| {
        old.is_some_and(|o| object::list(o, &[list]).iter().any(|c| object::get(c, path).is_some()))
    };
    if old.is_none_or(|o| o.get("schedulingGroup").is_none()) {
        spec.remove("schedulingGroup");
    }
    drop_stop_signals(spec, old);
    if spec.get("volumes").is_none() {
        return;
    }
    let projects = |kind: &str| {
        old.is_some_and(|o| {
            object::list(o, &["volumes"])
                .iter()
                .flat_map(|v| object::list(v, &["projected", "sources"]))
                .any(|s| s.get(kind).is_some())
        })
    };
    let in_use = used("volumes", &["projected"]);
    for volume in members(spec, "volumes") {
        let Some(projected) = member(volume, "projected") else { continue };
        for source in members(projected, "sources") {
            for kind in ["clusterTrustBundle", "podCertificate"] {
                if source.contains_key(kind) && !(in_use && projects(kind)) {
                    source.remove(kind);
                }
            }
        }
    }
}

/// The feature gate `ContainerStopSignals` is off; a lifecycle that says nothing else goes with the signal.
fn drop_stop_signals(spec: &mut Map<String, Value>, old: Option<&Value>) {
    const LISTS: [&str; 2] = ["containers", "initContainers"];
    let signal = |c: &Value| object::get(c, &["lifecycle", "stopSignal"]).is_some();
    if old.is_some_and(|o| LISTS.iter().any(|list| object::list(o, &[list]).iter().any(signal))) {
        return;
    }
    for list in LISTS {
        for container in members(spec, list) {
            let Some(lifecycle) = member(container, "lifecycle") else { continue };
            if lifecycle.remove("stopSignal").is_some() && lifecycle.is_empty() {
                container.remove("lifecycle");
            }
        }
    }
}

/// Warns of a name that is no DNS label, for kinds whose pods are named after them.
pub fn warn_about_name(ctx: &Context, obj: &Value) {
    let wrong = validation::dns_label(object::name(obj), false);
    if !wrong.is_empty() {
        ctx.warn(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
}

/// Warns of what is odd in the template at `path`.
pub fn warn_about_template(ctx: &Context, new: &Value, path: &[&str]) {
    if let Some(template) = object::get(new, path) {
        let at = path.iter().fold(Path::root(), |p, step| p.child(step));
        pod_warnings::warn(ctx, template, &at, true);
    }
}

/// Warns of what is odd in the spec of a claim.
pub fn warn_about_claim(ctx: &Context, spec: &Value, path: &str) {
    volume_warnings::claim(ctx, spec, &Path::new(path));
}
