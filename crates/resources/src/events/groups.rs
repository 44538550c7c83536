//! Events of `events.k8s.io/v1`, kept as those of `v1` are.

use super::{conversion, print, validation};
use crate::namespaced;
use crate::shared::rules::known_finalizers;
use serde_json::Value;
use std::time::Duration;
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Cluster, Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["ev"],
    stored_as: ("", "v1", "Event"),
    ..namespaced("events.k8s.io", "v1", "events", "event", "Event")
};

/// The resource.
pub struct Events;

fn core(obj: &Value) -> Value {
    let mut event = obj.clone();
    conversion::to_core(&mut event);
    event
}

impl Strategy for Events {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        let (mut e, event) = (ErrorList::new(), core(obj));
        validation::loose(&mut e, &event, "reportingController");
        known_finalizers(&mut e, obj);
        validation::strict_create(&mut e, &event);
        e
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let (mut e, event) = (ErrorList::new(), core(new));
        validation::loose(&mut e, &event, "reportingController");
        known_finalizers(&mut e, new);
        validation::strict_update(&mut e, &event, &core(old));
        e
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
    fn ttl(&self, cluster: &dyn Cluster) -> Option<Duration> {
        Some(Duration::from_secs(cluster.config().event_ttl))
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ]
    }
    fn selectable_field(&self, obj: &Value, field: &str) -> String {
        let steps: Vec<&str> = field.split('.').collect();
        object::str(obj, &steps).to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        print::COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        print::cells(&core(obj), now)
    }
    fn from_stored(&self, obj: &mut Value) {
        conversion::from_core(obj);
    }
    fn to_stored(&self, obj: &mut Value) {
        conversion::to_core(obj);
    }
    fn converts(&self) -> bool {
        true
    }
}
