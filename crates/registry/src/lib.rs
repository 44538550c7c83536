//! All verbs, once, over a [`Strategy`] for each resource.
//!
//! Entry points: [`Strategy`] and [`ResourceInfo`] (what a resource file in `steersman-resources` provides), [`Store`]
//! (the verbs: get, list, watch, create, update, patch, delete, delete-collection) and [`Registry`] (all stores of a
//! server).
//!
//! Invariant: this crate never names a concrete kind and never speaks HTTP.

mod cluster;
mod create;
mod delete;
mod encode;
mod errors;
mod foreign;
mod managed;
pub mod master_leases;
mod meta;
pub mod object;
mod patch;
mod ranges;
mod read;
pub mod registry;
mod scale;
mod select;
mod shape;
pub mod store;
pub mod strategy;
mod token;
mod unstructured;
mod update;
mod view;
pub mod watch;

pub use master_leases::MasterLeases;
pub use object::{Deleted, DeletedBody, Items, List, Object, PatchType, WatchEvent};
pub use registry::{Config, Found, Registry};
pub use steersman_admission::cluster::{Cluster, Context, Pool, ServerConfig};
pub use steersman_storage::StorageConfig;
pub use store::Store;
pub use strategy::*;
pub use watch::Watch;
