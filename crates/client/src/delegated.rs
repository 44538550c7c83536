//! Asking the apiserver who a caller is and what it may do (rule: apiserver `DelegatingAuthenticationOptions`).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ahash::HashMap;
use parking_lot::Mutex;
use steersman_api::k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};

use crate::{Client, Result};

/// Answers are remembered for so long (upstream's default for tokens and for both decisions).
const MEMORY: Duration = Duration::from_secs(10);
/// More answers than this are not remembered.
const CAPACITY: usize = 1024;

/// Authenticates tokens with TokenReview and authorises with SubjectAccessReview; cheap to clone.
#[derive(Clone)]
pub struct DelegatedAuth {
    client: Client,
    tokens: Memory<Option<UserInfo>>,
    decisions: Memory<bool>,
}

type Memory<V> = Arc<Mutex<HashMap<String, (Instant, V)>>>;

fn recall<V: Clone>(memory: &Memory<V>, key: &str) -> Option<V> {
    memory.lock().get(key).filter(|(at, _)| at.elapsed() < MEMORY).map(|(_, value)| value.clone())
}

fn remember<V>(memory: &Memory<V>, key: String, value: V) {
    let mut memory = memory.lock();
    if memory.len() >= CAPACITY {
        memory.retain(|_, (at, _)| at.elapsed() < MEMORY);
    }
    if memory.len() < CAPACITY {
        memory.insert(key, (Instant::now(), value));
    }
}

impl DelegatedAuth {
    /// Asks through `client`, whose user must be allowed to create reviews.
    pub fn new(client: Client) -> Self {
        Self { client, tokens: Arc::default(), decisions: Arc::default() }
    }

    /// Whom a bearer token belongs to; `None` if to nobody.
    pub async fn user_of_token(&self, token: &str) -> Result<Option<UserInfo>> {
        if let Some(user) = recall(&self.tokens, token) {
            return Ok(user);
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
            ..TokenReview::default()
        };
        let status = self.client.create("", &review).await?.status.unwrap_or_default();
        let user = if status.authenticated == Some(true) { status.user } else { None };
        remember(&self.tokens, token.to_owned(), user.clone());
        Ok(user)
    }

    /// Whether `user` may use `verb` on a path such as `/metrics`.
    pub async fn may_use_path(&self, user: &UserInfo, verb: &str, path: &str) -> Result<bool> {
        let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some(verb.to_owned()) };
        self.may(SubjectAccessReviewSpec { non_resource_attributes: Some(attributes), ..spec_of(user) }).await
    }

    /// Whether `user` may act on a resource, for example `get` on `nodes/log`.
    pub async fn may_use_resource(&self, user: &UserInfo, attributes: ResourceAttributes) -> Result<bool> {
        self.may(SubjectAccessReviewSpec { resource_attributes: Some(attributes), ..spec_of(user) }).await
    }

    async fn may(&self, spec: SubjectAccessReviewSpec) -> Result<bool> {
        let key = serde_json::to_string(&spec)?;
        if let Some(allowed) = recall(&self.decisions, &key) {
            return Ok(allowed);
        }
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let allowed = self.client.create("", &review).await?.status.is_some_and(|status| status.allowed);
        remember(&self.decisions, key, allowed);
        Ok(allowed)
    }
}

fn spec_of(user: &UserInfo) -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        user: user.username.clone(),
        uid: user.uid.clone(),
        groups: user.groups.clone(),
        extra: user.extra.clone(),
        ..SubjectAccessReviewSpec::default()
    }
}
