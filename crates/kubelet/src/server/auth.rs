//! Who asks, and whether they may (rule: kubelet `server/auth.go`).

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, StatusCode, header};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use steersman_client::Client;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    Peer,
    reply::{Reply, error},
};
use crate::{api::*, config::Configuration};

/// More answers than this are not remembered.
const MAX_CACHED: usize = 4096;

/// A user, as the API server knows users.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

type Cache<K, V> = Mutex<HashMap<K, (Instant, V)>>;

/// Asks the API server where the connection itself does not tell, and remembers its answers for a while.
pub(super) struct Auth {
    client: Option<Client>,
    node: String,
    anonymous: bool,
    tokens: Option<Duration>,
    allow_all: bool,
    allowed_for: Duration,
    denied_for: Duration,
    users: Cache<[u8; 32], Option<User>>,
    decisions: Cache<(User, String, String), Result<(), String>>,
}

impl Auth {
    pub(super) fn new(config: &Configuration, client: Option<Client>, node: &str) -> Self {
        let (authn, authz) = (&config.authentication, &config.authorization);
        Auth {
            client,
            node: node.to_owned(),
            anonymous: authn.anonymous.enabled,
            tokens: authn.webhook.enabled.then_some(authn.webhook.cache_ttl.0),
            allow_all: authz.mode == "AlwaysAllow",
            allowed_for: authz.webhook.cache_authorized_ttl.0,
            denied_for: authz.webhook.cache_unauthorized_ttl.0,
            users: Mutex::default(),
            decisions: Mutex::default(),
        }
    }

    /// Lets a request pass, or answers it.
    pub(super) async fn check(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
        method: &Method,
        path: &str,
    ) -> Result<(), Reply> {
        let user =
            self.authenticate(peer, headers).await.ok_or_else(|| error(StatusCode::UNAUTHORIZED, "Unauthorized"))?;
        if self.allow_all {
            return Ok(());
        }
        let verb = verb(method);
        // The narrow right is enough, and so is the wide one.
        let mut refusal = String::new();
        for subresource in subresources(path) {
            match self.authorize(&user, verb, subresource).await {
                Ok(()) => return Ok(()),
                Err(why) => refusal = why,
            }
        }
        Err(error(
            StatusCode::FORBIDDEN,
            format!(
                "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)={:?}){refusal}",
                user.name,
                subresources(path)
            ),
        ))
    }

    async fn authenticate(&self, peer: &Peer, headers: &HeaderMap) -> Option<User> {
        if let Some(user) = peer.certificate.as_deref().and_then(of_certificate) {
            return Some(user);
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        if let (Some(token), Some(ttl)) = (bearer.and_then(|b| b.strip_prefix("Bearer ")), self.tokens) {
            return self.review(token.trim(), ttl).await;
        }
        self.anonymous.then(|| User {
            name: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
            ..User::default()
        })
    }

    async fn review(&self, token: &str, ttl: Duration) -> Option<User> {
        let key: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = cached(&self.users, &key) {
            return known;
        }
        let request = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), ..Default::default() },
            ..Default::default()
        };
        let answer = self.client.as_ref()?.create("", &request).await.ok()?;
        let status = answer.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(|u| User {
            name: u.username.unwrap_or_default(),
            uid: u.uid.unwrap_or_default(),
            groups: u.groups.unwrap_or_default(),
            extra: u.extra.unwrap_or_default(),
        });
        remember(&self.users, key, ttl, user.clone());
        user
    }

    async fn authorize(&self, user: &User, verb: &str, subresource: &str) -> Result<(), String> {
        let key = (user.clone(), verb.to_owned(), subresource.to_owned());
        if let Some(known) = cached(&self.decisions, &key) {
            return known;
        }
        let Some(client) = &self.client else { return Err(": there is no API server to ask".into()) };
        let some = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
        let request = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: some(&user.name),
                uid: some(&user.uid),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()).filter(|e| !e.is_empty()),
                resource_attributes: Some(ResourceAttributes {
                    verb: some(verb),
                    version: some("v1"),
                    resource: some("nodes"),
                    subresource: some(subresource),
                    name: some(&self.node),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let answer = client.create("", &request).await.map_err(|e| format!(": {e}"))?;
        let status = answer.status.unwrap_or_default();
        let allowed = status.allowed;
        let decision = if allowed { Ok(()) } else { Err(String::new()) };
        remember(&self.decisions, key, if allowed { self.allowed_for } else { self.denied_for }, decision.clone());
        decision
    }
}

fn cached<K: std::hash::Hash + Eq, V: Clone>(cache: &Cache<K, V>, key: &K) -> Option<V> {
    cache.lock().get(key).filter(|(until, _)| *until > Instant::now()).map(|(_, v)| v.clone())
}

fn remember<K: std::hash::Hash + Eq, V>(cache: &Cache<K, V>, key: K, ttl: Duration, value: V) {
    let mut cache = cache.lock();
    if cache.len() >= MAX_CACHED {
        let now = Instant::now();
        cache.retain(|_, (until, _)| *until > now);
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
    }
    cache.insert(key, (Instant::now() + ttl, value));
}

/// Name and groups of a verified client certificate.
fn of_certificate(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    groups.push("system:authenticated".into());
    Some(User { name, groups, ..User::default() })
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// The subresources of the node of which one must be allowed.
fn subresources(path: &str) -> &'static [&'static str] {
    let is = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is("/stats") {
        &["stats"]
    } else if is("/metrics") {
        &["metrics"]
    } else if is("/logs") {
        &["log"]
    } else if is("/checkpoint") {
        &["checkpoint"]
    } else if is("/pods") || is("/runningpods") {
        &["pods", "proxy"]
    } else if is("/healthz") {
        &["healthz", "proxy"]
    } else if is("/configz") {
        &["configz", "proxy"]
    } else if is("/statusz") {
        &["statusz", "proxy"]
    } else if is("/flagz") {
        &["flagz", "proxy"]
    } else {
        &["proxy"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_ask_for_their_rights() {
        let check = |path: &str, expect: &[&str]| assert_eq!(subresources(path), expect, "{path}");
        check("/stats/summary", &["stats"]);
        check("/metrics/cadvisor", &["metrics"]);
        check("/metricsx", &["proxy"]);
        check("/logs/", &["log"]);
        check("/pods", &["pods", "proxy"]);
        check("/exec/ns/pod/c", &["proxy"]);
        check("/containerLogs/ns/pod/c", &["proxy"]);
    }
}
