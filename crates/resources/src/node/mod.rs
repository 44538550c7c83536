//! The group `node.k8s.io/v1`: how nodes run pods.

pub mod runtimeclasses;
