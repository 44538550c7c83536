//! The identity under which each controller acts: the manager's own or, with `--use-service-account-credentials`, a
//! service account in `kube-system` (rule: `pkg/controller` `DynamicControllerClientBuilder`).

use std::time::Duration;

use ahash::HashMap;
use jiff::Timestamp;
use steersman_api::k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use steersman_client::{Client, Result, TokenSource};
use steersman_component::flags::Flags;
use tokio_util::sync::CancellationToken;

use crate::Controller;

const NAMESPACE: &str = "kube-system";
/// The life of a token in seconds; it is renewed when four fifths have passed.
const LIFE: i64 = 3600;

/// Hands out clients.
pub struct Credentials {
    own: Client,
    /// The connections that carry no certificate, and the tokens by account; `None` if everything runs as the manager.
    accounts: Option<(Client, HashMap<&'static str, TokenSource>)>,
}

impl Credentials {
    /// Fetches a token for each selected controller and keeps it fresh until shutdown; `None` if shutdown came first.
    pub async fn prepare(
        client: &Client,
        flags: &Flags,
        selected: &[&'static Controller],
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Option<Self>> {
        if !flags.bool("use-service-account-credentials") {
            return Ok(Some(Self { own: client.clone(), accounts: None }));
        }
        let mut accounts: Vec<&'static str> =
            selected.iter().map(|controller| controller.account).filter(|account| !account.is_empty()).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let fetched = futures::future::join_all(accounts.into_iter().map(|account| async move {
            loop {
                match request(client, account).await {
                    Ok((token, until)) => return (account, token, until),
                    Err(error) => tracing::warn!(account, %error, "cannot get a token for the service account"),
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }));
        let fetched = tokio::select! {
            fetched = fetched => fetched,
            () = shutdown.cancelled() => return Ok(None),
        };
        let mut tokens = HashMap::default();
        for (account, token, until) in fetched {
            let source = TokenSource::fixed(token);
            tokio::spawn(keep_fresh(client.clone(), account, source.clone(), until, shutdown.clone()));
            tokens.insert(account, source);
        }
        Ok(Some(Self { own: client.clone(), accounts: Some((client.anonymous()?, tokens)) }))
    }

    /// The client for one controller.
    pub fn client(&self, controller: &Controller) -> Result<Client> {
        let agent = format!("kube-controller-manager/v1.36.2/system:serviceaccount:{NAMESPACE}:{}", controller.account);
        match &self.accounts {
            Some((anonymous, tokens)) if tokens.contains_key(controller.account) => {
                anonymous.with_token(tokens[controller.account].clone()).with_user_agent(&agent)
            }
            _ => self.own.with_user_agent(&agent),
        }
    }
}

/// A token and when to ask for the next.
async fn request(client: &Client, account: &str) -> Result<(String, Duration)> {
    let review = TokenRequest {
        spec: Some(TokenRequestSpec { expiration_seconds: Some(LIFE), ..TokenRequestSpec::default() }),
        ..TokenRequest::default()
    };
    let ask = || client.create_subresource::<ServiceAccount, _, TokenRequest>(NAMESPACE, account, "token", &review);
    let answer = match ask().await {
        Err(error) if error.is_not_found() => {
            let mut object = ServiceAccount::default();
            object.metadata.namespace = Some(NAMESPACE.to_owned());
            object.metadata.name = Some(account.to_owned());
            match client.create(NAMESPACE, &object).await {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => ask().await?,
            }
        }
        answer => answer?,
    };
    let status = answer.status.unwrap_or_default();
    let until = status.expiration_timestamp.map_or(0, |until| until.0.as_second());
    let left = (until - Timestamp::now().as_second()).max(10);
    Ok((status.token.unwrap_or_default(), Duration::from_secs(left as u64).mul_f64(0.8)))
}

async fn keep_fresh(
    client: Client,
    account: &'static str,
    source: TokenSource,
    mut wait: Duration,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = match request(&client, account).await {
            Ok((token, next)) => {
                source.set(token);
                next
            }
            Err(error) => {
                tracing::warn!(account, %error, "cannot renew the token of the service account");
                Duration::from_secs(10)
            }
        };
    }
}
