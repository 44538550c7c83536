//! Validation of jobs and cron jobs (rule: `pkg/apis/batch/validation`).

use super::{cron, job_status, policies};
use crate::checks::Raw;
use crate::shared::internal::Type::{List, Plain, Pointer, Text};
use crate::shared::internal::{Field, Show, ShowSelector};
use crate::shared::pod::{self, Rules};
use crate::shared::rules::{does_not_match, none_negative, not_negative, selects, unchanged};
use serde_json::Value;
use steersman_apimachinery::field::{Shown, go_quote};
use steersman_apimachinery::selector::LabelSelector;
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::Context;

/// The internal struct of a success policy.
pub const SUCCESS_POLICY: &[Field] =
    &[Field("rules", List(&[Field("succeededIndexes", Plain), Field("succeededCount", Plain)]))];
const FAILURE_RULE: &[Field] = &[
    Field("action", Text),
    Field("onExitCodes", Pointer(&[Field("containerName", Plain), Field("operator", Text), Field("values", Plain)])),
    Field("onPodConditions", List(&[Field("type", Text), Field("status", Text)])),
];
const FAILURE_POLICY: &[Field] = &[Field("rules", List(FAILURE_RULE))];
const NOTHING: &Value = &Value::Null;

/// How many indexes a job may have before further limits hold.
const MANY_COMPLETIONS: i64 = 100_000;
const MAX_PARALLELISM: i64 = 100_000;
const MAX_FAILED_INDEXES: i64 = 100_000;
const MAX_WITH_MANY: i64 = 10_000;

/// `spec.completions`.
pub fn completions(spec: &Value) -> Option<i64> {
    object::int(spec, &["completions"])
}

/// A job.
pub fn job(_ctx: &Context, obj: &Value, old: Option<&Value>) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, at) = (obj.get("spec").unwrap_or(NOTHING), Path::new("spec"));
    let old_template = old.and_then(|o| object::get(o, &["spec", "template"]));
    let rules = Rules::for_template(old_template);
    generated_selector(&mut e, obj, old.is_none_or(requires_prefixed_labels));
    job_spec(&mut e, spec, &at, &rules);
    host_name(&mut e, obj, spec);
    if let Some(old) = old {
        // Upstream checks the spec once more here; its mistakes are then told twice.
        job_spec(&mut e, spec, &at, &rules);
        job_update(&mut e, spec, old, &at);
    }
    e
}

/// Jobs made by old versions may do without the labels that have a prefix.
fn requires_prefixed_labels(old: &Value) -> bool {
    object::get(old, &["spec", "template", "metadata", "labels", "batch.kubernetes.io/job-name"]).is_some()
        && object::get(old, &["spec", "template", "metadata", "labels", "batch.kubernetes.io/controller-uid"]).is_some()
}

/// The labels and selector that the system made are there and right.
fn generated_selector(e: &mut ErrorList, obj: &Value, prefixed: bool) {
    let Some(selector) = object::get(obj, &["spec", "selector"]) else { return };
    if object::bool(obj, &["spec", "manualSelector"]) {
        return;
    }
    let (name, uid) = (object::name(obj), object::uid(obj));
    if uid.is_empty() {
        e.required(&Path::new("metadata").child("uid"), "");
    }
    let labels = object::get(obj, &["spec", "template", "metadata", "labels"]).unwrap_or(NOTHING);
    let at = Path::new("spec").child("template").child("metadata").child("labels");
    let wanted = [
        ("controller-uid", uid, true),
        ("job-name", name, true),
        ("batch.kubernetes.io/controller-uid", uid, prefixed),
        ("batch.kubernetes.io/job-name", name, prefixed),
    ];
    for (label, value, _) in wanted.iter().filter(|w| w.2) {
        match labels.get(*label).and_then(Value::as_str) {
            None => e.required(&at.key(label), format!("must be '{value}'")),
            Some(have) if have != *value => e.invalid(&at.key(label), labels, format!("must be '{value}'")),
            Some(_) => {}
        }
    }
    let expected = |key: &str| wanted.iter().find(|w| w.2 && w.0 == key).map(|w| w.1);
    if LabelSelector::from_object(Some(selector)).is_ok_and(|s| !s.matches(expected)) {
        e.invalid(&Path::new("spec").child("selector"), ShowSelector(Some(selector)), "`selector` not auto-generated");
    }
}

fn job_spec(e: &mut ErrorList, spec: &Value, at: &Path, rules: &Rules<'_>) {
    job_spec_without_selector(e, spec, at, rules);
    match spec.get("selector") {
        None => e.required(&at.child("selector"), ""),
        selector => validation::label_selector(e, selector, true, &at.child("selector")),
    }
    let template = spec.get("template").unwrap_or(NOTHING);
    if !selects(spec.get("selector"), template) {
        does_not_match(e, template, &at.child("template"));
    }
}

