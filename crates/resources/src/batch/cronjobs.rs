//! Cron jobs (rule: `pkg/registry/batch/cronjob`).

use super::jobs::{SELECTOR, default_spec, warn_about_high_completions};
use super::validation;
use crate::common::{
    AGE, NAME, age_cell, carry_over, column, first_generation, next_generation, object_subresource, same,
};
use crate::shared::defaults::{fill, fill_absent, member};
use crate::shared::print::{self, CONTAINERS, IMAGES};
use crate::shared::workload;
use crate::{ALL, namespaced};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["cj"],
    categories: ALL,
    ..namespaced("batch", "v1", "cronjobs", "cronjob", "CronJob")
};

static COLUMNS: &[Column] = &[
    NAME,
    column("Schedule", "string", "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
    column(
        "Timezone",
        "string",
        "The time zone name for the given schedule, see https://en.wikipedia.org/wiki/List_of_tz_database_time_zones. If not specified, this will default to the time zone of the kube-controller-manager process. The set of valid time zone names and the time zone offset is loaded from the system-wide time zone database by the API server during CronJob validation and the controller manager during execution. If no system-wide time zone database can be found a bundled version of the database is used instead. If the time zone name becomes invalid during the lifetime of a CronJob or due to a change in host configuration, the controller will stop creating new new Jobs and will create a system event with the reason UnknownTimeZone. More information can be found in https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#time-zones",
    ),
    column(
        "Suspend",
        "boolean",
        "This flag tells the controller to suspend subsequent executions, it does not apply to already started executions.  Defaults to false.",
    ),
    column("Active", "integer", "A list of pointers to currently running jobs."),
    column("Last Schedule", "string", "Information when was the last time the job was successfully scheduled."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const TEMPLATE: &[&str] = &["spec", "jobTemplate", "spec", "template"];

/// The resource.
pub struct CronJobs;
/// Its status.
pub struct CronJobStatus;

static SUBRESOURCES: &[Subresource] = &[object_subresource("status", &CronJobStatus)];

fn default(obj: &mut Value) {
    let spec = object::entry(obj, &["spec"]);
    fill(spec, "concurrencyPolicy", "Allow");
    fill_absent(spec, "suspend", false);
    fill_absent(spec, "successfulJobsHistoryLimit", 3);
    fill_absent(spec, "failedJobsHistoryLimit", 1);
    fill_absent(spec, "jobTemplate", json!({}));
    if let Some(template) = member(spec, "jobTemplate") {
        fill_absent(template, "spec", json!({}));
        if let Some(spec) = member(template, "spec") {
            default_spec(spec);
        }
    }
}

impl Strategy for CronJobs {
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
        object::set(obj, &["status"], json!({}));
        first_generation(obj);
        workload::prepare_template(obj, None, TEMPLATE);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        workload::prepare_template(new, Some(old), TEMPLATE);
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, ctx: &Context, obj: &Value) -> ErrorList {
        validation::cron_job(ctx, obj, None)
    }
    fn validate_update(&self, ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        validation::cron_job(ctx, new, Some(old))
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        workload::warn_about_name(ctx, obj);
        warn_about_high_completions(ctx, obj, "spec.jobTemplate.spec");
        workload::warn_about_template(ctx, obj, TEMPLATE);
        warn_about_time_zone(ctx, obj);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, old: &Value) {
        if !same(new, old, &["metadata", "generation"]) {
            warn_about_high_completions(ctx, new, "spec.jobTemplate.spec");
            workload::warn_about_template(ctx, new, TEMPLATE);
        }
        warn_about_time_zone(ctx, new);
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let last = object::str(obj, &["status", "lastScheduleTime"]);
        let zone = object::get(obj, &["spec", "timeZone"]).and_then(Value::as_str);
        let [containers, images] = print::containers(object::get(obj, TEMPLATE));
        vec![
            print::name(obj),
            object::str(obj, &["spec", "schedule"]).into(),
            zone.unwrap_or("<none>").into(),
            if object::bool(obj, &["spec", "suspend"]) { "True" } else { "False" }.into(),
            object::list(obj, &["status", "active"]).len().into(),
            if last.is_empty() { "<none>".into() } else { print::since(last, now) },
            age_cell(obj, now),
            containers,
            images,
            print::selector(object::get(obj, &["spec", "jobTemplate", "spec", "selector"])),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        SUBRESOURCES
    }
}

fn warn_about_time_zone(ctx: &Context, obj: &Value) {
    if object::str(obj, &["spec", "schedule"]).contains("TZ") {
        ctx.warn(
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
        );
    }
}

impl Strategy for CronJobStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn default(&self, obj: &mut Value) {
        default(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
