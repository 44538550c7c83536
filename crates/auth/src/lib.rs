//! Who asks (authenticators) and whether they may (RBAC, Node, and the traits that others plug into).
//!
//! Entry points: [`authenticate::Authenticators`], [`authorizers::Union`], [`rbac::Rbac`], [`node::Node`],
//! [`service_account::Tokens`] and [`policy::objects`] (the RBAC objects a cluster starts with).
//!
//! Invariant: this crate never reads etcd; what it needs of the cluster comes through [`Lookup`].

pub mod authenticate;
pub mod authorizers;
pub mod node;
pub mod policy;
pub mod rbac;
mod refusal;
pub mod service_account;

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use refusal::forbidden;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UserInfo {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// Whether the user is in the group that may do everything, whatever the modes.
    pub fn is_privileged(&self) -> bool {
        self.groups.iter().any(|g| g == "system:masters")
    }
}

/// What is asked, as authorisers see it (rule: apiserver `pkg/authorization/authorizer`).
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Attributes<'a> {
    pub user: &'a UserInfo,
    /// `get`, `list`, `create`, ...; for a path that is no resource the lower-case HTTP method.
    pub verb: &'a str,
    pub namespace: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub name: &'a str,
    pub resource_request: bool,
    pub path: &'a str,
}

/// What an authoriser thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Decision {
    Allow,
    Deny,
    NoOpinion,
}

/// Decides whether a request may go on.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// The decision, and why.
    async fn authorize(&self, a: &Attributes<'_>) -> (Decision, String);
    /// Whether the decision is to allow it.
    async fn allows(&self, a: &Attributes<'_>) -> bool {
        self.authorize(a).await.0 == Decision::Allow
    }
    /// The rules that apply to `user` in `namespace`, as `SelfSubjectRulesReview` lists them: resource rules,
    /// non-resource rules, and whether the list is incomplete (with why).
    async fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules;
}

/// What [`Authorizer::rules_for`] answers; the values are `rbac.authorization.k8s.io/v1` PolicyRules in JSON.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Rules {
    pub resource: Vec<serde_json::Value>,
    pub non_resource: Vec<serde_json::Value>,
    pub incomplete: bool,
    pub error: String,
}

/// What authenticators and authorisers read of the cluster, from the watch cache.
pub trait Lookup: Send + Sync {
    /// One object, whole, or nothing.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<serde_json::Value>>;
    /// All objects of a resource in a namespace (all namespaces where it is empty).
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<serde_json::Value>>;
    /// The pods that are bound to a node, by the index on `spec.nodeName`.
    fn pods_on_node(&self, node: &str) -> Vec<Arc<serde_json::Value>> {
        let bound = |p: &Arc<serde_json::Value>| p["spec"]["nodeName"].as_str() == Some(node);
        self.list("", "pods", "").into_iter().filter(bound).collect()
    }
    /// Rises whenever an object of the resource changes, so that what was derived of it can be kept till then.
    fn revision(&self, group: &str, resource: &str) -> u64;
}