fn job_spec_without_selector(e: &mut ErrorList, spec: &Value, at: &Path, rules: &Rules<'_>) {
    none_negative(
        e,
        spec,
        &[
            "parallelism",
            "completions",
            "activeDeadlineSeconds",
            "backoffLimit",
            "ttlSecondsAfterFinished",
            "backoffLimitPerIndex",
            "maxFailedIndexes",
        ],
        at,
    );
    if spec.get("maxFailedIndexes").is_some() && spec.get("backoffLimitPerIndex").is_none() {
        e.required(&at.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec.get("managedBy").and_then(Value::as_str) {
        let path = at.child("managedBy");
        validation::domain_prefixed_path(e, &path, manager);
        if manager.len() > 63 {
            e.too_long(&path, 63);
        }
    }
    completion_mode(e, spec, at);
    policies::failure(e, spec, &at.child("podFailurePolicy"));
    if let Some(policy) = spec.get("successPolicy") {
        let path = at.child("successPolicy");
        if object::str(spec, &["completionMode"]) == "Indexed" {
            policies::success(e, spec, policy, &path);
        } else {
            e.invalid(&path, Show(SUCCESS_POLICY, policy), "requires indexed completion mode");
        }
    }
    policies::replacement(e, spec, &at.child("podReplacementPolicy"));
    let template = spec.get("template").unwrap_or(NOTHING);
    pod::template(e, template, &at.child("template"), rules);
    restart_policy(e, spec, template, &at.child("template").child("spec").child("restartPolicy"));
}

fn restart_policy(e: &mut ErrorList, spec: &Value, template: &Value, at: &Path) {
    match object::str(template, &["spec", "restartPolicy"]) {
        "" | "Always" => e.required(at, r#"valid values: "OnFailure", "Never""#),
        "OnFailure" if spec.get("podFailurePolicy").is_some() => {
            e.invalid(at, "OnFailure", r#"only "Never" is supported when podFailurePolicy is specified"#);
        }
        "OnFailure" | "Never" => {}
        other => e.not_supported_in_order(at, other, &["OnFailure", "Never"]),
    }
}

fn completion_mode(e: &mut ErrorList, spec: &Value, at: &Path) {
    let int = |key: &str| object::int(spec, &[key]);
    let mode = object::str(spec, &["completionMode"]);
    match mode {
        "" | "NonIndexed" => {
            for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(n) = int(key) {
                    e.invalid(&at.child(key), n, "requires indexed completion mode");
                }
            }
        }
        "Indexed" => indexed(e, spec, at),
        other => e.not_supported_in_order(&at.child("completionMode"), other, &["NonIndexed", "Indexed"]),
    }
}

fn indexed(e: &mut ErrorList, spec: &Value, at: &Path) {
    let int = |key: &str| object::int(spec, &[key]);
    let (parallelism, max_failed) = (int("parallelism"), int("maxFailedIndexes"));
    let completions = completions(spec);
    if completions.is_none() {
        e.required(&at.child("completions"), "when completion mode is Indexed");
    }
    if let Some(n) = parallelism.filter(|n| *n > MAX_PARALLELISM) {
        let why = format!("must be less than or equal to {MAX_PARALLELISM} when completion mode is Indexed");
        e.invalid(&at.child("parallelism"), n, why);
    }
    if let (Some(all), Some(n)) = (completions, max_failed)
        && n > all
    {
        e.invalid(&at.child("maxFailedIndexes"), n, "must be less than or equal to completions");
    }
    if let Some(n) = max_failed.filter(|n| *n > MAX_FAILED_INDEXES) {
        e.invalid(&at.child("maxFailedIndexes"), n, format!("must be less than or equal to {MAX_FAILED_INDEXES}"));
    }
    if completions.is_some_and(|n| n > MANY_COMPLETIONS) && int("backoffLimitPerIndex").is_some() {
        if max_failed.is_none() {
            let why = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            e.required(&at.child("maxFailedIndexes"), why);
        }
        for (key, value) in [("parallelism", parallelism), ("maxFailedIndexes", max_failed)] {
            if let Some(n) = value.filter(|n| *n > MAX_WITH_MANY) {
                let why = format!(
                    "must be less than or equal to {MAX_WITH_MANY} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
                );
                e.invalid(&at.child(key), n, why);
            }
        }
    }
}

/// The pods of an indexed job are named after it and their index, and that name is a host name.
fn host_name(e: &mut ErrorList, obj: &Value, spec: &Value) {
    let Some(n) = completions(spec).filter(|n| *n > 0) else { return };
    if object::str(spec, &["completionMode"]) != "Indexed" {
        return;
    }
    let host = format!("{}-{}", object::name(obj), n - 1);
    if !validation::dns_label(&host, false).is_empty() {
        let why = format!("will not able to create pod with invalid DNS label: {host}");
        e.invalid(&Path::new("metadata").child("name"), object::name(obj), why);
    }
}

/// What may not change (rule: `ValidateJobSpecUpdate`).
fn job_update(e: &mut ErrorList, spec: &Value, old: &Value, at: &Path) {
    let old_spec = old.get("spec").unwrap_or(NOTHING);
    let immutable = |e: &mut ErrorList, key: &str, fields: &'static [Field]| {
        if unchanged(spec, old_spec, key) {
            return;
        }
        match spec.get(key) {
            Some(v) if !fields.is_empty() => e.invalid(&at.child(key), Show(fields, v), validation::FIELD_IMMUTABLE),
            v => e.invalid(&at.child(key), v, validation::FIELD_IMMUTABLE),
        }
    };
    if object::str(spec, &["completionMode"]) != "Indexed" {
        immutable(e, "completions", &[]);
    } else if !unchanged(spec, old_spec, "completions")
        && let Some(n) = completions(spec)
        && object::int(spec, &["parallelism"]) != Some(n)
    {
        let why = format!("can only be modified in tandem with {}", at.child("parallelism"));
        e.invalid(&at.child("completions"), n, why);
    }
    if !unchanged(spec, old_spec, "selector") {
        e.invalid(&at.child("selector"), ShowSelector(spec.get("selector")), validation::FIELD_IMMUTABLE);
    }
    template_update(e, spec, old, at);
    immutable(e, "completionMode", &[]);
    immutable(e, "podFailurePolicy", FAILURE_POLICY);
    immutable(e, "backoffLimitPerIndex", &[]);
    immutable(e, "managedBy", &[]);
    immutable(e, "successPolicy", SUCCESS_POLICY);
}

/// The template of a job that runs may not change. Of one that is suspended, what concerns scheduling and the resources
/// of its containers may.
fn template_update(e: &mut ErrorList, spec: &Value, old: &Value, at: &Path) {
    let template = spec.get("template").unwrap_or(NOTHING);
    let was = object::get(old, &["spec", "template"]).unwrap_or(NOTHING);
    let suspended = object::bool(old, &["spec", "suspend"])
        && (object::get(old, &["status", "startTime"]).is_none() || job_status::condition(old, "Suspended"));
    if !suspended {
        if template != was {
            e.invalid(&at.child("template"), Raw(shown_template(template)), validation::FIELD_IMMUTABLE);
        }
        return;
    }
    if without_mutable(template) != without_mutable(was) {
        let shown = Raw(pod::internal::shown_spec(template.get("spec").unwrap_or(NOTHING)));
        e.invalid(&at.child("template").child("spec"), shown, validation::FIELD_IMMUTABLE);
    }
}

fn without_mutable(template: &Value) -> Value {
    let mut spec = template.get("spec").cloned().unwrap_or_default();
    for key in ["nodeSelector", "tolerations", "schedulingGates"] {
        object::remove(&mut spec, &[key]);
    }
    object::remove(&mut spec, &["affinity", "nodeAffinity"]);
    if object::get(&spec, &["affinity"]).and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
        object::remove(&mut spec, &["affinity"]);
    }
    for list in ["containers", "initContainers"] {
        for c in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            object::remove(c, &["resources"]);
        }
    }
    spec
}

