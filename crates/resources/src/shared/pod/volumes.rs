//! Volumes of a pod (rule: core validation `ValidateVolumes`, `validateVolumeSource`).

use super::{Rules, containers::pull_policy, env, say, volume_plugins as plugins};
use crate::shared::claim_template;
use crate::shared::quantity::amount;
use serde_json::Value;
use std::collections::BTreeMap;
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// The volumes that are good, by name.
pub type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Checks the list and returns the good ones.
pub fn volumes<'a>(e: &mut ErrorList, list: &'a [Value], at: &Path, rules: &Rules<'_>) -> Volumes<'a> {
    let created: Vec<String> = list
        .iter()
        .filter(|v| v.get("ephemeral").is_some() && !rules.pod_name.is_empty())
        .map(|v| format!("{}-{}", rules.pod_name, object::str(v, &["name"])))
        .collect();
    let mut good = Volumes::new();
    for (i, v) in list.iter().enumerate() {
        let at = at.index(i);
        let name = object::str(v, &["name"]);
        let before = e.0.len();
        source(e, v, name, &at, rules);
        if name.is_empty() {
            e.required(&at.child("name"), "");
        } else {
            say(e, || at.child("name"), name, validation::dns_label(name, false));
        }
        if good.contains_key(name) {
            e.duplicate(&at.child("name"), name);
        }
        if e.0.len() == before {
            good.insert(name, v);
        }
        let claim = object::str(v, &["persistentVolumeClaim", "claimName"]);
        if !claim.is_empty() && created.iter().any(|c| c == claim) {
            let path = at.child("persistentVolumeClaim").child("claimName");
            e.invalid(&path, claim, "must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    good
}

type Check = fn(&mut ErrorList, &Value, &Path);

/// A volume type: its field, its field in the message that there are two, its field in its own messages, its check.
struct Kind(&'static str, &'static str, &'static str, Check);

/// All types, in upstream's order. Those that need more than their own source are checked in [`source`].
const KINDS: &[Kind] = &[
    Kind("emptyDir", "emptyDir", "emptyDir", empty_dir),
    Kind("hostPath", "hostPath", "hostPath", plugins::host_path),
    Kind("gitRepo", "gitRepo", "gitRepo", plugins::git_repo),
    Kind("gcePersistentDisk", "gcePersistentDisk", "persistentDisk", plugins::gce_disk),
    Kind("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", plugins::aws_disk),
    Kind("secret", "secret", "secret", secret),
    Kind("nfs", "nfs", "nfs", plugins::nfs),
    Kind("iscsi", "iscsi", "iscsi", plugins::iscsi),
    Kind("glusterfs", "glusterfs", "glusterfs", plugins::glusterfs),
    Kind("flocker", "flocker", "flocker", plugins::flocker),
    Kind("persistentVolumeClaim", "persistentVolumeClaim", "persistentVolumeClaim", claim),
    Kind("rbd", "rbd", "rbd", plugins::rbd),
    Kind("cinder", "cinder", "cinder", plugins::cinder),
    Kind("cephfs", "cephFS", "cephfs", plugins::cephfs),
    Kind("quobyte", "quobyte", "quobyte", plugins::quobyte),
    Kind("downwardAPI", "downwarAPI", "downwardAPI", downward_api),
    Kind("fc", "fc", "fc", plugins::fc),
    Kind("flexVolume", "flexVolume", "flexVolume", plugins::flex),
    Kind("configMap", "configMap", "configMap", config_map),
    Kind("azureFile", "azureFile", "azureFile", plugins::azure_file),
    Kind("vsphereVolume", "vsphereVolume", "vsphereVolume", plugins::vsphere),
    Kind("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk", plugins::photon),
    Kind("portworxVolume", "portworxVolume", "portworxVolume", plugins::portworx),
    Kind("azureDisk", "azureDisk", "azureDisk", plugins::azure_disk),
    Kind("storageos", "storageos", "storageos", plugins::storageos),
    Kind("projected", "projected", "projected", projected_mode),
    Kind("scaleIO", "scaleIO", "scaleIO", plugins::scale_io),
    Kind("csi", "csi", "csi", plugins::csi),
    Kind("ephemeral", "ephemeral", "ephemeral", ephemeral),
    Kind("image", "image", "image", image),
];

fn source(e: &mut ErrorList, v: &Value, name: &str, at: &Path, rules: &Rules<'_>) {
    let mut found = false;
    for Kind(field, twice, own, check) in KINDS {
        let Some(source) = v.get(*field) else { continue };
        if found {
            e.forbidden(&at.child(twice), "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        let path = at.child(own);
        if *field == "image" && rules.is_pod && object::str(source, &["reference"]).is_empty() {
            e.required(&path.child("reference"), "");
        }
        check(e, source, &path);
        match *field {
            "projected" => projected_sources(e, source, &path, rules),
            "iscsi" => {
                let portal = object::str(source, &["targetPortal"]);
                if source.get("initiatorName").is_some() && name.len() + 1 + portal.len() > 64 {
                    e.invalid(&at.child("name"), name, "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.");
                }
            }
            "ephemeral" if !rules.pod_name.is_empty() && !name.is_empty() => {
                let claim = format!("{}-{name}", rules.pod_name);
                for m in validation::dns_subdomain(&claim, false) {
                    e.invalid(&at.child("name"), name, format_args!("PVC name \"{claim}\": {m}"));
                }
            }
            _ => {}
        }
    }
    if !found {
        e.required(at, "must specify a volume type");
    }
}

fn empty_dir(e: &mut ErrorList, v: &Value, at: &Path) {
    if v.get("sizeLimit").and_then(amount).is_some_and(|q| q.sign() < 0) {
        e.forbidden(&at.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
}

fn required(e: &mut ErrorList, v: &Value, key: &str, at: &Path) {
    if object::str(v, &[key]).is_empty() {
        e.required(&at.child(key), "");
    }
}

fn mode(e: &mut ErrorList, v: &Value, key: &str, at: &Path) {
    if let Some(mode) = object::int(v, &[key]).filter(|m| !(0..=0o777).contains(m)) {
        e.invalid(&at.child(key), mode, FILE_MODE);
    }
}

fn secret(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, "secretName", at);
    mode(e, v, "defaultMode", at);
    items(e, v, at);
}

fn config_map(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, "name", at);
    mode(e, v, "defaultMode", at);
    items(e, v, at);
}

fn items(e: &mut ErrorList, v: &Value, at: &Path) {
    for (i, item) in object::list(v, &["items"]).iter().enumerate() {
        key_to_path(e, item, &at.child("items").index(i));
    }
}

fn key_to_path(e: &mut ErrorList, item: &Value, at: &Path) {
    required(e, item, "key", at);
    required(e, item, "path", at);
    local_path(e, object::str(item, &["path"]), &at.child("path"));
    mode(e, item, "mode", at);
}

fn claim(e: &mut ErrorList, v: &Value, at: &Path) {
    required(e, v, "claimName", at);
}

fn downward_api(e: &mut ErrorList, v: &Value, at: &Path) {
    mode(e, v, "defaultMode", at);
    for file in object::list(v, &["items"]) {
        downward_api_file(e, file, at);
    }
}

fn downward_api_file(e: &mut ErrorList, file: &Value, at: &Path) {
    required(e, file, "path", at);
    local_path(e, object::str(file, &["path"]), &at.child("path"));
    match (file.get("fieldRef"), file.get("resourceFieldRef")) {
        (Some(field), resource) => {
            env::field_ref(e, field, env::VOLUME_FIELDS, &at.child("fieldRef"));
            if resource.is_some() {
                e.invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
        }
        (None, Some(resource)) => env::resource_field_ref(e, resource, true, &at.child("resourceFieldRef")),
        (None, None) => e.required(at, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(e, file, "mode", at);
}

fn projected_mode(e: &mut ErrorList, v: &Value, at: &Path) {
    mode(e, v, "defaultMode", at);
}

fn projected_sources(e: &mut ErrorList, v: &Value, at: &Path, rules: &Rules<'_>) {
    let mut paths: Vec<&str> = Vec::new();
    for (i, source) in object::list(v, &["sources"]).iter().enumerate() {
        let own = at.child("sources").index(i);
        let mut count = 0;
        for kind in ["secret", "configMap"] {
            let Some(s) = source.get(kind) else { continue };
            count += 1;
            let path = own.child(kind);
            required(e, s, "name", &path);
            for (j, item) in object::list(s, &["items"]).iter().enumerate() {
                key_to_path(e, item, &path.child("items").index(j));
                let name = object::str(s, &["name"]);
                once(e, &mut paths, object::str(item, &["path"]), name, at);
            }
        }
        if let Some(d) = source.get("downwardAPI") {
            count += 1;
            for file in object::list(d, &["items"]) {
                downward_api_file(e, file, &own.child("downwardAPI"));
                let path = object::str(file, &["path"]);
                once(e, &mut paths, path, path, at);
            }
        }
        if let Some(t) = source.get("serviceAccountToken") {
            count += 1;
            token(e, t, &own.child("serviceAccountToken"), at, rules);
        }
        if count > 1 {
            e.forbidden(&own, "may not specify more than 1 volume type per source");
        }
    }
}

fn once<'a>(e: &mut ErrorList, paths: &mut Vec<&'a str>, path: &'a str, shown: &str, at: &Path) {
    if path.is_empty() {
        return;
    }
    if paths.contains(&path) {
        e.invalid(at, shown, "conflicting duplicate paths");
    } else {
        paths.push(path);
    }
}

fn token(e: &mut ErrorList, t: &Value, own: &Path, at: &Path, rules: &Rules<'_>) {
    let seconds = object::int(t, &["expirationSeconds"]).unwrap_or(0);
    if seconds < 600 {
        e.invalid(&own.child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        e.invalid(&own.child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds");
    }
    let path = object::str(t, &["path"]);
    if path.is_empty() {
        e.required(&at.child("path"), "");
    } else if !rules.allow_non_local_token_path {
        local_path(e, path, &at.child("path"));
    }
}

/// Whether a spec already has token paths that leave the volume.
pub fn has_non_local_token_path(spec: &Value) -> bool {
    object::list(spec, &["volumes"])
        .iter()
        .flat_map(|v| object::list(v, &["projected", "sources"]))
        .filter_map(|s| object::get(s, &["serviceAccountToken", "path"]).and_then(Value::as_str))
        .any(|p| {
            let mut e = ErrorList::new();
            local_path(&mut e, p, &Path::root());
            !e.is_empty()
        })
}

fn ephemeral(e: &mut ErrorList, v: &Value, at: &Path) {
    let path = at.child("volumeClaimTemplate");
    match v.get("volumeClaimTemplate") {
        None => e.required(&path, ""),
        Some(template) => claim_template::template(e, template, &path),
    }
}

fn image(e: &mut ErrorList, v: &Value, at: &Path) {
    pull_policy(e, object::str(v, &["pullPolicy"]), || at.child("pullPolicy"));
}

/// Whether a path has a part `..`.
pub fn has_backsteps(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// A path without `..`.
pub fn no_backsteps(e: &mut ErrorList, path: &str, at: &Path) {
    if has_backsteps(path) {
        e.invalid(at, path, "must not contain '..'");
    }
}

/// A relative path that stays below where it starts (rule: `validateLocalDescendingPath`).
pub fn descending_path(e: &mut ErrorList, path: &str, at: &Path) {
    if path.starts_with('/') {
        e.invalid(at, path, "must be a relative path");
    }
    no_backsteps(e, path, at);
}

/// The same, not beginning with `..` either, which the kubelet keeps for itself
/// (rule: `ValidateLocalNonReservedPath`).
pub fn local_path(e: &mut ErrorList, path: &str, at: &Path) {
    descending_path(e, path, at);
    if path.starts_with("..") && !path.starts_with("../") {
        e.invalid(at, path, "must not start with '..'");
    }
}
