//! The group `policy/v1`: what must not happen to pods.

pub mod poddisruptionbudgets;
