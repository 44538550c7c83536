//! `selfsubjectrulesreviews`: all that the caller may do in a namespace.

use super::GROUP;
use crate::cluster_scoped;
use crate::fields::Fields;
use async_trait::async_trait;
use serde_json::{Value, json};
use steersman_apimachinery::{Status, object};
use steersman_registry::{Cluster, Context, ResourceInfo, Virtual};

static INFO: ResourceInfo = ResourceInfo {
    verbs: &["create"],
    prefix: "",
    ..cluster_scoped(GROUP, "v1", "selfsubjectrulesreviews", "selfsubjectrulesreview", "SelfSubjectRulesReview")
};

/// The review.
pub struct SelfSubjectRulesReviews;

#[async_trait]
impl Virtual for SelfSubjectRulesReviews {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    async fn create(
        &self,
        ctx: &Context,
        cluster: &dyn Cluster,
        _namespace: &str,
        mut body: Value,
        _dry_run: bool,
    ) -> Result<Value, Status> {
        let namespace = body.at("spec").s("namespace").to_owned();
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let rules = cluster.authorizer().rules_for(&ctx.user, &namespace).await;
        let mut status = json!({
            "resourceRules": rules.resource,
            "nonResourceRules": rules.non_resource,
            "incomplete": rules.incomplete,
        });
        if !rules.error.is_empty() {
            object::set(&mut status, &["evaluationError"], rules.error);
        }
        object::set(&mut body, &["status"], status);
        Ok(body)
    }
}
