//! kube-scheduler: which node a pod runs on.
//!
//! The pure part: [`pod::PodInfo`] and [`node::NodeInfo`] (what decisions need, parsed once), [`snapshot::Snapshot`],
//! [`plugins`] (one file for each, one table) and [`cycle::evaluate`] (filter, score, choose). The part with IO: [`queue`],
//! [`cache`] (with pods that are assumed to be bound), [`scheduler`] (the loop) and [`binder`].
//!
//! Invariant: the pure part never knows the apiserver, and a cycle never waits for an answer of it.

pub mod cycle;
pub mod node;
pub mod plugins;
pub mod pod;
pub mod resources;
pub mod snapshot;
