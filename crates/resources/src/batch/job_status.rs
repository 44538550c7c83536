//! What a job's status may say (rule: batch validation `validateJobStatus`, `ValidateJobStatusUpdate`; all checks that
//! upstream makes for jobs of the current controller). Checks that look at what a change touches are made only where it
//! does.

use super::validation::{completions, indexes};
use crate::common::same;
use crate::shared::internal::Type::Plain;
use crate::shared::internal::{Field, Show};
use crate::shared::rules::{invalid_as_a_whole, none_negative};
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, object};

const UNCOUNTED: &[Field] = &[Field("succeeded", Plain), Field("failed", Plain)];

/// Whether the job has the condition with status True.
pub fn condition(obj: &Value, kind: &str) -> bool {
    object::list(obj, &["status", "conditions"])
        .iter()
        .any(|c| object::str(c, &["type"]) == kind && object::str(c, &["status"]) == "True")
}

fn is_finished(obj: &Value) -> bool {
    condition(obj, "Complete") || condition(obj, "Failed")
}

/// Which checks a change calls for (rule: job strategy `getStatusValidationOptions`).
struct Touched {
    completed_indexes: bool,
    failed_indexes: bool,
    complete: bool,
    failed: bool,
    failure_target: bool,
    finished: bool,
    start_time: bool,
    completion_time: bool,
    uncounted: bool,
    active: bool,
    ready: bool,
    terminating: bool,
}

impl Touched {
    fn by(new: &Value, old: &Value) -> Self {
        let field = |key: &str| !same(new, old, &["status", key]);
        let condition = |kind: &str| condition(new, kind) != condition(old, kind);
        Self {
            completed_indexes: field("completedIndexes"),
            failed_indexes: field("failedIndexes"),
            complete: condition("Complete"),
            failed: condition("Failed"),
            failure_target: condition("FailureTarget"),
            finished: is_finished(new) != is_finished(old),
            start_time: field("startTime"),
            completion_time: field("completionTime"),
            uncounted: field("uncountedTerminatedPods"),
            active: field("active"),
            ready: field("ready"),
            terminating: field("terminating"),
        }
    }
}

/// The status, and the change of it.
pub fn validate(new: &Value, old: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let at = Path::new("status");
    let status = new.get("status").unwrap_or(&Value::Null);
    let touched = Touched::by(new, old);
    none_negative(&mut e, status, &["active", "succeeded", "failed", "ready", "terminating"], &at);
    uncounted(&mut e, status, &at.child("uncountedTerminatedPods"));
    times_and_ends(&mut e, new, status, &touched, &at);
    finished_jobs(&mut e, new, status, &touched, &at);
    index_lists(&mut e, new, status, &touched, &at);
    counts(&mut e, new, status, &touched, &at);
    success_criteria(&mut e, new, &at.child("conditions"));
    change(&mut e, new, old, &touched, &at);
    e
}

fn uncounted(e: &mut ErrorList, status: &Value, at: &Path) {
    let mut seen = BTreeSet::new();
    for list in ["succeeded", "failed"] {
        for (i, uid) in object::list(status, &["uncountedTerminatedPods", list]).iter().enumerate() {
            let (uid, at) = (uid.as_str().unwrap_or_default(), at.child(list).index(i));
            if uid.is_empty() {
                e.invalid(&at, uid, "must not be empty");
            } else if !seen.insert(uid) {
                e.duplicate(&at, uid);
            }
        }
    }
}

fn times_and_ends(e: &mut ErrorList, new: &Value, status: &Value, touched: &Touched, at: &Path) {
    let conditions = at.child("conditions");
    let time = |key: &str| status.get(key).filter(|v| !v.is_null());
    let (complete, failed) = (condition(new, "Complete"), condition(new, "Failed"));
    if (touched.complete || touched.failed) && complete && failed {
        invalid_as_a_whole(e, &conditions, "cannot set Complete=True and Failed=true conditions");
    }
    if (touched.complete || touched.failure_target) && complete && condition(new, "FailureTarget") {
        invalid_as_a_whole(e, &conditions, "cannot set Complete=True and FailureTarget=true conditions");
    }
    let at_completion = at.child("completionTime");
    if let Some(completion) = time("completionTime") {
        if (touched.complete || touched.completion_time) && !complete {
            let why = "cannot set completionTime when there is no Complete=True condition";
            e.invalid(&at_completion, completion, why);
        }
    } else if (touched.complete || touched.completion_time) && complete {
        e.required(&at_completion, "completionTime is required for Complete jobs");
    }
    if touched.start_time || touched.completion_time {
        let parsed = |key: &str| time(key).and_then(Value::as_str).and_then(|t| t.parse::<jiff::Timestamp>().ok());
        if let (Some(start), Some(completion)) = (parsed("startTime"), parsed("completionTime"))
            && completion < start
        {
            let shown = time("completionTime").unwrap_or(&Value::Null);
            e.invalid(&at_completion, shown, "completionTime cannot be set before startTime");
        }
    }
    if (touched.failed || touched.failure_target) && failed && !condition(new, "FailureTarget") {
        let why = "cannot set Failed=True condition without the FailureTarget=true condition";
        invalid_as_a_whole(e, &conditions, why);
    }
    if touched.complete && complete && !condition(new, "SuccessCriteriaMet") {
        let why = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        invalid_as_a_whole(e, &conditions, why);
    }
}

