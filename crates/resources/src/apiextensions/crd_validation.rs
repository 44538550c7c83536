//! What is wrong with a CustomResourceDefinition (rule: apiextensions `pkg/apis/apiextensions/validation`).

use super::crd_schema::{self, Rules};
use super::crd_structural;
use crate::admissionregistration;
use crate::checks;
use crate::fields::Fields;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// Why a path that does not begin with a dot is refused.
const SIMPLE_PATH: &str = "must be a simple json path starting with .";
/// The most fields of a version that lists may select by.
const MOST_SELECTABLE: usize = 8;
const APPROVED: &str = "api-approved.kubernetes.io";

fn label_1035(e: &mut ErrorList, path: &Path, value: &str) {
    let messages = validation::dns_label_1035(value, false);
    if !messages.is_empty() {
        e.invalid(path, value, messages.join(","));
    }
}

fn mixed_case(e: &mut ErrorList, path: &Path, value: &str) {
    let messages = validation::dns_label_1035(&value.to_lowercase(), false);
    if !messages.is_empty() {
        e.invalid(path, value, format!("may have mixed case, but should otherwise match: {}", messages.join(",")));
    }
}

/// The names of a kind.
fn names(e: &mut ErrorList, path: &Path, names: &Value) {
    for field in ["plural", "singular"] {
        if !names.s(field).is_empty() {
            label_1035(e, &path.child(field), names.s(field));
        }
    }
    for field in ["kind", "listKind"] {
        if !names.s(field).is_empty() {
            mixed_case(e, &path.child(field), names.s(field));
        }
    }
    for (i, short) in names.strings("shortNames").into_iter().enumerate() {
        label_1035(e, &path.child("shortNames").index(i), short);
    }
    if !names.s("kind").is_empty() && names.s("kind") == names.s("listKind") {
        e.invalid(&path.child("listKind"), names.s("listKind"), "kind and listKind may not be the same");
    }
    for (i, category) in names.strings("categories").into_iter().enumerate() {
        label_1035(e, &path.child("categories").index(i), category);
    }
}

/// What a version says of itself, but for what all versions share.
fn version(e: &mut ErrorList, path: &Path, version: &Value, rules: Option<Rules>, shared: &Shared) {
    let messages = validation::dns_label_1035(version.s("name"), false);
    if !messages.is_empty() {
        e.invalid(&path.child("name"), version.s("name"), messages.join(","));
    }
    if let Some(warning) = version.opt_s("deprecationWarning") {
        for why in deprecation_warning(version.flag("deprecated") == Some(true), warning) {
            e.invalid(&path.child("deprecationWarning"), warning, why);
        }
    }
    let status = version.at("subresources").sub("status").is_some();
    if !shared.schema {
        schema(e, &path.child("schema").child("openAPIV3Schema"), version, status, rules);
    }
    if !shared.subresources {
        scale(e, &path.child("subresources"), version);
    }
    if !shared.columns {
        columns(e, &path.child("additionalPrinterColumns"), version);
    }
    if !shared.selectable {
        selectable(e, &path.child("selectableFields"), version);
    }
}

/// The parts that all versions have in common. Upstream keeps them once, so their paths do not name a version
/// (rule: `Convert_v1_CustomResourceDefinitionSpec_To_apiextensions_CustomResourceDefinitionSpec`).
struct Shared {
    schema: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
}

impl Shared {
    fn of(versions: &[Value]) -> Self {
        let all = |field: &str| versions.iter().all(|v| v.at(field) == versions[0].at(field));
        let (schema, selectable) = (all("schema"), all("selectableFields"));
        Self {
            schema,
            subresources: all("subresources"),
            columns: all("additionalPrinterColumns"),
            selectable: schema && selectable,
        }
    }
}

