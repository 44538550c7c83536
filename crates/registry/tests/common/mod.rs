//! A registry of three made-up resources over an etcd of its own.

#![allow(dead_code, reason = "each test file uses a part of this")]

use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use steersman_apimachinery::options::*;
use steersman_apimachinery::{ErrorList, Path, Status, object};
use steersman_registry::*;
use steersman_testkit::Etcd;

/// Behaves as config maps do.
pub struct Plain;
static PLAIN: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    resource: "configmaps",
    singular: "configmap",
    kind: "ConfigMap",
    namespaced: true,
    short_names: &[],
    categories: &[],
    verbs: ALL_VERBS,
    prefix: "configmaps",
    stored_as: ("", "v1", "ConfigMap"),
};
impl Strategy for Plain {
    fn info(&self) -> &'static ResourceInfo {
        &PLAIN
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        if object::str(obj, &["data", "bad"]) == "yes" {
            e.invalid(&Path::new("data").key("bad"), "yes", "may not be bad");
        }
        e
    }
    fn validate_update(&self, ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        self.validate(ctx, new)
    }
}

/// Has a spec, a status, a scale, a grace period and an index; answers deletions with the object.
pub struct Work;
static WORK: ResourceInfo = ResourceInfo {
    group: "apps",
    version: "v1",
    resource: "deployments",
    singular: "deployment",
    kind: "Deployment",
    namespaced: true,
    short_names: &[],
    categories: &[],
    verbs: ALL_VERBS,
    prefix: "deployments",
    stored_as: ("apps", "v1", "Deployment"),
};
static SCALE: ScalePaths = ScalePaths {
    spec_replicas: &["spec", "replicas"],
    status_replicas: &["status", "replicas"],
    selector: &["spec", "selector"],
};
const SUBS: &[Subresource] = &[
    Subresource {
        name: "scale",
        kind: ("autoscaling", "v1", "Scale"),
        verbs: &["get", "patch", "update"],
        behaviour: SubBehaviour::Scale(&SCALE),
    },
    Subresource {
        name: "status",
        kind: ("", "", "Deployment"),
        verbs: &["get", "patch", "update"],
        behaviour: SubBehaviour::Object(&WorkStatus),
    },
];
impl Strategy for Work {
    fn info(&self) -> &'static ResourceInfo {
        &WORK
    }
    fn default(&self, obj: &mut Value) {
        if object::int(obj, &["spec", "replicas"]).is_none() {
            object::set(obj, &["spec", "replicas"], 1);
        }
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({}));
        object::set(obj, &["metadata", "generation"], 1);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        object::set(new, &["status"], old["status"].clone());
        if new["spec"] != old["spec"] {
            object::set(
                new,
                &["metadata", "generation"],
                object::int(old, &["metadata", "generation"]).unwrap_or(0) + 1,
            );
        }
    }
    fn check_graceful_delete(&self, _ctx: &Context, obj: &Value, options: &mut DeleteOptions) -> bool {
        if options.grace_period_seconds.is_none() {
            options.grace_period_seconds = Some(if object::bool(obj, &["spec", "paused"]) { 30 } else { 0 });
        }
        true
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.nodeName", "status.phase"]
    }
    fn selectable_field(&self, obj: &Value, field: &str) -> String {
        match field {
            "spec.nodeName" => object::str(obj, &["metadata", "labels", "node"]).to_owned(),
            _ => object::str(obj, &["spec", "strategy", "type"]).to_owned(),
        }
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        SUBS
    }
}
pub struct WorkStatus;
impl Strategy for WorkStatus {
    fn info(&self) -> &'static ResourceInfo {
        &WORK
    }
    fn default(&self, obj: &mut Value) {
        Work.default(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        object::set(new, &["spec"], old["spec"].clone());
        if let Some(labels) = object::get(old, &["metadata", "labels"]) {
            object::set(new, &["metadata", "labels"], labels.clone());
        } else {
            object::remove(new, &["metadata", "labels"]);
        }
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec", "metadata.labels"]
    }
}

/// The same objects in another version, with another name for a field.
pub struct Other;
static OTHER: ResourceInfo = ResourceInfo { version: "v1beta9", verbs: ALL_VERBS, ..PLAIN_INFO };
const PLAIN_INFO: ResourceInfo = ResourceInfo {
    group: "",
    version: "v1",
    resource: "configmaps",
    singular: "configmap",
    kind: "ConfigMap",
    namespaced: true,
    short_names: &[],
    categories: &[],
    verbs: ALL_VERBS,
    prefix: "configmaps",
    stored_as: ("", "v1", "ConfigMap"),
};
fn rename(obj: &mut Value, from: &str, to: &str) {
    if let Some(v) = obj.as_object_mut().and_then(|o| o.remove(from)) {
        obj[to] = v;
    }
}
impl Strategy for Other {
    fn info(&self) -> &'static ResourceInfo {
        &OTHER
    }
    fn converts(&self) -> bool {
        true
    }
    fn from_stored(&self, obj: &mut Value) {
        rename(obj, "data", "values");
    }
    fn to_stored(&self, obj: &mut Value) {
        rename(obj, "values", "data");
    }
    fn allow_unconditional_update(&self) -> bool {
        false
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
}

