//! Validation of the workloads (rule: `pkg/apis/apps/validation`).

use crate::common::same;
use crate::shared::claim_template;
use crate::shared::internal::Type::{Int, Plain, Pointer, Text};
use crate::shared::internal::{Field, Show, ShowSelector};
use crate::shared::pod::{self, Rules};
use crate::shared::rules::{
    at_most_100_percent, does_not_match, int_or_percent, int_or_percent_value, none_negative, not_decremented,
    not_negative, selects,
};
use serde_json::{Value, json};
use steersman_apimachinery::selector::LabelSelector;
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::Context;

const ROLLING: &[Field] = &[Field("maxUnavailable", Int), Field("maxSurge", Int)];
const STRATEGY: &[Field] = &[Field("type", Text), Field("rollingUpdate", Pointer(ROLLING))];
const STATEFUL_ROLLING: &[Field] = &[Field("partition", Int), Field("maxUnavailable", Plain)];
const STATEFUL_STRATEGY: &[Field] = &[Field("type", Text), Field("rollingUpdate", Pointer(STATEFUL_ROLLING))];
const MORE_THAN_REPLICAS: &str = "cannot be greater than status.replicas";
const NOTHING: &Value = &Value::Null;

fn spec_of(obj: &Value) -> &Value {
    obj.get("spec").unwrap_or(NOTHING)
}
/// The selector; `null` is none.
fn selector_of(spec: &Value) -> Option<&Value> {
    spec.get("selector").filter(|s| !s.is_null())
}
fn status_of(obj: &Value) -> &Value {
    obj.get("status").unwrap_or(NOTHING)
}

/// A deployment.
pub fn deployment(_ctx: &Context, obj: &Value, old: Option<&Value>) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, at) = (spec_of(obj), Path::new("spec"));
    not_negative(&mut e, spec, "replicas", &at);
    selector_and_template(&mut e, spec, old, &at);
    strategy(&mut e, spec.get("strategy").unwrap_or(NOTHING), &at.child("strategy"));
    none_negative(&mut e, spec, &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"], &at);
    if let Some(deadline) = object::int(spec, &["progressDeadlineSeconds"])
        && deadline <= object::int(spec, &["minReadySeconds"]).unwrap_or(0)
    {
        e.invalid(&at.child("progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds");
    }
    immutable_selector(&mut e, obj, old);
    e
}

/// A replica set. Upstream checks the spec of a changed one twice, and tells its mistakes twice.
pub fn replica_set(_ctx: &Context, obj: &Value, old: Option<&Value>) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, at) = (spec_of(obj), Path::new("spec"));
    for _ in 0..=usize::from(old.is_some()) {
        none_negative(&mut e, spec, &["replicas", "minReadySeconds"], &at);
        selector_and_template(&mut e, spec, old, &at);
    }
    immutable_selector(&mut e, obj, old);
    e
}

fn selector_and_template(e: &mut ErrorList, spec: &Value, old: Option<&Value>, at: &Path) {
    strict_selector(e, spec, "deployment", at);
    let template = spec.get("template").unwrap_or(NOTHING);
    let at = at.child("template");
    match LabelSelector::from_object(selector_of(spec)) {
        Err(_) => {
            e.invalid(&at_selector(), selector_of(spec).unwrap_or(NOTHING), "invalid label selector");
            return;
        }
        Ok(s) if !s.is_empty() && !selects(selector_of(spec), template) => does_not_match(e, template, &at),
        Ok(_) => {}
    }
    replica_template(e, template, old.and_then(|o| object::get(o, &["spec", "template"])), &at);
}

/// The template of pods that are replaced when they end (rule: `ValidatePodTemplateSpecForReplicaSet`).
pub fn replica_template(e: &mut ErrorList, template: &Value, old: Option<&Value>, at: &Path) {
    pod::template(e, template, at, &Rules::for_template(old));
    always_restarted(e, template, "ReplicaSet", at);
}

fn always_restarted(e: &mut ErrorList, template: &Value, kind: &str, at: &Path) {
    let at = at.child("spec");
    let policy = object::str(template, &["spec", "restartPolicy"]);
    if policy != "Always" {
        e.not_supported(&at.child("restartPolicy"), policy, &["Always"]);
    }
    if object::get(template, &["spec", "activeDeadlineSeconds"]).is_some() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        e.forbidden(&at.child("activeDeadlineSeconds"), why);
    }
}

