//! A job's policies: when it has failed, when it has succeeded, when a pod is replaced.

use super::validation::{completions, go_list, indexes};
use crate::shared::pod::say;
use crate::shared::rules::{invalid_as_a_whole, not_negative};
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object, validation};

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];
const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_PATTERNS: usize = 20;
/// Bytes of a list of indexes.
const MAX_INDEXES_LEN: usize = 64 * 1024;

/// `podFailurePolicy`.
pub fn failure(e: &mut ErrorList, spec: &Value, at: &Path) {
    let Some(policy) = spec.get("podFailurePolicy") else { return };
    let rules = object::list(policy, &["rules"]);
    let at = at.child("rules");
    if rules.len() > MAX_RULES {
        e.too_many(&at, rules.len(), MAX_RULES);
    }
    let names: Vec<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| object::list(spec, &["template", "spec", list]))
        .map(|c| object::str(c, &["name"]))
        .collect();
    for (i, rule) in rules.iter().enumerate() {
        failure_rule(e, spec, rule, &names, &at.index(i));
    }
}

fn required_one_of(e: &mut ErrorList, value: &str, allowed: &[&str], at: &Path) {
    if value.is_empty() {
        e.required(at, format!("valid values: {}", go_list(allowed)));
    } else if !allowed.contains(&value) {
        e.not_supported(at, value, allowed);
    }
}

fn failure_rule(e: &mut ErrorList, spec: &Value, rule: &Value, names: &[&str], at: &Path) {
    let action = object::str(rule, &["action"]);
    let path = at.child("action");
    if action == "FailIndex" {
        if spec.get("backoffLimitPerIndex").is_none() {
            e.invalid(&path, action, "requires the backoffLimitPerIndex to be set");
        }
    } else {
        required_one_of(e, action, ACTIONS, &path);
    }
    let patterns = object::list(rule, &["onPodConditions"]);
    let codes = rule.get("onExitCodes");
    if let Some(codes) = codes {
        exit_codes(e, codes, names, &at.child("onExitCodes"));
    }
    if !patterns.is_empty() {
        pod_conditions(e, patterns, &at.child("onPodConditions"));
    }
    match (codes.is_some(), !patterns.is_empty()) {
        (true, true) => {
            invalid_as_a_whole(e, at, "specifying both OnExitCodes and OnPodConditions is not supported");
        }
        (false, false) => {
            invalid_as_a_whole(e, at, "specifying one of OnExitCodes and OnPodConditions is required");
        }
        _ => {}
    }
}

fn pod_conditions(e: &mut ErrorList, patterns: &[Value], at: &Path) {
    if patterns.len() > MAX_PATTERNS {
        e.too_many(at, patterns.len(), MAX_PATTERNS);
    }
    for (i, pattern) in patterns.iter().enumerate() {
        let at = at.index(i);
        let kind = object::str(pattern, &["type"]);
        say(e, || at.child("type"), kind, validation::qualified_name(kind));
        required_one_of(e, object::str(pattern, &["status"]), STATUSES, &at.child("status"));
    }
}

fn exit_codes(e: &mut ErrorList, codes: &Value, names: &[&str], at: &Path) {
    let operator = object::str(codes, &["operator"]);
    required_one_of(e, operator, OPERATORS, &at.child("operator"));
    if let Some(name) = codes.get("containerName").and_then(Value::as_str)
        && !names.contains(&name)
    {
        let why = "must be one of the container or initContainer names in the pod template";
        e.invalid(&at.child("containerName"), name, why);
    }
    let at = at.child("values");
    let list = codes.get("values").unwrap_or(&Value::Null);
    let values: Vec<i64> = list.as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        e.invalid(&at, list, "at least one value is required");
    } else if values.len() > MAX_EXIT_CODES {
        e.too_many(&at, values.len(), MAX_EXIT_CODES);
    }
    for (i, code) in values.iter().enumerate() {
        if operator == "In" && *code == 0 {
            e.invalid(&at.index(i), *code, "must not be 0 for the In operator");
        }
        if values[..i].contains(code) {
            e.duplicate(&at.index(i), *code);
        }
    }
    if !values.is_sorted() {
        e.invalid(&at, list, "must be ordered");
    }
}

/// `successPolicy` of an indexed job.
pub fn success(e: &mut ErrorList, spec: &Value, policy: &Value, at: &Path) {
    let rules = object::list(policy, &["rules"]);
    let at = at.child("rules");
    if rules.is_empty() {
        e.required(&at, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > MAX_RULES {
        e.too_many(&at, rules.len(), MAX_RULES);
    }
    for (i, rule) in rules.iter().enumerate() {
        success_rule(e, rule, completions(spec).unwrap_or(0), &at.index(i));
    }
}

fn success_rule(e: &mut ErrorList, rule: &Value, completions: i64, at: &Path) {
    let count = object::int(rule, &["succeededCount"]);
    let list = rule.get("succeededIndexes").and_then(Value::as_str);
    if count.is_none() && list.is_none() {
        e.required(at, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = 0;
    if let Some(list) = list {
        let path = at.child("succeededIndexes");
        if list.len() > MAX_INDEXES_LEN {
            e.too_long(&path, MAX_INDEXES_LEN);
        }
        match indexes(list, completions) {
            Ok(n) => total = n,
            Err(why) => e.invalid(&path, list, format!("error parsing succeededIndexes: {why}")),
        }
    }
    let Some(count) = count else { return };
    let path = at.child("succeededCount");
    not_negative(e, rule, "succeededCount", at);
    if count > completions {
        let why = format!("must be less than or equal to {completions} (the number of specified completions)");
        e.invalid(&path, count, why);
    }
    if list.is_some() && count > total {
        let why = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        e.invalid(&path, count, why);
    }
}

/// `podReplacementPolicy`.
pub fn replacement(e: &mut ErrorList, spec: &Value, at: &Path) {
    let Some(policy) = spec.get("podReplacementPolicy").and_then(Value::as_str) else { return };
    let allowed: &[&str] =
        if spec.get("podFailurePolicy").is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    if !allowed.contains(&policy) {
        e.not_supported(at, policy, allowed);
    }
}
