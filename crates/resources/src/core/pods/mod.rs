//! Pods (rule: `pkg/registry/core/pod`).

pub mod binding;
mod create;
mod ephemeral;
pub mod eviction;
mod print;
pub mod qos;
mod resize;
mod status;
mod status_resources;
mod status_validation;
mod update;
mod validation;

use crate::common::{carry_over, first_generation, next_generation, object_subresource, same};
use crate::shared::{pod_defaults, pod_warnings, workload};
use crate::{ALL, GET_PATCH_UPDATE, namespaced};
use serde_json::{Value, json};
use steersman_apimachinery::options::DeleteOptions;
use steersman_apimachinery::{ErrorList, Path, object, validation as rules};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, SubBehaviour, Subresource};

pub(crate) static INFO: ResourceInfo =
    ResourceInfo { short_names: &["po"], categories: ALL, ..namespaced("", "v1", "pods", "pod", "Pod") };

/// The resource.
pub struct Pods;

const CREATE_GET: &[&str] = &["create", "get"];

const fn connection(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { name, kind: ("", "", kind), verbs, behaviour: SubBehaviour::Connect }
}

static SUBRESOURCES: &[Subresource] = &[
    connection("attach", "PodAttachOptions", CREATE_GET),
    Subresource {
        name: "binding",
        kind: ("", "", "Binding"),
        verbs: &["create"],
        behaviour: SubBehaviour::Create(&binding::PodBinding),
    },
    object_subresource("ephemeralcontainers", &ephemeral::EphemeralContainers),
    Subresource {
        name: "eviction",
        kind: ("policy", "v1", "Eviction"),
        verbs: &["create"],
        behaviour: SubBehaviour::Create(&eviction::PodEviction),
    },
    connection("exec", "PodExecOptions", CREATE_GET),
    connection("log", "Pod", &["get"]),
    connection("portforward", "PodPortForwardOptions", CREATE_GET),
    connection("proxy", "PodProxyOptions", &["create", "delete", "get", "patch", "update"]),
    Subresource {
        name: "resize",
        kind: ("", "", ""),
        verbs: GET_PATCH_UPDATE,
        behaviour: SubBehaviour::Object(&resize::Resize),
    },
    object_subresource("status", &status::PodStatus),
];

/// Defaults, and the fields of old that say what newer ones say.
pub(super) fn default(obj: &mut Value) {
    pod_defaults::pod(obj);
    if object::int(obj, &["spec", "terminationGracePeriodSeconds"]).is_some_and(|n| n < 0) {
        object::set(obj, &["spec", "terminationGracePeriodSeconds"], 1);
    }
    default_addresses(obj);
}

/// `podIP` is the first of `podIPs`; where they differ, the former counts (rule: `Convert_v1_PodStatus_To_core_PodStatus`).
fn default_addresses(obj: &mut Value) {
    let Some(status) = obj.get_mut("status").and_then(Value::as_object_mut) else { return };
    let one = status.get("podIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let first = |s: &serde_json::Map<String, Value>| {
        s.get("podIPs").and_then(|l| l.get(0)).map(|ip| object::str(ip, &["ip"]).to_owned())
    };
    if !one.is_empty() && first(status).as_deref() != Some(&one) {
        status.insert("podIPs".into(), json!([{ "ip": one }]));
    } else if one.is_empty()
        && let Some(first) = first(status).filter(|ip| !ip.is_empty())
    {
        status.insert("podIP".into(), first.into());
    }
}

/// Leaves of the metadata only what a subresource may write: nothing that people write
/// (rule: `metav1.ResetObjectMetaForStatus`).
fn keep_metadata(new: &mut Value, old: &Value) {
    for field in ["deletionTimestamp", "generation", "labels", "annotations", "finalizers", "ownerReferences"] {
        carry_over(new, old, &["metadata", field]);
    }
}

/// One more generation where the spec changed.
fn count_generation(new: &mut Value, old: &Value) {
    let changed = !same(new, old, &["spec"]);
    next_generation(new, old, changed);
}

fn drop_disabled(new: &mut Value, old: Option<&Value>) {
    let old_spec = old.and_then(|o| o.get("spec"));
    workload::drop_disabled(object::entry(new, &["spec"]), old_spec);
}

impl Strategy for Pods {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        default(obj);
    }
    fn prepare_for_create(&self, ctx: &Context, obj: &mut Value) {
        first_generation(obj);
        let qos = qos::class(obj);
        object::set(obj, &["status"], json!({ "phase": "Pending", "qosClass": qos }));
        drop_disabled(obj, None);
        crate::shared::defaults::service_account_name(object::entry(obj, &["spec"]));
        create::prepare(ctx, obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        drop_disabled(new, Some(old));
        count_generation(new, old);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        validation::create(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        update::validate(new, old)
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        let wrong = rules::dns_label(object::name(obj), false);
        if !wrong.is_empty() {
            ctx.warn(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
                wrong.join(" ")
            ));
        }
        pod_warnings::warn(ctx, obj, &Path::root(), false);
    }
    fn check_graceful_delete(&self, _ctx: &Context, obj: &Value, options: &mut DeleteOptions) -> bool {
        let asked = options.grace_period_seconds;
        let mut seconds = asked.or_else(|| object::int(obj, &["spec", "terminationGracePeriodSeconds"])).unwrap_or(0);
        let ended = matches!(object::str(obj, &["status", "phase"]), "Failed" | "Succeeded");
        if object::str(obj, &["spec", "nodeName"]).is_empty() || ended {
            seconds = 0;
        }
        options.grace_period_seconds = Some(if seconds < 0 { 1 } else { seconds });
        true
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "spec.host",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]
    }
    fn selectable_members(&self) -> Option<&'static [&'static str]> {
        // All names stand for themselves, but for `spec.host`, which is `spec.nodeName`.
        Some(self.selectable_fields())
    }
    fn selectable_field(&self, obj: &Value, field: &str) -> String {
        match field {
            "spec.host" => object::str(obj, &["spec", "nodeName"]).to_owned(),
            "spec.hostNetwork" => object::bool(obj, &["spec", "hostNetwork"]).to_string(),
            "status.podIPs" | "status.podIP" => object::list(obj, &["status", "podIPs"])
                .first()
                .map_or_else(|| object::str(obj, &["status", "podIP"]), |ip| object::str(ip, &["ip"]))
                .to_owned(),
            _ => {
                let steps: Vec<&str> = field.split('.').collect();
                object::str(obj, &steps).to_owned()
            }
        }
    }
    fn columns(&self) -> &'static [Column] {
        print::COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        print::cells(obj, now)
    }
    fn row_conditions(&self, obj: &Value) -> Vec<Value> {
        print::row_conditions(obj)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        SUBRESOURCES
    }
}
