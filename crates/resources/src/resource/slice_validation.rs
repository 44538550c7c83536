//! What is wrong with slices of a pool of devices (rule: `pkg/apis/resource/validation`).

use super::capacity_validation::capacity;
use super::claim_validation::{device, driver, duplicates, limit, pool, qualified};
use crate::checks;
use crate::fields::Fields;
use crate::shared::internal::{Field, Show, Type};
use serde_json::{Map, Value};
use steersman_apimachinery::{ErrorList, Path, validation};

/// The most devices of a slice, and the most when one has taints or shares counters.
const MOST_DEVICES: usize = 128;
const MOST_ADVANCED_DEVICES: usize = 64;
/// The most attributes and capacities of a device, bytes of a value, taints, conditions for binding.
const MOST_ATTRIBUTES: usize = 32;
const LONGEST_VALUE: usize = 64;
const MOST_TAINTS: usize = 16;
const MOST_CONDITIONS: usize = 4;
/// The most sets of counters of a slice, sets that a device draws from, counters of either.
const MOST_COUNTER_SETS: usize = 8;
const MOST_CONSUMPTIONS: usize = 2;
const MOST_COUNTERS: usize = 32;
/// The longest key of a map that paths show whole.
const LONGEST_SHOWN_NAME: usize = 63 + 1 + 32;

const ATTRIBUTE: &[Field] = &[
    Field("intValue", Type::Plain),
    Field("boolValue", Type::Plain),
    Field("stringValue", Type::Plain),
    Field("versionValue", Type::Plain),
    Field("boolValues", Type::Plain),
    Field("intValues", Type::Plain),
    Field("stringValues", Type::Plain),
    Field("versionValues", Type::Plain),
];

/// Upstream's words where a slice, and where one device of it, has not exactly one way of choosing nodes.
const ONE_WAY: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
const ONE_WAY_OF_DEVICE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
const NO_WAY_OF_DEVICE: &str = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";

/// Which of `fields` choose nodes, each checked.
fn ways(e: &mut ErrorList, path: &Path, holder: &Value, fields: &[&str], of_device: bool) -> Vec<String> {
    let mut set = Vec::new();
    for field in fields {
        let at = path.child(field);
        match holder.sub(field) {
            None => continue,
            Some(Value::Bool(false)) => {
                e.invalid(&at, false, "must be either unset or set to true");
                continue;
            }
            Some(Value::String(name)) if name.is_empty() => {
                let why =
                    if of_device { "must not be empty" } else { "must be either unset or set to a non-empty string" };
                e.invalid(&at, "", why);
                continue;
            }
            Some(Value::String(name)) => checks::subdomain(e, &at, name),
            Some(selector @ Value::Object(_)) => {
                checks::node_selector(e, &at, selector);
                let terms = selector.items("nodeSelectorTerms").len();
                if !of_device && terms != 1 {
                    let at = at.child("nodeSelectorTerms");
                    e.invalid(&at, selector.at("nodeSelectorTerms"), "must have exactly one node selector term");
                }
            }
            Some(_) => {}
        }
        set.push(format!("`{field}`"));
    }
    set
}

/// Node selection of a slice.
fn nodes(e: &mut ErrorList, path: &Path, spec: &Value) {
    let set = ways(e, path, spec, &["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"], false);
    match set.len() {
        0 => e.required(path, ONE_WAY),
        1 => {}
        _ => {
            let why = format!("{ONE_WAY}, but multiple fields are set");
            e.invalid(path, format!("{{{}}}", set.join(", ")), why);
        }
    }
}

/// Node selection of one device.
fn device_nodes(e: &mut ErrorList, path: &Path, d: &Value, per_device: bool) {
    const FIELDS: &[&str] = &["nodeName", "nodeSelector", "allNodes"];
    if !per_device {
        if FIELDS.iter().any(|f| d.sub(f).is_some()) {
            e.invalid(path, Value::Null, NO_WAY_OF_DEVICE);
        }
        return;
    }
    let set = ways(e, path, d, FIELDS, true);
    match set.len() {
        0 => e.required(path, ONE_WAY_OF_DEVICE),
        1 => {}
        _ => e.invalid(path, format!("{{{}}}", set.join(", ")), ONE_WAY_OF_DEVICE),
    }
}

