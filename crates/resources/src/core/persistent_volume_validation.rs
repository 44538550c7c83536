//! What is wrong with a PersistentVolume (rule: core validation `ValidatePersistentVolumeSpec`).

use super::{resource_names, volume_source};
use crate::checks;
use crate::fields::Fields;
use crate::shared::internal::{Field, Show, Type};
use crate::shared::pod::{volume_plugins as plugins, volumes};
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object};

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

const REQUIREMENT: &[Field] = &[Field("key", Type::Text), Field("operator", Type::Text), Field("values", Type::Plain)];
const TERM: &[Field] =
    &[Field("matchExpressions", Type::List(REQUIREMENT)), Field("matchFields", Type::List(REQUIREMENT))];
const AFFINITY: &[Field] = &[Field("required", Type::Pointer(&[Field("nodeSelectorTerms", Type::List(TERM))]))];

type Check = fn(&mut ErrorList, &Value, &Path);

/// Each type of volume, and what checks it, in upstream's order.
const SOURCES: &[(&str, Check)] = &[
    ("hostPath", plugins::host_path),
    ("gcePersistentDisk", plugins::gce_disk),
    ("awsElasticBlockStore", plugins::aws_disk),
    ("glusterfs", glusterfs),
    ("flocker", plugins::flocker),
    ("nfs", plugins::nfs),
    ("rbd", plugins::rbd),
    ("quobyte", plugins::quobyte),
    ("cephfs", plugins::cephfs),
    ("iscsi", iscsi),
    ("cinder", cinder),
    ("fc", plugins::fc),
    ("flexVolume", plugins::flex),
    ("azureFile", azure_file),
    ("vsphereVolume", plugins::vsphere),
    ("photonPersistentDisk", plugins::photon),
    ("portworxVolume", plugins::portworx),
    ("azureDisk", plugins::azure_disk),
    ("scaleIO", plugins::scale_io),
    ("local", local),
    ("storageos", storageos),
    ("csi", csi),
];

fn glusterfs(e: &mut ErrorList, v: &Value, at: &Path) {
    plugins::glusterfs(e, v, at);
    if let Some(ns) = v.opt_s("endpointsNamespace") {
        if ns.is_empty() {
            e.invalid(
                &at.child("endpointsNamespace"),
                ns,
                "if the endpointnamespace is set, it must be a valid namespace name",
            );
        } else {
            checks::label(e, &at.child("endpointsNamespace"), ns);
        }
    }
}

/// A reference to a secret that names its namespace too.
fn secret_reference(e: &mut ErrorList, v: &Value, at: &Path, field: &str) {
    if let Some(secret) = v.sub(field) {
        for key in ["name", "namespace"] {
            if secret.s(key).is_empty() {
                e.required(&at.child(field).child(key), "");
            }
        }
    }
}

/// The same, where the names are checked too (rule: core `validatePVSecretReference`).
fn checked_secret_reference(e: &mut ErrorList, v: &Value, at: &Path, field: &str) {
    let Some(secret) = v.sub(field) else { return };
    type Rule = fn(&mut ErrorList, &Path, &str);
    const KEYS: [(&str, Rule); 2] = [("name", checks::subdomain), ("namespace", checks::label)];
    for (key, rule) in KEYS {
        let at = at.child(field).child(key);
        match secret.s(key) {
            "" => e.required(&at, ""),
            name => rule(e, &at, name),
        }
    }
}

fn iscsi(e: &mut ErrorList, v: &Value, at: &Path) {
    plugins::iscsi(e, v, at);
    if v.sub("secretRef").is_some_and(|s| s.s("name").is_empty()) {
        e.required(&at.child("secretRef").child("name"), "");
    }
}

fn cinder(e: &mut ErrorList, v: &Value, at: &Path) {
    if v.s("volumeID").is_empty() {
        e.required(&at.child("volumeID"), "");
    }
    secret_reference(e, v, at, "secretRef");
}

fn azure_file(e: &mut ErrorList, v: &Value, at: &Path) {
    for key in ["secretName", "shareName"] {
        if v.s(key).is_empty() {
            e.required(&at.child(key), "");
        }
    }
    if v.opt_s("secretNamespace") == Some("") {
        e.required(&at.child("secretNamespace"), "");
    }
}

