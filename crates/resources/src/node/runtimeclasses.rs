//! Runtime classes (rule: `pkg/registry/node/runtimeclass`).

use crate::cluster_scoped;
use crate::common::{AGE, NAME, age_cell, column};
use crate::shared::defaults::{member, resource_list};
use crate::shared::pod::{Rules, resources, say, scheduling};
use crate::shared::pod_warnings::old_node_label;
use crate::shared::print;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = cluster_scoped("node.k8s.io", "v1", "runtimeclasses", "runtimeclass", "RuntimeClass");

static COLUMNS: &[Column] = &[NAME, column("Handler", "string", ""), AGE];

/// The resource.
pub struct RuntimeClasses;

fn validate(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let handler = object::str(obj, &["handler"]);
    say(&mut e, || Path::new("handler"), handler, validation::dns_label(handler, false));
    if let Some(fixed) = object::get(obj, &["overhead", "podFixed"]) {
        resources::limits_only(&mut e, fixed, &Path::new("overhead").child("podFixed"), &Rules::default());
    }
    if let Some(wanted) = obj.get("scheduling") {
        let at = Path::new("scheduling");
        if let Some(selector) = wanted.get("nodeSelector") {
            validation::labels(&mut e, Some(selector), &at.child("nodeSelector"));
        }
        let list = object::list(wanted, &["tolerations"]);
        let at = at.child("tolerations");
        scheduling::tolerations(&mut e, list, &at);
        for (i, toleration) in list.iter().enumerate().filter(|(i, t)| list[..*i].contains(t)) {
            let shown = crate::shared::internal::Show(crate::shared::pod::internal::TOLERATION, toleration);
            e.duplicate(&at.index(i), shown);
        }
    }
    e
}

fn warn(ctx: &Context, obj: &Value) {
    let selector = object::get(obj, &["scheduling", "nodeSelector"]).and_then(Value::as_object);
    for key in selector.into_iter().flat_map(|m| m.keys()) {
        if let Some(why) = old_node_label(key) {
            ctx.warn(format!("scheduling.nodeSelector: {why}"));
        }
    }
}

impl Strategy for RuntimeClasses {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        let fixed = member(object::entry(obj, &[]), "overhead").and_then(|o| member(o, "podFixed"));
        if let Some(fixed) = fixed {
            resource_list(fixed);
        }
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        validate(obj)
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = validate(new);
        validation::immutable(&mut e, new.get("handler"), old.get("handler"), &Path::new("handler"));
        e
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        warn(ctx, obj);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, _old: &Value) {
        warn(ctx, new);
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), object::str(obj, &["handler"]).into(), age_cell(obj, now)]
    }
}