/// An attribute under the names that its internal struct has.
fn internal_attribute(value: &Value) -> Value {
    let name = |key: &str| match key.strip_suffix('s') {
        Some(one) => format!("{one}Values"),
        None => format!("{key}Value"),
    };
    value.as_object().map(|m| m.iter().map(|(k, v)| (name(k), v.clone())).collect::<Map<_, _>>()).into()
}

fn attribute(e: &mut ErrorList, path: &Path, value: &Value) {
    if value.s("string").len() > LONGEST_VALUE {
        e.too_long(&path.child("string"), LONGEST_VALUE);
    }
    if let Some(v) = value.opt_s("version") {
        let at = path.child("version");
        if !is_semver(v) {
            e.invalid(&at, v, "must be a string compatible with semver.org spec 2.0.0");
        }
        if v.len() > LONGEST_VALUE {
            e.too_long(&at, LONGEST_VALUE);
        }
    }
    match ["bool", "int", "string", "version"].iter().filter(|k| value.sub(k).is_some()).count() {
        1 => {}
        0 => e.invalid(path, "", "exactly one value must be specified"),
        _ => e.invalid(path, Show(ATTRIBUTE, &internal_attribute(value)), "exactly one value must be specified"),
    }
}

/// A semantic version: three numbers, then perhaps parts of a pre-release and of a build.
fn is_semver(text: &str) -> bool {
    let (rest, build) = text.split_once('+').map_or((text, None), |(a, b)| (a, Some(b)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(a, b)| (a, Some(b)));
    let digits = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
    let number = |p: &str| digits(p) && (p == "0" || !p.starts_with('0'));
    let word = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|p| p.split('.').all(|p| word(p) && (!digits(p) || number(p))))
        && build.is_none_or(|b| b.split('.').all(word))
}

/// A key as paths show it: what is too long loses its middle.
fn shown(key: &str, most: usize) -> String {
    let bytes = key.as_bytes();
    if bytes.len() <= most {
        return key.to_owned();
    }
    let left = most - 3;
    let (head, tail) = (&bytes[..left.div_ceil(2)], &bytes[bytes.len() - left / 2..]);
    format!("{}...{}", String::from_utf8_lossy(head), String::from_utf8_lossy(tail))
}

/// A set of counters, or how much of one a device takes; `name` is the field that names the set.
fn counter_set(e: &mut ErrorList, path: &Path, set: &Value, name: &str) {
    match set.s(name) {
        "" => e.required(&path.child(name), ""),
        text => checks::label(e, &path.child(name), text),
    }
    let (counters, at) = (set.entries("counters"), path.child("counters"));
    if counters.is_empty() {
        e.required(&at, "");
    } else if limit(e, &at, counters.len(), MOST_COUNTERS) {
        for (key, _) in counters {
            checks::label(e, &at, key);
        }
    }
}

/// Sets of counters: none too many, each right, none twice.
fn counter_sets(e: &mut ErrorList, path: &Path, list: &[Value], most: usize, name: &str) {
    if !limit(e, path, list.len(), most) {
        return;
    }
    for (i, set) in list.iter().enumerate() {
        counter_set(e, &path.index(i), set, name);
    }
    duplicates(e, path, list.iter().map(|s| s.s(name)));
}

/// Conditions that binding waits for, and those that end it (rule: `validateDeviceBindingParameters`).
pub(super) fn binding(e: &mut ErrorList, path: &Path, holder: &Value) {
    const FIELDS: [&str; 2] = ["bindingConditions", "bindingFailureConditions"];
    let [wanted, failed] = FIELDS.map(|f| holder.strings(f));
    let [wanted_at, failed_at] = FIELDS.map(|f| path.child(f));
    for (list, at) in [(&wanted, &wanted_at), (&failed, &failed_at)] {
        if limit(e, at, list.len(), MOST_CONDITIONS) {
            for (i, condition) in list.iter().enumerate() {
                checks::qualified_name(e, &at.index(i), condition);
            }
        }
    }
    duplicates(e, &wanted_at, wanted.iter().copied());
    for (i, condition) in failed.iter().enumerate() {
        if failed[..i].contains(condition) {
            e.duplicate(&failed_at.index(i), *condition);
        }
        if wanted.contains(condition) {
            let why = "bindingFailureConditions must not overlap with bindingConditions";
            e.invalid(&failed_at.index(i), *condition, why);
        }
    }
    for (list, other, at, words) in [
        (&wanted, &failed, &wanted_at, "bindingConditions are required to use bindingFailureConditions"),
        (&failed, &wanted, &failed_at, "bindingFailureConditions are required to use bindingConditions"),
    ] {
        if list.is_empty() && !other.is_empty() {
            e.invalid(at, Value::Null, words);
        }
    }
}

