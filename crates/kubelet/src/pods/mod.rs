//! Pods: where they come from, what is to be done with them, and what is reported about them.

pub mod admission;
pub mod events;
pub mod mirror;
pub mod plan;
pub mod resize;
pub mod spec;
pub mod static_files;
pub mod status;
pub mod status_manager;
pub mod sync;
pub mod worker;
