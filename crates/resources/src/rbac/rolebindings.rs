//! `rolebindings` (rule: `pkg/registry/rbac/rolebinding`).

use super::{GROUP, columns, escalation, validation};
use crate::checks;
use crate::namespaced;
use async_trait::async_trait;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Status};
use steersman_registry::{Cluster, Column, Context, Finish, ResourceInfo, Strategy};

static INFO: ResourceInfo = namespaced(GROUP, "v1", "rolebindings", "rolebinding", "RoleBinding");

/// The strategy of `rolebindings`.
pub struct RoleBindings;

#[async_trait]
impl Strategy for RoleBindings {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        validation::default_binding(obj);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        validation::binding(obj, &["Role", "ClusterRole"], true)
    }
    fn validate_update(&self, ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = self.validate(ctx, new);
        validation::binding_update(&mut e, new, old);
        e
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
        escalation::check_binding(ctx, cluster, INFO.resource, obj, None).await?;
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
        escalation::check_binding(ctx, cluster, INFO.resource, new, Some(old)).await?;
        Ok(None)
    }
    fn columns(&self) -> &'static [Column] {
        columns::ROLEBINDINGS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        validation::binding_cells(obj, now)
    }
}
