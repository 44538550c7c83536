//! Bootstrap tokens: signs the cluster information that joining nodes fetch, and deletes expired tokens
//! (rule: `pkg/controller/bootstrap`, `cluster-bootstrap/token/jws`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use steersman_api::k8s_openapi::api::core::v1::{ConfigMap, Secret};
use steersman_client::{Action, Client, DeleteOptions, Event, Object, ObjectKey, Result, Store, WorkQueue};

use crate::context::{Context, Run};

const TYPE: &str = "bootstrap.kubernetes.io/token";
const TOKENS: &str = "kube-system";
const CLUSTER_INFO: (&str, &str) = ("kube-public", "cluster-info");
const KUBECONFIG: &str = "kubeconfig";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

pub fn start_signer(context: &Context) -> anyhow::Result<Option<Run>> {
    let (maps, secrets) = (context.config_maps(), context.secrets());
    let queue = WorkQueue::<()>::new();
    maps.add_handler({
        let queue = queue.clone();
        move |event| {
            if (event.object().namespace(), event.object().name()) == CLUSTER_INFO {
                queue.add(());
            }
        }
    });
    secrets.add_handler({
        let queue = queue.clone();
        move |event| {
            if is_token(event.object()) {
                queue.add(());
            }
        }
    });
    let controller = Arc::new((context.client.clone(), maps.store().clone(), secrets.store().clone()));
    Ok(Some(context.work("bootstrapsigner", queue, 1, controller, |shared, ()| async move {
        sign(&shared.0, &shared.1, &shared.2).await
    })))
}

fn is_token(secret: &Secret) -> bool {
    secret.namespace() == TOKENS && secret.type_.as_deref() == Some(TYPE)
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let value = secret.data.as_ref()?.get(key)?;
    String::from_utf8(value.0.clone()).ok().filter(|value| !value.is_empty())
}

/// When a token expires, in seconds since the epoch; one whose time cannot be read has expired.
fn expires_at(secret: &Secret) -> Option<i64> {
    let text = text(secret, "expiration")?;
    Some(text.parse::<Timestamp>().map_or(0, Timestamp::as_second))
}

/// The id and the secret of a token that may sign.
fn signing_token(secret: &Secret, now: i64) -> Option<(String, String)> {
    let valid = is_token(secret)
        && text(secret, "usage-bootstrap-signing").as_deref() == Some("true")
        && expires_at(secret).is_none_or(|end| now < end);
    let (id, key) = (text(secret, "token-id")?, text(secret, "token-secret")?);
    (valid && secret.name() == format!("bootstrap-token-{id}")).then_some((id, key))
}

/// A JSON web signature without its payload.
fn detached_signature(content: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"HS256\",\"kid\":\"{id}\"}}"));
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let signature = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

async fn sign(client: &Client, maps: &Store<ConfigMap>, secrets: &Store<Secret>) -> Result<Action> {
    let Some(map) = maps.find(CLUSTER_INFO.0, CLUSTER_INFO.1) else { return Ok(Action::Done) };
    let old = map.data.clone().unwrap_or_default();
    let Some(content) = old.get(KUBECONFIG) else { return Ok(Action::Done) };
    let now = Timestamp::now().as_second();
    let mut data: BTreeMap<String, String> =
        old.iter().filter(|(key, _)| !key.starts_with(SIGNATURE_PREFIX)).map(|(k, v)| (k.clone(), v.clone())).collect();
    for (id, key) in secrets.list().iter().filter_map(|secret| signing_token(secret, now)) {
        data.insert(format!("{SIGNATURE_PREFIX}{id}"), detached_signature(content, &id, &key));
    }
    if data != old {
        let changed = ConfigMap { data: Some(data), ..(*map).clone() };
        client.update(&changed).await?;
    }
    Ok(Action::Done)
}

pub fn start_cleaner(context: &Context) -> anyhow::Result<Option<Run>> {
    let secrets = context.secrets();
    let queue = WorkQueue::<ObjectKey>::new();
    secrets.add_handler({
        let queue = queue.clone();
        move |event| {
            if is_token(event.object()) && !matches!(event, Event::Deleted { .. }) {
                queue.add(event.object().key());
            }
        }
    });
    let controller = Arc::new((context.client.clone(), secrets.store().clone()));
    Ok(Some(context.work("tokencleaner", queue, 1, controller, |shared, key| async move {
        clean(&shared.0, &shared.1, &key).await
    })))
}

async fn clean(client: &Client, secrets: &Store<Secret>, key: &ObjectKey) -> Result<Action> {
    let Some(secret) = secrets.get(key) else { return Ok(Action::Done) };
    let Some(end) = expires_at(&secret) else { return Ok(Action::Done) };
    let left = end - Timestamp::now().as_second();
    if left > 0 {
        return Ok(Action::RequeueAfter(Duration::from_secs(left as u64)));
    }
    let options = DeleteOptions::default().uid(secret.uid());
    match client.delete::<Secret>(key.namespace(), key.name(), &options).await {
        Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
        _ => Ok(Action::Done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_detached() {
        let signature = detached_signature("content", "abcdef", "0123456789abcdef");
        let parts: Vec<_> = signature.split('.').collect();
        assert_eq!(URL_SAFE_NO_PAD.decode(parts[0]).unwrap(), br#"{"alg":"HS256","kid":"abcdef"}"#);
        assert_eq!((parts.len(), parts[1], parts[2].len()), (3, "", 43));
        assert_ne!(signature, detached_signature("content", "abcdef", "other"));
    }
}