fn taint(e: &mut ErrorList, path: &Path, t: &Value) {
    checks::qualified_name(e, &path.child("key"), t.s("key"));
    if !t.s("value").is_empty() {
        checks::label_value(e, &path.child("value"), t.s("value"));
    }
    match t.s("effect") {
        "" => e.required(&path.child("effect"), ""),
        effect => checks::one_of(e, &path.child("effect"), effect, &["NoExecute", "NoSchedule", "None"]),
    }
}

/// A device; what is as it was in `old` is not checked once more.
fn one_device(e: &mut ErrorList, path: &Path, d: &Value, old: Option<&Value>, per_device: bool) {
    device(e, &path.child("name"), d.s("name"));
    let (attributes, capacities) = (d.entries("attributes"), d.entries("capacity"));
    if attributes.len() + capacities.len() > MOST_ATTRIBUTES {
        let why = format!("the total number of attributes and capacities must not exceed {MOST_ATTRIBUTES}");
        let count = i64::try_from(attributes.len() + capacities.len()).unwrap_or(i64::MAX);
        e.invalid(path, count, why);
    }
    let at = path.child("attributes");
    for (name, value) in attributes {
        qualified(e, &at, name);
        attribute(e, &at.key(&shown(name, LONGEST_SHOWN_NAME)), value);
    }
    let changed = |field: &str| old.is_none_or(|o| o.at(field) != d.at(field));
    if changed("capacity") {
        let (at, shared) = (path.child("capacity"), d.flag("allowMultipleAllocations") == Some(true));
        for (name, value) in capacities {
            qualified(e, &at, name);
            capacity(e, &at.key(&shown(name, LONGEST_SHOWN_NAME)), value, shared);
        }
    }
    let (taints, at) = (d.items("taints"), path.child("taints"));
    if changed("taints") && limit(e, &at, taints.len(), MOST_TAINTS) {
        for (i, t) in taints.iter().enumerate() {
            taint(e, &at.index(i), t);
        }
    }
    let at = path.child("consumesCounters");
    counter_sets(e, &at, d.items("consumesCounters"), MOST_CONSUMPTIONS, "counterSet");
    device_nodes(e, path, d, per_device);
    binding(e, path, d);
}

