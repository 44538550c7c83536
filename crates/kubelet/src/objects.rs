//! ConfigMaps, Secrets and tokens of the pods on this node. Each object that some pod refers to is watched for itself,
//! which is all that the Node authoriser allows (rule: kubelet `watch_based_manager.go`).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use steersman_client::{Client, Informer};
use steersman_volumes::{Error, Objects, References, Result, TokenRequest as WantedToken};
use tokio_util::sync::CancellationToken;

use crate::{
    api::*,
    pods::spec::{PodExt, spec},
};

/// How long a pod waits for the first answer about an object.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tokens are renewed at the latest at this age.
const MAX_TOKEN_AGE: i64 = 24 * 3600;

/// Told when something that pods are made of has changed; gets their uids.
pub type OnChange = Arc<dyn Fn(&str) + Send + Sync>;

/// What pods are made of.
pub struct ObjectCache {
    client: Option<Client>,
    on_change: OnChange,
    config_maps: Mutex<HashMap<String, Watched<ConfigMap>>>,
    secrets: Mutex<HashMap<String, Watched<Secret>>>,
    tokens: Mutex<HashMap<(String, WantedToken), Token>>,
}

struct Watched<K> {
    informer: Informer<K>,
    stop: CancellationToken,
    users: Arc<Mutex<HashSet<String>>>,
}

#[derive(Clone)]
struct Token {
    text: String,
    issued: i64,
    expires: i64,
}

impl Token {
    /// Whether a fifth of its life is left, and it is not older than a day.
    fn is_fresh(&self, now: i64) -> bool {
        now < self.issued + (self.expires - self.issued) * 8 / 10 && now < self.issued + MAX_TOKEN_AGE
    }
}