fn storageos(e: &mut ErrorList, v: &Value, at: &Path) {
    if v.s("volumeName").is_empty() {
        e.required(&at.child("volumeName"), "");
    } else {
        checks::label(e, &at.child("volumeName"), v.s("volumeName"));
    }
    if !v.s("volumeNamespace").is_empty() {
        checks::label(e, &at.child("volumeNamespace"), v.s("volumeNamespace"));
    }
    secret_reference(e, v, at, "secretRef");
}

fn local(e: &mut ErrorList, v: &Value, at: &Path) {
    if v.s("path").is_empty() {
        e.required(&at.child("path"), "");
        return;
    }
    volumes::no_backsteps(e, v.s("path"), &at.child("path"));
}

fn csi(e: &mut ErrorList, v: &Value, at: &Path) {
    plugins::csi_driver_name(e, v.s("driver"), &at.child("driver"));
    if v.s("volumeHandle").is_empty() {
        e.required(&at.child("volumeHandle"), "");
    }
    for field in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        checked_secret_reference(e, v, at, field);
    }
}

const INLINE: &str = "may not be specified in the context of inline volumes";

/// Checks a spec; `inline` for one that stands in a VolumeAttachment.
pub(crate) fn spec(e: &mut ErrorList, spec: &Value, inline: bool, path: &Path) {
    if inline {
        if spec.sub("claimRef").is_some() {
            e.forbidden(&path.child("claimRef"), INLINE);
        }
        if spec.has("capacity") {
            e.forbidden(&path.child("capacity"), INLINE);
        }
        if spec.sub("csi").is_none() {
            e.required(&path.child("csi"), "has to be specified in the context of inline volumes");
        }
    }
    access_modes(e, spec, path);
    if !inline {
        capacity(e, spec, &path.child("capacity"));
    }
    reclaim_policy(e, spec, inline, &path.child("persistentVolumeReclaimPolicy"));
    let affinity = path.child("nodeAffinity");
    let mut has_affinity = false;
    if let Some(a) = spec.sub("nodeAffinity") {
        if inline {
            e.forbidden(&affinity, INLINE);
        } else {
            has_affinity = true;
            match a.sub("required") {
                Some(required) => checks::node_selector(e, &affinity.child("required"), required),
                None => e.required(&affinity.child("required"), "must specify required node constraints"),
            }
        }
    }
    let mut count = 0;
    for (name, check) in SOURCES {
        let Some(source) = spec.sub(name) else { continue };
        // Upstream names two of them differently, and lets one come beside others.
        if count > 0 && *name != "flexVolume" {
            let shown = if *name == "cephfs" { "cephFS" } else { name };
            e.forbidden(&path.child(shown), "may not specify more than 1 volume type");
            continue;
        }
        count += 1;
        check(e, source, &path.child(if *name == "gcePersistentDisk" { "persistentDisk" } else { name }));
        if *name == "local" && !has_affinity {
            e.required(&affinity, "Local volume requires node affinity");
        }
    }
    if count == 0 {
        e.required(path, "must specify a volume type");
    }
    let root = spec.sub("hostPath").is_some_and(|h| {
        let path = h.s("path");
        path.starts_with('/') && path.split('/').all(|p| p.is_empty() || p == "." || p == "..")
    });
    if root && spec.s("persistentVolumeReclaimPolicy") == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        e.forbidden(&path.child("persistentVolumeReclaimPolicy"), why);
    }
    classes_and_mode(e, spec, inline, path);
}

fn access_modes(e: &mut ErrorList, spec: &Value, path: &Path) {
    let (modes, at) = (spec.strings("accessModes"), path.child("accessModes"));
    if modes.is_empty() {
        e.required(&at, "");
    }
    for mode in &modes {
        checks::one_of(e, &at, mode, ACCESS_MODES);
    }
    let once = modes.contains(&"ReadWriteOncePod");
    if once && modes.iter().any(|m| *m != "ReadWriteOncePod" && ACCESS_MODES.contains(m)) {
        e.forbidden(&at, "may not use ReadWriteOncePod with other access modes");
    }
}

