//! The group `scheduling.k8s.io/v1`: which pods come first.

pub mod priorityclasses;
