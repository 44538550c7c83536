//! Where a pod may run: affinity, tolerations, topology spread, gates.

use super::{Rules, say};
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, object, validation};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `affinity` (rule: `validateAffinity`).
pub fn affinity(e: &mut ErrorList, affinity: &Value, at: &Path, rules: &Rules<'_>) {
    if let Some(node) = affinity.get("nodeAffinity") {
        let at = at.child("nodeAffinity");
        if let Some(selector) = node.get(REQUIRED) {
            node_selector(e, selector, rules.allow_bad_node_affinity_values, &at.child(REQUIRED));
        }
        for (i, term) in object::list(node, &[PREFERRED]).iter().enumerate() {
            let at = at.child(PREFERRED).index(i);
            weight(e, term, &at);
            if let Some(term) = term.get("preference") {
                node_selector_term(e, term, true, &at.child("preference"));
            }
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(terms) = affinity.get(kind) else { continue };
        let at = at.child(kind);
        for (i, term) in object::list(terms, &[REQUIRED]).iter().enumerate() {
            pod_affinity_term(e, term, &at.child(REQUIRED).index(i), rules);
        }
        for (i, weighted) in object::list(terms, &[PREFERRED]).iter().enumerate() {
            let at = at.child(PREFERRED).index(i);
            weight(e, weighted, &at);
            if let Some(term) = weighted.get("podAffinityTerm") {
                pod_affinity_term(e, term, &at.child("podAffinityTerm"), rules);
            }
        }
    }
}

fn weight(e: &mut ErrorList, term: &Value, at: &Path) {
    let weight = object::int(term, &["weight"]).unwrap_or(0);
    if !(1..=100).contains(&weight) {
        e.invalid(&at.child("weight"), weight, "must be in the range 1-100");
    }
}

/// A node selector (rule: `ValidateNodeSelector`).
pub fn node_selector(e: &mut ErrorList, selector: &Value, any_value: bool, at: &Path) {
    let terms = object::list(selector, &["nodeSelectorTerms"]);
    let at = at.child("nodeSelectorTerms");
    if terms.is_empty() {
        return e.required(&at, "must have at least one node selector term");
    }
    for (i, term) in terms.iter().enumerate() {
        node_selector_term(e, term, any_value, &at.index(i));
    }
}

fn node_selector_term(e: &mut ErrorList, term: &Value, any_value: bool, at: &Path) {
    for (i, r) in object::list(term, &["matchExpressions"]).iter().enumerate() {
        node_requirement(e, r, any_value, &at.child("matchExpressions").index(i));
    }
    for (i, r) in object::list(term, &["matchFields"]).iter().enumerate() {
        node_field_requirement(e, r, &at.child("matchFields").index(i));
    }
}

fn node_requirement(e: &mut ErrorList, r: &Value, any_value: bool, at: &Path) {
    let values = object::list(r, &["values"]);
    let path = at.child("values");
    match object::str(r, &["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            e.required(&path, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            e.forbidden(&path, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            e.required(&path, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => e.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
    let key = object::str(r, &["key"]);
    say(e, || at.child("key"), key, validation::qualified_name(key));
    if !any_value {
        for (i, v) in values.iter().filter_map(Value::as_str).enumerate() {
            say(e, || path.index(i), v, validation::label_value(v));
        }
    }
}

fn node_field_requirement(e: &mut ErrorList, r: &Value, at: &Path) {
    let values = object::list(r, &["values"]);
    match object::str(r, &["operator"]) {
        "In" | "NotIn" if values.len() != 1 => e.required(
            &at.child("values"),
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        ),
        "In" | "NotIn" => {}
        other => e.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
    match object::str(r, &["key"]) {
        "metadata.name" => {
            for (i, v) in values.iter().filter_map(Value::as_str).enumerate() {
                say(e, || at.child("values").index(i), v, validation::dns_subdomain(v, false));
            }
        }
        other => e.invalid(&at.child("key"), other, "not a valid field selector key"),
    }
}

fn pod_affinity_term(e: &mut ErrorList, term: &Value, at: &Path, rules: &Rules<'_>) {
    let check = !rules.allow_bad_selector_values;
    let selector = term.get("labelSelector");
    validation::label_selector(e, selector, check, &at.child("labelSelector"));
    validation::label_selector(e, term.get("namespaceSelector"), check, &at.child("namespaceSelector"));
    for name in object::list(term, &["namespaces"]).iter().filter_map(Value::as_str) {
        say(e, || at.child("namespace"), name, validation::dns_label(name, false));
    }
    label_keys(e, term, selector, at);
    let key = object::str(term, &["topologyKey"]);
    if key.is_empty() {
        e.required(&at.child("topologyKey"), "can not be empty");
    }
    say(e, || at.child("topologyKey"), key, validation::qualified_name(key));
}

/// `matchLabelKeys` and `mismatchLabelKeys` (rule: `validateMatchLabelKeysAndMismatchLabelKeys`).
fn label_keys(e: &mut ErrorList, term: &Value, selector: Option<&Value>, at: &Path) {
    let keys = |name: &str| -> Vec<&str> { object::list(term, &[name]).iter().filter_map(Value::as_str).collect() };
    for name in ["matchLabelKeys", "mismatchLabelKeys"] {
        let list = keys(name);
        if list.is_empty() {
            continue;
        }
        if selector.is_none() {
            e.forbidden(&at.child(name), "must not be specified when labelSelector is not set");
            continue;
        }
        for (i, key) in list.iter().enumerate() {
            say(e, || at.child(name).index(i), key, validation::qualified_name(key));
        }
    }
    let matching = keys("matchLabelKeys");
    if let Some(selector) = selector {
        let mut seen: BTreeSet<&str> = selected_labels(selector);
        for expression in object::list(selector, &["matchExpressions"]) {
            let key = object::str(expression, &["key"]);
            if let Some(i) = matching.iter().rposition(|k| *k == key)
                && seen.contains(key)
            {
                e.invalid(&at.index(i), key, "exists in both matchLabelKeys and labelSelector");
            }
            seen.insert(key);
        }
    }
    let mismatching = keys("mismatchLabelKeys");
    for (i, key) in matching.iter().enumerate().filter(|(_, k)| mismatching.contains(k)) {
        e.invalid(&at.child("matchLabelKeys").index(i), *key, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

fn selected_labels(selector: &Value) -> BTreeSet<&str> {
    object::get(selector, &["matchLabels"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(k, _)| k.as_str())
        .collect()
}

/// `topologySpreadConstraints` (rule: `validateTopologySpreadConstraints`).
pub fn topology_spread(e: &mut ErrorList, spec: &Value, at: &Path, rules: &Rules<'_>) {
    let constraints = object::list(spec, &["topologySpreadConstraints"]);
    for (i, c) in constraints.iter().enumerate() {
        let at = at.index(i);
        let skew = object::int(c, &["maxSkew"]).unwrap_or(0);
        if skew <= 0 {
            e.invalid(&at.child("maxSkew"), skew, "must be greater than zero");
        }
        let (key, action) = (object::str(c, &["topologyKey"]), object::str(c, &["whenUnsatisfiable"]));
        if key.is_empty() {
            e.required(&at.child("topologyKey"), "can not be empty");
        }
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
            e.not_supported(&at.child("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        let repeated = constraints[i + 1..]
            .iter()
            .any(|o| object::str(o, &["topologyKey"]) == key && object::str(o, &["whenUnsatisfiable"]) == action);
        if repeated {
            e.duplicate(&at.child("{topologyKey, whenUnsatisfiable}"), format!("{{{key}, {action}}}"));
        }
        min_domains(e, c, action, &at.child("minDomains"));
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if let Some(value) = c.get(policy).and_then(Value::as_str)
                && !["Honor", "Ignore"].contains(&value)
            {
                e.not_supported(&at.child(policy), value, &["Honor", "Ignore"]);
            }
        }
        spread_label_keys(e, c, &at.child("matchLabelKeys"));
        if !rules.allow_bad_spread_selector {
            validation::label_selector(e, c.get("labelSelector"), true, &at.child("labelSelector"));
        }
    }
}

fn min_domains(e: &mut ErrorList, constraint: &Value, action: &str, at: &Path) {
    let Some(min) = object::int(constraint, &["minDomains"]) else { return };
    if min <= 0 {
        e.invalid(at, min, "must be greater than zero");
    }
    if action != "DoNotSchedule" {
        e.invalid(at, min, format_args!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"));
    }
}

fn spread_label_keys(e: &mut ErrorList, constraint: &Value, at: &Path) {
    let keys = object::list(constraint, &["matchLabelKeys"]);
    if keys.is_empty() {
        return;
    }
    let selector = constraint.get("labelSelector");
    if selector.is_none() {
        e.forbidden(at, "must not be specified when labelSelector is not set");
    }
    let labels = selector.map(selected_labels).unwrap_or_default();
    let expressions: Vec<&str> = selector
        .map_or(&[][..], |s| object::list(s, &["matchExpressions"]))
        .iter()
        .map(|x| object::str(x, &["key"]))
        .collect();
    for (i, key) in keys.iter().filter_map(Value::as_str).enumerate() {
        say(e, || at.index(i), key, validation::qualified_name(key));
        // The pod's own label was merged in as one expression; a second one, or a label, is a clash.
        let merged = expressions.iter().filter(|k| **k == key).count();
        if labels.contains(key) && merged > 0 || merged > 1 {
            e.invalid(&at.index(i), key, "exists in both matchLabelKeys and labelSelector");
        }
    }
}

/// `schedulingGates` (rule: `validateSchedulingGates`).
pub fn scheduling_gates(e: &mut ErrorList, gates: &[Value], at: &Path) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, gate) in gates.iter().enumerate() {
        let name = object::str(gate, &["name"]);
        say(e, || at.index(i), name, validation::qualified_name(name));
        if seen.contains(&name) {
            e.duplicate(&at.index(i), name);
        }
        seen.push(name);
    }
}

/// `tolerations` (rule: `ValidateTolerations`).
pub fn tolerations(e: &mut ErrorList, list: &[Value], at: &Path) {
    for (i, t) in list.iter().enumerate() {
        let str = |k: &str| object::str(t, &[k]);
        let field = |k: &str| at.index(i).child(k);
        let (key, operator, value, effect) = (str("key"), str("operator"), str("value"), str("effect"));
        if !key.is_empty() {
            say(e, || field("key"), key, validation::qualified_name(key));
        }
        if key.is_empty() && operator != "Exists" {
            e.invalid(
                &field("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if t.get("tolerationSeconds").is_some() && effect != "NoExecute" {
            e.invalid(&field("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator {
            "Equal" | "" => {
                let wrong = validation::label_value(value);
                if !wrong.is_empty() {
                    e.invalid(&field("operator"), value, wrong.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                e.invalid(&field("operator"), value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            other => e.not_supported_in_order(&field("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            taint_effect(e, effect, || field("effect"));
        }
    }
}

/// Of tolerations and taints; the caller looks at empty ones.
pub fn taint_effect(e: &mut ErrorList, effect: &str, at: impl FnOnce() -> Path) {
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        e.not_supported_in_order(&at(), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
    }
}

fn terms(affinity: &Value, kind: &str) -> Vec<Value> {
    let required = object::list(affinity, &[kind, REQUIRED]).iter().cloned();
    let preferred = object::list(affinity, &[kind, PREFERRED]).iter().filter_map(|w| w.get("podAffinityTerm").cloned());
    required.chain(preferred).collect()
}

/// Whether selectors in pod affinity already have values that are no label values.
pub fn has_bad_selector_values(spec: &Value) -> bool {
    let Some(affinity) = spec.get("affinity") else { return false };
    ["podAffinity", "podAntiAffinity"]
        .iter()
        .flat_map(|k| terms(affinity, k))
        .any(|term| ["labelSelector", "namespaceSelector"].iter().any(|s| term.get(*s).is_some_and(has_bad_values)))
}

fn has_bad_values(selector: &Value) -> bool {
    object::list(selector, &["matchExpressions"])
        .iter()
        .flat_map(|x| object::list(x, &["values"]))
        .filter_map(Value::as_str)
        .any(|v| !validation::label_value(v).is_empty())
}

/// Whether required node affinity already has values that are no label values.
pub fn has_bad_node_affinity_values(spec: &Value) -> bool {
    object::list(spec, &["affinity", "nodeAffinity", REQUIRED, "nodeSelectorTerms"]).iter().any(has_bad_values)
}

/// Whether topology spread constraints already have broken selectors.
pub fn has_bad_spread_selector(spec: &Value) -> bool {
    object::list(spec, &["topologySpreadConstraints"]).iter().any(|c| {
        let mut e = ErrorList::new();
        validation::label_selector(&mut e, c.get("labelSelector"), true, &Path::root());
        !e.is_empty()
    })
}
