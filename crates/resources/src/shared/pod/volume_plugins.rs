//! Volume types that reach outside the cluster; persistent volumes have most of them too.

use super::say;
use super::volumes::{descending_path, no_backsteps};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object, validation};

fn required(e: &mut ErrorList, v: &Value, keys: &[&str], at: &Path) {
    for key in keys {
        if object::str(v, &[key]).is_empty() {
            e.required(&at.child(key), "");
        }
    }
}

/// `hostPath`.
pub fn host_path(e: &mut ErrorList, v: &Value, at: &Path) {
    const TYPES: &[&str] =
        &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let path = object::str(v, &["path"]);
    if path.is_empty() {
        return e.required(&at.child("path"), "");
    }
    no_backsteps(e, path, &at.child("path"));
    if let Some(kind) = v.get("type").and_then(Value::as_str)
        && !TYPES.contains(&kind)
    {
        e.not_supported(&at.child("type"), kind, TYPES);
    }
}

/// `gitRepo`.
pub fn git_repo(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, &["repository"], at);
    descending_path(e, object::str(v, &["directory"]), &at.child("directory"));
}

/// `gcePersistentDisk`.
pub fn gce_disk(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, &["pdName"], at);
    partition(e, v, at);
}

/// `awsElasticBlockStore`.
pub fn aws_disk(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, &["volumeID"], at);
    partition(e, v, at);
}

fn partition(e: &mut ErrorList, v: &Value, at: &Path) {
    let n = object::int(v, &["partition"]).unwrap_or(0);
    if !(0..=255).contains(&n) {
        e.invalid(&at.child("partition"), n, validation::range_error(1, 255));
    }
}

/// `nfs`.
pub fn nfs(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, &["server", "path"], at);
    let path = object::str(v, &["path"]);
    if !path.starts_with('/') {
        e.invalid(&at.child("path"), path, "must be an absolute path");
    }
}

/// `iscsi` of pods.
pub fn iscsi(e: &mut ErrorList, v: &Value, at: &Path) {
    const WHAT: &str = "must be valid format starting with iqn, eui, or naa";
    required(e, v, &["targetPortal"], at);
    let iqn = object::str(v, &["iqn"]);
    if iqn.is_empty() {
        e.required(&at.child("iqn"), "");
    } else {
        initiator(e, iqn, WHAT, || at.child("iqn"));
    }
    let lun = object::int(v, &["lun"]).unwrap_or(0);
    if !(0..=255).contains(&lun) {
        e.invalid(&at.child("lun"), lun, validation::range_error(0, 255));
    }
    let chap = object::bool(v, &["chapAuthDiscovery"]) || object::bool(v, &["chapAuthSession"]);
    if chap && v.get("secretRef").is_none() {
        e.required(&at.child("secretRef"), "");
    }
    if let Some(name) = v.get("initiatorName").and_then(Value::as_str) {
        initiator(e, name, WHAT, || at.child("initiatorname"));
    }
}

fn initiator(e: &mut ErrorList, name: &str, unknown: &str, at: impl Fn() -> Path) {
    let hexes = |s: &str, n: usize| s.len() == n && s.bytes().all(|c| c.is_ascii_alphanumeric());
    let good = match name.get(..3) {
        Some("iqn") => is_iqn(name),
        Some("eui") => name.get(4..).is_some_and(|s| hexes(s, 16)),
        Some("naa") => name.get(4..).is_some_and(|s| hexes(s, 32)),
        _ => return e.invalid(&at(), name, unknown),
    };
    if !good {
        e.invalid(&at(), name, "must be valid format");
    }
}

/// `iqn.yyyy-mm.naming-authority:unique`.
fn is_iqn(name: &str) -> bool {
    let Some((date, rest)) = name.strip_prefix("iqn.").and_then(|n| n.split_at_checked(7)) else { return false };
    let b = date.as_bytes();
    let dated = b[..4].iter().chain(&b[5..]).all(u8::is_ascii_digit) && b[4] == b'-';
    let Some((authority, unique)) = rest.strip_prefix('.').and_then(|r| r.split_once(':')) else { return false };
    dated
        && !authority.is_empty()
        && authority.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'.')
        && !unique.is_empty()
        && !unique.contains(|c: char| ",;*&$|".contains(c) || c.is_ascii_whitespace())
}

/// `glusterfs` of pods.
pub fn glusterfs(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, &["endpoints", "path"], at);
}

/// `flocker`.
pub fn flocker(e: &mut ErrorList, v: &Value, at: &Path) {
    let (name, uuid) = (object::str(v, &["datasetName"]), object::str(v, &["datasetUUID"]));
    if name.is_empty() && uuid.is_empty() {
        e.required(at, "one of datasetName and datasetUUID is required");
    }
    if !name.is_empty() && !uuid.is_empty() {
        e.invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously");
    }
    if name.contains('/') {
        e.invalid(&at.child("datasetName"), name, "must not contain '/'");
    }
}

/// `rbd`.
pub fn rbd(e: &mut ErrorList, v: &Value, at: &Path) {
    monitors(e, v, at);
    required(e, v, &["image"], at);
}

/// `cephfs`.
pub fn cephfs(e: &mut ErrorList, v: &Value, at: &Path) {
    monitors(e, v, at);
}

fn monitors(e: &mut ErrorList, v: &Value, at: &Path) {
    if object::list(v, &["monitors"]).is_empty() {
        e.required(&at.child("monitors"), "");
    }
}

