//! Pod templates that stand for themselves (rule: `pkg/registry/core/podtemplate`).

use crate::common::{NAME, column, first_generation, next_generation, same};
use crate::namespaced;
use crate::shared::defaults::{fill_absent, pod_template};
use crate::shared::pod::{self, Rules};
use crate::shared::{print, workload};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = namespaced("", "v1", "podtemplates", "podtemplate", "PodTemplate");

static COLUMNS: &[Column] = &[
    NAME,
    column("Containers", "string", "Names of each container in the template."),
    column("Images", "string", "Images referenced by each container in the template."),
    column("Pod Labels", "string", "The labels for the pod template."),
];

/// The resource.
pub struct PodTemplates;

fn validate(obj: &Value, old: Option<&Value>) -> ErrorList {
    let mut e = ErrorList::new();
    let template = obj.get("template").unwrap_or(&Value::Null);
    let allowed = Rules::for_template(old.and_then(|o| o.get("template")));
    pod::template(&mut e, template, &Path::new("template"), &allowed);
    e
}

impl Strategy for PodTemplates {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        let obj = object::entry(obj, &[]);
        fill_absent(obj, "template", json!({}));
        pod_template(obj, "template");
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        first_generation(obj);
        workload::prepare_template(obj, None, &["template"]);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        workload::prepare_template(new, Some(old), &["template"]);
        let changed = !same(new, old, &["template"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        validate(obj, None)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        validate(new, Some(old))
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        workload::warn_about_template(ctx, obj, &["template"]);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, old: &Value) {
        if !same(new, old, &["metadata", "generation"]) {
            workload::warn_about_template(ctx, new, &["template"]);
        }
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, _now: jiff::Timestamp) -> Vec<Value> {
        let [containers, images] = print::containers(obj.get("template"));
        let labels = print::labels(object::get(obj, &["template", "metadata", "labels"]));
        vec![print::name(obj), containers, images, labels]
    }
}
