//! Cluster roles for people and components, and their bindings.

use super::{Binding, EVENTS, READ, READ_WRITE, Role, Rule, WRITE, named, role, rule, urls};
use serde_json::{Value, json};

const WORKLOADS: &str = "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale";
const WORKLOADS_READ: &str = "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status";
const EXTENSIONS: &str = "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale";
const EXTENSIONS_READ: &str = "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale";

/// What `view` holds.
const VIEW: &[Rule] = &[
    rule(
        READ,
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status",
    ),
    rule(
        READ,
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status",
    ),
    rule(READ, "core", "namespaces"),
    rule(READ, "discovery.k8s.io", "endpointslices"),
    rule(READ, "apps", WORKLOADS_READ),
    rule(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    rule(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    rule(READ, "extensions", EXTENSIONS_READ),
    rule(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    rule(READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
    rule(READ, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
];

/// What `edit` holds beyond `view`.
const EDIT: &[Rule] = &[
    rule(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    rule("impersonate", "core", "serviceaccounts"),
    rule(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    rule("create", "core", "pods/eviction"),
    rule(
        WRITE,
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy",
    ),
    rule("create", "core", "serviceaccounts/token"),
    rule(WRITE, "apps", WORKLOADS),
    rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
    rule(WRITE, "batch", "cronjobs jobs"),
    rule(WRITE, "extensions", EXTENSIONS),
    rule(WRITE, "policy", "poddisruptionbudgets"),
    rule(WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    rule(READ_WRITE, "coordination.k8s.io", "leases"),
    rule(WRITE, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
];

/// What `admin` holds beyond `edit`.
const ADMIN: &[Rule] = &[
    rule("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    rule(READ_WRITE, "rbac.authorization.k8s.io", "rolebindings roles"),
];

pub(super) const ROLES: &[Role] = &[
    role("cluster-admin", &[rule("*", "*", "*"), urls("*", &["*"])]),
    role(
        "system:discovery",
        &[urls(
            "get",
            &[
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ],
        )],
    ),
    role(
        "system:monitoring",
        &[urls(
            "get",
            &["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*"],
        )],
    ),
    role(
        "system:basic-user",
        &[
            rule("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
            rule("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    role("system:public-info-viewer", &[urls("get", &["/healthz", "/livez", "/readyz", "/version", "/version/"])]),
    Role { name: "system:aggregate-to-admin", rules: ADMIN, aggregates_to: "admin" },
    Role { name: "system:aggregate-to-edit", rules: EDIT, aggregates_to: "edit" },
    Role { name: "system:aggregate-to-view", rules: VIEW, aggregates_to: "view" },
    role(
        "system:heapster",
        &[rule(READ, "core", "events namespaces nodes pods"), rule(READ, "extensions", "deployments")],
    ),
    role("system:node", NODE),
    role(
        "system:node-problem-detector",
        &[rule("get", "core", "nodes"), rule("patch", "core", "nodes/status"), EVENTS],
    ),
    role(
        "system:node-proxier",
        &[
            rule("list watch", "core", "endpoints services"),
            rule("get list watch", "core", "nodes"),
            EVENTS,
            rule("list watch", "discovery.k8s.io", "endpointslices"),
            rule("list watch", "networking.k8s.io", "servicecidrs"),
        ],
    ),
    role(
        "system:kubelet-api-admin",
        &[
            rule("get list watch proxy", "core", "nodes"),
            rule("*", "core", "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats"),
        ],
    ),
    role(
        "system:node-bootstrapper",
        &[rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests")],
    ),
    role(
        "system:auth-delegator",
        &[
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    role("system:kube-aggregator", &[rule(READ, "core", "endpoints services")]),
    role("system:kube-controller-manager", KUBE_CONTROLLER_MANAGER),
    role("system:kube-dns", &[rule("list watch", "core", "endpoints services")]),
    role("system:kube-scheduler", KUBE_SCHEDULER),
    role(
        "system:persistent-volume-provisioner",
        &[
            rule("create delete get list watch", "core", "persistentvolumes"),
            rule("get list update watch", "core", "persistentvolumeclaims"),
            rule(READ, "storage.k8s.io", "storageclasses"),
            rule("watch", "core", "events"),
            EVENTS,
        ],
    ),
    role(
        "system:volume-scheduler",
        &[
            rule("get list patch update watch", "core", "persistentvolumes"),
            rule(READ, "storage.k8s.io", "storageclasses"),
            rule("get list patch update watch", "core", "persistentvolumeclaims"),
        ],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[rule("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient")],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[rule("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient")],
    ),
    role(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &[named("approve", "certificates.k8s.io", "signers", &["kubernetes.io/legacy-unknown"])],
    ),
    role(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &[named("approve", "certificates.k8s.io", "signers", &["kubernetes.io/kubelet-serving"])],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &[named("approve", "certificates.k8s.io", "signers", &["kubernetes.io/kube-apiserver-client"])],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &[named("approve", "certificates.k8s.io", "signers", &["kubernetes.io/kube-apiserver-client-kubelet"])],
    ),
    role(
        "system:service-account-issuer-discovery",
        &[urls(
            "get",
            &[
                "/.well-known/openid-configuration",
                "/.well-known/openid-configuration/",
                "/openid/v1/jwks",
                "/openid/v1/jwks/",
            ],
        )],
    ),
];

const NODE: &[Rule] = &[
    rule("create", "authentication.k8s.io", "tokenreviews"),
    rule("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
    rule(READ, "core", "services"),
    rule("create get list watch", "core", "nodes"),
    rule("patch update", "core", "nodes/status"),
    rule("patch update", "core", "nodes"),
    rule("create patch update", "core events.k8s.io", "events"),
    rule(READ, "core", "pods"),
    rule("create delete", "core", "pods"),
    rule("patch update", "core", "pods/status"),
    rule("create", "core", "pods/eviction"),
    rule("get list watch", "core", "configmaps secrets"),
    rule("get", "core", "persistentvolumeclaims persistentvolumes"),
    rule("get", "core", "endpoints"),
    rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    rule("create delete get patch update", "coordination.k8s.io", "leases"),
    rule("get", "storage.k8s.io", "volumeattachments"),
    rule("create", "core", "serviceaccounts/token"),
    rule("get", "core", "serviceaccounts"),
    rule("get patch update", "core", "persistentvolumeclaims/status"),
    rule(READ, "storage.k8s.io", "csidrivers"),
    rule("create delete get patch update", "storage.k8s.io", "csinodes"),
    rule(READ, "node.k8s.io", "runtimeclasses"),
    rule("get", "resource.k8s.io", "resourceclaims"),
    rule("deletecollection list watch", "resource.k8s.io", "resourceslices"),
    rule("create delete get patch update", "resource.k8s.io", "resourceslices"),
];

const KUBE_CONTROLLER_MANAGER: &[Rule] = &[
    EVENTS,
    rule("create", "coordination.k8s.io", "leases"),
    named("get update", "coordination.k8s.io", "leases", &["kube-controller-manager"]),
    rule("create", "core", "secrets serviceaccounts"),
    rule("delete", "core", "secrets"),
    rule("get", "core", "configmaps namespaces secrets serviceaccounts"),
    rule("update", "core", "secrets serviceaccounts"),
    rule("create", "authentication.k8s.io", "tokenreviews"),
    rule("create", "authorization.k8s.io", "subjectaccessreviews"),
    rule("list watch", "*", "*"),
    rule("create", "core", "serviceaccounts/token"),
];

const KUBE_SCHEDULER: &[Rule] = &[
    EVENTS,
    rule("create", "coordination.k8s.io", "leases"),
    named("get update", "coordination.k8s.io", "leases", &["kube-scheduler"]),
    rule("create", "coordination.k8s.io", "leasecandidates"),
    rule(READ, "core", "nodes"),
    rule("delete get list watch", "core", "pods"),
    rule("create", "core", "bindings pods/binding"),
    rule("patch update", "core", "pods/status"),
    rule(READ, "core", "replicationcontrollers services"),
    rule(READ, "apps extensions", "replicasets"),
    rule(READ, "apps", "statefulsets"),
    rule(READ, "policy", "poddisruptionbudgets"),
    rule(READ, "core", "persistentvolumeclaims persistentvolumes"),
    rule("create", "authentication.k8s.io", "tokenreviews"),
    rule("create", "authorization.k8s.io", "subjectaccessreviews"),
    rule(READ, "storage.k8s.io", "csinodes"),
    rule("list watch", "core", "namespaces"),
    rule(READ, "storage.k8s.io", "csidrivers"),
    rule(READ, "storage.k8s.io", "csistoragecapacities"),
    rule(READ, "resource.k8s.io", "deviceclasses resourceclaims resourceslices"),
    rule("update", "resource.k8s.io", "resourceclaims"),
    rule("patch update", "resource.k8s.io", "resourceclaims/status"),
    rule("update patch", "resource.k8s.io", "resourceclaims/binding"),
    rule(READ, "storage.k8s.io", "volumeattachments"),
];

/// `admin`, `edit` and `view` are made of what carries their label; the rules are a controller's.
pub(super) fn aggregated() -> Vec<Value> {
    let make = |name: &str, parent: &str| {
        let mut object = super::metadata_object("ClusterRole", "", name);
        if !parent.is_empty() {
            object["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{parent}")] = "true".into();
        }
        object["aggregationRule"] = json!({
            "clusterRoleSelectors": [{ "matchLabels": { format!("rbac.authorization.k8s.io/aggregate-to-{name}"): "true" } }]
        });
        object["rules"] = Value::Null;
        object
    };
    vec![make("admin", ""), make("edit", "admin"), make("view", "edit")]
}

const AUTHENTICATED: &str = "group:system:authenticated";

pub(super) const BINDINGS: &[Binding] = &[
    Binding { name: "cluster-admin", role: "cluster-admin", subjects: &["group:system:masters"] },
    Binding { name: "system:monitoring", role: "system:monitoring", subjects: &["group:system:monitoring"] },
    Binding { name: "system:discovery", role: "system:discovery", subjects: &[AUTHENTICATED] },
    Binding { name: "system:basic-user", role: "system:basic-user", subjects: &[AUTHENTICATED] },
    Binding {
        name: "system:public-info-viewer",
        role: "system:public-info-viewer",
        subjects: &[AUTHENTICATED, "group:system:unauthenticated"],
    },
    Binding { name: "system:node-proxier", role: "system:node-proxier", subjects: &["user:system:kube-proxy"] },
    Binding {
        name: "system:kube-controller-manager",
        role: "system:kube-controller-manager",
        subjects: &["user:system:kube-controller-manager"],
    },
    Binding { name: "system:kube-dns", role: "system:kube-dns", subjects: &["sa:kube-system/kube-dns"] },
    Binding { name: "system:kube-scheduler", role: "system:kube-scheduler", subjects: &["user:system:kube-scheduler"] },
    Binding {
        name: "system:volume-scheduler",
        role: "system:volume-scheduler",
        subjects: &["user:system:kube-scheduler"],
    },
    Binding {
        name: "system:service-account-issuer-discovery",
        role: "system:service-account-issuer-discovery",
        subjects: &["group:system:serviceaccounts"],
    },
    // The Node authoriser grants nodes what they need: nobody is bound.
    Binding { name: "system:node", role: "system:node", subjects: &[] },
];
