//! The group `coordination.k8s.io/v1`: who may act.

pub mod leases;
