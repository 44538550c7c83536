//! From a pod to what the container runtime is asked to do, and back.

pub mod dns;
pub mod env;
pub mod expand;
pub mod images;
pub mod mounts;
pub mod observed;
pub mod resources;
pub mod security;
pub mod specs;