/// `cinder` of pods.
pub fn cinder(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, &["volumeID"], at);
    secret_ref(e, v, at);
}

fn secret_ref(e: &mut ErrorList, v: &Value, at: &Path) {
    if v.get("secretRef").is_some() && object::str(v, &["secretRef", "name"]).is_empty() {
        e.required(&at.child("secretRef").child("name"), "");
    }
}

/// `quobyte`.
pub fn quobyte(e: &mut ErrorList, v: &Value, at: &Path) {
    const WHAT: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = object::str(v, &["registry"]);
    if registry.is_empty() {
        e.required(&at.child("registry"), WHAT);
    } else if object::str(v, &["tenant"]).len() >= 65 {
        e.required(&at.child("tenant"), "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_port(pair)) {
            e.invalid(&at.child("registry"), registry, WHAT);
        }
    }
    required(e, v, &["volume"], at);
}

fn is_host_port(pair: &str) -> bool {
    match pair.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").is_some_and(|(_, port)| !port.contains(':')),
        None => pair.matches(':').count() == 1,
    }
}

/// `fc`.
pub fn fc(e: &mut ErrorList, v: &Value, at: &Path) {
    let (names, ids) = (object::list(v, &["targetWWNs"]), object::list(v, &["wwids"]));
    if names.is_empty() && ids.is_empty() {
        e.required(&at.child("targetWWNs"), "must specify either targetWWNs or wwids, but not both");
    }
    if !names.is_empty() && !ids.is_empty() {
        e.invalid(&at.child("targetWWNs"), json!(names), "targetWWNs and wwids can not be specified simultaneously");
    }
    if !names.is_empty() {
        match object::int(v, &["lun"]) {
            None => e.required(&at.child("lun"), "lun is required if targetWWNs is specified"),
            Some(lun) if !(0..=255).contains(&lun) => {
                e.invalid(&at.child("lun"), lun, validation::range_error(0, 255));
            }
            Some(_) => {}
        }
    }
}

/// `flexVolume`.
pub fn flex(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, &["driver"], at);
    for (key, _) in object::get(v, &["options"]).and_then(Value::as_object).into_iter().flatten() {
        let domain = format!(".{}", key.split_once('/').map_or(key.as_str(), |(d, _)| d).to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let path = at.child("options").key(key);
            e.invalid(&path, key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

/// `azureFile` of pods.
pub fn azure_file(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, &["secretName", "shareName"], at);
}

/// `azureDisk`.
pub fn azure_disk(e: &mut ErrorList, v: &Value, at: &Path) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    required(e, v, &["diskName", "diskURI"], at);
    let uri = object::str(v, &["diskURI"]);
    let text = |k: &str| v.get(k).and_then(Value::as_str);
    if let Some(mode) = text("cachingMode").filter(|m| !["None", "ReadOnly", "ReadWrite"].contains(m)) {
        e.not_supported(&at.child("cachingMode"), mode, &["None", "ReadOnly", "ReadWrite"]);
    }
    if let Some(kind) = text("kind") {
        if !["Dedicated", "Managed", "Shared"].contains(&kind) {
            e.not_supported(&at.child("kind"), kind, &["Dedicated", "Managed", "Shared"]);
        }
        if kind == "Managed" && !uri.starts_with("/subscriptions/") {
            e.not_supported(&at.child("diskURI"), uri, &[MANAGED]);
        }
        if kind != "Managed" && !uri.starts_with("https://") {
            e.not_supported(&at.child("diskURI"), uri, &[BLOB]);
        }
    }
}

/// `vsphereVolume`.
pub fn vsphere(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, &["volumePath"], at);
}

/// `photonPersistentDisk`.
pub fn photon(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, &["pdID"], at);
}

/// `portworxVolume`.
pub fn portworx(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, &["volumeID"], at);
}

/// `scaleIO`.
pub fn scale_io(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, &["gateway", "system", "volumeName"], at);
}

/// `storageos` of pods.
pub fn storageos(e: &mut ErrorList, v: &Value, at: &Path) {
    let name = object::str(v, &["volumeName"]);
    if name.is_empty() {
        e.required(&at.child("volumeName"), "");
    } else {
        say(e, || at.child("volumeName"), name, validation::dns_label(name, false));
    }
    let namespace = object::str(v, &["volumeNamespace"]);
    if !namespace.is_empty() {
        say(e, || at.child("volumeNamespace"), namespace, validation::dns_label(namespace, false));
    }
    secret_ref(e, v, at);
}

/// `csi` of pods.
pub fn csi(e: &mut ErrorList, v: &Value, at: &Path) {
    csi_driver_name(e, object::str(v, &["driver"]), &at.child("driver"));
    if v.get("nodePublishSecretRef").is_some() {
        let name = object::str(v, &["nodePublishSecretRef", "name"]);
        if name.is_empty() {
            e.required(&at.child("nodePublishSecretRef").child("name"), "");
        } else {
            say(e, || at.child("name"), name, validation::dns_subdomain(name, false));
        }
    }
}

/// The name of a CSI driver (rule: `ValidateCSIDriverName`).
pub fn csi_driver_name(e: &mut ErrorList, name: &str, at: &Path) {
    if name.is_empty() {
        return e.required(at, "");
    }
    if name.len() > 63 {
        e.too_long(at, 63);
    }
    say(e, || at.clone(), name, validation::dns_subdomain(&name.to_lowercase(), false));
}