fn capacity(e: &mut ErrorList, spec: &Value, at: &Path) {
    let all = spec.entries("capacity");
    if all.is_empty() {
        e.required(at, "");
    }
    if spec.at("capacity").sub("storage").is_none() || all.len() > 1 {
        e.not_supported(at, spec.at("capacity"), &["storage"]);
    }
    for (name, value) in all {
        resource_names::check_basic(e, &at.key(name), value);
        resource_names::check_positive(e, &at.key(name), value);
    }
}

fn reclaim_policy(e: &mut ErrorList, spec: &Value, inline: bool, at: &Path) {
    match spec.s("persistentVolumeReclaimPolicy") {
        "" => {}
        p if inline => {
            if p != "Retain" {
                e.forbidden(at, "may only be Retain in the context of inline volumes");
            }
        }
        p => checks::one_of(e, at, p, &["Delete", "Recycle", "Retain"]),
    }
}

fn classes_and_mode(e: &mut ErrorList, spec: &Value, inline: bool, path: &Path) {
    let class = spec.s("storageClassName");
    if !class.is_empty() {
        if inline {
            e.forbidden(&path.child("storageClassName"), INLINE);
        } else {
            checks::subdomain(e, &path.child("storageClassName"), class);
        }
    }
    if let Some(mode) = spec.opt_s("volumeMode") {
        let at = path.child("volumeMode");
        if !inline {
            checks::one_of(e, &at, mode, &["Block", "Filesystem"]);
        } else if mode != "Filesystem" {
            e.forbidden(&at, "may not specify volumeMode other than Filesystem in the context of inline volumes");
        }
    }
    if let Some(class) = spec.opt_s("volumeAttributesClassName") {
        let at = path.child("volumeAttributesClassName");
        if inline {
            e.forbidden(&at, INLINE);
        } else if class.is_empty() {
            e.required(&at, "an empty string is disallowed");
        } else {
            checks::subdomain(e, &at, class);
        }
        if spec.sub("csi").is_none() {
            e.required(&path.child("csi"), "has to be specified when using volumeAttributesClassName");
        }
    }
}

/// Types that know the annotation with mount options (rule: `pkg/volume/validation`).
const WITH_MOUNT_OPTIONS: &[&str] = &[
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

/// Refuses the annotation with mount options where the type does not know it.
pub(super) fn mount_options(e: &mut ErrorList, obj: &Value) {
    let known = WITH_MOUNT_OPTIONS.iter().any(|t| obj.at("spec").sub(t).is_some());
    if !known && object::annotation(obj, MOUNT_OPTIONS).is_some() {
        let at = Path::new("metadata").child("annotations").child(MOUNT_OPTIONS);
        e.forbidden(&at, "may not specify mount options for this volume type");
    }
}

/// The keys of an affinity with labels of nodes that have stable names by now in their stable form, where that is what
/// changed.
fn with_stable_keys(was: &Value, is: &Value) -> Value {
    const STABLE: &[(&str, &str)] = &[
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ];
    match (was, is) {
        (Value::Object(a), Value::Object(b)) => Value::Object(
            a.iter()
                .map(|(k, v)| {
                    let new = b.get(k).unwrap_or(&Value::Null);
                    let renamed = k == "key" && STABLE.iter().any(|(old, stable)| v == old && new == stable);
                    (k.clone(), if renamed { new.clone() } else { with_stable_keys(v, new) })
                })
                .collect(),
        ),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).map(|(v, new)| with_stable_keys(v, new)).collect()
        }
        _ => was.clone(),
    }
}

