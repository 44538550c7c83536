//! What plug-ins and strategies see of the request and of the rest of the cluster.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use steersman_apimachinery::Status;
use steersman_apimachinery::options::DeleteOptions;
use steersman_auth::{Authorizer, UserInfo};

/// As many warnings as fit into an answer: 4,096 characters of them are sent.
const MOST_WARNINGS: usize = 4096;

/// One request: who asks, when, and the warnings collected for the answer's `Warning` headers.
#[derive(Debug)]
pub struct Context {
    /// Who asks, after impersonation.
    pub user: UserInfo,
    /// One clock reading for the whole request.
    pub now: Timestamp,
    /// The `User-Agent`, from which the default field manager is made.
    pub user_agent: String,
    /// What the request does, as authorisers see it; `update` for the server's own changes.
    pub verb: String,
    /// Warnings so far, without duplicates, in order.
    warnings: Mutex<Vec<String>>,
}

impl Context {
    /// A request of `user`, now.
    pub fn new(user: UserInfo) -> Self {
        Self {
            user,
            now: Timestamp::now(),
            user_agent: String::new(),
            verb: "update".into(),
            warnings: Mutex::default(),
        }
    }
    /// The apiserver's own requests (`system:apiserver`, in `system:masters`).
    pub fn loopback() -> Self {
        Self::new(UserInfo {
            name: "system:apiserver".into(),
            groups: vec!["system:masters".into(), "system:authenticated".into()],
            ..UserInfo::default()
        })
    }
    /// Adds a warning, once.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut w = self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // More than these no answer has room for, and a body may earn half a million.
        if w.len() <= MOST_WARNINGS && !w.contains(&text) {
            w.push(text);
        }
    }
    /// The warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// Settings of the server that strategies and plug-ins depend on.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// `--service-cluster-ip-range`: one or two CIDRs, primary first.
    pub service_cidrs: Vec<String>,
    /// `--service-node-port-range`, inclusive.
    pub node_ports: (u16, u16),
    /// `--allow-privileged`.
    pub allow_privileged: bool,
    /// `--event-ttl`, seconds.
    pub event_ttl: u64,
    /// `--service-account-issuer`, first is used to sign.
    pub issuers: Vec<String>,
    /// `--api-audiences`; by default the issuers.
    pub api_audiences: Vec<String>,
    /// `--service-account-max-token-expiration`, seconds; 0: no limit.
    pub max_token_expiration: u64,
    /// `--default-not-ready-toleration-seconds`, `--default-unreachable-toleration-seconds`.
    pub default_toleration_seconds: (i64, i64),
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            service_cidrs: vec!["10.0.0.0/24".into()],
            node_ports: (30000, 32767),
            allow_privileged: false,
            event_ttl: 3600,
            issuers: Vec::new(),
            api_audiences: Vec::new(),
            max_token_expiration: 0,
            default_toleration_seconds: (300, 300),
        }
    }
}

/// Signs service-account tokens.
pub trait TokenIssuer: Send + Sync {
    /// A signed JWT of these claims.
    fn sign(&self, claims: &Value) -> Result<String, Status>;
}

/// Says who a token belongs to (for TokenReview).
#[async_trait]
pub trait TokenAuthenticator: Send + Sync {
    /// `None` where nobody knows the token; the audiences are those it is good for, of those asked.
    async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<(UserInfo, Vec<String>)>, String>;
}

/// A pool of numbers as it is stored: a RangeAllocation without its metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// The numbers it is about: `30000-32767`.
    pub range: String,
    /// The ones that are taken: base64 of a big-endian number whose bit n stands for the n-th.
    pub data: String,
    /// The revision it was read at; 0: it is not stored.
    pub revision: u64,
}

/// The rest of the cluster, as strategies and plug-ins see it. Resources are named by group and plural.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// One object from the watch cache.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// All objects of a namespace (of all, where it is empty) from the watch cache.
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Value>>;
    /// One object, consistently.
    async fn get_live(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Value, Status>;
    /// Creates an object through its strategy, without admission.
    async fn create(
        &self,
        ctx: &Context,
        group: &str,
        resource: &str,
        object: Value,
        dry_run: bool,
    ) -> Result<Value, Status>;
    /// Reads, changes and writes an object, again and again until nobody came between; `subresource` picks the
    /// strategy (`""`, `"status"`). Without admission.
    async fn update(
        &self,
        ctx: &Context,
        (group, resource, subresource): (&str, &str, &str),
        (namespace, name): (&str, &str),
        dry_run: bool,
        change: &mut (dyn for<'v> FnMut(&'v mut Value) -> Result<(), Status> + Send),
    ) -> Result<Value, Status>;
    /// Deletes an object through its strategy.
    async fn delete(
        &self,
        ctx: &Context,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<Value, Status>;
    /// A pool that all servers share (`servicenodeports`), as of late or, with `live`, as it is now.
    async fn pool(&self, name: &str, live: bool) -> Result<Option<Pool>, Status>;
    /// Stores a pool; false: it is no longer at the revision it was read at.
    async fn set_pool(&self, name: &str, pool: &Pool) -> Result<bool, Status>;
    /// Decides for reviews and for checks such as RBAC's escalation.
    fn authorizer(&self) -> &dyn Authorizer;
    /// Signs tokens; absent where no key was given.
    fn token_issuer(&self) -> Option<&dyn TokenIssuer>;
    /// Checks tokens.
    fn token_authenticator(&self) -> Option<&dyn TokenAuthenticator>;
    /// The server's settings.
    fn config(&self) -> &ServerConfig;
}
