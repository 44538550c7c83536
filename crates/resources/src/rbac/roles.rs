//! `roles` (rule: `pkg/registry/rbac/role`).

use super::{GROUP, columns, escalation, validation};
use crate::checks;
use crate::common::name_and_created;
use crate::namespaced;
use async_trait::async_trait;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Status};
use steersman_registry::{Cluster, Column, Context, Finish, ResourceInfo, Strategy};

static INFO: ResourceInfo = namespaced(GROUP, "v1", "roles", "role", "Role");

/// The strategy of `roles`.
pub struct Roles;

#[async_trait]
impl Strategy for Roles {
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
        validation::rules(obj, true)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        validation::rules(new, true)
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
        columns::ROLES
    }
    fn cells(&self, obj: &Value, _now: jiff::Timestamp) -> Vec<Value> {
        name_and_created(obj)
    }
}