/// The schema of a version; `rules` where it has to be structural, too.
fn schema(e: &mut ErrorList, at: &Path, version: &Value, status: bool, rules: Option<Rules>) {
    let Some(root) = version.at("schema").sub("openAPIV3Schema") else { return };
    let mut found = ErrorList::new();
    let kind = root.s("type");
    if status && !kind.is_empty() && kind != "object" {
        let why =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        found.invalid(&at.child("type"), kind, why);
    }
    if root.flag("nullable") == Some(true) {
        found.forbidden(&at.child("nullable"), "nullable cannot be true at the root");
    }
    crd_schema::root(&mut found, at, root, rules.unwrap_or(Rules::ALL));
    match crd_structural::unsupported(root) {
        _ if rules.is_none() => {}
        None => found.extend(crd_structural::root(at, root)),
        Some(why) if found.is_empty() => found.invalid(at, "", why),
        Some(_) => {}
    }
    e.extend(found);
}

/// What is wrong with the warning of a version that is on its way out.
fn deprecation_warning(deprecated: bool, warning: &str) -> Vec<String> {
    if !deprecated {
        return vec!["can only be set for deprecated versions".into()];
    }
    let mut out = Vec::new();
    if warning.len() > 256 {
        out.push("must be <= 256 characters long".into());
    }
    if warning.is_empty() {
        out.push("must not be an empty string".into());
    }
    if let Some((i, _)) = warning.char_indices().find(|(_, c)| c.is_control() || (c.is_whitespace() && *c != ' ')) {
        out.push(format!("must only contain printable UTF-8 characters; non-printable character found at index {i}"));
    }
    out
}

/// Where `scale` finds its numbers and its selector.
fn scale(e: &mut ErrorList, path: &Path, version: &Value) {
    let Some(scale) = version.at("subresources").sub("scale") else { return };
    for (field, root) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let (text, at) = (scale.s(field), path.child("scale").child(field));
        match text {
            "" => e.required(&at, ""),
            _ if !text.starts_with('.') => e.invalid(&at, text, SIMPLE_PATH),
            _ if !text.starts_with(root) => {
                e.invalid(&at, text, format!("should be a json path under {}", root.trim_end_matches('.')));
            }
            _ => {}
        }
    }
    let (text, at) = (scale.s("labelSelectorPath"), path.child("scale").child("labelSelectorPath"));
    if text.is_empty() {
        return;
    }
    if !text.starts_with('.') {
        e.invalid(&at, text, SIMPLE_PATH);
    } else if !text.starts_with(".spec.") && !text.starts_with(".status.") {
        e.invalid(&at, text, "should be a json path under either .spec or .status");
    }
}