pub static TABLE: &[Resource] = &[Resource::Stored(&Plain), Resource::Stored(&Other), Resource::Stored(&Work)];

pub struct Server {
    pub etcd: Etcd,
    pub registry: Arc<Registry>,
    pub ctx: Context,
}

pub async fn serve() -> Server {
    let etcd = Etcd::start().expect("etcd");
    let registry = start(&etcd).await;
    let mut ctx = Context::loopback();
    ctx.user_agent = "tester/1.0".into();
    Server { etcd, registry, ctx }
}

pub async fn start(etcd: &Etcd) -> Arc<Registry> {
    let storage = StorageConfig { servers: vec![etcd.url()], ..StorageConfig::default() };
    let registry =
        Registry::start(Config { resources: TABLE, storage, overrides: Vec::new(), server: ServerConfig::default() })
            .await
            .expect("config");
    assert!(registry.wait_synced(Duration::from_secs(10)).await);
    registry
}

pub fn cm(name: &str, data: Value) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": data})
}
pub fn work(name: &str, more: Value) -> Value {
    let mut w = json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": name}, "status": {},
        "spec": {"selector": {"matchLabels": {"app": name}}, "strategy": {}, "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": []}}}});
    if let Some(more) = more.as_object() {
        for (k, v) in more {
            w[k] = v.clone();
        }
    }
    w
}

impl Server {
    pub fn store(&self, resource: &str) -> Arc<Store> {
        let (group, version) = match resource {
            "deployments" => ("apps", "v1"),
            "others" => ("", "v1beta9"),
            _ => ("", "v1"),
        };
        match self.registry.find(group, version, resource.replace("others", "configmaps").as_str()) {
            Some(Found::Stored(s)) => s,
            _ => panic!("no {resource}"),
        }
    }
    pub async fn create(&self, resource: &str, obj: Value) -> Result<Value, Status> {
        self.store(resource).create(&self.ctx, "ns", obj, &CreateOptions::default()).await.map(tree)
    }
    pub async fn get(&self, resource: &str, name: &str) -> Result<Value, Status> {
        self.store(resource).get(&self.ctx, "ns", name, &GetOptions::default()).await.map(tree)
    }
    pub async fn put(&self, resource: &str, name: &str, obj: Value) -> Result<(Value, bool), Status> {
        self.store(resource)
            .update(&self.ctx, None, "ns", name, obj, &UpdateOptions::default())
            .await
            .map(|(o, c)| (tree(o), c))
    }
    pub async fn patch(
        &self,
        resource: &str,
        path: &str,
        kind: PatchType,
        body: Value,
        options: &UpdateOptions,
    ) -> Result<(Value, bool), Status> {
        let store = self.store(resource);
        let (name, sub) = path.split_once('/').map_or((path, None), |(n, s)| (n, store.subresource(s)));
        let body = Bytes::from(body.to_string());
        store.patch(&self.ctx, sub, "ns", name, kind, body, options).await.map(|(o, c)| (tree(o), c))
    }
    pub async fn merge(&self, resource: &str, path: &str, body: Value) -> Result<Value, Status> {
        self.patch(resource, path, PatchType::Merge, body, &UpdateOptions::default()).await.map(|(o, _)| o)
    }
    pub async fn apply(&self, resource: &str, path: &str, manager: &str, body: Value) -> Result<(Value, bool), Status> {
        let options = UpdateOptions { field_manager: manager.into(), ..UpdateOptions::default() };
        self.patch(resource, path, PatchType::Apply, body, &options).await
    }
    pub async fn delete(&self, resource: &str, name: &str, options: DeleteOptions) -> Result<(u16, Value), Status> {
        let deleted = self.store(resource).delete(&self.ctx, "ns", name, options).await?;
        Ok(match deleted.body {
            DeletedBody::Object(o) => (deleted.code, tree(o)),
            DeletedBody::Status(s) => (deleted.code, serde_json::from_slice(&s.to_json()).expect("json")),
        })
    }
    pub async fn list(&self, resource: &str, options: &ListOptions) -> Result<(Vec<String>, List), Status> {
        let mut list = self.store(resource).list(&self.ctx, "ns", options).await?;
        let names = list.items.by_ref().map(|o| object::name(&tree(o)).to_owned()).collect();
        Ok((names, list))
    }
}

pub fn tree(o: Object) -> Value {
    o.to_value().expect("json")
}
pub fn version(v: &Value) -> u64 {
    object::resource_version(v).parse().expect("a version")
}
