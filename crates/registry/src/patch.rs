//! From the body of a PATCH to the object it makes (rule: apiserver `pkg/endpoints/handlers/patch.go`).

use crate::object::PatchType;
use crate::unstructured;
use crate::{Context, errors};
use serde_json::Value;
use steersman_apimachinery::field::{ErrorList, Path};
use steersman_apimachinery::gvk::GroupKind;
use steersman_apimachinery::options::{FieldValidation, UpdateOptions};
use steersman_apimachinery::{GroupVersionKind, Reason, Status, object};
use steersman_patch::{go, json, merge, strategic};
use steersman_schema::TypeRef;

const MANAGED_FIELDS: &[&str] = &["metadata", "managedFields"];

/// What is patched.
#[derive(Clone, Copy)]
pub(crate) struct Kind<'a> {
    pub(crate) gvk: &'a GroupVersionKind,
    pub(crate) ty: Option<&'a TypeRef>,
}

/// Applies a JSON, merge or strategic merge patch; what comes out is decoded, not defaulted.
pub(crate) fn apply(
    ctx: &Context,
    kind: Kind<'_>,
    patch: PatchType,
    body: &[u8],
    live: &Value,
    options: &UpdateOptions,
) -> Result<Value, Status> {
    let strict = options.field_validation != FieldValidation::Ignore;
    if patch == PatchType::Strategic {
        let Some(ty) = kind.ty else { return Err(no_strategic()) };
        let (patch, noted) = steersman_codec::parse(body, strict).map_err(Status::bad_request)?;
        strategic::check(&patch)?;
        let mut patched = strategic::apply(live.clone(), patch.clone(), ty)?;
        return unstructured::fit(&mut patched, ty)
            .and_then(|()| decode(ctx, kind, patched, noted, options).map_err(within_a_tree))
            .map_err(|why| rejected(&go::print(&patch), &why));
    }
    let (parsed, noted) = steersman_codec::parse(body, strict).map_err(|e| match (strict, patch) {
        (true, _) => Status::bad_request(format!("error decoding patch: {e}")),
        (false, PatchType::Merge) => merge::bad_patch(),
        (false, _) => Status::bad_request(e),
    })?;
    let (patched, noted) = json_or_merge(patch, parsed, noted, strict, live)?;
    check_kind(kind.gvk, &patched).and_then(|()| decode(ctx, kind, patched, noted, options)).map_err(|why| {
        // What the patch made is shown; it is made again, for failures are rare.
        let again = steersman_codec::parse(body, false).map_err(Status::bad_request);
        let made = again.and_then(|(parsed, _)| json_or_merge(patch, parsed, Vec::new(), false, live));
        rejected(&made.map(|(v, _)| v.to_string()).unwrap_or_default(), &why)
    })
}

fn json_or_merge(
    kind: PatchType,
    parsed: Value,
    noted: Vec<String>,
    strict: bool,
    live: &Value,
) -> Result<(Value, Vec<String>), Status> {
    if kind == PatchType::Json {
        let patch = if strict { json::Patch::from_value(parsed)? } else { json::Patch::from_unchecked(parsed)? };
        let mut noted: Vec<String> = noted.iter().map(|n| format!("json patch {n}")).collect();
        if strict {
            noted.extend(patch.unknown_fields());
        }
        return Ok((patch.apply(live)?, noted));
    }
    if strict {
        merge::check(&parsed)?;
    } else {
        merge::check_loosely(&parsed)?;
    }
    let mut patched = live.clone();
    merge::apply(&mut patched, parsed);
    Ok((patched, noted))
}

/// Kinds without a schema of Go structs take no strategic merge patches.
fn no_strategic() -> Status {
    let types = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    let message = format!("the body of the request was in an unknown format - accepted media types include: {types}");
    Status::failure(415, Reason::UnsupportedMediaType, message)
}

/// A patch may leave kind and apiVersion out, or say them as they are.
fn check_kind(gvk: &GroupVersionKind, patched: &Value) -> Result<(), String> {
    if patched.is_array() {
        return Err(steersman_codec::no_object("array"));
    }
    let (kind, version) = (object::str(patched, &["kind"]), object::str(patched, &["apiVersion"]));
    if (kind.is_empty() || kind == gvk.kind) && (version.is_empty() || version == gvk.api_version()) {
        return Ok(());
    }
    Err(format!(
        "no kind \"{kind}\" is registered for version \"{version}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
    ))
}