fn columns(e: &mut ErrorList, path: &Path, version: &Value) {
    for (i, column) in version.items("additionalPrinterColumns").iter().enumerate() {
        let p = path.index(i);
        if column.s("name").is_empty() {
            e.required(&p.child("name"), "");
        }
        const TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
        match column.s("type") {
            "" => e.required(&p.child("type"), format!("must be one of {}", TYPES.join(","))),
            kind if !TYPES.contains(&kind) => {
                e.invalid(&p.child("type"), kind, format!("must be one of {}", TYPES.join(",")));
            }
            _ => {}
        }
        const FORMATS: &[&str] = &["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
        let format = column.s("format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            e.invalid(&p.child("format"), format, format!("must be one of {}", FORMATS.join(",")));
        }
        let at = p.child("JSONPath");
        match column.s("jsonPath") {
            "" => e.required(&at, ""),
            text if !text.starts_with('.') => e.invalid(&at, text, SIMPLE_PATH),
            _ => {}
        }
    }
}

/// Fields that lists may select by: each names one plain value of the schema, and none is named twice
/// (rule: `ValidateCustomResourceSelectableFields`).
fn selectable(e: &mut ErrorList, path: &Path, version: &Value) {
    let fields = version.items("selectableFields");
    let Some(root) = version.at("schema").sub("openAPIV3Schema") else {
        if !fields.is_empty() {
            e.invalid(path, "", "selectableFields may only be set when version.schema.openAPIV3Schema is not included");
        }
        return;
    };
    let mut seen = BTreeSet::new();
    for (i, field) in fields.iter().enumerate() {
        let (p, text) = (path.index(i).child("jsonPath"), field.s("jsonPath"));
        if text.is_empty() {
            e.required(&p, "");
            continue;
        }
        let steps = text.strip_prefix('.').unwrap_or(text);
        let found = steps.split('.').try_fold(root, |at, step| at.at("properties").sub(step));
        let Some(found) = found else {
            e.invalid(&p, text, "is an invalid path: does not refer to a valid field");
            continue;
        };
        if steps.split('.').next() == Some("metadata") {
            e.invalid(&p, text, "must not point to fields in metadata");
        }
        if !matches!(found.s("type"), "string" | "boolean" | "integer") {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            e.invalid(&p, text, why);
        }
        if !seen.insert(steps) {
            e.duplicate(&p, text);
        }
    }
    if seen.len() > MOST_SELECTABLE {
        e.too_many(path, seen.len(), MOST_SELECTABLE);
    }
}

/// How objects change their version; paths are those of upstream's internal struct, which has no `webhook`.
fn conversion(e: &mut ErrorList, path: &Path, spec: &Value) {
    let Some(conversion) = spec.sub("conversion") else { return };
    let at = path.child("conversion");
    let webhook = conversion.at("webhook");
    let (config, config_at) = (webhook.sub("clientConfig"), at.child("webhookClientConfig"));
    let (versions, versions_at) = (webhook.strings("conversionReviewVersions"), at.child("conversionReviewVersions"));
    match conversion.s("strategy") {
        "" => e.required(&at.child("strategy"), ""),
        strategy => checks::one_of(e, &at.child("strategy"), strategy, &["None", "Webhook"]),
    }
    if conversion.s("strategy") != "Webhook" {
        const UNUSED: &str = "should not be set when strategy is not set to Webhook";
        if config.is_some() {
            e.forbidden(&config_at, UNUSED);
        }
        if !versions.is_empty() {
            e.forbidden(&versions_at, UNUSED);
        }
        return;
    }
    match config.map(|c| (c.opt_s("url"), c.sub("service"))) {
        None => e.required(&config_at, "required when strategy is set to Webhook"),
        Some((Some(url), None)) => admissionregistration::check_webhook_url(e, &config_at.child("url"), url),
        Some((None, Some(s))) => admissionregistration::check_webhook_service(e, &config_at.child("service"), s),
        Some(_) => e.required(&config_at, "exactly one of url or service is required"),
    }
    review_versions(e, &versions_at, webhook, &versions);
}

/// The versions of reviews that a conversion webhook knows.
fn review_versions(e: &mut ErrorList, path: &Path, webhook: &Value, versions: &[&str]) {
    const KNOWN: &[&str] = &["v1", "v1beta1"];
    if versions.is_empty() {
        e.required(path, "");
        return;
    }
    for (i, version) in versions.iter().enumerate() {
        if versions[..i].contains(version) {
            e.invalid(&path.index(i), *version, "duplicate version");
        } else {
            checks::invalid_each(e, &path.index(i), version, validation::dns_label_1035(version, false));
        }
    }
    if !versions.iter().any(|v| KNOWN.contains(v)) {
        let why = format!("must include at least one of {}", KNOWN.join(", "));
        e.invalid(path, webhook.at("conversionReviewVersions"), why);
    }
}

/// How far the API of a protected group got.
#[derive(PartialEq, Eq)]
enum Approval {
    Missing,
    /// Said to be missing.
    Bypassed,
    /// Found at a URL.
    Given,
    Invalid,
}

impl Approval {
    fn of(obj: &Value) -> Self {
        let text = object::annotation(obj, APPROVED).unwrap_or_default();
        let url = || {
            let (scheme, rest) = text.split_once("://").unwrap_or_default();
            !scheme.is_empty() && !rest.is_empty() && !rest.starts_with(['/', '?', '#'])
        };
        match text {
            "" => Self::Missing,
            _ if text.starts_with("unapproved") => Self::Bypassed,
            _ if url() => Self::Given,
            _ => Self::Invalid,
        }
    }
}

/// The groups of the project itself need a word on who approved the API (rule: `validateAPIApproval`).
fn approval(e: &mut ErrorList, obj: &Value, old: Option<&Value>) {
    let group = obj.at("spec").s("group");
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|of| group.strip_suffix(of).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')));
    let state = Approval::of(obj);
    if !protected || old.is_some_and(|old| Approval::of(old) == state) {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(APPROVED);
    let wanted = format!("protected groups must have approval annotation \"{APPROVED}\"");
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    match state {
        Approval::Missing => e.required(&path, format!("{wanted}, {SEE}")),
        Approval::Invalid => {
            let why = format!("{wanted} with either a URL or a reason starting with \"unapproved\", {SEE}");
            e.invalid(&path, object::annotation(obj, APPROVED).unwrap_or_default(), why);
        }
        Approval::Bypassed | Approval::Given => {}
    }
}

/// A new definition.
pub(super) fn definition(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let name = object::name(obj);
    if name != format!("{}.{}", obj.at("spec").at("names").s("plural"), obj.at("spec").s("group")) {
        e.invalid(&Path::new("metadata").child("name"), name, "must be spec.names.plural+\".\"+spec.group");
    }
    spec(&mut e, obj.at("spec"), None);
    e.extend(status(obj));
    approval(&mut e, obj, None);
    preserves(&mut e, obj, None);
    e
}

/// What is wrong with a spec; `old` is the definition as it was.
fn spec(e: &mut ErrorList, spec: &Value, old: Option<&Value>) {
    let (path, group) = (Path::new("spec"), spec.s("group"));
    let at = path.child("group");
    let messages = validation::dns_subdomain(group, false);
    if group.is_empty() {
        e.required(&at, "");
    } else if !messages.is_empty() {
        e.invalid(&at, group, messages.join(","));
    } else if !group.contains('.') {
        e.invalid(&at, group, "should be a domain with at least one dot");
    }
    match spec.s("scope") {
        "" => e.required(&path.child("scope"), ""),
        scope => checks::one_of(e, &path.child("scope"), scope, &["Cluster", "Namespaced"]),
    }
    let versions = spec.items("versions");
    for (i, _) in versions.iter().enumerate().filter(|(_, v)| v.at("schema").sub("openAPIV3Schema").is_none()) {
        let at = path.child("versions").index(i).child("schema").child("openAPIV3Schema");
        e.required(&at, "schemas are required");
    }
    let rules = old.map_or(Rules::ALL, Rules::kept_by);
    let keeps = spec.flag("preserveUnknownFields") == Some(true);
    let rules = (!keeps || versions.iter().any(has_extensions)).then_some(rules);
    let shared = Shared::of(versions);
    for (i, v) in versions.iter().enumerate() {
        version(e, &path.child("versions").index(i), v, rules, &shared);
    }
    let distinct: BTreeSet<&str> = versions.iter().map(|v| v.s("name")).collect();
    if distinct.len() != versions.len() {
        e.invalid(&path.child("versions"), spec.at("versions"), "must contain unique version names");
    }
    if versions.iter().filter(|v| v.flag("storage") == Some(true)).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        e.invalid(&path.child("versions"), spec.at("versions"), why);
    }
    if let Some(first) = versions.first() {
        // Upstream keeps the name of the first version once more.
        let messages = validation::dns_label_1035(first.s("name"), false);
        if !first.s("name").is_empty() && !messages.is_empty() {
            e.invalid(&path.child("version"), first.s("name"), messages.join(","));
        }
    }
    for field in ["plural", "singular", "kind", "listKind"] {
        if spec.at("names").s(field).is_empty() {
            e.required(&path.child("names").child(field), "");
        }
    }
    names(e, &path.child("names"), spec.at("names"));
    if let Some(first) = versions.first() {
        common(e, &path, first, versions, rules, &shared);
    }
    conversion(e, &path, spec);
}

/// What all versions have in common, as `first` has it.
fn common(e: &mut ErrorList, path: &Path, first: &Value, all: &[Value], rules: Option<Rules>, shared: &Shared) {
    if shared.schema {
        let status = all.iter().any(|v| v.at("subresources").sub("status").is_some());
        schema(e, &path.child("validation").child("openAPIV3Schema"), first, status, rules);
    }
    if shared.subresources {
        scale(e, &path.child("subresources"), first);
    }
    if shared.columns {
        columns(e, &path.child("additionalPrinterColumns"), first);
    }
    if shared.selectable {
        selectable(e, &path.child("selectableFields"), first);
    }
}

/// Whether the schema of a version uses what only structural ones may.
fn has_extensions(version: &Value) -> bool {
    const EXTENSIONS: &[&str] = &[
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
        "default",
    ];
    let mut found = false;
    crd_schema::each(version.at("schema").at("openAPIV3Schema"), &mut |s| {
        found |= EXTENSIONS.iter().any(|field| s.has(field));
    });
    found
}

/// Unknown fields are kept by schemas, not by definitions as a whole.
fn preserves(e: &mut ErrorList, obj: &Value, old: Option<&Value>) {
    const FIELD: &str = "preserveUnknownFields";
    let set = |obj: &Value| obj.at("spec").flag(FIELD) == Some(true);
    if set(obj) && !old.is_some_and(set) {
        let why =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        e.invalid(&Path::new("spec").child(FIELD), true, why);
    }
}

/// Versions that objects were stored in are all there.
fn stored(e: &mut ErrorList, obj: &Value) {
    let path = Path::new("status").child("storedVersions");
    let (kept, versions) = (obj.at("status").strings("storedVersions"), obj.at("spec").items("versions"));
    if kept.is_empty() {
        e.invalid(&path, obj.at("status").at("storedVersions"), "must have at least one stored version");
        return;
    }
    for (i, version) in kept.iter().enumerate() {
        if !versions.iter().any(|v| v.s("name") == *version) {
            let why = format!(
                "missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {version} and removes {version} from status.storedVersions"
            );
            e.invalid(&path.index(i), *version, why);
        }
    }
    if let Some(storage) = versions.iter().find(|v| v.flag("storage") == Some(true))
        && !kept.contains(&storage.s("name"))
    {
        let why = format!("must have the storage version {}", storage.s("name"));
        e.invalid(&path, obj.at("status").at("storedVersions"), why);
    }
}

/// A changed definition.
pub(super) fn update(new: &Value, old: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    spec(&mut e, new.at("spec"), Some(old));
    let (is, was, path) = (new.at("spec"), old.at("spec"), Path::new("spec"));
    let established =
        old.at("status").items("conditions").iter().any(|c| c.s("type") == "Established" && c.s("status") == "True");
    if established {
        checks::immutable(&mut e, &path.child("scope"), is.at("scope"), was.at("scope"));
        let kind = path.child("names").child("kind");
        checks::immutable(&mut e, &kind, is.at("names").at("kind"), was.at("names").at("kind"));
    }
    checks::immutable(&mut e, &path.child("group"), is.at("group"), was.at("group"));
    let plural = path.child("names").child("plural");
    checks::immutable(&mut e, &plural, is.at("names").at("plural"), was.at("names").at("plural"));
    e.extend(status(new));
    approval(&mut e, new, Some(old));
    preserves(&mut e, new, Some(old));
    e
}

/// The status of a definition.
pub(super) fn status(new: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    names(&mut e, &Path::new("status").child("acceptedNames"), new.at("status").at("acceptedNames"));
    stored(&mut e, new);
    e
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(e: &ErrorList) -> Vec<String> {
        e.0.iter().map(|e| format!("{}: {}", e.field, e.body)).collect()
    }

    #[test]
    fn conversions() {
        let check = |value: Value, want: &[&str]| {
            let mut e = ErrorList::new();
            conversion(&mut e, &Path::new("spec"), &json!({ "conversion": value }));
            assert_eq!(told(&e), want);
        };
        check(json!({"strategy": "None"}), &[]);
        check(
            json!({"strategy": "Webhook"}),
            &[
                "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
                "spec.conversion.conversionReviewVersions: Required value",
            ],
        );
        check(
            json!({"strategy": "Webhook", "webhook": {
                "clientConfig": {"url": "https://x.example.com"}, "conversionReviewVersions": ["v2", "v2"]}}),
            &[
                "spec.conversion.conversionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
                "spec.conversion.conversionReviewVersions: Invalid value: [\"v2\",\"v2\"]: must include at least one of v1, v1beta1",
            ],
        );
        check(
            json!({"strategy": "None", "webhook": {"clientConfig": {}, "conversionReviewVersions": ["v1"]}}),
            &[
                "spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook",
                "spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook",
            ],
        );
    }

    #[test]
    fn paths_of_scale_and_columns() {
        let check = |version: Value, want: &[&str]| {
            let mut e = ErrorList::new();
            scale(&mut e, &Path::new("s"), &version);
            columns(&mut e, &Path::new("c"), &version);
            assert_eq!(told(&e), want);
        };
        check(
            json!({"subresources": {"scale": {
                "specReplicasPath": "spec.x", "statusReplicasPath": ".spec.x", "labelSelectorPath": ".x"}}}),
            &[
                "s.scale.specReplicasPath: Invalid value: \"spec.x\": must be a simple json path starting with .",
                "s.scale.statusReplicasPath: Invalid value: \".spec.x\": should be a json path under .status",
                "s.scale.labelSelectorPath: Invalid value: \".x\": should be a json path under either .spec or .status",
            ],
        );
        check(
            json!({"additionalPrinterColumns": [{"name": "a", "type": "string", "format": "x", "jsonPath": "x"}]}),
            &[
                "c[0].format: Invalid value: \"x\": must be one of byte,date,date-time,double,float,int32,int64,password",
                "c[0].JSONPath: Invalid value: \"x\": must be a simple json path starting with .",
            ],
        );
    }

    #[test]
    fn roots_of_schemas() {
        let check = |value: Value, want: &[&str]| {
            let mut e = ErrorList::new();
            let none = Shared { schema: false, subresources: false, columns: false, selectable: false };
            version(&mut e, &Path::new("v"), &value, Some(Rules::ALL), &none);
            assert_eq!(told(&e), want);
        };
        check(json!({"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}), &[]);
        check(
            json!({
                "name": "v1",
                "schema": {"openAPIV3Schema": {"type": "string", "nullable": true}},
                "subresources": {"status": {}},
            }),
            &[
                "v.schema.openAPIV3Schema.type: Invalid value: \"string\": only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled",
                "v.schema.openAPIV3Schema.nullable: Forbidden: nullable cannot be true at the root",
                "v.schema.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root",
            ],
        );
    }

    #[test]
    fn versions_with_objects_stay() {
        let mut e = ErrorList::new();
        let spec = json!({"versions": [{"name": "v2", "storage": true}]});
        stored(&mut e, &json!({"spec": spec, "status": {"storedVersions": ["v1", "v2"]}}));
        let why = "missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions";
        assert_eq!(told(&e), [format!("status.storedVersions[0]: Invalid value: \"v1\": {why}")]);
    }

    #[test]
    fn selectable_fields() {
        let properties =
            json!({"a": {"type": "string"}, "o": {"type": "object", "properties": {"n": {"type": "number"}}}});
        let check = |fields: Value, want: &[&str]| {
            let mut e = ErrorList::new();
            let version =
                json!({"schema": {"openAPIV3Schema": {"properties": properties}}, "selectableFields": fields});
            selectable(&mut e, &Path::new("f"), &version);
            assert_eq!(told(&e), want);
        };
        check(json!([{"jsonPath": ".a"}]), &[]);
        check(
            json!([{}, {"jsonPath": ".a"}, {"jsonPath": ".a"}, {"jsonPath": ".b"}, {"jsonPath": ".o.n"}]),
            &[
                "f[0].jsonPath: Required value",
                "f[2].jsonPath: Duplicate value: \".a\"",
                "f[3].jsonPath: Invalid value: \".b\": is an invalid path: does not refer to a valid field",
                "f[4].jsonPath: Invalid value: \".o.n\": must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.",
            ],
        );
    }

    #[test]
    fn warnings_of_versions() {
        let check = |deprecated, text: &str, want: &[&str]| assert_eq!(deprecation_warning(deprecated, text), want);
        check(true, "use v2", &[]);
        check(false, "use v2", &["can only be set for deprecated versions"]);
        check(true, "", &["must not be an empty string"]);
        let why = "must only contain printable UTF-8 characters; non-printable character found at index 1";
        check(true, "a\n", &[why]);
    }
}
