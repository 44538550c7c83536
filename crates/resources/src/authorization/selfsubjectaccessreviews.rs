//! `selfsubjectaccessreviews`: whether the caller may do something.

use super::{GROUP, check_attributes, check_metadata, decide, refuse};
use crate::cluster_scoped;
use crate::fields::Fields;
use async_trait::async_trait;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Status};
use steersman_registry::{Cluster, Context, ResourceInfo, Virtual};

static INFO: ResourceInfo = ResourceInfo {
    verbs: &["create"],
    prefix: "",
    ..cluster_scoped(GROUP, "v1", "selfsubjectaccessreviews", "selfsubjectaccessreview", "SelfSubjectAccessReview")
};

/// The review.
pub struct SelfSubjectAccessReviews;

#[async_trait]
impl Virtual for SelfSubjectAccessReviews {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    async fn create(
        &self,
        ctx: &Context,
        cluster: &dyn Cluster,
        _namespace: &str,
        body: Value,
        _dry_run: bool,
    ) -> Result<Value, Status> {
        let mut e = ErrorList::new();
        check_attributes(&mut e, body.at("spec"));
        check_metadata(&mut e, &body, false);
        refuse(INFO.kind, &e)?;
        Ok(decide(cluster, &ctx.user, body).await)
    }
}
