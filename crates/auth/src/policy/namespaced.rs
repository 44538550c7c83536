//! Roles inside the system's own namespaces.

use super::{Binding, Role, named, role, rule};

const CONTROLLER_MANAGER: &str = "user:system:kube-controller-manager";
const SCHEDULER: &str = "user:system:kube-scheduler";

pub(super) const ROLES: &[(&str, Role)] = &[
    (
        "kube-system",
        role(
            "extension-apiserver-authentication-reader",
            &[named("get list watch", "core", "configmaps", &["extension-apiserver-authentication"])],
        ),
    ),
    ("kube-system", role("system:controller:bootstrap-signer", &[rule("get list watch", "core", "secrets")])),
    ("kube-system", role("system:controller:cloud-provider", &[rule("create get list watch", "core", "configmaps")])),
    (
        "kube-system",
        role("system:controller:token-cleaner", &[rule("delete get list watch", "core", "secrets"), super::EVENTS]),
    ),
    (
        "kube-system",
        role(
            "system::leader-locking-kube-controller-manager",
            &[
                rule("watch", "core", "configmaps"),
                named("get update", "core", "configmaps", &["kube-controller-manager"]),
            ],
        ),
    ),
    (
        "kube-system",
        role(
            "system::leader-locking-kube-scheduler",
            &[rule("watch", "core", "configmaps"), named("get update", "core", "configmaps", &["kube-scheduler"])],
        ),
    ),
    (
        "kube-public",
        role(
            "system:controller:bootstrap-signer",
            &[
                rule("get list watch", "core", "configmaps"),
                named("update", "core", "configmaps", &["cluster-info"]),
                super::EVENTS,
            ],
        ),
    ),
];

pub(super) const BINDINGS: &[(&str, Binding)] = &[
    (
        "kube-system",
        Binding {
            name: "system::extension-apiserver-authentication-reader",
            role: "extension-apiserver-authentication-reader",
            subjects: &[CONTROLLER_MANAGER, SCHEDULER],
        },
    ),
    (
        "kube-system",
        Binding {
            name: "system::leader-locking-kube-controller-manager",
            role: "system::leader-locking-kube-controller-manager",
            subjects: &[CONTROLLER_MANAGER, "sa:kube-system/kube-controller-manager"],
        },
    ),
    (
        "kube-system",
        Binding {
            name: "system::leader-locking-kube-scheduler",
            role: "system::leader-locking-kube-scheduler",
            subjects: &[SCHEDULER, "sa:kube-system/kube-scheduler"],
        },
    ),
    (
        "kube-system",
        Binding {
            name: "system:controller:bootstrap-signer",
            role: "system:controller:bootstrap-signer",
            subjects: &["sa:kube-system/bootstrap-signer"],
        },
    ),
    (
        "kube-system",
        Binding {
            name: "system:controller:cloud-provider",
            role: "system:controller:cloud-provider",
            subjects: &["sa:kube-system/cloud-provider"],
        },
    ),
    (
        "kube-system",
        Binding {
            name: "system:controller:token-cleaner",
            role: "system:controller:token-cleaner",
            subjects: &["sa:kube-system/token-cleaner"],
        },
    ),
    (
        "kube-public",
        Binding {
            name: "system:controller:bootstrap-signer",
            role: "system:controller:bootstrap-signer",
            subjects: &["sa:kube-system/bootstrap-signer"],
        },
    ),
];
