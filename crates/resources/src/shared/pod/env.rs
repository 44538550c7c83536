//! Environment variables (rule: core validation `ValidateEnv`, `ValidateEnvFrom`).

use super::{resources::is_zero, say};
use crate::shared::quantity::amount;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object, validation};

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// What downward API volumes may hold of the pod.
pub const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const BYTE_DIVISORS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// The list `env`.
pub fn env(e: &mut ErrorList, vars: &[Value], at: &Path) {
    for (i, var) in vars.iter().enumerate() {
        let name = object::str(var, &["name"]);
        if name.is_empty() {
            e.required(&at.index(i).child("name"), "");
        } else {
            say(e, || at.index(i).child("name"), name, validation::relaxed_env_var_name(name));
        }
        if let Some(from) = var.get("valueFrom") {
            value_from(e, from, object::str(var, &["value"]), &at.index(i).child("valueFrom"));
        }
    }
}

fn value_from(e: &mut ErrorList, from: &Value, value: &str, at: &Path) {
    let mut sources = 0;
    if let Some(field) = from.get("fieldRef") {
        sources += 1;
        field_ref(e, field, ENV_FIELDS, &at.child("fieldRef"));
    }
    if let Some(resource) = from.get("resourceFieldRef") {
        sources += 1;
        resource_field_ref(e, resource, false, &at.child("resourceFieldRef"));
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = from.get(key) {
            sources += 1;
            key_ref(e, reference, &at.child(key));
        }
    }
    if let Some(file) = from.get("fileKeyRef") {
        sources += 1;
        file_key_ref(e, file, &at.child("fileKeyRef"));
    }
    if sources == 0 {
        e.invalid(
            at,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if !value.is_empty() {
        e.invalid(at, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        e.invalid(at, "", "may not have more than one field specified at a time");
    }
}

fn key_ref(e: &mut ErrorList, reference: &Value, at: &Path) {
    let (name, key) = (object::str(reference, &["name"]), object::str(reference, &["key"]));
    say(e, || at.child("name"), name, validation::dns_subdomain(name, false));
    if key.is_empty() {
        e.required(&at.child("key"), "");
    } else {
        say(e, || at.child("key"), key, validation::config_map_key(key));
    }
}

fn file_key_ref(e: &mut ErrorList, file: &Value, at: &Path) {
    let str = |k: &str| object::str(file, &[k]);
    let key = str("key");
    if key.is_empty() {
        e.required(&at.child("key"), "");
    } else {
        say(e, || at.child("key"), key, validation::relaxed_env_var_name(key));
    }
    let volume = str("volumeName");
    if volume.is_empty() {
        e.required(&at.child("volumeName"), "");
    } else {
        say(e, || at.child("volumeName"), volume, validation::dns_label(volume, false));
    }
    let path = str("path");
    if path.is_empty() {
        e.required(&at.child("path"), "");
    } else {
        super::volumes::local_path(e, path, &at.child("path"));
    }
}

/// A field of the pod (rule: `validateObjectFieldSelector`).
pub fn field_ref(e: &mut ErrorList, field: &Value, allowed: &[&str], at: &Path) {
    let (version, path) = (object::str(field, &["apiVersion"]), object::str(field, &["fieldPath"]));
    if version.is_empty() {
        return e.required(&at.child("apiVersion"), "");
    }
    if path.is_empty() {
        return e.required(&at.child("fieldPath"), "");
    }
    let path = match internal_field(version, path) {
        Ok(p) => p,
        Err(why) => {
            return e.invalid(&at.child("fieldPath"), path, format_args!("error converting fieldPath: {why}"));
        }
    };
    match subscript(path) {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            say(e, || at.clone(), &key, validation::qualified_name(&key));
        }
        Some(("metadata.labels", key)) => say(e, || at.clone(), key, validation::qualified_name(key)),
        Some((other, _)) => e.invalid(at, other, "does not support subscript"),
        None if !allowed.contains(&path) => e.not_supported(&at.child("fieldPath"), path, allowed),
        None => {}
    }
}

fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['").filter(|(p, _)| !p.is_empty())
}

/// The internal name of a field of the downward API (rule: `ConvertDownwardAPIFieldLabel`).
fn internal_field<'a>(version: &str, path: &'a str) -> Result<&'a str, String> {
    if version != "v1" {
        return Err(format!("unsupported pod version: {version}"));
    }
    if let Some((p, _)) = subscript(path) {
        return match p {
            "metadata.annotations" | "metadata.labels" => Ok(path),
            _ => Err(format!("field label does not support subscript: {path}")),
        };
    }
    match path {
        "metadata.annotations"
        | "metadata.labels"
        | "metadata.name"
        | "metadata.namespace"
        | "metadata.uid"
        | "spec.nodeName"
        | "spec.restartPolicy"
        | "spec.serviceAccountName"
        | "spec.schedulerName"
        | "status.phase"
        | "status.hostIP"
        | "status.hostIPs"
        | "status.podIP"
        | "status.podIPs" => Ok(path),
        "spec.host" => Ok("spec.nodeName"),
        _ => Err(format!("field label not supported: {path}")),
    }
}

/// A resource of a container (rule: `validateContainerResourceFieldSelector`).
pub fn resource_field_ref(e: &mut ErrorList, reference: &Value, in_volume: bool, at: &Path) {
    let resource = object::str(reference, &["resource"]);
    let huge = resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-");
    if in_volume && object::str(reference, &["containerName"]).is_empty() {
        e.required(&at.child("containerName"), "");
    } else if resource.is_empty() {
        e.required(&at.child("resource"), "");
    } else if !RESOURCE_FIELDS.contains(&resource) && !huge {
        e.not_supported(&at.child("resource"), resource, RESOURCE_FIELDS);
    }
    let Some(divisor) = reference.get("divisor").and_then(amount).filter(|d| !is_zero(d)).map(|d| d.to_string()) else {
        return;
    };
    let bytes = |what: &str| {
        format!(
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the {what} resource"
        )
    };
    let (allowed, why): (&[&str], String) = match resource {
        "limits.cpu" | "requests.cpu" => {
            (&["1m", "1"], "only divisor's values 1m and 1 are supported with the cpu resource".to_owned())
        }
        "limits.memory" | "requests.memory" => (BYTE_DIVISORS, bytes("memory")),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => (BYTE_DIVISORS, bytes("local ephemeral storage")),
        _ if huge => (BYTE_DIVISORS, bytes("hugepages")),
        _ => return,
    };
    if !allowed.contains(&divisor.as_str()) {
        e.invalid(&at.child("divisor"), resource, why);
    }
}

/// The list `envFrom`.
pub fn env_from(e: &mut ErrorList, sources: &[Value], at: &Path) {
    for (i, source) in sources.iter().enumerate() {
        let prefix = object::str(source, &["prefix"]);
        if !prefix.is_empty() {
            say(e, || at.index(i).child("prefix"), prefix, validation::relaxed_env_var_name(prefix));
        }
        let mut count = 0;
        for key in ["configMapRef", "secretRef"] {
            let Some(reference) = source.get(key) else { continue };
            count += 1;
            let name = object::str(reference, &["name"]);
            let path = || at.index(i).child(key).child("name");
            if name.is_empty() {
                e.required(&path(), "");
            } else {
                say(e, path, name, validation::dns_subdomain(name, true));
            }
        }
        match count {
            0 => e.invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => e.invalid(at, "", "may not have more than one field specified at a time"),
        }
    }
}
