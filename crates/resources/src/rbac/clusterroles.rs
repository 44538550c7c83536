//! `clusterroles` (rule: `pkg/registry/rbac/clusterrole`).

use super::{GROUP, columns, escalation, validation};
use crate::checks;
use crate::cluster_scoped;
use crate::common::name_and_created;
use crate::fields::Fields;
use async_trait::async_trait;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, Status};
use steersman_registry::{Cluster, Column, Context, Finish, ResourceInfo, Strategy};

static INFO: ResourceInfo = cluster_scoped(GROUP, "v1", "clusterroles", "clusterrole", "ClusterRole");

fn check(obj: &Value) -> ErrorList {
    let mut e = validation::rules(obj, false);
    if let Some(rule) = obj.sub("aggregationRule") {
        let path = Path::new("aggregationRule").child("clusterRoleSelectors");
        let selectors = rule.items("clusterRoleSelectors");
        if selectors.is_empty() {
            e.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
        }
        for (i, selector) in selectors.iter().enumerate() {
            checks::label_selector(&mut e, &path.index(i), Some(selector));
        }
    }
    e
}

/// The strategy of `clusterroles`.
pub struct ClusterRoles;

#[async_trait]
impl Strategy for ClusterRoles {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        check(new)
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        if prefix { checks::path_segment_prefix_messages(name) } else { checks::path_segment_messages(name) }
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
    async fn begin_create(
        &self,
        ctx: &Context,
        cluster: &dyn Cluster,
        obj: &mut Value,
        _dry_run: bool,
    ) -> Result<Option<Box<dyn Finish>>, Status> {
        escalation::check_role(ctx, cluster, INFO.resource, obj, None).await?;
        Ok(None)
    }
    async fn begin_update(
        &self,
        ctx: &Context,
        cluster: &dyn Cluster,
        new: &mut Value,
        old: &Value,
        _dry_run: bool,
    ) -> Result<Option<Box<dyn Finish>>, Status> {
        escalation::check_role(ctx, cluster, INFO.resource, new, Some(old)).await?;
        Ok(None)
    }
    fn columns(&self) -> &'static [Column] {
        columns::CLUSTERROLES
    }
    fn cells(&self, obj: &Value, _now: jiff::Timestamp) -> Vec<Value> {
        name_and_created(obj)
    }
}
