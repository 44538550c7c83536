//! What is wrong with the schema of a CustomResourceDefinition, before it is asked whether it is structural
//! (rule: `ValidateCustomResourceDefinitionOpenAPISchema` in apiextensions `pkg/apis/apiextensions/validation`).

use crate::fields::Fields;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
const OF_META: &[&str] = &["metadata", "kind", "apiVersion"];

/// What a definition may go on to break because its older form does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Types have to be known.
    types: bool,
    /// Items of sets have to be atomic.
    atomic_sets: bool,
    /// Keys of maps have to be present, items of maps and sets not null.
    map_keys: bool,
}

impl Rules {
    /// All of them.
    pub(super) const ALL: Self = Self { types: true, atomic_sets: true, map_keys: true };

    /// Those that the definition `old` keeps.
    pub(super) fn kept_by(old: &Value) -> Self {
        let mut rules = Self::ALL;
        for version in old.at("spec").items("versions") {
            each(version.at("schema").at("openAPIV3Schema"), &mut |schema| {
                let kind = schema.s("type");
                rules.types &= kind.is_empty() || TYPES.contains(&kind);
                let keeps = |check: fn(&mut ErrorList, &Path, &Value)| {
                    let mut e = ErrorList::new();
                    check(&mut e, &Path::root(), schema);
                    e.is_empty()
                };
                rules.atomic_sets &= keeps(items_of_sets);
                rules.map_keys &= keeps(keys_of_maps);
            });
        }
        rules
    }
}

/// Calls `f` with a schema and all schemas in it.
pub(super) fn each<'a>(schema: &'a Value, f: &mut dyn FnMut(&'a Value)) {
    f(schema);
    let items = schema.sub("items").filter(|i| i.is_object());
    let listed = ["items", "allOf", "anyOf", "oneOf"].into_iter().flat_map(|of| schema.items(of));
    let single = ["not", "additionalProperties", "additionalItems"].into_iter().filter_map(|of| schema.sub(of));
    let named = ["properties", "patternProperties", "definitions", "dependencies"];
    let named = named.into_iter().flat_map(|of| schema.entries(of)).map(|(_, s)| s);
    for schema in items.into_iter().chain(listed).chain(single).chain(named).filter(|s| s.is_object()) {
        each(schema, f);
    }
}

/// Where a schema stands.
#[derive(Clone, Default)]
struct Place {
    /// In `metadata`, `kind` or `apiVersion` of an object, embedded or not.
    in_meta: bool,
    /// Why it may not have a default.
    no_default: Option<String>,
}

/// What is wrong with the schema at the root of an object.
pub(super) fn root(e: &mut ErrorList, path: &Path, schema: &Value, rules: Rules) {
    check(e, path, schema, rules, &Place::default(), true);
}

fn check(e: &mut ErrorList, path: &Path, schema: &Value, rules: Rules, place: &Place, root: bool) {
    unsupported(e, path, schema, rules, place);
    if is(schema, "uniqueItems") {
        const WHY: &str = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        e.forbidden(&path.child("uniqueItems"), WHY);
    }
    additional(e, path, schema, rules, place);
    for (name, property) in schema.entries("properties") {
        let mut place = place.clone();
        if (root || is(schema, "x-kubernetes-embedded-resource")) && OF_META.contains(&name) {
            place.in_meta = true;
            if root {
                place.no_default = Some(format!("in top-level {name}"));
            }
        }
        check(e, &path.child("properties").key(name), property, rules, &place, false);
    }
    if let Some(not) = schema.sub("not") {
        check(e, &path.child("not"), not, rules, place, false);
    }
    let listed = |e: &mut ErrorList, of: &str| {
        for (i, schema) in schema.items(of).iter().enumerate() {
            check(e, &path.child(of).index(i), schema, rules, place, false);
        }
    };
    ["allOf", "oneOf", "anyOf"].into_iter().for_each(|of| listed(e, of));
    for (name, schema) in schema.entries("definitions") {
        check(e, &path.child("definitions").key(name), schema, rules, place, false);
    }
    if let Some(items) = schema.sub("items").filter(|i| i.is_object()) {
        check(e, &path.child("items"), items, rules, place, false);
    }
    listed(e, "items");
    for (name, schema) in schema.entries("dependencies").into_iter().filter(|(_, s)| s.is_object()) {
        check(e, &path.child("dependencies").key(name), schema, rules, place, false);
    }
    extensions(e, path, schema, rules);
    validations(e, &path.child("x-kubernetes-validations"), schema);
    if rules.map_keys {
        keys_of_maps(e, path, schema);
    }
}

