//! `authorization.k8s.io`: reviews that are computed and not kept
//! (rule: `pkg/registry/authorization`, `pkg/apis/authorization/validation`).

pub mod localsubjectaccessreviews;
pub mod selfsubjectaccessreviews;
pub mod selfsubjectrulesreviews;
pub mod subjectaccessreviews;

use crate::fields::Fields;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use steersman_apimachinery::gvk::GroupKind;
use steersman_apimachinery::{ErrorList, Path, Status, object};
use steersman_auth::{Attributes, Decision, UserInfo};
use steersman_registry::Cluster;

/// The group's name.
pub(crate) const GROUP: &str = "authorization.k8s.io";

/// What is asked: exactly one of the two kinds of attributes, with sound selectors.
fn check_attributes(e: &mut ErrorList, spec: &Value) {
    let path = Path::new("spec");
    match (spec.sub("resourceAttributes"), spec.sub("nonResourceAttributes")) {
        (Some(_), Some(n)) => {
            e.invalid(
                &path.child("nonResourceAttributes"),
                n,
                "cannot be specified in combination with resourceAttributes",
            );
        }
        (None, None) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            e.invalid(&path.child("resourceAttributes"), Value::Null, why);
        }
        _ => {}
    }
}

/// Whom it is asked about.
fn check_subject(e: &mut ErrorList, spec: &Value) {
    if spec.s("user").is_empty() && !spec.has("groups") {
        e.invalid(&Path::new("spec").child("user"), "", "at least one of user or group must be specified");
    }
}

/// Metadata but managed fields must be empty.
fn check_metadata(e: &mut ErrorList, body: &Value, namespaced: bool) {
    let given = body.at("metadata").as_object();
    let bad = given.into_iter().flatten().any(|(k, v)| {
        !v.is_null() && k != "managedFields" && k != "creationTimestamp" && !(namespaced && k == "namespace")
    });
    if bad {
        let why = if namespaced { "must be empty except for namespace" } else { "must be empty" };
        e.invalid(&Path::new("metadata"), body.at("metadata"), why);
    }
}

fn subject(spec: &Value) -> UserInfo {
    let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let extra: BTreeMap<String, Vec<String>> = spec
        .entries("extra")
        .into_iter()
        .map(|(k, _)| (k.to_lowercase(), owned(spec.at("extra").strings(k))))
        .collect();
    UserInfo { name: spec.s("user").into(), uid: spec.s("uid").into(), groups: owned(spec.strings("groups")), extra }
}

/// Asks the authoriser, and puts the answer into the body's status.
async fn decide(cluster: &dyn Cluster, user: &UserInfo, mut body: Value) -> Value {
    let spec = body.at("spec");
    let (r, n) = (spec.at("resourceAttributes"), spec.at("nonResourceAttributes"));
    let is_resource = spec.sub("resourceAttributes").is_some();
    let attributes = Attributes {
        user,
        verb: if is_resource { r.s("verb") } else { n.s("verb") },
        namespace: r.s("namespace"),
        group: r.s("group"),
        version: if r.s("version").is_empty() { "*" } else { r.s("version") },
        resource: r.s("resource"),
        subresource: r.s("subresource"),
        name: r.s("name"),
        resource_request: is_resource,
        path: n.s("path"),
    };
    let (decision, reason) = cluster.authorizer().authorize(&attributes).await;
    let mut status = Map::new();
    status.insert("allowed".into(), (decision == Decision::Allow).into());
    if decision == Decision::Deny {
        status.insert("denied".into(), true.into());
    }
    if !reason.is_empty() {
        status.insert("reason".into(), reason.into());
    }
    object::set(&mut body, &["status"], Value::Object(status));
    body
}

fn refuse(kind: &'static str, errors: &ErrorList) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&GroupKind::from_static(GROUP, kind), "", errors)) }
}