fn at_selector() -> Path {
    Path::new("spec").child("selector")
}

fn strict_selector(e: &mut ErrorList, spec: &Value, kind: &str, at: &Path) {
    let at = at.child("selector");
    let Some(selector) = selector_of(spec) else { return e.required(&at, "") };
    validation::label_selector(e, Some(selector), true, &at);
    not_empty(e, selector, kind, &at);
}

fn not_empty(e: &mut ErrorList, selector: &Value, kind: &str, at: &Path) {
    if selector.as_object().is_none_or(serde_json::Map::is_empty) {
        e.invalid(at, json!({}), format_args!("empty selector is invalid for {kind}"));
    }
}

/// Selectors of the group's first version on may not change.
fn immutable_selector(e: &mut ErrorList, obj: &Value, old: Option<&Value>) {
    if let Some(old) = old {
        let selector = |o| selector_of(spec_of(o));
        if selector(obj) != selector(old) {
            e.invalid(&at_selector(), ShowSelector(selector(obj)), validation::FIELD_IMMUTABLE);
        }
    }
}

fn strategy(e: &mut ErrorList, strategy: &Value, at: &Path) {
    let at_rolling = at.child("rollingUpdate");
    match (object::str(strategy, &["type"]), strategy.get("rollingUpdate")) {
        ("Recreate", Some(_)) => {
            e.forbidden(&at_rolling, "may not be specified when strategy `type` is 'Recreate'");
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => e.required(&at_rolling, "this should be defaulted and never be nil"),
        ("RollingUpdate", Some(rolling)) => {
            let of = |key: &str| rolling.get(key).cloned().unwrap_or_else(|| json!(0));
            let (unavailable, surge) = (of("maxUnavailable"), of("maxSurge"));
            let path = at_rolling.child("maxUnavailable");
            int_or_percent(e, &unavailable, &path);
            int_or_percent(e, &surge, &at_rolling.child("maxSurge"));
            if int_or_percent_value(&unavailable) == 0 && int_or_percent_value(&surge) == 0 {
                e.invalid(&path, &unavailable, "may not be 0 when `maxSurge` is 0");
            }
            at_most_100_percent(e, &unavailable, &path);
        }
        _ => e.not_supported_in_order(at, Show(STRATEGY, strategy), &["Recreate", "RollingUpdate"]),
    }
}

/// The status of a deployment.
pub fn deployment_status(new: &Value, old: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (status, at) = (status_of(new), Path::new("status"));
    none_negative(
        &mut e,
        status,
        &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ],
        &at,
    );
    not_more(
        &mut e,
        status,
        &["updatedReplicas", "readyReplicas", "availableReplicas"],
        "cannot be greater than readyReplicas",
        &at,
    );
    not_decremented(&mut e, status, status_of(old), "collisionCount", &at);
    e
}

/// None of the counts is above `replicas`, and no more are available than ready.
fn not_more(e: &mut ErrorList, status: &Value, counts: &[&str], more_than_ready: &str, at: &Path) {
    let of = |key: &str| object::int(status, &[key]).unwrap_or(0);
    for key in counts {
        if of(key) > of("replicas") {
            e.invalid(&at.child(key), of(key), MORE_THAN_REPLICAS);
        }
    }
    if of("availableReplicas") > of("readyReplicas") {
        e.invalid(&at.child("availableReplicas"), of("availableReplicas"), more_than_ready);
    }
}

/// The status of a replica set or replication controller.
pub fn replica_set_status(new: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (status, at) = (status_of(new), Path::new("status"));
    none_negative(
        &mut e,
        status,
        &[
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "terminatingReplicas",
            "observedGeneration",
        ],
        &at,
    );
    not_more(
        &mut e,
        status,
        &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        "cannot be greater than readyReplicas",
        &at,
    );
    e
}

