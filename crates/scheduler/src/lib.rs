//! kube-scheduler: which node a pod runs on.
//!
//! The pure part: [`pod::PodInfo`] and [`node::NodeInfo`] (what decisions need, parsed once), [`snapshot::Snapshot`],
//! [`plugins`] (one file for each, one table), [`cycle::evaluate`] (filter, score, choose), [`preemption`], and the state
//! that the loop owns: [`queue::Queue`] and [`cache::Cache`] (with pods that are assumed to be bound). The part with IO:
//! [`informers`] (what the loop is told), [`scheduler::Scheduler`] (the loop), [`binder::Binder`] (what is written) and
//! [`app::run`] (from flags to shutdown).
//!
//! Invariant: the pure part never knows the apiserver, and the loop never waits for an answer of it.

pub mod app;
pub mod binder;
pub mod cache;
mod config;
pub mod cycle;
mod flags;
pub mod groups;
pub mod informers;
mod metrics;
pub mod node;
pub mod plugins;
pub mod pod;
pub mod preemption;
pub mod queue;
pub mod resources;
pub mod scheduler;
pub mod snapshot;
pub mod volumes;
pub mod watched;

pub use flags::FLAGS;