fn finished_jobs(e: &mut ErrorList, new: &Value, status: &Value, touched: &Touched, at: &Path) {
    if !is_finished(new) {
        return;
    }
    let active = object::int(status, &["active"]).unwrap_or(0);
    if (touched.finished || touched.active) && active > 0 {
        e.invalid(&at.child("active"), active, "active>0 is invalid for finished job");
    }
    if (touched.finished || touched.start_time) && status.get("startTime").is_none() {
        e.required(&at.child("startTime"), "startTime is required for finished job");
    }
    let left = |list: &str| !object::list(status, &["uncountedTerminatedPods", list]).is_empty();
    if (touched.finished || touched.uncounted) && (left("failed") || left("succeeded")) {
        let shown = status.get("uncountedTerminatedPods").unwrap_or(&Value::Null);
        e.invalid(
            &at.child("uncountedTerminatedPods"),
            Show(UNCOUNTED, shown),
            "uncountedTerminatedPods needs to be empty for finished job",
        );
    }
}

fn index_lists(e: &mut ErrorList, new: &Value, status: &Value, touched: &Touched, at: &Path) {
    let spec = new.get("spec").unwrap_or(&Value::Null);
    let text = |key: &str| status.get(key).and_then(Value::as_str);
    let (completed, failed) = (text("completedIndexes").unwrap_or_default(), text("failedIndexes"));
    let indexed = object::str(spec, &["completionMode"]) == "Indexed";
    let by_index = object::int(spec, &["backoffLimitPerIndex"]).is_some();
    if let Some(n) = completions(spec) {
        if touched.completed_indexes
            && let Err(why) = indexes(completed, n)
        {
            let why = format!("error parsing completedIndexes: {why}");
            e.invalid(&at.child("completedIndexes"), completed, why);
        }
        if touched.failed_indexes
            && by_index
            && let Some(failed) = failed
            && let Err(why) = indexes(failed, n)
        {
            e.invalid(&at.child("failedIndexes"), failed, format!("error parsing failedIndexes: {why}"));
        }
    }
    if touched.completed_indexes && !completed.is_empty() && !indexed {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        e.invalid(&at.child("completedIndexes"), completed, why);
    }
    let Some(failed) = failed else { return };
    if touched.failed_indexes && !by_index {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        e.invalid(&at.child("failedIndexes"), failed, why);
    }
    if (touched.failed_indexes || touched.completed_indexes)
        && let Some(index) = overlap(completed, failed)
    {
        let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
        e.invalid(&at.child("failedIndexes"), failed, why);
    }
}

/// The first index in both lists; what is no list of indexes is passed over.
fn overlap(a: &str, b: &str) -> Option<i64> {
    let spans = |text: &str| -> Vec<(i64, i64)> {
        text.split(',')
            .filter_map(|span| {
                let (x, y) = span.split_once('-').unwrap_or((span, span));
                Some((x.parse().ok()?, y.parse().ok()?))
            })
            .collect()
    };
    let b = spans(b);
    spans(a)
        .iter()
        .flat_map(|x| b.iter().map(move |y| (x.0.max(y.0), x.1.min(y.1))))
        .find(|(x, y)| x <= y)
        .map(|(x, _)| x)
}

fn counts(e: &mut ErrorList, new: &Value, status: &Value, touched: &Touched, at: &Path) {
    let of = |key: &str| object::int(status, &[key]).unwrap_or(0);
    if (touched.finished || touched.terminating) && of("terminating") > 0 && is_finished(new) {
        e.invalid(&at.child("terminating"), of("terminating"), "terminating>0 is invalid for finished job");
    }
    if touched.ready && of("ready") > of("active") {
        e.invalid(&at.child("ready"), of("ready"), "cannot set more ready pods than active");
    }
}

fn success_criteria(e: &mut ErrorList, new: &Value, at: &Path) {
    let met = condition(new, "SuccessCriteriaMet");
    if met && condition(new, "Failed") {
        invalid_as_a_whole(e, at, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if met && condition(new, "FailureTarget") {
        invalid_as_a_whole(e, at, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    if object::get(new, &["spec", "successPolicy"]).is_some() && !met && condition(new, "Complete") {
        let why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        invalid_as_a_whole(e, at, why);
    }
}

fn change(e: &mut ErrorList, new: &Value, old: &Value, touched: &Touched, at: &Path) {
    let conditions = at.child("conditions");
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if condition(old, kind) && !condition(new, kind) {
            invalid_as_a_whole(e, &conditions, &format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    for count in ["failed", "succeeded"] {
        let of = |o: &Value| object::int(o, &["status", count]).unwrap_or(0);
        if of(new) < of(old) {
            e.invalid(&at.child(count), of(new), format!("cannot decrease the {count} counter"));
        }
    }
    let time = |o: &Value, key: &str| object::get(o, &["status", key]).filter(|v| !v.is_null()).cloned();
    if touched.completion_time
        && time(old, "completionTime").is_some()
        && let Some(completion) = time(new, "completionTime")
    {
        e.invalid(&at.child("completionTime"), completion, "completionTime cannot be mutated");
    }
    if touched.start_time && time(old, "startTime").is_some() && !object::bool(new, &["spec", "suspend"]) {
        let start = time(new, "startTime").unwrap_or_else(|| "null".into());
        e.invalid(&at.child("startTime"), start, "field is immutable for unsuspended job once set");
    }
    let (met, was_met) = (condition(new, "SuccessCriteriaMet"), condition(old, "SuccessCriteriaMet"));
    if was_met && !met {
        invalid_as_a_whole(e, &conditions, "cannot disable the SuccessCriteriaMet=True condition");
    }
    if condition(old, "Complete") && !was_met && met {
        let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        invalid_as_a_whole(e, &conditions, why);
    }
}
