//! `tokenreviews`: whom a token stands for (rule: `pkg/registry/authentication/tokenreview`).

use super::{GROUP, user_info};
use crate::cluster_scoped;
use crate::fields::Fields;
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use steersman_apimachinery::gvk::GroupKind;
use steersman_apimachinery::{ErrorList, Path, Status, object};
use steersman_registry::{Cluster, Context, ResourceInfo, Virtual};

static INFO: ResourceInfo = ResourceInfo {
    verbs: &["create"],
    prefix: "",
    ..cluster_scoped(GROUP, "v1", "tokenreviews", "tokenreview", "TokenReview")
};

/// The review.
pub struct TokenReviews;

#[async_trait]
impl Virtual for TokenReviews {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    async fn create(
        &self,
        _ctx: &Context,
        cluster: &dyn Cluster,
        _namespace: &str,
        mut body: Value,
        _dry_run: bool,
    ) -> Result<Value, Status> {
        let namespace = object::namespace(&body);
        if !namespace.is_empty() {
            let mut e = ErrorList::new();
            e.invalid(&Path::new("metadata").child("namespace"), namespace, "must be empty");
            return Err(Status::invalid(&GroupKind::from_static(GROUP, "TokenReview"), "", &e));
        }
        let token = body.at("spec").s("token").to_owned();
        if token.is_empty() {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        let asked: Vec<String> = body.at("spec").strings("audiences").into_iter().map(str::to_owned).collect();
        let audiences = if asked.is_empty() { cluster.config().api_audiences.clone() } else { asked };
        let mut status = Map::new();
        status.insert("user".into(), json!({}));
        let answer = match cluster.token_authenticator() {
            Some(authenticator) => authenticator.authenticate(&token, &audiences).await,
            None => Ok(None),
        };
        match answer {
            Ok(Some((user, good_for))) => {
                status.insert("authenticated".into(), true.into());
                status.insert("user".into(), user_info(&user));
                if !good_for.is_empty() {
                    status.insert("audiences".into(), good_for.into());
                }
            }
            Ok(None) => {
                status.insert("error".into(), "invalid bearer token".into());
            }
            Err(why) => {
                status.insert("error".into(), why.into());
            }
        }
        object::set(&mut body, &["status"], Value::Object(status));
        Ok(body)
    }
}
