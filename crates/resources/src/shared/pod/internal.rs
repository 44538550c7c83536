//! The internal structs of pods, for messages (rule: `pkg/apis/core` types).

use crate::shared::internal::Type::{Bool, Embedded, Int, List, Plain, Pointer, Selector, Struct, Text};
use crate::shared::internal::{self, Field};
use serde_json::{Map, Value};
use steersman_apimachinery::field::Shown;

pub use crate::shared::internal::Show;

/// A claim of a pod.
pub const POD_RESOURCE_CLAIM: &[Field] =
    &[Field("name", Text), Field("resourceClaimName", Plain), Field("resourceClaimTemplateName", Plain)];
/// A seccomp profile.
pub const SECCOMP_PROFILE: &[Field] = &[Field("type", Text), Field("localhostProfile", Plain)];
/// An address of a pod.
pub const POD_IP: &[Field] = &[Field("ip", Text)];
/// A toleration.
pub const TOLERATION: &[Field] = &[
    Field("key", Text),
    Field("operator", Text),
    Field("value", Text),
    Field("effect", Text),
    Field("tolerationSeconds", Plain),
];

const SE_LINUX: &[Field] = &[Field("user", Text), Field("role", Text), Field("type", Text), Field("level", Text)];
const WINDOWS: &[Field] = &[
    Field("gmsaCredentialSpecName", Plain),
    Field("gmsaCredentialSpec", Plain),
    Field("runAsUserName", Plain),
    Field("hostProcess", Plain),
];
/// The security context of a container.
pub const SECURITY_CONTEXT: &[Field] = &[
    Field("capabilities", Pointer(&[Field("add", Plain), Field("drop", Plain)])),
    Field("privileged", Plain),
    Field("seLinuxOptions", Pointer(SE_LINUX)),
    Field("windowsOptions", Pointer(WINDOWS)),
    Field("runAsUser", Plain),
    Field("runAsGroup", Plain),
    Field("runAsNonRoot", Plain),
    Field("readOnlyRootFilesystem", Plain),
    Field("allowPrivilegeEscalation", Plain),
    Field("procMount", Plain),
    Field("seccompProfile", Pointer(SECCOMP_PROFILE)),
    Field("appArmorProfile", Pointer(SECCOMP_PROFILE)),
];
const POD_SECURITY_CONTEXT: &[Field] = &[
    Field("hostNetwork", Bool),
    Field("hostPID", Bool),
    Field("hostIPC", Bool),
    Field("shareProcessNamespace", Plain),
    Field("hostUsers", Plain),
    Field("seLinuxOptions", Pointer(SE_LINUX)),
    Field("windowsOptions", Pointer(WINDOWS)),
    Field("runAsUser", Plain),
    Field("runAsGroup", Plain),
    Field("runAsNonRoot", Plain),
    Field("supplementalGroups", Plain),
    Field("supplementalGroupsPolicy", Plain),
    Field("fsGroup", Plain),
    Field("fsGroupChangePolicy", Plain),
    Field("sysctls", List(NAME_VALUE)),
    Field("seccompProfile", Pointer(SECCOMP_PROFILE)),
    Field("appArmorProfile", Pointer(SECCOMP_PROFILE)),
    Field("seLinuxChangePolicy", Plain),
];
/// Members that the internal form keeps in the pod's security context.
const HOST_FIELDS: &[&str] = &["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];

const NAME: &[Field] = &[Field("name", Text)];
const NAME_VALUE: &[Field] = &[Field("name", Text), Field("value", Text)];
const OPTIONAL_NAME: &[Field] = &[Field("name", Text), Field("optional", Plain)];
const KEY_OF: &[Field] = &[Field("name", Text), Field("key", Text), Field("optional", Plain)];
const FIELD_REF: &[Field] = &[Field("apiVersion", Text), Field("fieldPath", Text)];
const RESOURCE_FIELD_REF: &[Field] = &[Field("containerName", Text), Field("resource", Text), Field("divisor", Int)];
const ENV_SOURCE: &[Field] = &[
    Field("fieldRef", Pointer(FIELD_REF)),
    Field("resourceFieldRef", Pointer(RESOURCE_FIELD_REF)),
    Field("configMapKeyRef", Pointer(KEY_OF)),
    Field("secretKeyRef", Pointer(KEY_OF)),
    Field(
        "fileKeyRef",
        Pointer(&[Field("volumeName", Text), Field("path", Text), Field("key", Text), Field("optional", Plain)]),
    ),
];
const RESOURCES: &[Field] = &[
    Field("limits", Plain),
    Field("requests", Plain),
    Field("claims", List(&[Field("name", Text), Field("request", Text)])),
];
const EXEC: &[Field] = &[Field("command", Plain)];
const HTTP_GET: &[Field] = &[
    Field("path", Text),
    Field("port", Int),
    Field("host", Text),
    Field("scheme", Text),
    Field("httpHeaders", List(NAME_VALUE)),
];
const TCP_SOCKET: &[Field] = &[Field("port", Int), Field("host", Text)];
const PROBE: &[Field] = &[
    Field("exec", Pointer(EXEC)),
    Field("httpGet", Pointer(HTTP_GET)),
    Field("tcpSocket", Pointer(TCP_SOCKET)),
    Field("grpc", Pointer(&[Field("port", Int), Field("service", Plain)])),
    Field("initialDelaySeconds", Int),
    Field("timeoutSeconds", Int),
    Field("periodSeconds", Int),
    Field("successThreshold", Int),
    Field("failureThreshold", Int),
    Field("terminationGracePeriodSeconds", Plain),
];
const HANDLER: &[Field] = &[
    Field("exec", Pointer(EXEC)),
    Field("httpGet", Pointer(HTTP_GET)),
    Field("tcpSocket", Pointer(TCP_SOCKET)),
    Field("sleep", Pointer(&[Field("seconds", Int)])),
];
const CONTAINER: &[Field] = &[
    Field("name", Text),
    Field("image", Text),
    Field("command", Plain),
    Field("args", Plain),
    Field("workingDir", Text),
    Field(
        "ports",
        List(&[
            Field("name", Text),
            Field("hostPort", Int),
            Field("containerPort", Int),
            Field("protocol", Text),
            Field("hostIP", Text),
        ]),
    ),
    Field(
        "envFrom",
        List(&[
            Field("prefix", Text),
            Field("configMapRef", Pointer(OPTIONAL_NAME)),
            Field("secretRef", Pointer(OPTIONAL_NAME)),
        ]),
    ),
    Field("env", List(&[Field("name", Text), Field("value", Text), Field("valueFrom", Pointer(ENV_SOURCE))])),
    Field("resources", Struct(RESOURCES)),
    Field("resizePolicy", List(&[Field("resourceName", Text), Field("restartPolicy", Text)])),
    Field("restartPolicy", Plain),
    Field(
        "restartPolicyRules",
        List(&[Field("action", Text), Field("exitCodes", Pointer(&[Field("operator", Text), Field("values", Plain)]))]),
    ),
    Field(
        "volumeMounts",
        List(&[
            Field("name", Text),
            Field("readOnly", Bool),
            Field("recursiveReadOnly", Plain),
            Field("mountPath", Text),
            Field("subPath", Text),
            Field("mountPropagation", Plain),
            Field("subPathExpr", Text),
        ]),
    ),
    Field("volumeDevices", List(&[Field("name", Text), Field("devicePath", Text)])),
    Field("livenessProbe", Pointer(PROBE)),
    Field("readinessProbe", Pointer(PROBE)),
    Field("startupProbe", Pointer(PROBE)),
    Field(
        "lifecycle",
        Pointer(&[
            Field("postStart", Pointer(HANDLER)),
            Field("preStop", Pointer(HANDLER)),
            Field("stopSignal", Plain),
        ]),
    ),
    Field("terminationMessagePath", Text),
    Field("terminationMessagePolicy", Text),
    Field("imagePullPolicy", Text),
    Field("securityContext", Pointer(SECURITY_CONTEXT)),
    Field("stdin", Bool),
    Field("stdinOnce", Bool),
    Field("tty", Bool),
];
/// An ephemeral container.
pub const EPHEMERAL_CONTAINER: &[Field] = &[Field("", Embedded(CONTAINER)), Field("targetContainerName", Text)];

const ITEMS: &[Field] = &[Field("key", Text), Field("path", Text), Field("mode", Plain)];
const DOWNWARD_ITEMS: &[Field] = &[
    Field("path", Text),
    Field("fieldRef", Pointer(FIELD_REF)),
    Field("resourceFieldRef", Pointer(RESOURCE_FIELD_REF)),
    Field("mode", Plain),
];
const PROJECTED: &[Field] = &[
    Field("secret", Pointer(&[Field("name", Text), Field("items", List(ITEMS)), Field("optional", Plain)])),
    Field("downwardAPI", Pointer(&[Field("items", List(DOWNWARD_ITEMS))])),
    Field("configMap", Pointer(&[Field("name", Text), Field("items", List(ITEMS)), Field("optional", Plain)])),
    Field(
        "serviceAccountToken",
        Pointer(&[Field("audience", Text), Field("expirationSeconds", Int), Field("path", Text)]),
    ),
    Field(
        "clusterTrustBundle",
        Pointer(&[
            Field("name", Plain),
            Field("signerName", Plain),
            Field("labelSelector", Selector),
            Field("optional", Plain),
            Field("path", Text),
        ]),
    ),
    Field(
        "podCertificate",
        Pointer(&[
            Field("signerName", Text),
            Field("keyType", Text),
            Field("maxExpirationSeconds", Plain),
            Field("credentialBundlePath", Text),
            Field("keyPath", Text),
            Field("certificateChainPath", Text),
            Field("userAnnotations", Plain),
        ]),
    ),
];
const OBJECT_REFERENCE: &[Field] = &[Field("apiGroup", Plain), Field("kind", Text), Field("name", Text)];
/// The spec of a claim.
pub const CLAIM_SPEC: &[Field] = &[
    Field("accessModes", Plain),
    Field("selector", Selector),
    Field("resources", Struct(&[Field("limits", Plain), Field("requests", Plain)])),
    Field("volumeName", Text),
    Field("storageClassName", Plain),
    Field("volumeMode", Plain),
    Field("dataSource", Pointer(OBJECT_REFERENCE)),
    Field(
        "dataSourceRef",
        Pointer(&[Field("apiGroup", Plain), Field("kind", Text), Field("name", Text), Field("namespace", Plain)]),
    ),
    Field("volumeAttributesClassName", Plain),
];
const DISK: &[Field] = &[Field("fsType", Text), Field("partition", Int), Field("readOnly", Bool)];
const VOLUME: &[Field] = &[
    Field("name", Text),
    Field("hostPath", Pointer(&[Field("path", Text), Field("type", Plain)])),
    Field("emptyDir", Pointer(&[Field("medium", Text), Field("sizeLimit", Plain)])),
    Field("gcePersistentDisk", Pointer(&[Field("pdName", Text), Field("", Embedded(DISK))])),
    Field("awsElasticBlockStore", Pointer(&[Field("volumeID", Text), Field("", Embedded(DISK))])),
    Field("gitRepo", Pointer(&[Field("repository", Text), Field("revision", Text), Field("directory", Text)])),
    Field(
        "secret",
        Pointer(&[
            Field("secretName", Text),
            Field("items", List(ITEMS)),
            Field("defaultMode", Plain),
            Field("optional", Plain),
        ]),
    ),
    Field("nfs", Pointer(&[Field("server", Text), Field("path", Text), Field("readOnly", Bool)])),
    Field("iscsi", Plain),
    Field("glusterfs", Plain),
    Field("persistentVolumeClaim", Pointer(&[Field("claimName", Text), Field("readOnly", Bool)])),
    Field("rbd", Plain),
    Field("quobyte", Plain),
    Field("flexVolume", Plain),
    Field("cinder", Plain),
    Field("cephfs", Plain),
    Field("flocker", Plain),
    Field("downwardAPI", Pointer(&[Field("items", List(DOWNWARD_ITEMS)), Field("defaultMode", Plain)])),
    Field("fc", Plain),
    Field("azureFile", Plain),
    Field(
        "configMap",
        Pointer(&[
            Field("name", Text),
            Field("items", List(ITEMS)),
            Field("defaultMode", Plain),
            Field("optional", Plain),
        ]),
    ),
    Field("vsphereVolume", Plain),
    Field("azureDisk", Plain),
    Field("photonPersistentDisk", Plain),
    Field("projected", Pointer(&[Field("sources", List(PROJECTED)), Field("defaultMode", Plain)])),
    Field("portworxVolume", Plain),
    Field("scaleIO", Plain),
    Field("storageos", Plain),
    Field(
        "csi",
        Pointer(&[
            Field("driver", Text),
            Field("readOnly", Plain),
            Field("fsType", Plain),
            Field("volumeAttributes", Plain),
            Field("nodePublishSecretRef", Pointer(NAME)),
        ]),
    ),
    Field("ephemeral", Pointer(&[Field("volumeClaimTemplate", Pointer(&[Field("spec", Struct(CLAIM_SPEC))]))])),
    Field("image", Pointer(&[Field("reference", Text), Field("pullPolicy", Text)])),
];

const REQUIREMENT: &[Field] = &[Field("key", Text), Field("operator", Text), Field("values", Plain)];
const NODE_TERM: &[Field] = &[Field("matchExpressions", List(REQUIREMENT)), Field("matchFields", List(REQUIREMENT))];
const POD_TERM: &[Field] = &[
    Field("labelSelector", Selector),
    Field("namespaces", Plain),
    Field("topologyKey", Text),
    Field("namespaceSelector", Selector),
    Field("matchLabelKeys", Plain),
    Field("mismatchLabelKeys", Plain),
];
const POD_AFFINITY: &[Field] = &[
    Field("requiredDuringSchedulingIgnoredDuringExecution", List(POD_TERM)),
    Field(
        "preferredDuringSchedulingIgnoredDuringExecution",
        List(&[Field("weight", Int), Field("podAffinityTerm", Struct(POD_TERM))]),
    ),
];
const AFFINITY: &[Field] = &[
    Field(
        "nodeAffinity",
        Pointer(&[
            Field(
                "requiredDuringSchedulingIgnoredDuringExecution",
                Pointer(&[Field("nodeSelectorTerms", List(NODE_TERM))]),
            ),
            Field(
                "preferredDuringSchedulingIgnoredDuringExecution",
                List(&[Field("weight", Int), Field("preference", Struct(NODE_TERM))]),
            ),
        ]),
    ),
    Field("podAffinity", Pointer(POD_AFFINITY)),
    Field("podAntiAffinity", Pointer(POD_AFFINITY)),
];
const TOPOLOGY_SPREAD: &[Field] = &[
    Field("maxSkew", Int),
    Field("topologyKey", Text),
    Field("whenUnsatisfiable", Text),
    Field("labelSelector", Selector),
    Field("minDomains", Plain),
    Field("nodeAffinityPolicy", Plain),
    Field("nodeTaintsPolicy", Plain),
    Field("matchLabelKeys", Plain),
];
const POD_SPEC: &[Field] = &[
    Field("volumes", List(VOLUME)),
    Field("initContainers", List(CONTAINER)),
    Field("containers", List(CONTAINER)),
    Field("ephemeralContainers", List(EPHEMERAL_CONTAINER)),
    Field("restartPolicy", Text),
    Field("terminationGracePeriodSeconds", Plain),
    Field("activeDeadlineSeconds", Plain),
    Field("dnsPolicy", Text),
    Field("nodeSelector", Plain),
    Field("serviceAccountName", Text),
    Field("automountServiceAccountToken", Plain),
    Field("nodeName", Text),
    Field("securityContext", Pointer(POD_SECURITY_CONTEXT)),
    Field("imagePullSecrets", List(NAME)),
    Field("hostname", Text),
    Field("subdomain", Text),
    Field("setHostnameAsFQDN", Plain),
    Field("affinity", Pointer(AFFINITY)),
    Field("schedulerName", Text),
    Field("tolerations", List(TOLERATION)),
    Field("hostAliases", List(&[Field("ip", Text), Field("hostnames", Plain)])),
    Field("priorityClassName", Text),
    Field("priority", Plain),
    Field("preemptionPolicy", Plain),
    Field(
        "dnsConfig",
        Pointer(&[
            Field("nameservers", Plain),
            Field("searches", Plain),
            Field("options", List(&[Field("name", Text), Field("value", Plain)])),
        ]),
    ),
    Field("readinessGates", List(&[Field("conditionType", Text)])),
    Field("runtimeClassName", Plain),
    Field("overhead", Plain),
    Field("enableServiceLinks", Plain),
    Field("topologySpreadConstraints", List(TOPOLOGY_SPREAD)),
    Field("os", Pointer(NAME)),
    Field("schedulingGates", List(NAME)),
    Field("resourceClaims", List(POD_RESOURCE_CLAIM)),
    Field("resources", Pointer(RESOURCES)),
    Field("hostnameOverride", Plain),
    Field("schedulingGroup", Pointer(&[Field("podGroupName", Plain)])),
];

/// What differs between two pod specs, as messages show it.
pub fn diff_specs(old: &Value, new: &Value) -> String {
    internal::diff(POD_SPEC, &internal_form(old), &internal_form(new))
}

/// A spec with the members about the host where the internal form has them.
fn internal_form(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let moved: Map<String, Value> =
        HOST_FIELDS.iter().filter_map(|f| Some(((*f).to_owned(), spec.get(*f)?.clone()))).collect();
    if let Some(members) = spec.as_object_mut() {
        let context = members.entry("securityContext").or_insert_with(|| Value::Object(Map::new()));
        if let Some(context) = context.as_object_mut() {
            context.extend(moved);
        }
    }
    spec
}

/// A pod spec as messages show it.
pub fn shown_spec(spec: &Value) -> String {
    Show(POD_SPEC, &internal_form(spec)).shown()
}