fn shown_template(template: &Value) -> String {
    let meta = template.get("metadata").and_then(Value::as_object);
    let members: String =
        meta.into_iter().flatten().map(|(k, v)| format!("{}:{v},", Value::from(k.as_str()))).collect();
    format!("{{{members}\"Spec\":{}}}", pod::internal::shown_spec(template.get("spec").unwrap_or(NOTHING)))
}

/// Checks a list of indexes such as `1,3-5` below `completions`, and counts them (rule: `validateIndexesFormat`).
pub fn indexes(text: &str, completions: i64) -> Result<i64, String> {
    let number = |part: &str| -> Result<i64, String> {
        let n: i64 =
            part.parse().map_err(|_| format!("cannot convert string to integer for index: {}", go_quote(part)))?;
        if n >= completions { Err(format!("too large index: {}", go_quote(part))) } else { Ok(n) }
    };
    let disorder =
        |previous: i64, current: i64| format!("non-increasing order, previous: {previous}, current: {current}");
    let (mut total, mut last) = (0, None);
    if text.is_empty() {
        return Ok(0);
    }
    for span in text.split(',') {
        let parts: Vec<&str> = span.split('-').collect();
        if parts.len() > 2 {
            return Err(format!(
                "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
                go_quote(span)
            ));
        }
        let first = number(parts[0])?;
        let end = parts.get(1).map_or(Ok(first), |p| number(p))?;
        if parts.len() == 2 && first >= end {
            return Err(disorder(first, end));
        }
        if let Some(last) = last.filter(|l| *l >= first) {
            return Err(disorder(last, first));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// A cron job.
pub fn cron_job(_ctx: &Context, obj: &Value, old: Option<&Value>) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, at) = (obj.get("spec").unwrap_or(NOTHING), Path::new("spec"));
    let old_spec = old.and_then(|o| o.get("spec"));
    schedule(&mut e, spec, old_spec, &at.child("schedule"));
    not_negative(&mut e, spec, "startingDeadlineSeconds", &at);
    if old_spec.is_none_or(|o| o.get("timeZone") != spec.get("timeZone")) {
        time_zone(&mut e, spec, &at.child("timeZone"));
    }
    match object::str(spec, &["concurrencyPolicy"]) {
        "Allow" | "Forbid" | "Replace" => {}
        "" => e.required(&at.child("concurrencyPolicy"), ""),
        other => {
            e.not_supported_in_order(&at.child("concurrencyPolicy"), other, &["Allow", "Forbid", "Replace"]);
        }
    }
    let job = object::get(spec, &["jobTemplate", "spec"]).unwrap_or(NOTHING);
    let at_job = at.child("jobTemplate").child("spec");
    let old_template = old_spec.and_then(|o| object::get(o, &["jobTemplate", "spec", "template"]));
    job_spec_without_selector(&mut e, job, &at_job, &Rules::for_template(old_template));
    if let Some(selector) = job.get("selector") {
        e.invalid(&at_job.child("selector"), ShowSelector(Some(selector)), "`selector` will be auto-generated");
    }
    if object::bool(job, &["manualSelector"]) {
        e.not_supported_in_order(&at_job.child("manualSelector"), true, &["nil", "false"]);
    }
    none_negative(&mut e, spec, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"], &at);
    if old.is_none() && object::name(obj).len() > 52 {
        e.invalid(&Path::new("metadata").child("name"), object::name(obj), "must be no more than 52 characters");
    }
    e
}

fn schedule(e: &mut ErrorList, spec: &Value, old: Option<&Value>, at: &Path) {
    let schedule = object::str(spec, &["schedule"]);
    if schedule.is_empty() {
        return e.required(at, "");
    }
    let had_zone = old.is_some_and(|o| object::str(o, &["schedule"]).contains("TZ"));
    if let Err(why) = cron::check(schedule) {
        e.invalid(at, schedule, why);
    }
    if !schedule.contains("TZ") {
        return;
    }
    if !had_zone {
        e.invalid(at, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if spec.get("timeZone").is_some() {
        e.invalid(at, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    }
}

fn time_zone(e: &mut ErrorList, spec: &Value, at: &Path) {
    let Some(zone) = spec.get("timeZone").and_then(Value::as_str) else { return };
    if zone.is_empty() {
        return e.invalid(at, zone, "timeZone must be nil or non-empty string");
    }
    let good_part = |part: &str| {
        (1..=14).contains(&part.len())
            && part != "."
            && part != ".."
            && !part.starts_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b))
    };
    if !zone.split('/').all(good_part) {
        return e.invalid(at, zone, format!("unknown time zone {zone}"));
    }
    if zone.eq_ignore_ascii_case("Local") {
        e.invalid(at, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    }
    if !cron::is_time_zone(zone) {
        e.invalid(at, zone, format!("unknown time zone {zone}"));
    }
}

/// A text in Go quotes, joined as Go prints a list of strings.
pub fn go_list(values: &[&str]) -> String {
    format!("[{}]", values.iter().map(|v| v.shown()).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_lists() {
        for (text, expect) in [
            ("", Ok(0)),
            ("0", Ok(1)),
            ("0,2-4", Ok(4)),
            ("2,1", Err("non-increasing order, previous: 2, current: 1")),
            ("3-3", Err("non-increasing order, previous: 3, current: 3")),
            ("9", Err("too large index: \"9\"")),
            ("x", Err("cannot convert string to integer for index: \"x\"")),
        ] {
            assert_eq!(indexes(text, 5), expect.map_err(str::to_owned), "{text}");
        }
    }
}