fn is(schema: &Value, flag: &str) -> bool {
    schema.flag(flag) == Some(true)
}

fn additional(e: &mut ErrorList, path: &Path, schema: &Value, rules: Rules, place: &Place) {
    let Some(more) = schema.sub("additionalProperties") else { return };
    let at = path.child("additionalProperties");
    if schema.has("properties") && more != &Value::Bool(true) {
        e.forbidden(&at, "additionalProperties and properties are mutual exclusive");
    }
    if more.is_object() {
        let mut place = place.clone();
        if place.in_meta {
            place.no_default = Some("inside additionalProperties applying to object metadata".into());
        }
        check(e, &at, more, rules, &place, false);
    }
}

/// Parts of JSON schema that definitions cannot have.
fn unsupported(e: &mut ErrorList, path: &Path, schema: &Value, rules: Rules, place: &Place) {
    let kind = schema.s("type");
    if rules.types && !kind.is_empty() && !TYPES.contains(&kind) {
        e.not_supported(&path.child("type"), kind, TYPES);
    }
    if schema.sub("default").is_some()
        && let Some(why) = &place.no_default
    {
        e.forbidden(&path.child("default"), format!("must not be set {why}"));
    }
    let mut refuse = |field: &str, present: bool| {
        if present {
            e.forbidden(&path.child(field), format!("{field} is not supported"));
        }
    };
    refuse("id", !schema.s("id").is_empty());
    refuse("additionalItems", schema.sub("additionalItems").is_some());
    for field in ["patternProperties", "definitions", "dependencies"] {
        refuse(field, schema.has(field));
    }
    refuse("$ref", schema.opt_s("$ref").is_some());
    if kind == "null" {
        e.forbidden(&path.child("type"), "type cannot be set to null, use nullable as an alternative");
    }
    if !schema.items("items").is_empty() {
        e.forbidden(&path.child("items"), "items must be a schema object and not an array");
    }
    if place.in_meta && is(schema, "x-kubernetes-embedded-resource") {
        e.forbidden(&path.child("x-kubernetes-embedded-resource"), "must not be used inside of resource meta");
    }
}

/// A `what` needs the type `wanted`.
fn needs_type(e: &mut ErrorList, path: &Path, kind: &str, wanted: &str, what: &str) {
    let why = format!("must be {wanted} if {what} is specified");
    match kind {
        "" => e.required(&path.child("type"), why),
        kind if kind != wanted => e.invalid(&path.child("type"), kind, why),
        _ => {}
    }
}

fn extensions(e: &mut ErrorList, path: &Path, schema: &Value, rules: Rules) {
    const KEEPS: &str = "x-kubernetes-preserve-unknown-fields";
    const MAP: &str = "x-kubernetes-map-type";
    const LIST: &str = "x-kubernetes-list-type";
    let kind = schema.s("type");
    if schema.flag(KEEPS) == Some(false) {
        e.invalid(&path.child(KEEPS), false, "must be true or undefined");
    }
    if let Some(map) = schema.opt_s(MAP) {
        needs_type(e, path, kind, "object", MAP);
        if !["atomic", "granular"].contains(&map) {
            e.not_supported(&path.child(MAP), map, &["atomic", "granular"]);
        }
    }
    if let Some(list) = schema.opt_s(LIST) {
        needs_type(e, path, kind, "array", LIST);
        if kind == "array" && rules.atomic_sets {
            items_of_sets(e, path, schema);
        }
        if !["atomic", "map", "set"].contains(&list) {
            e.not_supported_in_order(&path.child(LIST), list, &["atomic", "set", "map"]);
        }
    }
    keyed(e, path, schema);
}

