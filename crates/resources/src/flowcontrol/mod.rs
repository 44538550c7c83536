//! `flowcontrol.apiserver.k8s.io`.

mod columns;
pub mod flowschemas;
pub mod prioritylevelconfigurations;

/// The group's name.
pub(crate) const GROUP: &str = "flowcontrol.apiserver.k8s.io";
