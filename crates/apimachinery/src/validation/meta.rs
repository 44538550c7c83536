//! Metadata of objects (rule: apimachinery `pkg/api/validation/objectmeta.go`, `pkg/apis/meta/v1/validation`).

use super::names::{dns_label, label_key, label_value};
use crate::field::{ErrorList, Path, Shown, go_quote};
use crate::gvk::GroupVersion;
use crate::object;
use serde_json::Value;

/// What is wrong with a name; the flag says that it is a prefix of one (`generateName`).
pub type NameRule<'a> = &'a dyn Fn(&str, bool) -> Vec<String>;

/// What upstream says of a field that may not change.
pub const FIELD_IMMUTABLE: &str = "field is immutable";
/// All keys and values of annotations together, in bytes.
pub const TOTAL_ANNOTATION_SIZE_LIMIT: usize = 256 << 10;
const FIELD_MANAGER_MAX: usize = 128;
const SUBRESOURCE_MAX: usize = 256;

fn strings<'a>(v: &'a Value, key: &str) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
    let map = v.get(key).and_then(Value::as_object);
    map.into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default()))
}

/// The names in metadata alone.
pub fn validate_names(meta: &Value, name_rule: NameRule, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let generate = object::str(meta, &["generateName"]);
    if !generate.is_empty() {
        for m in name_rule(generate, true) {
            errors.invalid(&path.child("generateName"), generate, m);
        }
    }
    let name = object::str(meta, &["name"]);
    if name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        for m in name_rule(name, false) {
            errors.invalid(&path.child("name"), name, m);
        }
    }
    errors
}

/// Metadata on creation, after names were generated; `meta` is the value of `metadata`, `path` its path.
pub fn validate_object_meta(meta: &Value, namespaced: bool, name_rule: NameRule, path: &Path) -> ErrorList {
    let mut errors = validate_names(meta, name_rule, path);
    let namespace = object::str(meta, &["namespace"]);
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.required(&path.child("namespace"), ""),
        (true, false) => {
            for m in dns_label(namespace, false) {
                errors.invalid(&path.child("namespace"), namespace, m);
            }
        }
        (false, false) => errors.forbidden(&path.child("namespace"), "not allowed on this type"),
        (false, true) => {}
    }
    nonnegative(&mut errors, object::int(meta, &["generation"]).unwrap_or(0), &path.child("generation"));
    common(&mut errors, meta, path);
    finalizers(&mut errors, object::list(meta, &["finalizers"]), &path.child("finalizers"));
    managed_fields(&mut errors, object::list(meta, &["managedFields"]), &path.child("managedFields"));
    errors
}

fn common(errors: &mut ErrorList, meta: &Value, path: &Path) {
    labels(errors, meta.get("labels"), &path.child("labels"));
    annotations(errors, meta.get("annotations"), &path.child("annotations"));
    owner_references(errors, object::list(meta, &["ownerReferences"]), &path.child("ownerReferences"));
}

/// Metadata on update; both values are of `metadata`.
pub fn validate_object_meta_update(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if !object::str(old, &["deletionTimestamp"]).is_empty() {
        let list = |v| object::list(v, &["finalizers"]);
        no_new_finalizers(&mut errors, list(new), list(old), &path.child("finalizers"));
    }
    let version = object::str(new, &["resourceVersion"]);
    if version.is_empty() {
        errors.invalid(&path.child("resourceVersion"), version, "must be specified for an update");
    }
    let generation = |v| object::int(v, &["generation"]).unwrap_or(0);
    if generation(new) < generation(old) {
        errors.invalid(&path.child("generation"), generation(new), "must not be decremented");
    }
    for field in ["name", "namespace", "uid"] {
        let (new, old) = (object::str(new, &[field]), object::str(old, &[field]));
        if new != old {
            errors.invalid(&path.child(field), new, FIELD_IMMUTABLE);
        }
    }
    for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        immutable(&mut errors, new.get(field), old.get(field), &path.child(field));
    }
    common(&mut errors, new, path);
    managed_fields(&mut errors, object::list(new, &["managedFields"]), &path.child("managedFields"));
    errors
}