/// A slice; `old` on update.
pub(super) fn slice(obj: &Value, old: Option<&Value>) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    let was = old.map(|o| o.at("spec"));
    driver(&mut e, &path.child("driver"), spec.s("driver"));
    let (p, at) = (spec.at("pool"), path.child("pool"));
    pool(&mut e, &at.child("name"), p.s("name"));
    let count = p.int("resourceSliceCount").unwrap_or(0);
    if count <= 0 {
        e.invalid(&at.child("resourceSliceCount"), count, "must be greater than zero");
    }
    if let Some(generation) = p.int("generation").filter(|g| *g < 0) {
        e.invalid(&at.child("generation"), generation, "must be greater than or equal to zero");
    }
    if let Some(was) = was {
        checks::immutable(&mut e, &at.child("name"), p.at("name"), was.at("pool").at("name"));
        for field in ["driver", "nodeName"] {
            validation::immutable(&mut e, spec.sub(field), was.sub(field), &path.child(field));
        }
    }
    nodes(&mut e, &path, spec);
    if spec.has("sharedCounters") && spec.has("devices") {
        e.invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let (list, at) = (spec.items("devices"), path.child("devices"));
    let advanced = list.iter().any(|d| d.has("taints") || d.has("consumesCounters"));
    if limit(&mut e, &at, list.len(), if advanced { MOST_ADVANCED_DEVICES } else { MOST_DEVICES }) {
        let per_device = spec.flag("perDeviceNodeSelection") == Some(true);
        for (i, d) in list.iter().enumerate() {
            let before = was.and_then(|w| w.items("devices").iter().find(|o| o.s("name") == d.s("name")));
            one_device(&mut e, &at.index(i), d, before, per_device);
        }
        duplicates(&mut e, &at, list.iter().map(|d| d.s("name")));
    }
    let at = path.child("sharedCounters");
    counter_sets(&mut e, &at, spec.items("sharedCounters"), MOST_COUNTER_SETS, "name");
    e
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: Value, want: &[&str]) {
        let mut whole =
            json!({"driver": "d.example.com", "pool": {"name": "p", "resourceSliceCount": 1, "generation": 1}});
        if let (Some(w), Value::Object(s)) = (whole.as_object_mut(), spec) {
            w.extend(s);
        }
        let e = slice(&json!({ "spec": whole }), None);
        let got: Vec<String> = e.0.iter().map(|e| format!("{}: {}", e.field, e.body)).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn nodes_are_chosen_one_way() {
        check(json!({"allNodes": true}), &[]);
        check(json!({}), &[&format!("spec: Required value: {ONE_WAY}")]);
        check(
            json!({"nodeName": "n", "allNodes": true}),
            &[&format!("spec: Invalid value: \"{{`nodeName`, `allNodes`}}\": {ONE_WAY}, but multiple fields are set")],
        );
        check(
            json!({"allNodes": true, "devices": [{"name": "a", "nodeName": "n"}]}),
            &[&format!("spec.devices[0]: Invalid value: null: {NO_WAY_OF_DEVICE}")],
        );
        check(
            json!({"perDeviceNodeSelection": true, "devices": [{"name": "a"}, {"name": "b", "nodeName": "", "allNodes": true}]}),
            &[
                &format!("spec.devices[0]: Required value: {ONE_WAY_OF_DEVICE}"),
                "spec.devices[1].nodeName: Invalid value: \"\": must not be empty",
            ],
        );
    }

    #[test]
    fn devices() {
        let check = |device: Value, want: &[&str]| check(json!({"allNodes": true, "devices": [device]}), want);
        check(
            json!({"name": "a", "attributes": {"x": {}, "y": {"int": 1, "bool": true}, "z": {"version": "1"}}}),
            &[
                "spec.devices[0].attributes[x]: Invalid value: \"\": exactly one value must be specified",
                "spec.devices[0].attributes[y]: Invalid value: {\"IntValue\":1,\"BoolValue\":true,\"StringValue\":null,\"VersionValue\":null,\"BoolValues\":null,\"IntValues\":null,\"StringValues\":null,\"VersionValues\":null}: exactly one value must be specified",
                "spec.devices[0].attributes[z].version: Invalid value: \"1\": must be a string compatible with semver.org spec 2.0.0",
            ],
        );
        check(
            json!({"name": "a", "consumesCounters": [{}, {"counterSet": "s", "counters": {"c": {"value": "1"}}}]}),
            &[
                "spec.devices[0].consumesCounters[0].counterSet: Required value",
                "spec.devices[0].consumesCounters[0].counters: Required value",
            ],
        );
        check(
            json!({"name": "a", "bindingConditions": ["x.com/a"]}),
            &[
                "spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
            ],
        );
        check(
            json!({"name": "a", "bindingConditions": ["a", "a"], "bindingFailureConditions": ["a"]}),
            &[
                "spec.devices[0].bindingConditions[1]: Duplicate value: \"a\"",
                "spec.devices[0].bindingFailureConditions[0]: Invalid value: \"a\": bindingFailureConditions must not overlap with bindingConditions",
            ],
        );
    }

    #[test]
    fn names_are_unique() {
        check(
            json!({"allNodes": true, "devices": [{"name": "a"}, {"name": "a"}]}),
            &["spec.devices[1]: Duplicate value: \"a\""],
        );
        let set = json!({"name": "s", "counters": {"c": {"value": "1"}}});
        check(
            json!({"allNodes": true, "sharedCounters": [set, set]}),
            &["spec.sharedCounters[1]: Duplicate value: \"s\""],
        );
    }

    #[test]
    fn semantic_versions() {
        for (text, want) in [
            ("1.2.3", true),
            ("1.2", false),
            ("01.2.3", false),
            ("1.2.3-a.1+b", true),
            ("1.2.3-01", false),
            ("1.2.3+", false),
        ] {
            assert_eq!(is_semver(text), want, "{text}");
        }
    }
}
