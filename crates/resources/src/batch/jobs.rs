//! Jobs (rule: `pkg/registry/batch/job`).

use super::{job_status, validation};
use crate::common::{
    AGE, NAME, age_cell, carry_over, column, first_generation, next_generation, object_subresource, same, wide,
};
use crate::shared::defaults::{fill, fill_absent, member, members, pod_template};
use crate::shared::print::{self, CONTAINERS, IMAGES};
use crate::shared::workload;
use crate::{ALL, namespaced};
use serde_json::{Map, Value, json};
use steersman_apimachinery::options::DeleteOptions;
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Column, Context, DefaultGc, ResourceInfo, Strategy, Subresource, human_duration};

static INFO: ResourceInfo = ResourceInfo { categories: ALL, ..namespaced("batch", "v1", "jobs", "job", "Job") };

static COLUMNS: &[Column] = &[
    NAME,
    column("Status", "string", "Status of the job."),
    column(
        "Completions",
        "string",
        "The number of pods which reached phase Succeeded. The value increases monotonically for a given spec. However, it may decrease in reaction to scale down of elastic indexed jobs.",
    ),
    column("Duration", "string", "Time required to complete the job."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

/// The selector of the pods; cron jobs show it too.
pub const SELECTOR: Column = wide(
    "Selector",
    "string",
    "A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors",
);

/// Labels that tie pods to their job, with their names of old.
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const LEGACY_CONTROLLER_UID: &str = "controller-uid";
const LEGACY_JOB_NAME: &str = "job-name";

/// The resource.
pub struct Jobs;
/// Its status.
pub struct JobStatus;

static SUBRESOURCES: &[Subresource] = &[object_subresource("status", &JobStatus)];

/// Defaults of a job's spec, also where it stands in a cron job's template.
pub fn default_spec(spec: &mut Map<String, Value>) {
    fill_absent(spec, "template", json!({}));
    pod_template(spec, "template");
    if let Some(policy) = member(spec, "podFailurePolicy") {
        for rule in members(policy, "rules") {
            for pattern in members(rule, "onPodConditions") {
                fill(pattern, "status", "True");
            }
        }
    }
}

fn default(obj: &mut Value) {
    let spec = object::entry(obj, &["spec"]);
    let absent = |spec: &Map<String, Value>, k: &str| spec.get(k).is_none_or(Value::is_null);
    if absent(spec, "completions") && absent(spec, "parallelism") {
        fill_absent(spec, "completions", 1);
    }
    fill_absent(spec, "parallelism", 1);
    if absent(spec, "backoffLimit") {
        let limit = if absent(spec, "backoffLimitPerIndex") { 6 } else { i32::MAX };
        fill_absent(spec, "backoffLimit", limit);
    }
    fill_absent(spec, "completionMode", "NonIndexed");
    fill_absent(spec, "suspend", false);
    let replacement = if absent(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    fill_absent(spec, "podReplacementPolicy", replacement);
    fill_absent(spec, "manualSelector", false);
    default_spec(spec);
    default_labels(obj);
}

/// A job without labels has those of its template.
fn default_labels(obj: &mut Value) {
    let labels = |path: &[&str]| object::get(obj, path).and_then(Value::as_object).filter(|l| !l.is_empty());
    if labels(&["metadata", "labels"]).is_none()
        && let Some(labels) = labels(&["spec", "template", "metadata", "labels"]).cloned()
    {
        object::set(obj, &["metadata", "labels"], labels);
    }
}

/// Gives the template its labels and the job the selector that finds them (rule: job strategy `generateSelector`).
fn generate_selector(obj: &mut Value) {
    if object::bool(obj, &["spec", "manualSelector"]) {
        return;
    }
    let (name, uid) = (object::name(obj).to_owned(), object::uid(obj).to_owned());
    let labels = object::entry(obj, &["spec", "template", "metadata", "labels"]);
    for (key, value) in
        [(LEGACY_JOB_NAME, &name), (JOB_NAME, &name), (LEGACY_CONTROLLER_UID, &uid), (CONTROLLER_UID, &uid)]
    {
        labels.entry(key).or_insert_with(|| value.clone().into());
    }
    let selected = object::entry(obj, &["spec", "selector", "matchLabels"]);
    selected.entry(CONTROLLER_UID).or_insert_with(|| uid.into());
}

impl Strategy for Jobs {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        default(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        generate_selector(obj);
        default_labels(obj);
        object::set(obj, &["status"], json!({}));
        first_generation(obj);
        workload::prepare_template(obj, None, &["spec", "template"]);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        workload::prepare_template(new, Some(old), &["spec", "template"]);
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, ctx: &Context, obj: &Value) -> ErrorList {
        validation::job(ctx, obj, None)
    }
    fn validate_update(&self, ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        validation::job(ctx, new, Some(old))
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        workload::warn_about_name(ctx, obj);
        warn_about_high_completions(ctx, obj, "spec");
        workload::warn_about_template(ctx, obj, &["spec", "template"]);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, old: &Value) {
        if !same(new, old, &["metadata", "generation"]) {
            warn_about_high_completions(ctx, new, "spec");
            workload::warn_about_template(ctx, new, &["spec", "template"]);
        }
    }
    fn default_gc(&self) -> DefaultGc {
        DefaultGc::Orphan
    }
    fn check_graceful_delete(&self, ctx: &Context, _obj: &Value, options: &mut DeleteOptions) -> bool {
        if options.propagation.is_none() && options.orphan_dependents.is_none() {
            ctx.warn(
                "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning",
            );
        }
        false
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.successful"]
    }
    fn selectable_field(&self, obj: &Value, _field: &str) -> String {
        object::int(obj, &["status", "succeeded"]).unwrap_or(0).to_string()
    }
    fn unsupported_field(&self, field: &str) -> String {
        format!("field label {field:?} not supported for Job")
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let [containers, images] = print::containers(object::get(obj, &["spec", "template"]));
        vec![
            print::name(obj),
            state(obj).into(),
            completions(obj).into(),
            duration(obj, now).into(),
            age_cell(obj, now),
            containers,
            images,
            print::selector(object::get(obj, &["spec", "selector"])),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        SUBRESOURCES
    }
}

/// Warns of sizes beyond what the controller was tested with (rule: job strategy `jobWarnings`, `WarningsForJobSpec`).
pub fn warn_about_high_completions(ctx: &Context, obj: &Value, path: &str) {
    let steps: Vec<&str> = path.split('.').collect();
    let spec = object::get(obj, &steps);
    let int = |key: &str| spec.and_then(|s| object::int(s, &[key]));
    let indexed = spec.is_some_and(|s| object::str(s, &["completionMode"]) == "Indexed");
    if indexed && int("completions").is_some_and(|n| n > 100_000) && int("parallelism").is_some_and(|n| n > 10_000) {
        ctx.warn(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
}

/// The state in one word, of the conditions (rule: printers `printJob`).
fn state(obj: &Value) -> &'static str {
    let is = |kind: &str| job_status::condition(obj, kind);
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if object::is_deleting(obj) {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(obj: &Value) -> String {
    let done = object::int(obj, &["status", "succeeded"]).unwrap_or(0);
    match (object::int(obj, &["spec", "completions"]), object::int(obj, &["spec", "parallelism"]).unwrap_or(0)) {
        (Some(all), _) => format!("{done}/{all}"),
        (None, p) if p > 1 => format!("{done}/1 of {p}"),
        _ => format!("{done}/1"),
    }
}

fn duration(obj: &Value, now: jiff::Timestamp) -> String {
    let Ok(start) = object::str(obj, &["status", "startTime"]).parse::<jiff::Timestamp>() else { return String::new() };
    let end = object::str(obj, &["status", "completionTime"]).parse().unwrap_or(now);
    human_duration(end.as_second() - start.as_second())
}

impl Strategy for JobStatus {
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
        job_status::validate(new, old)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
