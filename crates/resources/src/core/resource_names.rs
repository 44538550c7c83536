//! Names of compute and quota resources, and amounts of them (rule: `pkg/apis/core/helper`).

use crate::checks;
use crate::shared::quantity::amount;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, validation};

const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const QUOTA: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

fn is_quota_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

/// Whether a quota may count it without a domain in its name.
pub(super) fn is_standard_quota(name: &str) -> bool {
    COUNTED.contains(&name) || QUOTA.contains(&name) || is_quota_huge_page(name)
}

fn is_standard(name: &str) -> bool {
    is_standard_quota(name) || name == "storage"
}

/// Whether it is one of Kubernetes' own resources.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether it is a resource that devices extend nodes by.
pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && validation::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether more of it may be promised than there is.
pub(super) fn is_overcommit_allowed(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

/// Checks a resource's name; returns whether it is well formed.
fn name_form(e: &mut ErrorList, path: &Path, name: &str) -> bool {
    let messages = validation::qualified_name(name);
    let fine = messages.is_empty();
    checks::invalid_each(e, path, name, messages);
    fine
}

/// Checks the name of a resource in general.
pub(super) fn check_name(e: &mut ErrorList, path: &Path, name: &str) {
    if name_form(e, path, name) && !name.contains('/') && !is_standard(name) {
        e.invalid(path, name, "must be a standard resource type or fully qualified");
    }
}

/// Checks the name of a resource that containers use.
pub(super) fn check_container_name(e: &mut ErrorList, path: &Path, name: &str) {
    check_name(e, path, name);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
            e.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        e.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

/// Checks the name of a resource that a quota counts.
pub(super) fn check_quota_name(e: &mut ErrorList, path: &Path, name: &str) {
    check_name(e, path, name);
    if !name.contains('/') && !is_standard_quota(name) {
        e.invalid(path, name, "must be a standard resource for quota");
    }
}

/// The text of an amount.
pub(crate) fn text(value: &Value) -> String {
    amount(value).map(|q| q.to_string()).unwrap_or_default()
}

/// Checks an amount of a resource: not negative, and whole where it is counted.
pub(crate) fn check_amount(e: &mut ErrorList, path: &Path, name: &str, value: &Value) {
    let Some(q) = amount(value) else { return };
    if q.sign() < 0 {
        e.invalid(path, q.to_string(), "must be greater than or equal to 0");
    }
    let counted = COUNTED.contains(&name) || is_extended(name);
    if counted && q.milli_value() % 1000 != 0 {
        e.invalid(path, q.to_string(), "must be an integer");
    }
}

/// Checks that an amount is not negative, in the words for amounts that are no limits of anything
/// (rule: core `validateBasicResource`).
pub(super) fn check_basic(e: &mut ErrorList, path: &Path, value: &Value) -> bool {
    let negative = amount(value).map(|q| q.value()).filter(|n| *n < 0);
    if let Some(n) = negative {
        e.invalid(path, n, "must be a valid resource quantity");
    }
    negative.is_none()
}

/// Checks that an amount is more than nothing.
pub(crate) fn check_positive(e: &mut ErrorList, path: &Path, value: &Value) -> bool {
    let Some(q) = amount(value) else { return true };
    if q.sign() <= 0 {
        e.invalid(path, q.to_string(), "must be greater than zero");
        return false;
    }
    true
}
