//! The defaults of webhooks and policies (rule: `pkg/apis/admissionregistration/v1/defaults.go`).

use crate::common::default_value;
use crate::fields::Fields;
use serde_json::{Value, json};

fn each<'a>(obj: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    obj.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

/// All webhooks of a configuration; `mutating` ones also say whether they run again.
pub(super) fn webhooks(obj: &mut Value, mutating: bool) {
    for hook in each(obj, "webhooks") {
        default_value(hook, &["failurePolicy"], "Fail");
        default_value(hook, &["matchPolicy"], "Equivalent");
        default_value(hook, &["namespaceSelector"], json!({}));
        default_value(hook, &["objectSelector"], json!({}));
        default_value(hook, &["timeoutSeconds"], 10);
        if mutating {
            default_value(hook, &["reinvocationPolicy"], "Never");
        }
        if hook.at("clientConfig").sub("service").is_some() {
            default_value(hook, &["clientConfig", "service", "port"], 443);
        }
        for rule in each(hook, "rules") {
            default_value(rule, &["scope"], "*");
        }
    }
}

/// What a policy or binding matches.
fn match_resources(m: &mut Value) {
    default_value(m, &["matchPolicy"], "Equivalent");
    default_value(m, &["namespaceSelector"], json!({}));
    default_value(m, &["objectSelector"], json!({}));
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in each(m, list) {
            default_value(rule, &["scope"], "*");
        }
    }
}

/// A policy.
pub(super) fn policy(obj: &mut Value) {
    default_value(obj, &["spec", "failurePolicy"], "Fail");
    if let Some(m) = obj.pointer_mut("/spec/matchConstraints").filter(|m| m.is_object()) {
        match_resources(m);
    }
}

/// A binding of a policy.
pub(super) fn binding(obj: &mut Value) {
    if let Some(m) = obj.pointer_mut("/spec/matchResources").filter(|m| m.is_object()) {
        match_resources(m);
    }
    if obj.at("spec").sub("paramRef").is_some() {
        default_value(obj, &["spec", "paramRef", "parameterNotFoundAction"], "Deny");
    }
}