/// A stateful set.
pub fn stateful_set(_ctx: &Context, obj: &Value, old: Option<&Value>) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, at) = (spec_of(obj), Path::new("spec"));
    match object::str(spec, &["podManagementPolicy"]) {
        "OrderedReady" | "Parallel" => {}
        "" => e.required(&at.child("podManagementPolicy"), ""),
        other => e.invalid(&at.child("podManagementPolicy"), other, "must be 'OrderedReady' or 'Parallel'"),
    }
    stateful_strategy(&mut e, spec.get("updateStrategy").unwrap_or(NOTHING), &at.child("updateStrategy"));
    if let Some(policy) = spec.get("persistentVolumeClaimRetentionPolicy") {
        for key in ["whenDeleted", "whenScaled"] {
            let value = object::str(policy, &[key]);
            if !["Retain", "Delete"].contains(&value) {
                let path = at.child("persistentVolumeClaimRetentionPolicy").child(key);
                e.not_supported_in_order(&path, value, &["Retain", "Delete"]);
            }
        }
    }
    none_negative(&mut e, spec, &["replicas", "minReadySeconds"], &at);
    if let Some(start) = object::int(spec, &["ordinals", "start"]) {
        validation::nonnegative(&mut e, start, &at.child("ordinals.start"));
    }
    let service = object::str(spec, &["serviceName"]);
    if !service.is_empty() && old.is_none_or(|o| object::str(o, &["spec", "serviceName"]) != service) {
        pod::say(&mut e, || at.child("serviceName"), service, validation::dns_label(service, false));
    }
    strict_selector(&mut e, spec, "statefulset", &at);
    let claims = object::list(spec, &["volumeClaimTemplates"]);
    if old.is_none() {
        for (i, claim) in claims.iter().enumerate() {
            let at = at.child("volumeClaimTemplates").index(i).child("spec");
            claim_template::claim_spec(&mut e, claim.get("spec").unwrap_or(NOTHING), &at);
        }
    }
    match LabelSelector::from_object(selector_of(spec)) {
        Err(_) => e.invalid(&at_selector(), selector_of(spec).unwrap_or(NOTHING), ""),
        Ok(selector) => stateful_template(&mut e, spec, &selector, old, &at.child("template")),
    }
    always_restarted(&mut e, spec.get("template").unwrap_or(NOTHING), "StatefulSet", &at.child("template"));
    if let Some(old) = old {
        stateful_update(&mut e, spec, spec_of(old));
    }
    e
}

