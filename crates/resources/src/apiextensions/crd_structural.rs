//! Structural schemas: each value has one place where its type is told, and all else only narrows it
//! (rule: apiextensions `pkg/apiserver/schema`, `convert.go`, `validation.go`, `complete.go`).

use crate::fields::Fields;
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path};

const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const KEEPS: &str = "x-kubernetes-preserve-unknown-fields";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

fn is(schema: &Value, flag: &str) -> bool {
    schema.flag(flag) == Some(true)
}

/// Why a schema cannot even be asked whether it is structural.
pub(super) fn unsupported(schema: &Value) -> Option<String> {
    let refused = |field: &str| Some(format!("OpenAPIV3Schema '{field}' is not supported"));
    for (field, shown) in [("id", "id"), ("$schema", "schema"), ("$ref", "$ref")] {
        if !schema.s(field).is_empty() {
            return refused(shown);
        }
    }
    for field in ["patternProperties", "dependencies", "additionalItems", "definitions"] {
        if schema.has(field) {
            return refused(field);
        }
    }
    if schema.flag(KEEPS) == Some(false) {
        return Some(format!("internal error: '{KEEPS}' must be true or undefined"));
    }
    if !schema.items("items").is_empty() {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".into());
    }
    let named = schema.entries("properties").into_iter().map(|(_, s)| s);
    let single = ["not", "items", "additionalProperties"].into_iter().filter_map(|of| schema.sub(of));
    let listed = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|of| schema.items(of));
    single.chain(listed).chain(named).filter(|s| s.is_object()).find_map(unsupported)
}

/// What keeps a schema from being structural, sorted by its text.
pub(super) fn root(path: &Path, schema: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    invariants(&mut e, path, schema, Level::Root);
    complete(&mut e, schema, Some(schema), path, path);
    e.0.sort_by_cached_key(ToString::to_string);
    e
}

fn object<'a>(schema: &'a Value, field: &str) -> Option<&'a Value> {
    schema.sub(field).filter(|s| s.is_object())
}

fn invariants(e: &mut ErrorList, path: &Path, schema: &Value, level: Level) {
    let at = path.child("items");
    match object(schema, "items") {
        Some(items) => invariants(e, &at, items, Level::Item),
        None if schema.s("type") == "array" => e.required(&at, "must be specified"),
        None => {}
    }
    for (name, property) in schema.entries("properties") {
        invariants(e, &path.child("properties").key(name), property, Level::Field);
    }
    let at = path.child("additionalProperties");
    if schema.sub("additionalProperties").is_some() && level == Level::Root {
        e.forbidden(&at, "must not be used at the root");
    }
    if let Some(more) = object(schema, "additionalProperties") {
        invariants(e, &at, more, Level::Field);
    }
    if is(schema, INT_OR_STRING) {
        for flag in [KEEPS, EMBEDDED] {
            if is(schema, flag) {
                e.invalid(&path.child(flag), true, "must be false if x-kubernetes-int-or-string is true");
            }
        }
    }
    let first = schema.items("allOf").first();
    let (whole, in_first) = (int_or_string(schema), first.is_some_and(int_or_string));
    narrowing(e, path, schema, whole, in_first);
    types(e, path, schema, level);
    embedded(e, path, schema, level);
}

/// Whether a schema allows numbers and texts, in the form that stands for both.
fn int_or_string(schema: &Value) -> bool {
    schema.at("anyOf") == &json!([{"type": "integer"}, {"type": "string"}])
}

fn types(e: &mut ErrorList, path: &Path, schema: &Value, level: Level) {
    let (kind, at) = (schema.s("type"), path.child("type"));
    if is(schema, EMBEDDED) && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        if kind.is_empty() { e.required(&at, why) } else { e.invalid(&at, kind, why) }
    } else if kind.is_empty() && !is(schema, INT_OR_STRING) && !is(schema, KEEPS) {
        let place = match level {
            Level::Root => "at the root",
            Level::Item => "for specified array items",
            Level::Field => "for specified object fields",
        };
        e.required(&at, format!("must not be empty {place}"));
    }
    if is(schema, EMBEDDED) && schema.sub("additionalProperties").is_some() {
        let why = "must not be used if x-kubernetes-embedded-resource is set";
        e.forbidden(&path.child("additionalProperties"), why);
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        e.invalid(&at, kind, "must be object at the root");
    }
}

