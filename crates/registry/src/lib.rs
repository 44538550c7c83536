//! All verbs, once, over a [`Strategy`] for each resource.
//!
//! Entry points: [`Strategy`] and [`ResourceInfo`] (what a resource file in `steersman-resources` provides) and
//! `Store` (the verbs: get, list, watch, create, update, patch, delete, delete-collection).
//!
//! Invariant: this crate never names a concrete kind and never speaks HTTP.

pub mod strategy;

pub use steersman_admission::cluster::{Cluster, Context, ServerConfig};
pub use strategy::*;