/// A field that may not change; absent and null are the same.
pub fn immutable(errors: &mut ErrorList, new: Option<&Value>, old: Option<&Value>, path: &Path) {
    let (new, old) = (new.unwrap_or(&Value::Null), old.unwrap_or(&Value::Null));
    if new != old {
        errors.invalid(path, new, FIELD_IMMUTABLE);
    }
}
/// `must be greater than or equal to 0`.
pub fn nonnegative(errors: &mut ErrorList, value: i64, path: &Path) {
    if value < 0 {
        errors.invalid(path, value, "must be greater than or equal to 0");
    }
}
/// A map of labels.
pub fn labels(errors: &mut ErrorList, map: Option<&Value>, path: &Path) {
    for (k, v) in map.and_then(Value::as_object).into_iter().flatten() {
        for m in label_key(k) {
            errors.invalid(path, k, m);
        }
        let v = v.as_str().unwrap_or_default();
        for m in label_value(v) {
            errors.invalid(path, v, m);
        }
    }
}
/// A map of annotations: keys as of labels but in any case, all together of limited size.
pub fn annotations(errors: &mut ErrorList, map: Option<&Value>, path: &Path) {
    let mut size = 0;
    for (k, v) in map.and_then(Value::as_object).into_iter().flatten() {
        size += k.len() + v.as_str().map_or(0, str::len);
        for m in label_key(&k.to_lowercase()) {
            errors.invalid(path, k, m);
        }
    }
    if size > TOTAL_ANNOTATION_SIZE_LIMIT {
        errors.too_long(path, TOTAL_ANNOTATION_SIZE_LIMIT);
    }
}

/// An owner reference as upstream prints one: its fields in the order of the Go struct.
struct OwnerJson<'a>(&'a Value);
impl Shown for OwnerJson<'_> {
    fn shown(&self) -> String {
        let mut parts = Vec::new();
        for key in ["apiVersion", "kind", "name", "uid"] {
            parts.push(format!("\"{key}\":{}", Value::from(object::str(self.0, &[key]))));
        }
        for key in ["controller", "blockOwnerDeletion"] {
            if let Some(v) = self.0.get(key).filter(|v| !v.is_null()) {
                parts.push(format!("\"{key}\":{v}"));
            }
        }
        format!("{{{}}}", parts.join(","))
    }
}
struct OwnersJson<'a>(&'a [Value]);
impl Shown for OwnersJson<'_> {
    fn shown(&self) -> String {
        let all: Vec<String> = self.0.iter().map(|o| OwnerJson(o).shown()).collect();
        format!("[{}]", all.join(","))
    }
}

/// Owner references: complete, not of kinds that own nothing, and with one controller at most.
pub fn owner_references(errors: &mut ErrorList, owners: &[Value], path: &Path) {
    let mut controller = String::new();
    for owner in owners {
        let get = |key: &str| object::str(owner, &[key]);
        // Upstream drops the whole group and version of an apiVersion it cannot parse.
        let gv = GroupVersion::parse(get("apiVersion")).unwrap_or_default();
        if gv.version.is_empty() {
            errors.invalid(&path.child("apiVersion"), get("apiVersion"), "version must not be empty");
        }
        for key in ["kind", "name", "uid"] {
            if get(key).is_empty() {
                errors.invalid(&path.child(key), get(key), "must not be empty");
            }
        }
        if gv.group.is_empty() && gv.version == "v1" && get("kind") == "Event" {
            errors.invalid(path, OwnerJson(owner), "/v1, Kind=Event is disallowed from being an owner");
        }
        if object::bool(owner, &["controller"]) {
            let this = format!("{}/{}", get("kind"), get("name"));
            if controller.is_empty() {
                controller = this;
            } else {
                let words = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {controller} and {this}"
                );
                errors.invalid(path, OwnersJson(owners), words);
            }
        }
    }
}

/// Finalizers: qualified names, and not both policies of dependents.
pub fn finalizers(errors: &mut ErrorList, list: &[Value], path: &Path) {
    let names = || list.iter().filter_map(Value::as_str);
    for name in names() {
        for m in label_key(name) {
            errors.invalid(path, name, m);
        }
    }
    if names().any(|n| n == "orphan") && names().any(|n| n == "foregroundDeletion") {
        let words = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.invalid(path, Value::from(list.to_vec()), words);
    }
}
/// An object that is being deleted takes no new finalizers.
pub fn no_new_finalizers(errors: &mut ErrorList, new: &[Value], old: &[Value], path: &Path) {
    let mut extra: Vec<&str> = new.iter().filter(|f| !old.contains(f)).filter_map(Value::as_str).collect();
    extra.sort_unstable();
    extra.dedup();
    if !extra.is_empty() {
        let list: Vec<String> = extra.iter().map(|f| go_quote(f)).collect();
        let list = list.join(", ");
        errors.forbidden(
            path,
            format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"
            ),
        );
    }
}

/// A field manager's name: of limited length and printable.
pub fn field_manager(errors: &mut ErrorList, manager: &str, path: &Path) {
    if manager.len() > FIELD_MANAGER_MAX {
        errors.too_long(path, FIELD_MANAGER_MAX);
    }
    for (i, c) in manager.char_indices().filter(|(_, c)| !is_print(*c)) {
        errors.invalid(path, manager, format!("invalid character U+{:04X} (at position {i})", c as u32));
    }
}
/// Near to Go's `unicode.IsPrint`: no controls, no format or private characters, no space but the ASCII one.
fn is_print(c: char) -> bool {
    let hidden = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || hidden)
}