/// What objects, embedded or not, say of their own kind and metadata.
fn embedded(e: &mut ErrorList, path: &Path, schema: &Value, level: Level) {
    let (whole, properties) = (level == Level::Root || is(schema, EMBEDDED), schema.at("properties"));
    for name in ["kind", "apiVersion"] {
        if let Some(property) = properties.sub(name).filter(|p| whole && p.s("type") != "string") {
            let at = path.child("properties").key(name).child("type");
            e.invalid(&at, property.s("type"), "must be string");
        }
    }
    if let Some(metadata) = properties.sub("metadata") {
        let at = path.child("properties").key("metadata");
        if whole && metadata.s("type") != "object" {
            e.invalid(&at.child("type"), metadata.s("type"), "must be object");
        }
        if level == Level::Root && !names_only(metadata) {
            let why =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            e.forbidden(&at, why);
        }
    }
    if is(schema, EMBEDDED) && !is(schema, KEEPS) && !schema.has("properties") {
        let why =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        e.required(&path.child("properties"), why);
    }
}

/// Whether the schema of metadata says nothing but how objects may be named.
fn names_only(metadata: &Value) -> bool {
    let named = |name: &str| matches!(name, "name" | "generateName");
    let members = metadata.as_object();
    let properties = metadata.entries("properties");
    let free = |field: &str| match field {
        "type" | "default" => true,
        "properties" => properties.iter().all(|(name, _)| named(name)),
        _ => !metadata.has(field) || metadata.flag(field) == Some(false) || metadata.opt_s(field) == Some(""),
    };
    members.is_none_or(|m| m.keys().all(|field| free(field)))
}

/// What `schema` says under quantifiers; `whole` and `in_first`: it stands for numbers and texts, itself or in its first `allOf`.
fn narrowing(e: &mut ErrorList, path: &Path, schema: &Value, whole: bool, in_first: bool) {
    for of in ["anyOf", "allOf", "oneOf"] {
        if of == "anyOf" && whole {
            continue;
        }
        for (i, nested) in schema.items(of).iter().enumerate() {
            let skip = of == "allOf" && i == 0 && in_first;
            self::nested(e, &path.child(of).index(i), nested, skip);
        }
    }
    if let Some(not) = object(schema, "not") {
        nested(e, &path.child("not"), not, false);
    }
    let pattern = schema.s("pattern");
    if !pattern.is_empty()
        && let Err(why) = regex::Regex::new(pattern)
    {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        e.invalid(&path.child("pattern"), pattern, why);
    }
}

/// A schema under a quantifier narrows values and says nothing of their structure.
fn nested(e: &mut ErrorList, path: &Path, schema: &Value, whole: bool) {
    narrowing(e, path, schema, whole, false);
    if let Some(items) = object(schema, "items") {
        nested(e, &path.child("items"), items, false);
    }
    for (name, property) in schema.entries("properties") {
        nested(e, &path.child("properties").key(name), property, false);
    }
    const EMPTY: &str = "must be empty to be structural";
    const UNDEFINED: &str = "must be undefined to be structural";
    const FALSE: &str = "must be false to be structural";
    let more = schema.sub("additionalProperties").is_some_and(|m| m != &Value::Bool(false));
    let facts = [
        ("type", !schema.s("type").is_empty(), EMPTY),
        ("additionalProperties", more, UNDEFINED),
        ("default", schema.sub("default").is_some(), UNDEFINED),
        ("title", !schema.s("title").is_empty(), EMPTY),
        ("description", !schema.s("description").is_empty(), EMPTY),
        ("nullable", is(schema, "nullable"), FALSE),
        (KEEPS, is(schema, KEEPS), FALSE),
        (EMBEDDED, is(schema, EMBEDDED), FALSE),
        (INT_OR_STRING, is(schema, INT_OR_STRING), FALSE),
        ("x-kubernetes-list-map-keys", schema.has("x-kubernetes-list-map-keys"), EMPTY),
        ("x-kubernetes-list-type", schema.sub("x-kubernetes-list-type").is_some(), UNDEFINED),
        ("x-kubernetes-map-type", schema.sub("x-kubernetes-map-type").is_some(), UNDEFINED),
        ("x-kubernetes-validations", schema.has("x-kubernetes-validations"), EMPTY),
    ];
    for (field, _, why) in facts.into_iter().filter(|(_, present, _)| *present) {
        e.forbidden(&path.child(field), why);
    }
    if schema.at("properties").sub("metadata").is_some() {
        e.forbidden(&path.child("properties").key("metadata"), "must not be specified in a nested context");
    }
}

