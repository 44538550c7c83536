//! `localsubjectaccessreviews`: whether somebody may do something in a namespace.

use super::{GROUP, check_attributes, check_metadata, check_subject, decide, refuse, subject};
use crate::fields::Fields;
use crate::namespaced;
use async_trait::async_trait;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, Status};
use steersman_registry::{Cluster, Context, ResourceInfo, Virtual};

static INFO: ResourceInfo = ResourceInfo {
    verbs: &["create"],
    prefix: "",
    ..namespaced(GROUP, "v1", "localsubjectaccessreviews", "localsubjectaccessreview", "LocalSubjectAccessReview")
};

/// The review.
pub struct LocalSubjectAccessReviews;

#[async_trait]
impl Virtual for LocalSubjectAccessReviews {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    async fn create(
        &self,
        _ctx: &Context,
        cluster: &dyn Cluster,
        namespace: &str,
        body: Value,
        _dry_run: bool,
    ) -> Result<Value, Status> {
        let spec = body.at("spec");
        let mut e = ErrorList::new();
        check_attributes(&mut e, spec);
        check_subject(&mut e, spec);
        check_metadata(&mut e, &body, true);
        if let Some(n) = spec.sub("nonResourceAttributes") {
            e.invalid(&Path::new("spec.nonResourceAttributes"), n, "disallowed on this kind of request");
        }
        if let Some(r) = spec.sub("resourceAttributes")
            && r.s("namespace") != namespace
        {
            e.invalid(
                &Path::new("spec.resourceAttributes.namespace"),
                r.s("namespace"),
                "must match metadata.namespace",
            );
        }
        refuse(INFO.kind, &e)?;
        let user = subject(spec);
        Ok(decide(cluster, &user, body).await)
    }
}
