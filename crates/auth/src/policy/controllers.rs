//! One role for each controller of kube-controller-manager, used with `--use-service-account-credentials`.

use super::{EVENTS, READ, Rule, named, rule};

/// Controller name → its rules. The role is `system:controller:<name>`, bound to the account of that name.
pub(super) const ROLES: &[(&str, &[Rule])] = &[
    (
        "attachdetach-controller",
        &[
            rule("list watch", "core", "persistentvolumeclaims persistentvolumes"),
            rule(READ, "core", "nodes"),
            rule("patch update", "core", "nodes/status"),
            rule("list watch", "core", "pods"),
            EVENTS,
            rule("create delete get list patch watch", "storage.k8s.io", "volumeattachments"),
            rule("patch", "storage.k8s.io", "volumeattachments/status"),
            rule(READ, "storage.k8s.io", "csidrivers csinodes"),
        ],
    ),
    (
        "certificate-controller",
        &[
            rule("delete get list watch", "certificates.k8s.io", "certificatesigningrequests"),
            rule(
                "update",
                "certificates.k8s.io",
                "certificatesigningrequests/approval certificatesigningrequests/status",
            ),
            named(
                "approve sign",
                "certificates.k8s.io",
                "signers",
                &[
                    "kubernetes.io/kube-apiserver-client",
                    "kubernetes.io/kube-apiserver-client-kubelet",
                    "kubernetes.io/kubelet-serving",
                    "kubernetes.io/legacy-unknown",
                ],
            ),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
            EVENTS,
        ],
    ),
    (
        "clusterrole-aggregation-controller",
        // It may write rules that nobody else could give it.
        &[rule("escalate get list patch update watch", "rbac.authorization.k8s.io", "clusterroles")],
    ),
    (
        "cronjob-controller",
        &[
            rule("get list update watch", "batch", "cronjobs"),
            rule("create delete get list patch update watch", "batch", "jobs"),
            rule("patch update", "batch", "cronjobs/finalizers cronjobs/status"),
            rule("delete list", "core", "pods"),
            EVENTS,
        ],
    ),
    (
        "daemon-set-controller",
        &[
            rule(READ, "apps extensions", "daemonsets"),
            rule("patch update", "apps extensions", "daemonsets/finalizers daemonsets/status"),
            rule("list watch", "core", "nodes"),
            rule("create delete list patch watch", "core", "pods"),
            rule("create", "core", "pods/binding"),
            rule("create delete get list patch update watch", "apps", "controllerrevisions"),
            EVENTS,
        ],
    ),
    (
        "deployment-controller",
        &[
            rule("get list update watch", "apps extensions", "deployments"),
            rule("patch update", "apps extensions", "deployments/finalizers deployments/status"),
            rule("create delete get list patch update watch", "apps extensions", "replicasets"),
            rule("get list update watch", "core", "pods"),
            EVENTS,
        ],
    ),
    (
        "device-taint-eviction-controller",
        &[
            rule("delete get list watch", "core", "pods"),
            rule("patch update", "core", "pods/status"),
            rule(READ, "resource.k8s.io", "deviceclasses devicetaintrules resourceclaims resourceslices"),
            rule("patch update", "resource.k8s.io", "devicetaintrules/status"),
            EVENTS,
        ],
    ),
    (
        "disruption-controller",
        &[
            rule(READ, "apps extensions", "deployments replicasets"),
            rule(READ, "apps", "statefulsets"),
            rule(READ, "core", "replicationcontrollers"),
            rule(READ, "policy", "poddisruptionbudgets"),
            rule("update", "policy", "poddisruptionbudgets/status"),
            rule("get list patch update watch", "core", "pods"),
            rule("patch update", "core", "pods/status"),
            rule("get", "*", "*/scale"),
            EVENTS,
        ],
    ),
    (
        "endpoint-controller",
        &[
            rule(READ, "core", "pods services"),
            rule("create delete get list update watch", "core", "endpoints"),
            rule("create", "core", "endpoints/restricted"),
            EVENTS,
        ],
    ),
    (
        "endpointslice-controller",
        &[
            rule(READ, "core", "nodes pods services"),
            rule("create delete get list update watch", "discovery.k8s.io", "endpointslices"),
            rule("create", "discovery.k8s.io", "endpointslices/restricted"),
            rule("update", "core", "services/finalizers"),
            EVENTS,
        ],
    ),
    (
        "endpointslicemirroring-controller",
        &[
            rule(READ, "core", "endpoints services"),
            rule("update", "core", "services/finalizers endpoints/finalizers"),
            rule("create delete get list update watch", "discovery.k8s.io", "endpointslices"),
            rule("create", "discovery.k8s.io", "endpointslices/restricted"),
            EVENTS,
        ],
    ),
    (
        "ephemeral-volume-controller",
        &[
            rule("update", "core", "pods/finalizers"),
            rule(READ, "core", "pods"),
            rule("create get list watch", "core", "persistentvolumeclaims"),
            EVENTS,
        ],
    ),
    (
        "expand-controller",
        &[
            rule("get list patch update watch", "core", "persistentvolumes"),
            rule("patch update", "core", "persistentvolumeclaims/status"),
            rule(READ, "core", "persistentvolumeclaims"),
            rule(READ, "storage.k8s.io", "storageclasses"),
            rule("get", "core", "endpoints services"),
            EVENTS,
        ],
    ),
    ("generic-garbage-collector", &[rule("delete get list patch update watch", "*", "*"), EVENTS]),
    (
        "horizontal-pod-autoscaler",
        &[
            rule(READ, "autoscaling", "horizontalpodautoscalers"),
            rule("update", "autoscaling", "horizontalpodautoscalers/status"),
            rule("get update", "*", "*/scale"),
            rule("list", "core", "pods"),
            rule("get list", "metrics.k8s.io", "pods"),
            rule("get list", "custom.metrics.k8s.io external.metrics.k8s.io", "*"),
            EVENTS,
        ],
    ),
    (
        "job-controller",
        &[
            rule("get list patch update watch", "batch", "jobs"),
            rule("patch update", "batch", "jobs/status"),
            rule("update", "batch", "jobs/finalizers"),
            rule("create delete list patch watch", "core", "pods"),
            EVENTS,
        ],
    ),
    (
        "namespace-controller",
        &[
            rule("delete get list watch", "core", "namespaces"),
            rule("update", "core", "namespaces/finalize namespaces/status"),
            rule("delete deletecollection get list", "*", "*"),
        ],
    ),
    (
        "node-controller",
        &[
            rule("delete get list patch update watch", "core", "nodes"),
            rule("patch update", "core", "nodes/status"),
            rule("patch update", "core", "pods/status"),
            rule("delete list get watch", "core", "pods"),
            rule("get list create update watch", "networking.k8s.io", "clustercidrs"),
            rule(READ, "coordination.k8s.io", "leases"),
            EVENTS,
        ],
    ),
    (
        "persistent-volume-binder",
        &[
            rule("create delete get list update watch", "core", "persistentvolumes"),
            rule("update", "core", "persistentvolumes/status"),
            rule("get list update watch", "core", "persistentvolumeclaims"),
            rule("update", "core", "persistentvolumeclaims/status"),
            rule("create delete get list watch", "core", "pods"),
            rule(READ, "storage.k8s.io", "storageclasses"),
            rule("create delete get", "core", "endpoints services"),
            rule("get list", "core", "secrets"),
            rule("get list", "core", "nodes"),
            rule("watch", "core", "events"),
            EVENTS,
        ],
    ),
    (
        "pod-garbage-collector",
        &[
            rule("delete list watch", "core", "pods"),
            rule("get list", "core", "nodes"),
            rule("patch", "core", "pods/status"),
        ],
    ),
    ("pv-protection-controller", &[rule("get list update watch", "core", "persistentvolumes"), EVENTS]),
    (
        "pvc-protection-controller",
        &[rule("get list update watch", "core", "persistentvolumeclaims"), rule(READ, "core", "pods"), EVENTS],
    ),
    (
        "replicaset-controller",
        &[
            rule("get list update watch", "apps extensions", "replicasets"),
            rule("patch update", "apps extensions", "replicasets/finalizers replicasets/status"),
            rule("create delete list patch watch", "core", "pods"),
            EVENTS,
        ],
    ),
    (
        "replication-controller",
        &[
            rule("get list update watch", "core", "replicationcontrollers"),
            rule("patch update", "core", "replicationcontrollers/finalizers replicationcontrollers/status"),
            rule("create delete list patch watch", "core", "pods"),
            EVENTS,
        ],
    ),
    (
        "resource-claim-controller",
        &[
            rule("update", "core", "pods/finalizers"),
            rule(READ, "core", "pods"),
            rule("patch update", "core", "pods/status"),
            rule("create delete get list watch", "resource.k8s.io", "resourceclaims"),
            rule("patch update", "resource.k8s.io", "resourceclaims resourceclaims/status"),
            rule("update patch", "resource.k8s.io", "resourceclaims/binding"),
            rule(READ, "resource.k8s.io", "resourceclaimtemplates"),
            EVENTS,
        ],
    ),
    (
        "resourcequota-controller",
        &[rule("list watch", "*", "*"), rule("update", "core", "resourcequotas/status"), EVENTS],
    ),
    ("root-ca-cert-publisher", &[rule("create update", "core", "configmaps"), EVENTS]),
    ("route-controller", &[rule("list watch", "core", "nodes"), rule("patch", "core", "nodes/status"), EVENTS]),
    (
        "selinux-warning-controller",
        &[
            rule(READ, "core", "persistentvolumeclaims persistentvolumes pods"),
            rule(READ, "storage.k8s.io", "csidrivers"),
            EVENTS,
        ],
    ),
    ("service-account-controller", &[rule("create", "core", "serviceaccounts"), EVENTS]),
    (
        "service-cidrs-controller",
        &[
            rule("get list patch update watch", "networking.k8s.io", "servicecidrs"),
            rule("patch update", "networking.k8s.io", "servicecidrs/finalizers servicecidrs/status"),
            rule(READ, "networking.k8s.io", "ipaddresses"),
            EVENTS,
        ],
    ),
    (
        "service-controller",
        &[
            rule(READ, "core", "services"),
            rule("patch update", "core", "services/status"),
            rule("list watch", "core", "nodes"),
            EVENTS,
        ],
    ),
    (
        "statefulset-controller",
        &[
            rule("list watch", "core", "pods"),
            rule(READ, "apps", "statefulsets"),
            rule("update", "apps", "statefulsets/finalizers statefulsets/status"),
            rule("create delete get patch update", "core", "pods"),
            rule("create delete get list patch update watch", "apps", "controllerrevisions"),
            rule("create delete get list patch update watch", "core", "persistentvolumeclaims"),
            EVENTS,
        ],
    ),
    ("ttl-after-finished-controller", &[rule("delete get list watch", "batch", "jobs"), EVENTS]),
    ("ttl-controller", &[rule("list patch update watch", "core", "nodes"), EVENTS]),
    (
        "validatingadmissionpolicy-status-controller",
        &[
            rule(READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
            rule("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
            rule(READ, "apiextensions.k8s.io", "customresourcedefinitions"),
            EVENTS,
        ],
    ),
    (
        "volumeattributesclass-protection-controller",
        &[
            rule(READ, "core", "persistentvolumeclaims persistentvolumes"),
            rule("get list update watch", "storage.k8s.io", "volumeattributesclasses"),
            EVENTS,
        ],
    ),
    (
        "legacy-service-account-token-cleaner",
        &[
            named("get", "core", "configmaps", &["kube-apiserver-legacy-service-account-token-tracking"]),
            rule("delete patch", "core", "secrets"),
        ],
    ),
];
