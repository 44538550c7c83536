//! Cluster DNS: names of services and pods, and everything else by way of the node's own resolvers.
//!
//! Entry points: [`zone::Zone`] (pure: what a name means, by the specification "Kubernetes DNS-Based Service
//! Discovery" 1.1.0) and [`handler::Handler`] (answers requests of hickory's server).
//!
//! Invariant: this crate never writes to the cluster, and answers from its caches alone.

pub mod flags;
pub mod handler;
pub mod zone;
