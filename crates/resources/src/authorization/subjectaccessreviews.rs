//! `subjectaccessreviews`: whether somebody may do something.

use super::{GROUP, check_attributes, check_metadata, check_subject, decide, refuse, subject};
use crate::cluster_scoped;
use crate::fields::Fields;
use async_trait::async_trait;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Status};
use steersman_registry::{Cluster, Context, ResourceInfo, Virtual};

static INFO: ResourceInfo = ResourceInfo {
    verbs: &["create"],
    prefix: "",
    ..cluster_scoped(GROUP, "v1", "subjectaccessreviews", "subjectaccessreview", "SubjectAccessReview")
};

/// The review.
pub struct SubjectAccessReviews;

#[async_trait]
impl Virtual for SubjectAccessReviews {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    async fn create(
        &self,
        _ctx: &Context,
        cluster: &dyn Cluster,
        _namespace: &str,
        body: Value,
        _dry_run: bool,
    ) -> Result<Value, Status> {
        let mut e = ErrorList::new();
        check_attributes(&mut e, body.at("spec"));
        check_subject(&mut e, body.at("spec"));
        check_metadata(&mut e, &body, false);
        refuse(INFO.kind, &e)?;
        let user = subject(body.at("spec"));
        Ok(decide(cluster, &user, body).await)
    }
}
