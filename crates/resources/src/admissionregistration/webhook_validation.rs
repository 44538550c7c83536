//! What is wrong with webhooks (rule: `pkg/apis/admissionregistration/validation`, apiserver `pkg/util/webhook`).

use super::rule_validation as rules;
use crate::checks;
use crate::fields::Fields;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, validation};

const REVIEWS: &[&str] = &["v1", "v1beta1"];
const FORM: &str = "; desired format: https://host[/path]";

fn review_versions(e: &mut ErrorList, path: &Path, hook: &Value, recognised: bool) {
    let versions = hook.strings("admissionReviewVersions");
    if versions.is_empty() {
        e.required(path, format!("must specify one of {}", REVIEWS.join(", ")));
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, version) in versions.iter().enumerate() {
        if !seen.insert(*version) {
            e.invalid(&path.index(i), *version, "duplicate version");
            continue;
        }
        checks::invalid_each(e, &path.index(i), version, validation::dns_label_1035(version, false));
    }
    if recognised && !versions.iter().any(|v| REVIEWS.contains(v)) {
        let why = format!("must include at least one of {}", REVIEWS.join(", "));
        e.invalid(path, hook.at("admissionReviewVersions"), why);
    }
}

/// A URL of a webhook: HTTPS, a host, and no more than a path.
pub(crate) fn url(e: &mut ErrorList, path: &Path, text: &str) {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if scheme != "https" {
        e.invalid(path, scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        e.invalid(path, host, format!("host must be specified{FORM}"));
    }
    if !user.is_empty() {
        e.invalid(path, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        e.invalid(path, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        e.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

/// A Service that answers a webhook.
pub(crate) fn service(e: &mut ErrorList, path: &Path, service: &Value) {
    for field in ["name", "namespace"] {
        if service.s(field).is_empty() {
            e.required(&path.child(field), "");
        }
    }
    let port = service.int("port").unwrap_or(443);
    let messages = validation::port_number(port);
    if !messages.is_empty() {
        e.invalid(&path.child("port"), port, format!("port is not valid: {}", messages.join(", ")));
    }
    let (text, at) = (service.s("path"), path.child("path"));
    if text.is_empty() || text == "/" {
        return;
    }
    if text == "//" {
        e.invalid(&at, text, "segment[0] may not be empty");
        return;
    }
    if !text.starts_with('/') {
        e.invalid(&at, text, "must start with a '/'");
    }
    let inner = text.get(1..).unwrap_or_default();
    for (i, step) in inner.strip_suffix('/').unwrap_or(inner).split('/').enumerate() {
        if step.is_empty() {
            e.invalid(&at, text, format!("segment[{i}] may not be empty"));
        }
        for m in validation::dns_subdomain(step, false) {
            e.invalid(&at, text, format!("segment[{i}]: {m}"));
        }
    }
}

fn hook(e: &mut ErrorList, path: &Path, hook: &Value, mutating: bool) {
    validation::fully_qualified_name(e, &path.child("name"), hook.s("name"));
    for (i, rule) in hook.items("rules").iter().enumerate() {
        rules::rule(e, &path.child("rules").index(i), rule);
    }
    if let Some(policy) = hook.opt_s("failurePolicy") {
        checks::one_of(e, &path.child("failurePolicy"), policy, &["Fail", "Ignore"]);
    }
    rules::matching(e, path, hook);
    const EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
    match hook.opt_s("sideEffects") {
        None => e.required(&path.child("sideEffects"), format!("must specify one of {}", EFFECTS.join(", "))),
        Some(effects) => checks::one_of(e, &path.child("sideEffects"), effects, EFFECTS),
    }
    if let Some(seconds) = hook.int("timeoutSeconds").filter(|s| !(1..=30).contains(s)) {
        e.invalid(&path.child("timeoutSeconds"), seconds, "the timeout value must be between 1 and 30 seconds");
    }
    if mutating && let Some(policy) = hook.opt_s("reinvocationPolicy") {
        checks::one_of(e, &path.child("reinvocationPolicy"), policy, &["IfNeeded", "Never"]);
    }
    rules::selectors(e, path, hook);
    let (config, at) = (hook.at("clientConfig"), path.child("clientConfig"));
    match (config.opt_s("url"), config.sub("service")) {
        (Some(text), None) => url(e, &at.child("url"), text),
        (None, Some(s)) => service(e, &at.child("service"), s),
        _ => e.required(&at, "exactly one of url or service is required"),
    }
    rules::conditions(e, path, hook, false);
}

/// All webhooks of a configuration; `old` on update.
pub(super) fn configuration(obj: &Value, old: Option<&Value>, mutating: bool) -> ErrorList {
    let mut e = ErrorList::new();
    // What was stored without a version or name of today's rules may stay so.
    let hooks = |o: &Value| o.items("webhooks").to_vec();
    let recognised = old.is_none_or(|o| {
        hooks(o).iter().all(|h| h.strings("admissionReviewVersions").iter().any(|v| REVIEWS.contains(v)))
    });
    let mut names = BTreeSet::new();
    for (i, h) in obj.items("webhooks").iter().enumerate() {
        let path = Path::new("webhooks").index(i);
        hook(&mut e, &path, h, mutating);
        review_versions(&mut e, &path.child("admissionReviewVersions"), h, recognised);
        if !h.s("name").is_empty() && !names.insert(h.s("name")) {
            e.duplicate(&path.child("name"), h.s("name"));
        }
    }
    e
}
