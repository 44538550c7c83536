//! What is wrong with how a device may be shared out (rule: `pkg/apis/resource/validation`, `validateRequestPolicy`).

use super::claim_validation::limit;
use crate::fields::Fields;
use crate::shared::quantity::amount;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, Quantity};

/// The most amounts that a policy may list.
const MOST_VALUES: usize = 10;

/// One capacity of a device; `shared` when several claims may have a part of the device.
pub(super) fn capacity(e: &mut ErrorList, path: &Path, capacity: &Value, shared: bool) {
    let Some(policy) = capacity.sub("requestPolicy") else { return };
    let at = path.child("requestPolicy");
    if !shared {
        e.forbidden(&at, "allowMultipleAllocations must be true");
        return;
    }
    let most = amount(capacity.at("value")).unwrap_or_default();
    let values: Vec<Quantity> = policy.items("validValues").iter().filter_map(amount).collect();
    let (range, default) = (policy.sub("validRange"), policy.sub("default").and_then(amount));
    let kind = match (values.is_empty(), range.is_some()) {
        (false, true) => {
            let why = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            e.forbidden(&at, why);
            return;
        }
        (false, false) => "validValues",
        (true, true) => "validRange",
        (true, false) => return,
    };
    let Some(default) = default else {
        e.required(&at.child("default"), format!("required when {kind} is defined"));
        return;
    };
    match range {
        Some(range) => in_range(e, &at.child(kind), &default, &most, range),
        None => listed(e, &at.child(kind), &default, &most, &values),
    }
}

fn listed(e: &mut ErrorList, path: &Path, default: &Quantity, most: &Quantity, values: &[Quantity]) {
    for (i, pair) in values.windows(2).enumerate() {
        if pair[0] > pair[1] {
            e.invalid(&path.index(i + 1), pair[1].to_string(), "values must be sorted in ascending order");
        }
    }
    let mut found = false;
    if limit(e, path, values.len(), MOST_VALUES) {
        for (i, value) in values.iter().enumerate() {
            if value > most {
                let why = format!("option is larger than capacity value: {most}");
                e.invalid(&path.index(i), value.to_string(), why);
            }
            found |= value == default;
        }
        let mut seen = BTreeSet::new();
        for (i, value) in values.iter().enumerate() {
            if !seen.insert(value.value()) {
                e.duplicate(&path.index(i), value.value().to_string().as_str());
            }
        }
    }
    if !found {
        e.invalid(path, default.to_string(), "default value is not valid according to the requestPolicy");
    }
}

fn in_range(e: &mut ErrorList, path: &Path, default: &Quantity, most: &Quantity, range: &Value) {
    let Some(min) = range.sub("min").and_then(amount) else {
        e.required(&path.child("min"), "required when validRange is defined");
        return;
    };
    let mut refuse = |wrong: bool, field: &str, value: &Quantity, why: String| {
        if wrong {
            e.invalid(&path.child(field), value.to_string(), why);
        }
    };
    let max = range.sub("max").and_then(amount);
    refuse(min > *most, "min", &min, format!("min is larger than capacity value: {most}"));
    refuse(*default < min, "default", default, format!("default is less than min: {min}"));
    if let Some(max) = &max {
        refuse(min > *max, "max", &min, format!("min is larger than max: {max}"));
        refuse(*max > *most, "max", max, format!("max is larger than capacity value: {most}"));
        refuse(*default > *max, "default", default, format!("default is more than max: {max}"));
    }
    let Some(step) = range.sub("step").and_then(amount) else { return };
    if step.sign() <= 0 || step.value() == 0 {
        refuse(true, "step", &step, "must be greater than zero".into());
        return;
    }
    let mut next = min.clone();
    next.add(&step);
    refuse(next > *most, "step", &step, format!("one step {next} is larger than capacity value: {most}"));
    for value in std::iter::once(default).chain(&max) {
        let off = i128::from(value.value()) - i128::from(min.value());
        let why = format!("value is not a multiple of a given step ({step}) from ({min})");
        refuse(off % i128::from(step.value()) != 0, "step", value, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn policies() {
        let check = |policy: Value, shared: bool, want: &[&str]| {
            let mut e = ErrorList::new();
            capacity(&mut e, &Path::new("c"), &json!({"value": "10", "requestPolicy": policy}), shared);
            let got: Vec<String> = e.0.iter().map(|e| format!("{}: {}", e.field, e.body)).collect();
            assert_eq!(got, want);
        };
        check(json!({}), false, &["c.requestPolicy: Forbidden: allowMultipleAllocations must be true"]);
        check(json!({"default": "1"}), true, &[]);
        check(json!({"default": "2", "validValues": ["1", "2"]}), true, &[]);
        check(
            json!({"validValues": ["1"]}),
            true,
            &["c.requestPolicy.default: Required value: required when validValues is defined"],
        );
        check(
            json!({"default": "3", "validValues": ["2", "1", "11", "11"]}),
            true,
            &[
                "c.requestPolicy.validValues[1]: Invalid value: \"1\": values must be sorted in ascending order",
                "c.requestPolicy.validValues[2]: Invalid value: \"11\": option is larger than capacity value: 10",
                "c.requestPolicy.validValues[3]: Invalid value: \"11\": option is larger than capacity value: 10",
                "c.requestPolicy.validValues[3]: Duplicate value: \"11\"",
                "c.requestPolicy.validValues: Invalid value: \"3\": default value is not valid according to the requestPolicy",
            ],
        );
        check(json!({"default": "2", "validRange": {"min": "2", "max": "8", "step": "2"}}), true, &[]);
        check(
            json!({"default": "1", "validRange": {"min": "2", "max": "11", "step": "2"}}),
            true,
            &[
                "c.requestPolicy.validRange.default: Invalid value: \"1\": default is less than min: 2",
                "c.requestPolicy.validRange.max: Invalid value: \"11\": max is larger than capacity value: 10",
                "c.requestPolicy.validRange.step: Invalid value: \"1\": value is not a multiple of a given step (2) from (2)",
                "c.requestPolicy.validRange.step: Invalid value: \"11\": value is not a multiple of a given step (2) from (2)",
            ],
        );
        check(
            json!({"default": "1", "validRange": {}}),
            true,
            &["c.requestPolicy.validRange.min: Required value: required when validRange is defined"],
        );
    }
}