/// Lists that are maps: by which members of their items.
fn keyed(e: &mut ErrorList, path: &Path, schema: &Value) {
    const LIST: &str = "x-kubernetes-list-type";
    const KEYS: &str = "x-kubernetes-list-map-keys";
    let (list, keys) = (schema.opt_s(LIST), schema.strings(KEYS));
    let is_map = list == Some("map");
    if !keys.is_empty() && !is_map {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list {
            None => e.required(&path.child(LIST), why),
            Some(list) => e.invalid(&path.child(LIST), list, why),
        }
    }
    if !is_map {
        return;
    }
    if keys.is_empty() {
        e.required(&path.child(KEYS), "must not be empty if x-kubernetes-list-type is map");
    }
    let at = path.child("items");
    let items = match schema.sub("items") {
        None => return e.required(&at, "must have a schema if x-kubernetes-list-type is map"),
        Some(items) if !items.is_object() => {
            return e.invalid(&at, items, "must only have a single schema if x-kubernetes-list-type is map");
        }
        Some(items) => items,
    };
    let kind = items.s("type");
    if kind != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        return e.invalid(&at.child("type"), kind, why);
    }
    let mut seen = BTreeSet::new();
    for key in keys {
        match items.at("properties").sub(key).map(|p| p.s("type")) {
            Some("array" | "object") => {
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                e.invalid(&at.child("properties").key(key).child("type"), kind, why);
            }
            Some(_) => {}
            None => e.invalid(&path.child(KEYS), schema.at(KEYS), "entries must all be names of item properties"),
        }
        if !seen.insert(key) {
            e.invalid(&path.child(KEYS), schema.at(KEYS), "must not contain duplicate entries");
        }
    }
}

/// Items of sets are compared as a whole.
fn items_of_sets(e: &mut ErrorList, path: &Path, schema: &Value) {
    let Some(items) = schema.sub("items").filter(|i| i.is_object()) else { return };
    if schema.s("x-kubernetes-list-type") != "set" {
        return;
    }
    let (at, list) = (path.child("items"), items.opt_s("x-kubernetes-list-type"));
    const WHY: &str = "must be atomic as item of a list with x-kubernetes-list-type=set";
    match items.s("type") {
        "array" => {
            if let Some(list) = list.filter(|l| *l != "atomic") {
                e.invalid(&at.child("x-kubernetes-list-type"), list, WHY);
            }
        }
        "object" if items.s("x-kubernetes-map-type") != "atomic" => {
            // Upstream shows the list type here too.
            e.invalid(&at.child("x-kubernetes-map-type"), items.at("x-kubernetes-list-type"), WHY);
        }
        _ => {}
    }
}

/// Items of maps have their keys, and no item of a map or set is null.
fn keys_of_maps(e: &mut ErrorList, path: &Path, schema: &Value) {
    let Some(items) = schema.sub("items").filter(|i| i.is_object()) else { return };
    let list = schema.s("x-kubernetes-list-type");
    if !matches!(list, "set" | "map") {
        return;
    }
    let at = path.child("items");
    if is(items, "nullable") {
        e.forbidden(&at.child("nullable"), format!("cannot be nullable when x-kubernetes-list-type is {list}"));
    }
    if list == "set" {
        return;
    }
    let required = items.strings("required");
    for key in schema.strings("x-kubernetes-list-map-keys") {
        let Some(property) = items.at("properties").sub(key) else { continue };
        let at = at.child("properties").key(key);
        if !required.contains(&key) && property.sub("default").is_none() {
            let why =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            e.required(&at.child("default"), why);
        }
        if is(property, "nullable") {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            e.forbidden(&at.child("nullable"), why);
        }
    }
}