/// `managedFields` as an object carries them.
pub fn managed_fields(errors: &mut ErrorList, entries: &[Value], path: &Path) {
    for (i, entry) in entries.iter().enumerate() {
        let at = path.index(i);
        let get = |key: &str| object::str(entry, &[key]);
        if !["Apply", "Update"].contains(&get("operation")) {
            errors.invalid(&at.child("operation"), get("operation"), "must be `Apply` or `Update`");
        }
        if !["", "FieldsV1"].contains(&get("fieldsType")) {
            errors.invalid(&at.child("fieldsType"), get("fieldsType"), "must be `FieldsV1`");
        }
        field_manager(errors, get("manager"), &at.child("manager"));
        if get("subresource").len() > SUBRESOURCE_MAX {
            errors.too_long(&at.child("subresource"), SUBRESOURCE_MAX);
        }
    }
}

/// A `LabelSelector` object; absent is fine. With `check_values` the values of expressions must be label values, which
/// upstream asks of selectors written since 1.27 (rule: `ValidateLabelSelector`).
pub fn label_selector(errors: &mut ErrorList, selector: Option<&Value>, check_values: bool, path: &Path) {
    let Some(selector) = selector else { return };
    let at = path.child("matchLabels");
    for (k, v) in strings(selector, "matchLabels") {
        for m in label_key(k) {
            errors.invalid(&at, k, m);
        }
        for m in label_value(v) {
            errors.invalid(&at, v, m);
        }
    }
    for (i, expression) in object::list(selector, &["matchExpressions"]).iter().enumerate() {
        label_selector_requirement(errors, expression, check_values, &path.child("matchExpressions").index(i));
    }
}
fn label_selector_requirement(errors: &mut ErrorList, expression: &Value, check_values: bool, at: &Path) {
    let values = object::list(expression, &["values"]);
    let operator = object::str(expression, &["operator"]);
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&at.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errors.invalid(&at.child("operator"), operator, "not a valid selector operator"),
    }
    let key = object::str(expression, &["key"]);
    for m in label_key(key) {
        errors.invalid(&at.child("key"), key, m);
    }
    if check_values {
        for (i, v) in values.iter().filter_map(Value::as_str).enumerate() {
            for m in label_value(v) {
                errors.invalid(&at.child("values").index(i), v, m);
            }
        }
    }
}

/// Finalizers of an object without a domain are those of the system (rule: core validation `validateKubeFinalizerName`).
pub fn known_finalizers(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    for (i, name) in object::finalizers(obj).enumerate() {
        if !name.contains('/') && !["kubernetes", "orphan", "foregroundDeletion"].contains(&name) {
            let at = Path::new("metadata").child("finalizers").index(i);
            e.invalid(&at, name, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
    e
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::dns_subdomain;
    use serde_json::json;

    fn create(meta: Value) -> String {
        validate_object_meta(&meta, true, &dns_subdomain, &Path::new("metadata")).joined()
    }

    #[test]
    fn on_create() {
        assert_eq!(
            create(json!({"namespace": "n"})),
            "metadata.name: Required value: name or generateName is required"
        );
        let owner = json!({"apiVersion": "v1", "kind": "Event", "name": "a", "uid": "u1"});
        assert_eq!(
            create(json!({"name": "p", "namespace": "n", "ownerReferences": [owner]})),
            "metadata.ownerReferences: Invalid value: {\"apiVersion\":\"v1\",\"kind\":\"Event\",\"name\":\"a\",\"uid\":\"u1\"}: /v1, Kind=Event is disallowed from being an owner"
        );
        let manager = json!([{"manager": "a\u{7}", "operation": "Update"}]);
        assert_eq!(
            create(json!({"name": "p", "namespace": "n", "managedFields": manager})),
            "metadata.managedFields[0].manager: Invalid value: \"a\\a\": invalid character U+0007 (at position 1)"
        );
    }

    #[test]
    fn on_update() {
        let old = json!({"name": "p", "uid": "a", "resourceVersion": "1", "deletionTimestamp": "2020-01-01T00:00:00Z"});
        let new =
            json!({"name": "p", "uid": "b", "finalizers": ["x.y/z"], "deletionTimestamp": "2020-01-01T00:00:00Z"});
        assert_eq!(
            validate_object_meta_update(&new, &old, &Path::new("metadata")).joined(),
            "[metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"x.y/z\"}, \
             metadata.resourceVersion: Invalid value: \"\": must be specified for an update, \
             metadata.uid: Invalid value: \"b\": field is immutable]"
        );
    }
}