fn stateful_strategy(e: &mut ErrorList, strategy: &Value, at: &Path) {
    let rolling = strategy.get("rollingUpdate");
    match object::str(strategy, &["type"]) {
        "" => e.required(at, ""),
        "OnDelete" => {
            if let Some(rolling) = rolling {
                let why = "only allowed for updateStrategy 'RollingUpdate'";
                e.invalid(&at.child("rollingUpdate"), Show(STATEFUL_ROLLING, rolling), why);
            }
        }
        "RollingUpdate" => {
            let at = at.child("rollingUpdate");
            let Some(rolling) = rolling else { return };
            not_negative(e, rolling, "partition", &at);
            if let Some(max) = rolling.get("maxUnavailable") {
                let path = at.child("maxUnavailable");
                int_or_percent(e, max, &path);
                if int_or_percent_value(max) == 0 {
                    e.invalid(&path, max, "cannot be 0");
                }
                at_most_100_percent(e, max, &path);
            }
        }
        _ => e.invalid(at, Show(STATEFUL_STRATEGY, strategy), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

/// The template, with the claims of the set as the volumes that they will be.
fn stateful_template(e: &mut ErrorList, spec: &Value, selector: &LabelSelector, old: Option<&Value>, at: &Path) {
    let template = spec.get("template").unwrap_or(NOTHING);
    if !selector.is_empty() && !selects(selector_of(spec), template) {
        does_not_match(e, template, at);
    }
    let old_template = old.and_then(|o| object::get(o, &["spec", "template"]));
    let rules = Rules::for_template(old_template);
    let claims = object::list(spec, &["volumeClaimTemplates"]);
    if claims.is_empty() {
        return pod::template(e, template, at, &rules);
    }
    let claimed: Vec<Value> = claims
        .iter()
        .map(|c| {
            let name = object::name(c);
            json!({ "name": name, "persistentVolumeClaim": { "claimName": format!("{name}-0") } })
        })
        .collect();
    let own = object::list(template, &["spec", "volumes"]);
    let replaced = |v: &&Value| !claimed.iter().any(|c| c["name"] == v["name"]);
    let volumes: Vec<Value> = claimed.iter().chain(own.iter().filter(replaced)).cloned().collect();
    let mut template = template.clone();
    object::set(&mut template, &["spec", "volumes"], volumes);
    pod::template(e, &template, at, &rules);
}

fn stateful_update(e: &mut ErrorList, new: &Value, old: &Value) {
    const MUTABLE: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let keys = |v: &Value| v.as_object().into_iter().flat_map(|m| m.keys().cloned()).collect::<Vec<_>>();
    let changed = keys(new).iter().chain(&keys(old)).any(|k| !MUTABLE.contains(&k.as_str()) && !same(new, old, &[k]));
    if changed {
        e.forbidden(
            &Path::new("spec"),
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        );
    }
}

/// The status of a stateful set.
pub fn stateful_set_status(new: &Value, old: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (status, at) = (status_of(new), Path::new("status"));
    none_negative(
        &mut e,
        status,
        &[
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
            "collisionCount",
        ],
        &at,
    );
    not_more(
        &mut e,
        status,
        &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"],
        "cannot be greater than status.readyReplicas",
        &at,
    );
    not_decremented(&mut e, status, status_of(old), "collisionCount", &at);
    e
}

/// A daemon set. Upstream checks the spec of a changed one twice, and tells its mistakes twice.
pub fn daemon_set(_ctx: &Context, obj: &Value, old: Option<&Value>) -> ErrorList {
    let mut e = ErrorList::new();
    for _ in 0..=usize::from(old.is_some()) {
        daemon_spec(&mut e, spec_of(obj), old);
    }
    immutable_selector(&mut e, obj, old);
    e
}

fn daemon_spec(e: &mut ErrorList, spec: &Value, old: Option<&Value>) {
    let at = Path::new("spec");
    let template = spec.get("template").unwrap_or(NOTHING);
    validation::label_selector(e, selector_of(spec), true, &at.child("selector"));
    if !selects(selector_of(spec), template) {
        does_not_match(e, template, &at.child("template"));
    }
    if let Some(selector) = selector_of(spec) {
        not_empty(e, selector, "daemonset", &at.child("selector"));
    }
    let old_template = old.and_then(|o| object::get(o, &["spec", "template"]));
    pod::template(e, template, &at.child("template"), &Rules::for_template(old_template));
    always_restarted(e, template, "DaemonSet", &at.child("template"));
    not_negative(e, spec, "minReadySeconds", &at);
    daemon_strategy(e, spec.get("updateStrategy").unwrap_or(NOTHING), &at.child("updateStrategy"));
    not_negative(e, spec, "revisionHistoryLimit", &at);
}

fn daemon_strategy(e: &mut ErrorList, strategy: &Value, at: &Path) {
    match object::str(strategy, &["type"]) {
        "OnDelete" => {}
        "RollingUpdate" => {
            let at = at.child("rollingUpdate");
            let Some(rolling) = strategy.get("rollingUpdate") else { return e.required(&at, "") };
            let of = |key: &str| rolling.get(key).cloned().unwrap_or_else(|| json!(0));
            let (unavailable, surge) = (of("maxUnavailable"), of("maxSurge"));
            for check in [int_or_percent, at_most_100_percent] {
                check(e, &unavailable, &at.child("maxUnavailable"));
                check(e, &surge, &at.child("maxSurge"));
            }
            match (int_or_percent_value(&unavailable) != 0, int_or_percent_value(&surge) != 0) {
                (true, true) => {
                    e.invalid(&at.child("maxSurge"), &surge, "may not be set when maxUnavailable is non-zero");
                }
                (false, false) => e.required(&at.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
                _ => {}
            }
        }
        _ => e.not_supported_in_order(at, Show(STRATEGY, strategy), &["RollingUpdate", "OnDelete"]),
    }
}

/// The status of a daemon set.
pub fn daemon_set_status(new: &Value, old: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (status, at) = (status_of(new), Path::new("status"));
    none_negative(
        &mut e,
        status,
        &[
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ],
        &at,
    );
    not_decremented(&mut e, status, status_of(old), "collisionCount", &at);
    e
}

/// A controller revision.
pub fn controller_revision(obj: &Value, old: Option<&Value>) -> ErrorList {
    let mut e = ErrorList::new();
    let data = |o: &Value| o.get("data").filter(|d| !d.is_null()).cloned();
    if data(obj).is_none() {
        e.required(&Path::new("data"), "data is mandatory");
    }
    not_negative(&mut e, obj, "revision", &Path::root());
    if let Some(old) = old {
        validation::immutable(&mut e, data(obj).as_ref(), data(old).as_ref(), &Path::new("data"));
    }
    e
}
