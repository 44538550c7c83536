//! Volumes of pods: making their directories and files on the node, keeping them up to date, and taking them away.
//!
//! Entry points: [`set_up`] (all volumes of a pod; called again whenever something they are made of changes),
//! [`tear_down`], [`references`] (the ConfigMaps and Secrets a pod depends on) and [`subpath`]. Each volume type is one
//! file with one [`VolumePlugin`], listed in [`PLUGINS`].
//!
//! Invariant: this crate never talks to the API server or the container runtime; objects come through [`Objects`] and
//! mounts go through [`Host`].

mod atomic;
mod config_map;
mod downward_api;
mod empty_dir;
pub mod fieldref;
mod host;
mod host_path;
mod local;
mod nfs;
mod ownership;
mod persistent_claim;
mod plugin;
mod pod;
mod projected;
mod secret;
pub mod subpath;

pub use host::{Host, LinuxHost};
pub use plugin::{Context, Error, Objects, Result, TokenRequest, VolumePlugin, plugin_for};
pub use pod::{Ready, References, disk_limits, is_torn_down, references, set_up, tear_down};

/// Every volume type, in no particular order; exactly one handles a volume.
pub const PLUGINS: &[&dyn VolumePlugin] = &[
    &config_map::ConfigMapPlugin,
    &downward_api::DownwardApiPlugin,
    &empty_dir::EmptyDirPlugin,
    &host_path::HostPathPlugin,
    &local::LocalPlugin,
    &nfs::NfsPlugin,
    &persistent_claim::PersistentClaimPlugin,
    &projected::ProjectedPlugin,
    &secret::SecretPlugin,
];
