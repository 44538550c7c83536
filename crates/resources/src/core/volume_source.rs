//! The internal structs of a PersistentVolume's sources, for messages (rule: `pkg/apis/core` types).

use crate::shared::internal::Type::{Bool, Int, Plain, Pointer, Text};
use crate::shared::internal::{self, Field};
use serde_json::Value;

const SECRET: &[Field] = &[Field("name", Text), Field("namespace", Text)];

/// Members whose Go names are others than the JSON names.
const RENAMED: &[(&str, &str, &str)] = &[
    ("glusterfs", "endpoints", "endpointsName"),
    ("rbd", "monitors", "cephMonitors"),
    ("rbd", "image", "RBDImage"),
    ("rbd", "pool", "RBDPool"),
    ("rbd", "user", "radosUser"),
    ("azureDisk", "diskURI", "dataDiskURI"),
    ("scaleIO", "sslEnabled", "SSLEnabled"),
];

fn renamed(sources: &Value) -> Value {
    let mut sources = sources.clone();
    for (source, from, to) in RENAMED {
        if let Some(members) = sources.get_mut(source).and_then(Value::as_object_mut)
            && let Some(value) = members.remove(*from)
        {
            members.insert((*to).to_owned(), value);
        }
    }
    sources
}

/// What differs between the sources of two volumes, as messages show it.
pub(super) fn diff(old: &Value, new: &Value) -> String {
    internal::diff(FIELDS, &renamed(old), &renamed(new))
}

/// `PersistentVolumeSource`, in Go's order.
const FIELDS: &[Field] = &[
    Field(
        "gcePersistentDisk",
        Pointer(&[Field("pdName", Text), Field("fsType", Text), Field("partition", Int), Field("readOnly", Bool)]),
    ),
    Field(
        "awsElasticBlockStore",
        Pointer(&[Field("volumeID", Text), Field("fsType", Text), Field("partition", Int), Field("readOnly", Bool)]),
    ),
    Field("hostPath", Pointer(&[Field("path", Text), Field("type", Plain)])),
    Field(
        "glusterfs",
        Pointer(&[
            Field("endpointsName", Text),
            Field("path", Text),
            Field("readOnly", Bool),
            Field("endpointsNamespace", Plain),
        ]),
    ),
    Field("nfs", Pointer(&[Field("server", Text), Field("path", Text), Field("readOnly", Bool)])),
    Field(
        "rbd",
        Pointer(&[
            Field("cephMonitors", Plain),
            Field("RBDImage", Text),
            Field("fsType", Text),
            Field("RBDPool", Text),
            Field("radosUser", Text),
            Field("keyring", Text),
            Field("secretRef", Pointer(SECRET)),
            Field("readOnly", Bool),
        ]),
    ),
    Field(
        "quobyte",
        Pointer(&[
            Field("registry", Text),
            Field("volume", Text),
            Field("readOnly", Bool),
            Field("user", Text),
            Field("group", Text),
            Field("tenant", Text),
        ]),
    ),
    Field(
        "iscsi",
        Pointer(&[
            Field("targetPortal", Text),
            Field("iqn", Text),
            Field("lun", Int),
            Field("iscsiInterface", Text),
            Field("fsType", Text),
            Field("readOnly", Bool),
            Field("portals", Plain),
            Field("chapAuthDiscovery", Bool),
            Field("chapAuthSession", Bool),
            Field("secretRef", Pointer(SECRET)),
            Field("initiatorName", Plain),
        ]),
    ),
    Field(
        "flexVolume",
        Pointer(&[
            Field("driver", Text),
            Field("fsType", Text),
            Field("secretRef", Pointer(SECRET)),
            Field("readOnly", Bool),
            Field("options", Plain),
        ]),
    ),
    Field(
        "cinder",
        Pointer(&[
            Field("volumeID", Text),
            Field("fsType", Text),
            Field("readOnly", Bool),
            Field("secretRef", Pointer(SECRET)),
        ]),
    ),
    Field(
        "cephfs",
        Pointer(&[
            Field("monitors", Plain),
            Field("path", Text),
            Field("user", Text),
            Field("secretFile", Text),
            Field("secretRef", Pointer(SECRET)),
            Field("readOnly", Bool),
        ]),
    ),
    Field(
        "fc",
        Pointer(&[
            Field("targetWWNs", Plain),
            Field("lun", Plain),
            Field("fsType", Text),
            Field("readOnly", Bool),
            Field("wwids", Plain),
        ]),
    ),
    Field("flocker", Pointer(&[Field("datasetName", Text), Field("datasetUUID", Text)])),
    Field(
        "azureFile",
        Pointer(&[
            Field("secretName", Text),
            Field("shareName", Text),
            Field("readOnly", Bool),
            Field("secretNamespace", Plain),
        ]),
    ),
    Field(
        "vsphereVolume",
        Pointer(&[
            Field("volumePath", Text),
            Field("fsType", Text),
            Field("storagePolicyName", Text),
            Field("storagePolicyID", Text),
        ]),
    ),
    Field(
        "azureDisk",
        Pointer(&[
            Field("diskName", Text),
            Field("dataDiskURI", Text),
            Field("cachingMode", Plain),
            Field("fsType", Plain),
            Field("readOnly", Plain),
            Field("kind", Plain),
        ]),
    ),
    Field("photonPersistentDisk", Pointer(&[Field("pdID", Text), Field("fsType", Text)])),
    Field("portworxVolume", Pointer(&[Field("volumeID", Text), Field("fsType", Text), Field("readOnly", Bool)])),
    Field(
        "scaleIO",
        Pointer(&[
            Field("gateway", Text),
            Field("system", Text),
            Field("secretRef", Pointer(SECRET)),
            Field("SSLEnabled", Bool),
            Field("protectionDomain", Text),
            Field("storagePool", Text),
            Field("storageMode", Text),
            Field("volumeName", Text),
            Field("fsType", Text),
            Field("readOnly", Bool),
        ]),
    ),
    Field("local", Pointer(&[Field("path", Text), Field("fsType", Plain)])),
    Field(
        "storageos",
        Pointer(&[
            Field("volumeName", Text),
            Field("volumeNamespace", Text),
            Field("fsType", Text),
            Field("readOnly", Bool),
            Field("secretRef", Plain),
        ]),
    ),
    Field(
        "csi",
        Pointer(&[
            Field("driver", Text),
            Field("volumeHandle", Text),
            Field("readOnly", Bool),
            Field("fsType", Text),
            Field("volumeAttributes", Plain),
            Field("controllerPublishSecretRef", Pointer(SECRET)),
            Field("nodeStageSecretRef", Pointer(SECRET)),
            Field("nodePublishSecretRef", Pointer(SECRET)),
            Field("controllerExpandSecretRef", Pointer(SECRET)),
            Field("nodeExpandSecretRef", Pointer(SECRET)),
        ]),
    ),
];
