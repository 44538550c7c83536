//! `selfsubjectreviews`: who the server takes the caller for (rule: `pkg/registry/authentication/selfsubjectreview`).

use super::{GROUP, user_info};
use crate::cluster_scoped;
use async_trait::async_trait;
use serde_json::{Value, json};
use steersman_apimachinery::{Status, object};
use steersman_registry::{Cluster, Context, ResourceInfo, Virtual};

static INFO: ResourceInfo = ResourceInfo {
    verbs: &["create"],
    prefix: "",
    ..cluster_scoped(GROUP, "v1", "selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview")
};

/// The review.
pub struct SelfSubjectReviews;

#[async_trait]
impl Virtual for SelfSubjectReviews {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    async fn create(
        &self,
        ctx: &Context,
        _cluster: &dyn Cluster,
        _namespace: &str,
        mut body: Value,
        _dry_run: bool,
    ) -> Result<Value, Status> {
        let now = jiff::Timestamp::from_second(ctx.now.as_second()).unwrap_or_default().to_string();
        object::set(&mut body, &["metadata"], json!({"creationTimestamp": now}));
        object::set(&mut body, &["status"], json!({"userInfo": user_info(&ctx.user)}));
        Ok(body)
    }
}
