//! Service-account tokens as strategies see them: signed and checked.

use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;
use steersman_admission::cluster::{TokenAuthenticator, TokenIssuer};
use steersman_apimachinery::Status;
use steersman_auth::UserInfo;
use steersman_auth::authenticate::Authenticators;
use steersman_pki::token::Signer;

struct Issuer(Signer);

impl TokenIssuer for Issuer {
    fn sign(&self, claims: &Value) -> Result<String, Status> {
        self.0.sign(claims).map_err(Status::internal)
    }
}

struct Checker(Arc<Authenticators>);

#[async_trait]
impl TokenAuthenticator for Checker {
    async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<(UserInfo, Vec<String>)>, String> {
        self.0.token(token, audiences)
    }
}

/// Signs with a key.
pub fn issuer(signer: Signer) -> Arc<dyn TokenIssuer> {
    Arc::new(Issuer(signer))
}

/// Checks as requests are checked.
pub fn authenticator(all: Arc<Authenticators>) -> Arc<dyn TokenAuthenticator> {
    Arc::new(Checker(all))
}
