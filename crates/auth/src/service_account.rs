//! Service-account tokens: who they belong to, and whether what they are bound to is still there
//! (rule: upstream `pkg/serviceaccount`).

use crate::{Lookup, UserInfo};
use serde_json::Value;
use std::sync::Arc;
use steersman_pki::token::Verifier;

/// Checks tokens against keys, issuers and the cluster.
pub struct Tokens {
    verifier: Verifier,
    issuers: Vec<String>,
    /// Audiences of the apiserver itself.
    audiences: Vec<String>,
    lookup: Arc<dyn Lookup>,
}

/// The issuer of the tokens that Secrets of type `kubernetes.io/service-account-token` hold.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

/// The groups of an account's user.
pub fn groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")]
}

impl Tokens {
    /// `audiences` are those that requests to the apiserver itself must be meant for.
    pub fn new(verifier: Verifier, issuers: Vec<String>, audiences: Vec<String>, lookup: Arc<dyn Lookup>) -> Self {
        Self { verifier, issuers, audiences, lookup }
    }

    /// The keys, for the discovery documents.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Whether a token claims to be one of ours; others are for other authenticators.
    fn claims_ours(&self, token: &str) -> bool {
        use base64_url::decode;
        let claims = token.split('.').nth(1).and_then(decode).and_then(|b| serde_json::from_slice::<Value>(&b).ok());
        claims.is_some_and(|c| {
            let issuer = c["iss"].as_str().unwrap_or("");
            issuer == LEGACY_ISSUER || self.issuers.iter().any(|i| i == issuer)
        })
    }

    /// `Ok(None)`: not a token of ours. `Ok(Some)`: the user, and those of the `wanted` audiences it is good for (empty
    /// `wanted`: the apiserver's own). `Err`: ours, but not good.
    pub fn authenticate(&self, token: &str, wanted: &[String]) -> Result<Option<(UserInfo, Vec<String>)>, String> {
        if !self.claims_ours(token) {
            return Ok(None);
        }
        let claims = self.verifier.claims(token).map_err(|e| e.to_string())?;
        let now = jiff_now();
        if claims["iss"] == LEGACY_ISSUER {
            return self.legacy(token, &claims, wanted).map(Some);
        }
        if claims["exp"].as_i64().is_none_or(|exp| exp <= now) {
            return Err("service account token has expired".into());
        }
        if claims["nbf"].as_i64().is_some_and(|nbf| nbf > now + 10) {
            return Err("service account token is not valid yet".into());
        }
        let of_token: Vec<&str> = match &claims["aud"] {
            Value::String(one) => vec![one],
            Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let wanted = if wanted.is_empty() { &self.audiences } else { wanted };
        let good: Vec<String> = wanted.iter().filter(|w| of_token.contains(&w.as_str())).cloned().collect();
        if good.is_empty() {
            return Err(format!("token audiences {of_token:?} is invalid for the target audiences {wanted:?}"));
        }
        let private = &claims["kubernetes.io"];
        let namespace = private["namespace"].as_str().unwrap_or("");
        let mut user = self.user(namespace, &private["serviceaccount"])?;
        let mut extra = |key: &str, value: &Value| {
            if let Some(v) = value.as_str().filter(|v| !v.is_empty()) {
                user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![v.to_owned()]);
            }
        };
        if let Some(jti) = claims["jti"].as_str().filter(|j| !j.is_empty()) {
            extra("credential-id", &format!("JTI={jti}").into());
        }
        if private["pod"].is_object() {
            self.bound("pods", namespace, &private["pod"])?;
            extra("pod-name", &private["pod"]["name"]);
            extra("pod-uid", &private["pod"]["uid"]);
        }
        if private["secret"].is_object() {
            self.bound("secrets", namespace, &private["secret"])?;
        }
        if private["node"].is_object() {
            // A token that is bound to a pod names the node for information only.
            if !private["pod"].is_object() {
                self.bound("nodes", "", &private["node"])?;
            }
            extra("node-name", &private["node"]["name"]);
            extra("node-uid", &private["node"]["uid"]);
        }
        Ok(Some((user, good)))
    }

    fn user(&self, namespace: &str, account: &Value) -> Result<UserInfo, String> {
        let (name, uid) = (account["name"].as_str().unwrap_or(""), account["uid"].as_str().unwrap_or(""));
        let found = self
            .lookup
            .get("", "serviceaccounts", namespace, name)
            .ok_or_else(|| format!("serviceaccounts \"{name}\" not found"))?;
        if found["metadata"]["uid"] != uid {
            return Err(format!(
                "service account UID ({}) does not match claim ({uid})",
                found["metadata"]["uid"].as_str().unwrap_or("")
            ));
        }
        if being_deleted(&found) {
            return Err(format!("service account {namespace}/{name} has been deleted"));
        }
        Ok(UserInfo {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: groups(namespace),
            ..UserInfo::default()
        })
    }

    fn bound(&self, resource: &str, namespace: &str, claim: &Value) -> Result<(), String> {
        let name = claim["name"].as_str().unwrap_or("");
        let found =
            self.lookup.get("", resource, namespace, name).ok_or_else(|| format!("{resource} \"{name}\" not found"))?;
        if found["metadata"]["uid"] != claim["uid"] {
            return Err(format!("the token is bound to another {resource} named {name}"));
        }
        if being_deleted(&found) {
            return Err(format!("{resource} {name} has been deleted"));
        }
        Ok(())
    }

    /// A token that a Secret holds: good as long as the Secret holds it.
    fn legacy(&self, token: &str, claims: &Value, wanted: &[String]) -> Result<(UserInfo, Vec<String>), String> {
        let text = |k: &str| claims[format!("kubernetes.io/serviceaccount/{k}")].as_str().unwrap_or("").to_owned();
        let (namespace, secret) = (text("namespace"), text("secret.name"));
        let good: Vec<String> = if wanted.is_empty() {
            self.audiences.clone()
        } else {
            wanted.iter().filter(|w| self.audiences.contains(w)).cloned().collect()
        };
        if good.is_empty() {
            return Err("token audiences are invalid for the target audiences".into());
        }
        let stored = self.lookup.get("", "secrets", &namespace, &secret).ok_or("Token has been invalidated")?;
        let held = stored["data"]["token"].as_str().and_then(base64_url::decode_standard).unwrap_or_default();
        if being_deleted(&stored) || held != token.as_bytes() {
            return Err("Token does not match server's copy".into());
        }
        let account = serde_json::json!({ "name": text("service-account.name"), "uid": text("service-account.uid") });
        Ok((self.user(&namespace, &account)?, good))
    }
}

/// Whether an object is on its way out for good: a deletion more than a minute ago counts, as upstream's leeway has it.
fn being_deleted(object: &Value) -> bool {
    let deleted = object["metadata"]["deletionTimestamp"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    deleted.is_some_and(|t| t.as_second() + 60 < jiff_now())
}

fn jiff_now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Base64 in the two alphabets that tokens and Secrets use.
mod base64_url {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    pub(super) fn decode(s: &str) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode(s).ok()
    }
    pub(super) fn decode_standard(s: &str) -> Option<Vec<u8>> {
        STANDARD.decode(s).ok()
    }
}