/// Whatever a schema under a quantifier (`narrows`, at `from`) speaks of has its place outside (`schema`, at `path`).
fn complete(e: &mut ErrorList, narrows: &Value, schema: Option<&Value>, path: &Path, from: &Path) {
    let Some(schema) = schema else {
        return e.required(path, format!("because it is defined in {from}"));
    };
    if let Some(not) = object(narrows, "not") {
        inner(e, not, schema, path, &from.child("not"));
    }
    for of in ["allOf", "anyOf", "oneOf"] {
        for (i, nested) in narrows.items(of).iter().enumerate() {
            inner(e, nested, schema, path, &from.child(of).index(i));
        }
    }
}

fn inner(e: &mut ErrorList, narrows: &Value, schema: &Value, path: &Path, from: &Path) {
    complete(e, narrows, Some(schema), path, from);
    if let Some(items) = object(narrows, "items") {
        let (path, from) = (path.child("items"), from.child("items"));
        match object(schema, "items") {
            Some(schema) => inner(e, items, schema, &path, &from),
            None => complete(e, items, None, &path, &from),
        }
    }
    for (name, property) in narrows.entries("properties") {
        let (path, from) = (path.child("properties").key(name), from.child("properties").key(name));
        match schema.at("properties").sub(name) {
            Some(schema) => inner(e, property, schema, &path, &from),
            None => complete(e, property, None, &path, &from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(schema: Value) -> Vec<String> {
        root(&Path::new("s"), &schema).0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_value_has_a_type() {
        assert_eq!(told(json!({"type": "object"})), Vec::<String>::new());
        assert_eq!(
            told(json!({"properties": {"a": {}, "b": {"type": "array", "items": {}}, "c": {"type": "array"}}})),
            [
                "s.properties[a].type: Required value: must not be empty for specified object fields",
                "s.properties[b].items.type: Required value: must not be empty for specified array items",
                "s.properties[c].items: Required value: must be specified",
                "s.type: Required value: must not be empty at the root",
            ]
        );
        let odd =
            json!({"a": {INT_OR_STRING: true, "anyOf": [{"type": "integer"}, {"type": "string"}]}, "b": {KEEPS: true}});
        assert_eq!(told(json!({"type": "object", "properties": odd})), Vec::<String>::new());
    }

    #[test]
    fn quantifiers_only_narrow() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}, "anyOf": [
            {"type": "object", "description": "x", "properties": {"a": {"minLength": 1}, "b": {"minLength": 1}}},
            {"properties": {"metadata": {}}},
        ]});
        assert_eq!(
            told(schema),
            [
                "s.anyOf[0].description: Forbidden: must be empty to be structural",
                "s.anyOf[0].type: Forbidden: must be empty to be structural",
                "s.anyOf[1].properties[metadata]: Forbidden: must not be specified in a nested context",
                "s.properties[b]: Required value: because it is defined in s.anyOf[0].properties[b]",
                "s.properties[metadata]: Required value: because it is defined in s.anyOf[1].properties[metadata]",
            ]
        );
    }

    #[test]
    fn metadata_is_there_already() {
        let of = |metadata: Value| told(json!({"type": "object", "properties": {"metadata": metadata}}));
        let named = json!({"type": "object", "properties": {"name": {"type": "string", "pattern": "a"}}});
        assert_eq!(of(named), Vec::<String>::new());
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        assert_eq!(
            of(json!({"type": "object", "properties": {"labels": {"type": "object"}}})),
            [format!("s.properties[metadata]: Forbidden: {why}")]
        );
        assert_eq!(
            of(json!({"type": "string", "description": "x"})),
            [
                "s.properties[metadata].type: Invalid value: \"string\": must be object".to_owned(),
                format!("s.properties[metadata]: Forbidden: {why}"),
            ]
        );
    }

    #[test]
    fn embedded_objects() {
        assert_eq!(
            told(json!({"type": "object", "properties": {"a": {EMBEDDED: true, "additionalProperties": true}}})),
            [
                "s.properties[a].additionalProperties: Forbidden: must not be used if x-kubernetes-embedded-resource is set",
                "s.properties[a].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
                "s.properties[a].type: Required value: must be object if x-kubernetes-embedded-resource is true",
            ]
        );
    }
}
