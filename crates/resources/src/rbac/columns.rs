//! The columns of this group's Tables; names and descriptions are part of the API (rule: `pkg/printers/internalversion`).

use crate::common::{AGE, CREATED_AT, NAME, column, wide};
use steersman_registry::Column;

/// Columns of `roles`.
pub(super) const ROLES: &[Column] = &[NAME, CREATED_AT];

/// Columns of `clusterroles`.
pub(super) const CLUSTERROLES: &[Column] = &[NAME, CREATED_AT];

/// Columns of `rolebindings`.
pub(super) const ROLEBINDINGS: &[Column] = &[
    NAME,
    column(
        "Role",
        "string",
        "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
    ),
    AGE,
    wide("Users", "string", "Users in the roleBinding"),
    wide("Groups", "string", "Groups in the roleBinding"),
    wide("ServiceAccounts", "string", "ServiceAccounts in the roleBinding"),
];

/// Columns of `clusterrolebindings`.
pub(super) const CLUSTERROLEBINDINGS: &[Column] = &[
    NAME,
    column(
        "Role",
        "string",
        "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
    ),
    AGE,
    wide("Users", "string", "Users in the clusterRoleBinding"),
    wide("Groups", "string", "Groups in the clusterRoleBinding"),
    wide("ServiceAccounts", "string", "ServiceAccounts in the clusterRoleBinding"),
];
