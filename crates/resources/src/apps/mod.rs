//! The group `apps/v1`: workloads that keep pods running.

pub mod controllerrevisions;
pub mod daemonsets;
pub mod deployments;
pub mod replicasets;
pub mod statefulsets;
pub mod validation;
