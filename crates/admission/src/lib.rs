//! The admission chain: what may change or refuse an object after it was decoded and before its strategy sees it.
//!
//! Entry points: [`Chain`] and the table of plug-ins in `plugins`; the place in the table is the place in the chain.
//!
//! Invariant: this crate never talks to etcd; it reads and writes the cluster through [`Cluster`].

pub mod cluster;
pub mod plugins;
mod pods;

pub use cluster::{Cluster, Context, ServerConfig};

use async_trait::async_trait;
use serde_json::Value;
use steersman_apimachinery::{GroupVersionKind, GroupVersionResource, Status};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// One request on its way through the chain.
pub struct Attributes<'a> {
    /// Who, where, when; takes warnings.
    pub ctx: &'a Context,
    /// What is being done.
    pub operation: Operation,
    /// The kind of `object`.
    pub kind: &'a GroupVersionKind,
    /// What the path names.
    pub resource: &'a GroupVersionResource,
    /// Empty for the resource itself.
    pub subresource: &'a str,
    /// Empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Empty on create with generateName.
    pub name: &'a str,
    /// What is to be stored; absent on delete.
    pub object: Option<&'a mut Value>,
    /// What is stored; absent on create.
    pub old: Option<&'a Value>,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

/// One admission plug-in.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Upstream's name, as `--enable-admission-plugins` takes it.
    fn name(&self) -> &'static str;
    /// Whether it cares at all; cheap.
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool;
    /// May change the object.
    async fn admit(&self, _a: &mut Attributes<'_>, _cluster: &dyn Cluster) -> Result<(), Status> {
        Ok(())
    }
    /// May only refuse it; runs on the object as it will be stored.
    async fn validate(&self, _a: &Attributes<'_>, _cluster: &dyn Cluster) -> Result<(), Status> {
        Ok(())
    }
}

/// The plug-ins that are on, in order.
#[derive(Default)]
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
}

impl Chain {
    /// No plug-ins.
    pub const fn empty() -> Self {
        Self { plugins: Vec::new() }
    }
    /// From plug-ins in the order they run.
    pub fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        Self { plugins }
    }
    /// Lets every plug-in change the object.
    pub async fn admit(&self, a: &mut Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        for p in &self.plugins {
            if p.handles(a.operation, a.resource, a.subresource) {
                p.admit(a, cluster).await?;
            }
        }
        Ok(())
    }
    /// Lets every plug-in refuse the object.
    pub async fn validate(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        for p in &self.plugins {
            if p.handles(a.operation, a.resource, a.subresource) {
                p.validate(a, cluster).await?;
            }
        }
        Ok(())
    }
}
