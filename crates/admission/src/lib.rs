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
use std::time::{Duration, Instant};
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

/// How one step of admission went.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Admitted {
    /// `admit` or `validate`.
    pub step: &'static str,
    pub operation: Operation,
    pub rejected: bool,
    pub took: Duration,
}

/// Keeps figures of admission, for metrics.
pub trait Observer: Send + Sync {
    /// Where those of one plug-in go, or of all together (`None`). Asked once, when the chain is made.
    fn figures(&self, plugin: Option<&'static str>) -> Box<dyn Figures>;
}

/// Is told how admission went.
pub trait Figures: Send + Sync {
    /// How one step went.
    fn admitted(&self, admission: Admitted);
}

/// A plug-in, and where its figures go.
struct Observed {
    plugin: Box<dyn Plugin>,
    figures: Option<Box<dyn Figures>>,
}

/// The plug-ins that are on, in order.
#[derive(Default)]
pub struct Chain {
    plugins: Vec<Observed>,
    /// Where the figures of all together go.
    figures: Option<Box<dyn Figures>>,
}

impl Chain {
    /// No plug-ins.
    pub const fn empty() -> Self {
        Self { plugins: Vec::new(), figures: None }
    }
    /// From plug-ins in the order they run.
    pub fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        Self { plugins: plugins.into_iter().map(|plugin| Observed { plugin, figures: None }).collect(), figures: None }
    }
    /// Tells somebody how it goes.
    #[must_use]
    pub fn observed_by(mut self, observer: &dyn Observer) -> Self {
        self.figures = Some(observer.figures(None));
        for p in &mut self.plugins {
            p.figures = Some(observer.figures(Some(p.plugin.name())));
        }
        self
    }
    /// Lets every plug-in change the object.
    pub async fn admit(&self, a: &mut Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let begun = Instant::now();
        let mut result = Ok(());
        for Observed { plugin, figures } in &self.plugins {
            if !plugin.handles(a.operation, a.resource, a.subresource) {
                continue;
            }
            let begun = Instant::now();
            result = plugin.admit(a, cluster).await;
            tell(figures.as_deref(), "admit", a.operation, &result, begun);
            if result.is_err() {
                break;
            }
        }
        tell(self.figures.as_deref(), "admit", a.operation, &result, begun);
        result
    }
    /// Lets every plug-in refuse the object.
    pub async fn validate(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let begun = Instant::now();
        let mut result = Ok(());
        for Observed { plugin, figures } in &self.plugins {
            if !plugin.handles(a.operation, a.resource, a.subresource) {
                continue;
            }
            let begun = Instant::now();
            result = plugin.validate(a, cluster).await;
            tell(figures.as_deref(), "validate", a.operation, &result, begun);
            if result.is_err() {
                break;
            }
        }
        tell(self.figures.as_deref(), "validate", a.operation, &result, begun);
        result
    }
}

fn tell(
    figures: Option<&dyn Figures>,
    step: &'static str,
    operation: Operation,
    result: &Result<(), Status>,
    begun: Instant,
) {
    if let Some(figures) = figures {
        figures.admitted(Admitted { step, operation, rejected: result.is_err(), took: begun.elapsed() });
    }
}
