//! Fills and prunes Secrets that hold tokens of service accounts (rule: `serviceaccount/tokens_controller.go`).

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use serde_json::json;
use steersman_api::k8s_openapi::{
    ByteString,
    api::core::v1::{Secret, ServiceAccount},
};
use steersman_client::{Action, Client, DeleteOptions, Error, Event, Object, ObjectKey, Result, Store, WorkQueue};
use steersman_pki::token::Signer;

use crate::context::{Context, Run};

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const ISSUER: &str = "kubernetes/serviceaccount";
/// Index of token Secrets: `namespace/account`.
const BY_ACCOUNT: &str = "account";

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let Some(path) = context.flags.path("service-account-private-key-file") else { return Ok(None) };
    let signer = Signer::read(&path).context("error reading key for service account token controller")?;
    let root_ca = match context.flags.path("root-ca-file") {
        Some(path) => {
            std::fs::read(&path).with_context(|| format!("error reading root-ca-file at {}", path.display()))?
        }
        None => context.client.config().ca.clone(),
    };
    let accounts = context.informers.get::<ServiceAccount>();
    let secrets = context.secrets();
    secrets.add_index(BY_ACCOUNT, |secret| match account_of(secret) {
        Some(account) => vec![account.as_str().to_owned()],
        None => Vec::new(),
    });
    let queue = WorkQueue::<ObjectKey>::new();
    secrets.add_handler({
        let queue = queue.clone();
        move |event| {
            if !matches!(event, Event::Deleted { .. }) && account_of(event.object()).is_some() {
                queue.add(event.object().key());
            }
        }
    });
    accounts.add_handler({
        let (queue, secrets) = (queue.clone(), secrets.store().clone());
        move |event| {
            for secret in secrets.by_index(BY_ACCOUNT, event.object().key().as_str()) {
                queue.add(secret.key());
            }
        }
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        accounts: accounts.store().clone(),
        secrets: secrets.store().clone(),
        signer,
        root_ca,
    });
    let workers = context.workers("concurrent-serviceaccount-token-syncs");
    Ok(Some(context.work("serviceaccount-token", queue, workers, controller, |controller, key| async move {
        controller.sync(&key).await
    })))
}

fn account_of(secret: &Secret) -> Option<ObjectKey> {
    let name = secret.annotations().get(ACCOUNT_NAME).filter(|name| !name.is_empty())?;
    (secret.type_.as_deref() == Some(TYPE)).then(|| ObjectKey::new(secret.namespace(), name))
}

struct Controller {
    client: Client,
    accounts: Store<ServiceAccount>,
    secrets: Store<Secret>,
    signer: Signer,
    root_ca: Vec<u8>,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(secret) = self.secrets.get(key) else { return Ok(Action::Done) };
        let Some(account_key) = account_of(&secret) else { return Ok(Action::Done) };
        let uid = secret.annotations().get(ACCOUNT_UID).map_or("", String::as_str);
        let account = match self.accounts.get(&account_key) {
            Some(account) => Some((*account).clone()),
            // A token must not go because a cache lags.
            None => self.client.get_opt(account_key.namespace(), account_key.name()).await?,
        };
        let Some(account) = account.filter(|account| uid.is_empty() || uid == account.uid()) else {
            let options = DeleteOptions::default().uid(secret.uid());
            return match self.client.delete::<Secret>(key.namespace(), key.name(), &options).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
                _ => Ok(Action::Done),
            };
        };
        let data = secret.data.clone().unwrap_or_default();
        let Some(wanted) = self.fill(&account, &secret, &data)? else {
            if uid == account.uid() {
                return Ok(Action::Done);
            }
            return self.store(&secret, &account, data).await;
        };
        self.store(&secret, &account, wanted).await
    }

    /// The data that the Secret should have, if it does not have it.
    fn fill(
        &self,
        account: &ServiceAccount,
        secret: &Secret,
        data: &BTreeMap<String, ByteString>,
    ) -> Result<Option<BTreeMap<String, ByteString>>> {
        let mut wanted = data.clone();
        if !self.root_ca.is_empty() {
            wanted.insert("ca.crt".to_owned(), ByteString(self.root_ca.clone()));
        }
        wanted.entry("namespace".to_owned()).or_insert_with(|| ByteString(secret.namespace().as_bytes().to_vec()));
        if data.get("token").is_none_or(|token| token.0.is_empty()) {
            let claims = json!({
                "iss": ISSUER,
                "sub": format!("system:serviceaccount:{}:{}", account.namespace(), account.name()),
                "kubernetes.io/serviceaccount/namespace": account.namespace(),
                "kubernetes.io/serviceaccount/service-account.name": account.name(),
                "kubernetes.io/serviceaccount/service-account.uid": account.uid(),
                "kubernetes.io/serviceaccount/secret.name": secret.name(),
            });
            let token = self.signer.sign(&claims).map_err(|error| Error::Config(error.to_string()))?;
            wanted.insert("token".to_owned(), ByteString(token.into_bytes()));
        }
        Ok((wanted != *data).then_some(wanted))
    }

    async fn store(
        &self,
        secret: &Secret,
        account: &ServiceAccount,
        data: BTreeMap<String, ByteString>,
    ) -> Result<Action> {
        let mut changed = secret.clone();
        changed.data = Some(data);
        let annotations = changed.metadata.annotations.get_or_insert_default();
        annotations.insert(ACCOUNT_NAME.to_owned(), account.name().to_owned());
        annotations.insert(ACCOUNT_UID.to_owned(), account.uid().to_owned());
        match self.client.update(&changed).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(Action::Done),
        }
    }
}
