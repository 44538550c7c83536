//! `binding`: gives a pod its node (rule: pod storage `BindingREST`).

use super::INFO;
use async_trait::async_trait;
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, GroupResource, Path, Reason, Status, object};
use steersman_registry::{Cluster, Context, CreateSubresource, ResourceInfo, Strategy, Virtual};

/// The subresource of pods.
pub struct PodBinding;
/// The resource `bindings`, the older way to the same.
pub struct Bindings;

static BINDINGS: ResourceInfo =
    ResourceInfo { verbs: &["create"], prefix: "", ..crate::namespaced("", "v1", "bindings", "binding", "Binding") };

/// A time as objects show it, in whole seconds.
pub fn rfc3339(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The answer to a subresource that has nothing to show.
pub fn success() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })
}

/// How a binding writes the pod: just so.
struct Assign;

impl Strategy for Assign {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
}

#[async_trait]
impl CreateSubresource for PodBinding {
    async fn create(
        &self,
        ctx: &Context,
        cluster: &dyn Cluster,
        namespace: &str,
        name: &str,
        body: Value,
        dry_run: bool,
    ) -> Result<Value, Status> {
        if object::name(&body) != name {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        bind(ctx, cluster, namespace, &body, dry_run).await
    }
    fn parent_strategy(&self) -> Option<&'static dyn Strategy> {
        Some(&Assign)
    }
}

#[async_trait]
impl Virtual for Bindings {
    fn info(&self) -> &'static ResourceInfo {
        &BINDINGS
    }
    async fn create(
        &self,
        ctx: &Context,
        cluster: &dyn Cluster,
        namespace: &str,
        body: Value,
        dry_run: bool,
    ) -> Result<Value, Status> {
        bind(ctx, cluster, namespace, &body, dry_run).await
    }
}

/// Rule: core validation `ValidatePodBinding`. The errors are not those of an object: upstream answers them with 500.
fn validate(binding: &Value) -> Result<(), Status> {
    let mut e = ErrorList::new();
    let at = Path::new("target");
    let kind = object::str(binding, &["target", "kind"]);
    if !["", "Node"].contains(&kind) {
        e.not_supported_in_order(&at.child("kind"), kind, &["Node", "<empty>"]);
    }
    if object::str(binding, &["target", "name"]).is_empty() {
        e.required(&at.child("name"), "");
    }
    if e.is_empty() { Ok(()) } else { Err(Status::failure(500, Reason::Unknown, e.joined())) }
}

async fn bind(
    ctx: &Context,
    cluster: &dyn Cluster,
    namespace: &str,
    binding: &Value,
    dry_run: bool,
) -> Result<Value, Status> {
    validate(binding)?;
    let name = object::name(binding);
    let conflict = |why: String| Status::conflict(&GroupResource::from_static("", "pods/binding"), name, why);
    let now = rfc3339(ctx.now);
    cluster
        .update(ctx, ("", "pods", "binding"), (namespace, name), dry_run, &mut |pod| {
            check_preconditions(pod, binding).map_err(&conflict)?;
            assign(pod, binding, &now).map_err(&conflict)
        })
        .await?;
    Ok(success())
}

fn check_preconditions(pod: &Value, binding: &Value) -> Result<(), String> {
    let (uid, version) = (object::uid(binding), object::resource_version(binding));
    if !uid.is_empty() && uid != object::uid(pod) {
        return Err(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            object::uid(pod)
        ));
    }
    if !version.is_empty() && version != object::resource_version(pod) {
        return Err(format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
            object::resource_version(pod)
        ));
    }
    Ok(())
}

fn assign(pod: &mut Value, binding: &Value, now: &str) -> Result<(), String> {
    let name = object::name(pod);
    if object::is_deleting(pod) {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = object::str(pod, &["spec", "nodeName"]);
    if !node.is_empty() {
        return Err(format!("pod {name} is already assigned to node \"{node}\""));
    }
    if !object::list(pod, &["spec", "schedulingGates"]).is_empty() {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    object::set(pod, &["spec", "nodeName"], object::str(binding, &["target", "name"]));
    for part in ["annotations", "labels"] {
        let Some(more) = object::get(binding, &["metadata", part]).and_then(Value::as_object) else { continue };
        object::entry(pod, &["metadata", part]).extend(more.clone());
    }
    object::remove(pod, &["status", "nominatedNodeName"]);
    set_condition(pod, "PodScheduled", json!({ "status": "True" }), now);
    Ok(())
}

/// Sets a condition of a pod; the time of its last change stays where the status does (rule: `UpdatePodCondition`).
pub fn set_condition(pod: &mut Value, kind: &str, mut condition: Value, now: &str) {
    object::set(&mut condition, &["type"], kind);
    object::set(&mut condition, &["lastProbeTime"], Value::Null);
    object::set(&mut condition, &["lastTransitionTime"], now);
    let list = object::entry(pod, &["status"]).entry("conditions").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    match list.iter_mut().find(|c| object::str(c, &["type"]) == kind) {
        Some(old) => {
            if old.get("status") == condition.get("status")
                && let Some(since) = old.get("lastTransitionTime")
            {
                condition["lastTransitionTime"] = since.clone();
            }
            *old = condition;
        }
        None => list.push(condition),
    }
}
