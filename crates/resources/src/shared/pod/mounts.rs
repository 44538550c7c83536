//! Where volumes appear in containers (rule: core validation `ValidateVolumeMounts`, `ValidateVolumeDevices`).

use super::volumes::{Volumes, descending_path, has_backsteps};
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object};

/// The list `volumeMounts`.
pub fn mounts(e: &mut ErrorList, container: &Value, volumes: &Volumes<'_>, at: &Path) {
    let devices = object::list(container, &["volumeDevices"]);
    let mut paths: Vec<&str> = Vec::new();
    for (i, mount) in object::list(container, &["volumeMounts"]).iter().enumerate() {
        let str = |k: &str| object::str(mount, &[k]);
        let (name, path) = (str("name"), str("mountPath"));
        let field = |k: &str| at.index(i).child(k);
        if name.is_empty() {
            e.required(&field("name"), "");
        }
        let source = volumes.get(name);
        if source.is_none() {
            e.not_found(&field("name"), name);
        }
        if path.is_empty() {
            e.required(&field("mountPath"), "");
        }
        if paths.contains(&path) {
            e.invalid(&field("mountPath"), path, "must be unique");
        }
        paths.push(path);
        if devices.iter().any(|d| object::str(d, &["name"]) == name) {
            e.invalid(&field("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|d| object::str(d, &["devicePath"]) == path) {
            e.invalid(&field("mountPath"), path, "must not already exist as a path in volumeDevices");
        }
        if source.is_some_and(|s| s.get("image").is_some()) {
            image_sub_paths(e, mount, &field);
        }
        let (sub, expression) = (str("subPath"), str("subPathExpr"));
        if !sub.is_empty() {
            descending_path(e, sub, &at.child("subPath"));
        }
        if !expression.is_empty() {
            if !sub.is_empty() {
                e.invalid(&field("subPathExpr"), expression, "subPathExpr and subPath are mutually exclusive");
            }
            descending_path(e, expression, &at.child("subPathExpr"));
        }
        propagation(e, mount, container, at);
    }
}

/// Image volumes take a sub path, but no expression.
fn image_sub_paths(e: &mut ErrorList, mount: &Value, field: &dyn Fn(&str) -> Path) {
    let expression = object::str(mount, &["subPathExpr"]);
    if !expression.is_empty() {
        e.invalid(&field("subPathExpr"), expression, "not allowed in image volume sources");
    }
}

fn propagation(e: &mut ErrorList, mount: &Value, container: &Value, at: &Path) {
    let mode = mount.get("mountPropagation").and_then(Value::as_str);
    if let Some(mode) = mode {
        let path = at.child("mountPropagation");
        if !["Bidirectional", "HostToContainer", "None"].contains(&mode) {
            e.not_supported(&path, mode, &["Bidirectional", "HostToContainer", "None"]);
        }
        if mode == "Bidirectional" && !object::bool(container, &["securityContext", "privileged"]) {
            e.forbidden(&path, "Bidirectional mount propagation is available only to privileged containers");
        }
    }
    match mount.get("recursiveReadOnly").and_then(Value::as_str) {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            let path = at.child("recursiveReadOnly");
            if !object::bool(mount, &["readOnly"]) {
                e.forbidden(&path, "may only be specified when readOnly is true");
            }
            if mode.is_some_and(|m| m != "None") {
                e.forbidden(&path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => {
            e.not_supported(&at.child("recursiveReadOnly"), other, &["Disabled", "Enabled", "IfPossible"]);
        }
    }
}

/// The list `volumeDevices`.
pub fn devices(e: &mut ErrorList, container: &Value, volumes: &Volumes<'_>, at: &Path) {
    let mounts = object::list(container, &["volumeMounts"]);
    let (mut names, mut paths): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for (i, device) in object::list(container, &["volumeDevices"]).iter().enumerate() {
        let (name, path) = (object::str(device, &["name"]), object::str(device, &["devicePath"]));
        let field = |k: &str| at.index(i).child(k);
        if name.is_empty() {
            e.required(&field("name"), "");
        }
        if names.contains(&name) {
            e.invalid(&field("name"), name, "must be unique");
        }
        match volumes.get(name) {
            None => e.not_found(&field("name"), name),
            Some(s) if s.get("persistentVolumeClaim").is_none() && s.get("ephemeral").is_none() => e.invalid(
                &field("name"),
                name,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            ),
            Some(_) => {}
        }
        if path.is_empty() {
            e.required(&field("devicePath"), "");
        }
        if paths.contains(&path) {
            e.invalid(&field("devicePath"), path, "must be unique");
        }
        if has_backsteps(path) {
            e.invalid(&field("devicePath"), path, "can not contain backsteps ('..')");
        } else {
            paths.push(path);
        }
        if mounts.iter().any(|m| object::str(m, &["name"]) == name) {
            e.invalid(&field("name"), name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|m| object::str(m, &["mountPath"]) == path) {
            e.invalid(&field("devicePath"), path, "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            names.push(name);
        }
    }
}