/// Makes an object of what a patch left: unknown fields go, or are refused.
fn decode(
    ctx: &Context,
    kind: Kind<'_>,
    patched: Value,
    mut noted: Vec<String>,
    options: &UpdateOptions,
) -> Result<Value, String> {
    let mut object = match kind.ty {
        None => patched,
        Some(ty) => {
            // Unknown fields are told together with what was noted before, so here they are wanted as warnings.
            let lenient = match options.field_validation {
                FieldValidation::Ignore => FieldValidation::Ignore,
                _ => FieldValidation::Warn,
            };
            // Decoding drops empty lists, but an empty list of managers asks to have them cleared.
            let clears = object::get(&patched, MANAGED_FIELDS).and_then(Value::as_array).is_some_and(Vec::is_empty);
            let (mut object, unknown) = steersman_codec::normalise(patched, ty, lenient)?;
            noted.extend(unknown);
            if clears {
                object::set(&mut object, MANAGED_FIELDS, Vec::<Value>::new());
            }
            object
        }
    };
    match options.field_validation {
        FieldValidation::Strict if !noted.is_empty() => {
            return Err(format!("strict decoding error: {}", noted.join(", ")));
        }
        FieldValidation::Warn => noted.into_iter().for_each(|n| ctx.warn(n)),
        _ => {}
    }
    object::set(&mut object, &["kind"], kind.gvk.kind.as_ref());
    object::set(&mut object, &["apiVersion"], kind.gvk.api_version());
    Ok(object)
}

/// 422 for a patch that makes no object of the kind.
fn rejected(shown: &str, why: &str) -> Status {
    let mut errors = ErrorList::new();
    errors.invalid(&Path::new("patch"), shown, why);
    Status::invalid(&GroupKind::default(), "", &errors)
}

/// The configuration in the body of a server-side apply, and the keys that it has twice.
pub(crate) fn parse_apply(kind: Kind<'_>, body: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let bad = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
    let yaml = steersman_codec::yaml::read(body).map_err(|e| bad(format!("error converting YAML to JSON: {e}")))?;
    if !(yaml.value.is_object() || yaml.value.is_null()) {
        let what = object::json_type(&yaml.value);
        let why = format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}");
        return Err(bad(format!("error unmarshaling JSON: while decoding JSON: {why}")));
    }
    let (version, name) = (object::str(&yaml.value, &["apiVersion"]), object::str(&yaml.value, &["kind"]));
    if name != kind.gvk.kind || version != kind.gvk.api_version() {
        let shown = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
        return Err(Status::bad_request(format!("invalid object type: {shown}, Kind={name}")));
    }
    Ok((yaml.value, yaml.duplicates))
}

/// Tells of keys that a configuration has twice. Upstream looks for them once the apply itself went well.
pub(crate) fn tell_duplicates(ctx: &Context, duplicates: &[String], options: &UpdateOptions) -> Result<(), Status> {
    match options.field_validation {
        FieldValidation::Strict if !duplicates.is_empty() => {
            let all = duplicates.join("\n  ");
            return Err(Status::bad_request(format!(
                "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {all}"
            )));
        }
        FieldValidation::Warn => duplicates.iter().for_each(|d| ctx.warn(d.as_str())),
        _ => {}
    }
    Ok(())
}

/// What server-side apply left, decoded; not defaulted.
pub(crate) fn decode_applied(kind: Kind<'_>, mut applied: Value) -> Result<Value, Status> {
    let Some(ty) = kind.ty else { return Ok(applied) };
    let object = unstructured::fit(&mut applied, ty)
        .and_then(|()| steersman_codec::normalise(applied, ty, FieldValidation::Ignore).map_err(within_a_tree));
    let (mut object, _) = object.map_err(|why| {
        let slash = if kind.gvk.group.is_empty() { "/" } else { "" };
        errors::plain(format!(
            "failed to convert new object to proper version: unable to convert unstructured object to {slash}{}, Kind={}: {why}",
            kind.gvk.api_version(),
            kind.gvk.kind
        ))
    })?;
    object::set(&mut object, &["kind"], kind.gvk.kind.as_ref());
    object::set(&mut object, &["apiVersion"], kind.gvk.api_version());
    Ok(object)
}

/// Bytes that stand in a tree are decoded from a JSON string of their own.
fn within_a_tree(why: String) -> String {
    if why.starts_with("illegal base64") { format!("error decoding from json: {why}") } else { why }
}
