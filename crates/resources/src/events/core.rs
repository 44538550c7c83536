//! Events of `v1` (rule: `pkg/registry/core/event`).

use super::{print, validation};
use crate::namespaced;
use serde_json::Value;
use std::time::Duration;
use steersman_apimachinery::validation::path_segment_name;
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Cluster, Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = ResourceInfo { short_names: &["ev"], ..namespaced("", "v1", "events", "event", "Event") };

/// The resource.
pub struct Events;

fn validate(event: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    validation::loose(&mut e, event, "reportingComponent");
    e
}

impl Strategy for Events {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        validate(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        validate(new)
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        path_segment_name(name, prefix)
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
    fn ttl(&self, cluster: &dyn Cluster) -> Option<Duration> {
        Some(Duration::from_secs(cluster.config().event_ttl))
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }
    fn selectable_field(&self, obj: &Value, field: &str) -> String {
        if field == "source" {
            return match object::str(obj, &["source", "component"]) {
                "" => object::str(obj, &["reportingComponent"]),
                component => component,
            }
            .to_owned();
        }
        let steps: Vec<&str> = field.split('.').collect();
        object::str(obj, &steps).to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        print::COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        print::cells(obj, now)
    }
}