/// Rules in CEL: what can be told without compiling them.
fn validations(e: &mut ErrorList, path: &Path, schema: &Value) {
    const REASONS: &[&str] = &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    let broken = |text: &str| text.contains(['\n', '\r']);
    for (i, rule) in schema.items("x-kubernetes-validations").iter().enumerate() {
        let at = path.index(i);
        let (text, message) = (rule.s("rule").trim(), rule.s("message"));
        if text.is_empty() {
            e.required(&at.child("rule"), "rule is not specified");
        } else if !message.is_empty() && message.trim().is_empty() {
            e.invalid(&at.child("message"), message, "message must be non-empty if specified");
        } else if broken(message.trim()) {
            e.invalid(&at.child("message"), message, "message must not contain line breaks");
        } else if broken(text) && message.trim().is_empty() {
            e.required(&at.child("message"), "message must be specified if rule contains line breaks");
        }
        let expression = rule.s("messageExpression");
        if !expression.is_empty() && expression.trim().is_empty() {
            e.required(&at.child("messageExpression"), "messageExpression must be non-empty if specified");
        }
        if let Some(reason) = rule.opt_s("reason").filter(|r| !REASONS.contains(r)) {
            e.not_supported(&at.child("reason"), reason, REASONS);
        }
        let field = rule.s("fieldPath");
        if !field.is_empty() && field.trim().is_empty() {
            e.invalid(&at.child("fieldPath"), field, "fieldPath must be non-empty if specified");
        }
        if broken(field) {
            e.invalid(&at.child("fieldPath"), field, "fieldPath must not contain line breaks");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(schema: Value) -> Vec<String> {
        let mut e = ErrorList::new();
        root(&mut e, &Path::new("s"), &json!({"type": "object", "properties": {"a": schema}}), Rules::ALL);
        e.0.iter().map(|e| e.to_string().replace("s.properties[a]", "a")).collect()
    }

    #[test]
    fn parts_of_json_schema_that_are_not_supported() {
        assert_eq!(told(json!({"type": "string", "default": "x"})), Vec::<String>::new());
        assert_eq!(
            told(json!({"type": "null", "$ref": "x", "id": "y", "definitions": {"d": {}}, "uniqueItems": true})),
            [
                r#"a.type: Unsupported value: "null": supported values: "array", "boolean", "integer", "number", "object", "string""#,
                "a.id: Forbidden: id is not supported",
                "a.definitions: Forbidden: definitions is not supported",
                "a.$ref: Forbidden: $ref is not supported",
                "a.type: Forbidden: type cannot be set to null, use nullable as an alternative",
                "a.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            ]
        );
        assert_eq!(
            told(json!({"type": "object", "properties": {"b": {}}, "additionalProperties": {"type": "x"}})).len(),
            2
        );
        assert!(told(json!({"type": "object", "properties": {"b": {}}, "additionalProperties": true})).is_empty());
    }

    #[test]
    fn metadata_has_no_defaults() {
        let mut e = ErrorList::new();
        let schema = json!({"properties": {"metadata": {"properties": {"name": {"default": "x"}}}}});
        root(&mut e, &Path::new("s"), &schema, Rules::ALL);
        let want = "s.properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata";
        assert_eq!(e.0.iter().map(ToString::to_string).collect::<Vec<_>>(), [want]);
    }

    #[test]
    fn lists_that_are_maps_and_sets() {
        let item = json!({"type": "object", "properties": {"k": {"type": "string", "nullable": true}}});
        let list = |more: Value| {
            let mut schema = json!({"type": "array", "items": item});
            schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            told(schema)
        };
        assert_eq!(
            list(json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "x"]})),
            [
                r#"a.x-kubernetes-list-map-keys: Invalid value: ["k","x"]: entries must all be names of item properties"#,
                "a.items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
                "a.items.properties[k].nullable: Forbidden: this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            ]
        );
        assert_eq!(
            list(json!({"x-kubernetes-list-map-keys": ["k"]})),
            ["a.x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty"]
        );
        assert_eq!(
            list(json!({"x-kubernetes-list-type": "set"})),
            [
                "a.items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set"
            ]
        );
        assert_eq!(
            told(
                json!({"type": "string", "x-kubernetes-list-type": "bag", "x-kubernetes-preserve-unknown-fields": false})
            ),
            [
                "a.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
                r#"a.type: Invalid value: "string": must be array if x-kubernetes-list-type is specified"#,
                r#"a.x-kubernetes-list-type: Unsupported value: "bag": supported values: "atomic", "set", "map""#,
            ]
        );
    }

    #[test]
    fn what_an_older_form_broke_may_stay_broken() {
        let schema =
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "odd", "nullable": true}});
        let old = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {"properties": {"a": schema}}}}]}});
        let rules = Rules::kept_by(&old);
        assert!(!rules.types && rules.atomic_sets && !rules.map_keys, "{rules:?}");
    }

    #[test]
    fn texts_of_rules() {
        assert_eq!(
            told(json!({"type": "string", "x-kubernetes-validations": [
                {"rule": " "}, {"rule": "a\nb"}, {"rule": "a", "message": " "}, {"rule": "a", "message": "b\nc"},
                {"rule": "a", "reason": "x"},
            ]})),
            [
                "a.x-kubernetes-validations[0].rule: Required value: rule is not specified",
                "a.x-kubernetes-validations[1].message: Required value: message must be specified if rule contains line breaks",
                r#"a.x-kubernetes-validations[2].message: Invalid value: " ": message must be non-empty if specified"#,
                r#"a.x-kubernetes-validations[3].message: Invalid value: "b\nc": message must not contain line breaks"#,
                r#"a.x-kubernetes-validations[4].reason: Unsupported value: "x": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired""#,
            ]
        );
    }
}
