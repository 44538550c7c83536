//! `rbac.authorization.k8s.io`.

pub mod clusterrolebindings;
pub mod clusterroles;
mod columns;
mod escalation;
pub mod rolebindings;
pub mod roles;
mod validation;

/// The group's name.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";
