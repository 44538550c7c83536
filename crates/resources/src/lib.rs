//! What differs between the built-in resources: one file each with facts, defaults, validation and print columns.
//!
//! Entry points: [`table`] (one line per resource) and [`typed`] (from a dynamic object to its typed struct).
//! What several resources share (pod templates, containers, volumes, selectors) is in [`shared`].
//!
//! Invariant: this crate never speaks HTTP and never touches etcd; what it needs of other objects comes through
//! [`steersman_registry::Cluster`].

pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod autoscaling;
pub mod batch;
pub mod certificates;
pub mod checks;
pub mod common;
pub mod coordination;
pub mod core;
pub mod discovery;
pub mod events;
pub mod fields;
pub mod flowcontrol;
pub mod ip;
pub mod networking;
pub mod node;
pub mod policy;
pub mod rbac;
pub mod resource;
pub mod scheduling;
pub mod shared;
pub mod storage;
mod table_a;
mod table_b;

use serde::Deserialize;
use serde_json::Value;
use steersman_registry::{ALL_VERBS, Resource, ResourceInfo};

pub use table_a::TABLE_A;
pub use table_b::TABLE_B;

/// Every built-in resource, one line each.
pub fn table() -> impl Iterator<Item = &'static Resource> {
    TABLE_A.iter().chain(TABLE_B)
}

/// The typed struct of a decoded object. Fails only where a value has a type that the schema would have refused.
pub fn typed<'a, T: Deserialize<'a>>(obj: &'a Value) -> Result<T, serde_json::Error> {
    T::deserialize(obj)
}

/// Facts of a namespaced resource with all verbs, stored under its own name.
pub const fn namespaced(
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    singular: &'static str,
    kind: &'static str,
) -> ResourceInfo {
    ResourceInfo {
        group,
        version,
        resource,
        singular,
        kind,
        namespaced: true,
        short_names: &[],
        categories: &[],
        verbs: ALL_VERBS,
        prefix: resource,
        stored_as: (group, version, kind),
    }
}

/// Facts of a cluster-scoped resource with all verbs, stored under its own name.
pub const fn cluster_scoped(
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    singular: &'static str,
    kind: &'static str,
) -> ResourceInfo {
    ResourceInfo { namespaced: false, ..namespaced(group, version, resource, singular, kind) }
}

/// The category that `kubectl get all` asks for.
pub const ALL: &[&str] = &["all"];
/// The verbs of subresources that are read and written.
pub const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];