/// What may not change.
pub(super) fn update(e: &mut ErrorList, new: &Value, old: &Value) {
    let (spec, was) = (new.at("spec"), old.at("spec"));
    let sources = |s: &Value| {
        let all = SOURCES.iter().filter_map(|(n, _)| Some(((*n).to_owned(), s.sub(n)?.clone())));
        Value::Object(all.collect())
    };
    let (mut is, before) = (sources(spec), sources(was));
    // A secret for expanding the volume may be added.
    if was.sub("csi").is_some_and(|c| c.sub("controllerExpandSecretRef").is_none()) {
        object::remove(&mut is, &["csi", "controllerExpandSecretRef"]);
    }
    if is != before {
        let diff = volume_source::diff(&before, &is);
        e.forbidden(
            &Path::new("spec").child("persistentvolumesource"),
            format!("spec.persistentvolumesource is immutable after creation\n{diff}"),
        );
    }
    checks::immutable(e, &Path::new("volumeMode"), spec.at("volumeMode"), was.at("volumeMode"));
    if was.sub("nodeAffinity").is_some() {
        let (is, before) = (spec.at("nodeAffinity"), was.at("nodeAffinity"));
        if with_stable_keys(before, is) != *is {
            let why = format!("{}, except for updating from beta label to GA", checks::IMMUTABLE);
            let at = Path::new("nodeAffinity");
            if is.is_null() { e.invalid(&at, is, why) } else { e.invalid(&at, Show(AFFINITY, is), why) }
        }
    }
    if was.opt_s("volumeAttributesClassName").is_some() && spec.opt_s("volumeAttributesClassName").is_none() {
        let at = Path::new("spec").child("volumeAttributesClassName");
        e.forbidden(&at, "update from non-nil value to nil is forbidden");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn volume(spec: Value) -> Value {
        let mut all = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}});
        if let (Some(all), Value::Object(more)) = (all.as_object_mut(), spec) {
            all.extend(more);
        }
        json!({"metadata": {"annotations": {}}, "spec": all})
    }

    #[test]
    fn volumes() {
        let check = |more: Value, want: &[&str]| {
            let mut e = ErrorList::new();
            spec(&mut e, volume(more).at("spec"), false, &Path::new("spec"));
            assert_eq!(e.0.iter().map(ToString::to_string).collect::<Vec<_>>(), want);
        };
        check(json!({"gcePersistentDisk": {}}), &["spec.persistentDisk.pdName: Required value"]);
        check(
            json!({"nfs": {"server": "s", "path": "/"}, "cephfs": {}}),
            &["spec.cephFS: Forbidden: may not specify more than 1 volume type"],
        );
        check(
            json!({"nfs": {"server": "s", "path": "/"}, "flexVolume": {}}),
            &["spec.flexVolume.driver: Required value"],
        );
        check(
            json!({"nfs": {"server": "s", "path": "/"}, "capacity": {"storage": "-1"}}),
            &[
                "spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
                "spec.capacity[storage]: Invalid value: \"-1\": must be greater than zero",
            ],
        );
        check(
            json!({"iscsi": {"targetPortal": "p", "iqn": "iqn.2024-01.com.example:s", "lun": 0, "secretRef": {}}}),
            &["spec.iscsi.secretRef.name: Required value"],
        );
    }

    #[test]
    fn changes() {
        let check = |old: Value, new: Value, want: &[&str]| {
            let mut e = ErrorList::new();
            update(&mut e, &volume(new), &volume(old));
            assert_eq!(e.0.iter().map(ToString::to_string).collect::<Vec<_>>(), want);
        };
        let affinity = |key: &str| {
            let term = json!({"matchExpressions": [{"key": key, "operator": "Exists"}]});
            json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}})
        };
        check(affinity("beta.kubernetes.io/os"), affinity("kubernetes.io/os"), &[]);
        check(
            affinity("a"),
            affinity("b"),
            &[
                "nodeAffinity: Invalid value: {\"Required\":{\"NodeSelectorTerms\":[{\"MatchExpressions\":[{\"Key\":\"b\",\"Operator\":\"Exists\",\"Values\":null}],\"MatchFields\":null}]}}: field is immutable, except for updating from beta label to GA",
            ],
        );
        check(
            json!({"hostPath": {"path": "/a"}}),
            json!({"hostPath": {"path": "/b"}}),
            &[
                "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n@@ -2,7 +2,7 @@\n  \"GCEPersistentDisk\": null,\n  \"AWSElasticBlockStore\": null,\n  \"HostPath\": {\n-  \"Path\": \"/a\",\n+  \"Path\": \"/b\",\n   \"Type\": null\n  },\n  \"Glusterfs\": null,\n",
            ],
        );
        let plain = json!({"csi": {"driver": "d", "volumeHandle": "h"}});
        let mut expandable = plain.clone();
        object::set(&mut expandable, &["csi", "controllerExpandSecretRef"], json!({"name": "s", "namespace": "n"}));
        check(plain, expandable, &[]);
    }
}