impl ObjectCache {
    /// An empty cache. Without a client nothing exists.
    pub fn new(client: Option<Client>, on_change: OnChange) -> Self {
        ObjectCache {
            client,
            on_change,
            config_maps: Mutex::default(),
            secrets: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// Watches what a pod refers to, and no longer what it used to refer to.
    pub fn register(&self, pod: &Pod, refs: &References) {
        let Some(client) = &self.client else { return };
        self.follow(client, &self.config_maps, pod, &refs.config_maps);
        self.follow(client, &self.secrets, pod, &refs.secrets);
    }

    /// Forgets a pod.
    pub fn unregister(&self, uid: &str) {
        drop_user(&self.config_maps, uid, |_| false);
        drop_user(&self.secrets, uid, |_| false);
        self.tokens.lock().retain(|(user, _), _| user != uid);
    }

    /// When the first token of a pod should be renewed.
    pub fn renewal(&self, uid: &str) -> Option<Duration> {
        let now = Timestamp::now().as_second();
        let tokens = self.tokens.lock();
        let due = tokens
            .iter()
            .filter(|((user, _), _)| user == uid)
            .map(|(_, t)| (t.issued + (t.expires - t.issued) * 8 / 10).min(t.issued + MAX_TOKEN_AGE));
        due.min().map(|at| Duration::from_secs(u64::try_from(at - now).unwrap_or(0) + 1))
    }

    fn follow<K: steersman_client::Object>(
        &self,
        client: &Client,
        table: &Mutex<HashMap<String, Watched<K>>>,
        pod: &Pod,
        names: &std::collections::BTreeSet<String>,
    ) {
        let ns = pod.ns();
        drop_user(table, pod.uid(), |key| key.split_once('/').is_some_and(|(n, name)| n == ns && names.contains(name)));
        let mut table = table.lock();
        for name in names {
            let watched = table.entry(format!("{ns}/{name}")).or_insert_with(|| {
                let informer = Informer::<K>::builder(client.clone())
                    .namespace(ns)
                    .fields(format!("metadata.name={name}"))
                    .build();
                let users: Arc<Mutex<HashSet<String>>> = Arc::default();
                let (told, on_change) = (users.clone(), self.on_change.clone());
                informer.add_handler(move |_| {
                    let users: Vec<String> = told.lock().iter().cloned().collect();
                    users.iter().for_each(|uid| on_change(uid));
                });
                let stop = CancellationToken::new();
                informer.spawn(&stop);
                Watched { informer, stop, users }
            });
            watched.users.lock().insert(pod.uid().to_owned());
        }
    }

    async fn find<K: steersman_client::Object>(
        &self,
        table: &Mutex<HashMap<String, Watched<K>>>,
        ns: &str,
        name: &str,
    ) -> Result<Option<K>> {
        let Some(client) = &self.client else { return Ok(None) };
        let informer = table.lock().get(&format!("{ns}/{name}")).map(|w| w.informer.clone());
        let Some(informer) = informer else {
            return client.get_opt::<K>(ns, name).await.map_err(|e| Error::Api(e.to_string()));
        };
        if tokio::time::timeout(PATIENCE, informer.synced()).await.is_err() {
            return Err(Error::Api(format!(
                "failed to sync {} cache: timed out waiting for the condition",
                K::KIND.to_ascii_lowercase()
            )));
        }
        Ok(informer.store().find(ns, name).map(|found| (*found).clone()))
    }
}

fn drop_user<K>(table: &Mutex<HashMap<String, Watched<K>>>, uid: &str, keep: impl Fn(&str) -> bool) {
    table.lock().retain(|key, watched| {
        if keep(key) {
            return true;
        }
        let mut users = watched.users.lock();
        users.remove(uid);
        if users.is_empty() {
            watched.stop.cancel();
        }
        !users.is_empty()
    });
}

#[async_trait]
impl Objects for ObjectCache {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>> {
        self.find(&self.config_maps, namespace, name).await
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>> {
        self.find(&self.secrets, namespace, name).await
    }

    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<PersistentVolumeClaim>> {
        let Some(client) = &self.client else { return Ok(None) };
        client.get_opt(namespace, name).await.map_err(|e| Error::Api(e.to_string()))
    }

    async fn persistent_volume(&self, name: &str) -> Result<Option<PersistentVolume>> {
        let Some(client) = &self.client else { return Ok(None) };
        client.get_opt("", name).await.map_err(|e| Error::Api(e.to_string()))
    }

    async fn token(&self, pod: &Pod, wanted: &WantedToken) -> Result<String> {
        let now = Timestamp::now().as_second();
        let key = (pod.uid().to_owned(), wanted.clone());
        let known = self.tokens.lock().get(&key).cloned();
        if let Some(known) = &known
            && known.is_fresh(now)
        {
            return Ok(known.text.clone());
        }
        let Some(client) = &self.client else {
            return Err(Error::Api("cannot use TokenManager when kubelet is in standalone mode".into()));
        };
        let account = spec(pod).service_account_name.as_deref().unwrap_or("default");
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(vec![wanted.audience.clone()]).filter(|a| !a[0].is_empty()),
                expiration_seconds: Some(wanted.expiration_seconds),
                bound_object_ref: Some(steersman_api::k8s_openapi::api::authentication::v1::BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: Some(pod.name().into()),
                    uid: Some(pod.uid().into()),
                }),
            }),
            ..Default::default()
        };
        let answer: std::result::Result<TokenRequest, _> =
            client.create_subresource::<ServiceAccount, _, _>(pod.ns(), account, "token", &request).await;
        let status = match (answer, known) {
            (Ok(answer), _) => answer.status.unwrap_or_default(),
            // An old token that still lives is better than none.
            (Err(_), Some(known)) if now < known.expires => return Ok(known.text),
            (Err(e), _) => return Err(Error::Api(format!("failed to fetch token: {e}"))),
        };
        let expires = status.expiration_timestamp.map_or(now + wanted.expiration_seconds, |t| t.0.as_second());
        let text = status.token.unwrap_or_default();
        self.tokens.lock().insert(key, Token { text: text.clone(), issued: now, expires });
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_before_they_end() {
        let fresh = |age: i64, life: i64| Token { text: String::new(), issued: 0, expires: life }.is_fresh(age);
        assert!(fresh(0, 3600) && fresh(2879, 3600));
        assert!(!fresh(2880, 3600));
        assert!(fresh(80_000, 1_000_000));
        assert!(!fresh(86_400, 1_000_000), "a long life is no reason to keep a token for more than a day");
    }
}
