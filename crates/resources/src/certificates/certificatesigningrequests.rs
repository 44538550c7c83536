//! `certificatesigningrequests` (rule: `pkg/registry/certificates/certificates`).

use super::columns;
use super::csr_validation::{self, Allowed};
use crate::cluster_scoped;
use crate::common::{age_cell, carry_over, object_subresource};
use crate::fields::Fields;
use crate::shared::print;
use serde_json::{Map, Value, json};
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource, human_duration};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["csr"],
    ..cluster_scoped(
        "certificates.k8s.io",
        "v1",
        "certificatesigningrequests",
        "certificatesigningrequest",
        "CertificateSigningRequest",
    )
};

/// Who asks is what the server knows, not what the object says.
fn set_requester(ctx: &Context, obj: &mut Value) {
    let spec = object::entry(obj, &["spec"]);
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    let user = &ctx.user;
    for (field, value) in [("username", &user.name), ("uid", &user.uid)] {
        if !value.is_empty() {
            spec.insert(field.into(), value.as_str().into());
        }
    }
    if !user.groups.is_empty() {
        spec.insert("groups".into(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        let extra: Map<String, Value> = user.extra.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
        spec.insert("extra".into(), extra.into());
    }
}

/// Fills in when conditions were written and when they changed.
fn stamp_conditions(ctx: &Context, new: &mut Value, old: &Value) {
    let now = jiff::Timestamp::from_second(ctx.now.as_second()).unwrap_or_default().to_string();
    let was = old.at("status").items("conditions");
    for c in new.pointer_mut("/status/conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if c.s("lastUpdateTime").is_empty() {
            object::set(c, &["lastUpdateTime"], now.as_str());
        }
        if c.s("lastTransitionTime").is_empty() {
            let before = was.iter().find(|o| {
                o.s("type") == c.s("type") && o.s("status") == c.s("status") && !o.s("lastTransitionTime").is_empty()
            });
            let time = before.map_or(now.as_str(), |o| o.s("lastTransitionTime")).to_owned();
            object::set(c, &["lastTransitionTime"], time);
        }
    }
}

/// Leaves conditions of a type as they were, unless some were added or removed.
fn preserve_conditions(new: &mut Value, old: &Value, kind: &str) {
    let was: Vec<Value> =
        old.at("status").items("conditions").iter().filter(|c| c.s("type") == kind).cloned().collect();
    let is = new.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    let mut is: Vec<&mut Value> = is.into_iter().flatten().filter(|c| c.s("type") == kind).collect();
    if is.len() == was.len() {
        is.iter_mut().zip(was).for_each(|(slot, old)| **slot = old);
    }
}

fn state(obj: &Value) -> String {
    let status = obj.at("status");
    let has = |kind: &str| status.items("conditions").iter().any(|c| c.s("type") == kind);
    let mut text = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        text.push_str(",Failed");
    }
    if !status.s("certificate").is_empty() {
        text.push_str(",Issued");
    }
    text
}

/// The strategy of `certificatesigningrequests`.
pub struct CertificateSigningRequests;

impl Strategy for CertificateSigningRequests {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn prepare_for_create(&self, ctx: &Context, obj: &mut Value) {
        set_requester(ctx, obj);
        object::set(obj, &["status"], json!({}));
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
        carry_over(new, old, &["status"]);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        csr_validation::create(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        csr_validation::update(new, old, Allowed::Nothing)
    }
    fn validate_name(&self, _name: &str, _prefix: bool) -> Vec<String> {
        Vec::new()
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }
    fn selectable_field(&self, obj: &Value, _field: &str) -> String {
        obj.at("spec").s("signerName").to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        columns::CERTIFICATESIGNINGREQUESTS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = obj.at("spec");
        vec![
            print::name(obj),
            age_cell(obj, now),
            print::or_none(spec.s("signerName")),
            spec.s("username").into(),
            spec.int("expirationSeconds").map_or_else(|| "<none>".to_owned(), human_duration).into(),
            state(obj).into(),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status", "spec"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[
            object_subresource("approval", &CertificateSigningRequestApproval),
            object_subresource("status", &CertificateSigningRequestStatus),
        ];
        SUBRESOURCES
    }
}

/// The strategy of `certificatesigningrequests/approval`.
pub struct CertificateSigningRequestApproval;

impl Strategy for CertificateSigningRequestApproval {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn prepare_for_update(&self, ctx: &Context, new: &mut Value, old: &Value) {
        stamp_conditions(ctx, new, old);
        carry_over(new, old, &["spec"]);
        carry_over(new, old, &["status", "certificate"]);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        csr_validation::update(new, old, Allowed::Approval)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec", "status.certificate"]
    }
}

/// The strategy of `certificatesigningrequests/status`.
pub struct CertificateSigningRequestStatus;

impl Strategy for CertificateSigningRequestStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn prepare_for_update(&self, ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
        preserve_conditions(new, old, "Approved");
        preserve_conditions(new, old, "Denied");
        stamp_conditions(ctx, new, old);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        csr_validation::update(new, old, Allowed::Certificate)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec", "status.conditions"]
    }
}
