//! Who makes a policy read parameters has to be allowed to read them (rule: `authz.go` in
//! `pkg/registry/admissionregistration/{validating,mutating}admissionpolicy{,binding}`).

use super::GROUP;
use crate::common::same;
use crate::fields::Fields;
use serde_json::Value;
use steersman_apimachinery::gvk::GroupVersion;
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_auth::{Attributes, UserInfo};
use steersman_registry::{Cluster, Context, Resource, ResourceInfo, Strategy};

const EVERY: &str = "*";

/// A user as Go prints one.
fn shown(user: &UserInfo) -> String {
    let extra: Vec<_> = user.extra.iter().map(|(k, v)| format!("{k}:[{}]", v.join(" "))).collect();
    format!("&{{{} {} [{}] map[{}]}}", user.name, user.uid, user.groups.join(" "), extra.join(" "))
}

/// What objects of `kind` (a policy's `paramKind`) are served as: what could be told of group, version and resource.
struct Params {
    group: String,
    version: String,
    resource: String,
    parsed: bool,
    resolved: bool,
}

impl Params {
    /// Nothing is known: everything has to be readable.
    fn unknown() -> Self {
        let every = || EVERY.to_owned();
        Self { group: every(), version: every(), resource: every(), parsed: true, resolved: true }
    }

    fn of(cluster: &dyn Cluster, kind: &Value) -> Self {
        let Some(gv) = GroupVersion::parse(kind.s("apiVersion")) else {
            return Self { parsed: false, ..Self::unknown() };
        };
        let resource = served_as(cluster, &gv, kind.s("kind"));
        Self {
            resolved: resource.is_some(),
            resource: resource.unwrap_or_else(|| EVERY.into()),
            group: gv.group.to_string(),
            version: gv.version.to_string(),
            parsed: true,
        }
    }

    async fn readable(&self, ctx: &Context, cluster: &dyn Cluster, verb: &str, namespace: &str, name: &str) -> bool {
        let a = Attributes {
            user: &ctx.user,
            verb,
            namespace,
            group: &self.group,
            version: &self.version,
            resource: &self.resource,
            subresource: "",
            name,
            resource_request: true,
            path: "",
        };
        cluster.authorizer().allows(&a).await
    }
}

fn served_as(cluster: &dyn Cluster, gv: &GroupVersion, kind: &str) -> Option<String> {
    let built_in = crate::table().map(|r| match r {
        Resource::Stored(s) => s.info(),
        Resource::Virtual(v) => v.info(),
    });
    let is_it = |i: &&ResourceInfo| i.group == gv.group && i.version == gv.version && i.kind == kind;
    if let Some(info) = built_in.into_iter().find(is_it) {
        return Some(info.resource.to_owned());
    }
    let defined = cluster.list("apiextensions.k8s.io", "customresourcedefinitions", "");
    let definition = defined.iter().map(|d| d.at("spec")).find(|spec| {
        let served = |v: &Value| v.s("name") == gv.version && v.flag("served") == Some(true);
        spec.s("group") == gv.group && spec.at("names").s("kind") == kind && spec.items("versions").iter().any(served)
    })?;
    Some(definition.at("names").s("plural").to_owned())
}

/// Whether the request is one to look at: by a user who may not do all, and of an object that is otherwise right.
fn concerns(ctx: &Context, strategy: &dyn Strategy, obj: &Value, old: Option<&Value>) -> bool {
    !ctx.user.is_privileged()
        && strategy.validate_name(object::name(obj), false).is_empty()
        && old.map_or_else(|| strategy.validate(ctx, obj), |old| strategy.validate_update(ctx, obj, old)).is_empty()
}

fn refusal(field: &str, why: String) -> ErrorList {
    let mut e = ErrorList::new();
    e.forbidden(&Path::new("spec").child(field), why);
    e
}

/// A policy is refused whose writer may not read all objects of its `paramKind`; `old` on update.
pub(super) async fn check_policy(
    ctx: &Context,
    cluster: &dyn Cluster,
    strategy: &dyn Strategy,
    obj: &Value,
    old: Option<&Value>,
) -> ErrorList {
    let Some(kind) = obj.at("spec").sub("paramKind") else { return ErrorList::new() };
    if old.is_some_and(|old| same(obj, old, &["spec", "paramKind"])) || !concerns(ctx, strategy, obj, old) {
        return ErrorList::new();
    }
    if Params::of(cluster, kind).readable(ctx, cluster, "get", EVERY, EVERY).await {
        return ErrorList::new();
    }
    let why = format!(
        "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
        shown(&ctx.user),
        kind.s("kind"),
        kind.s("apiVersion")
    );
    refusal("paramKind", why)
}

/// A binding is refused whose writer may not read what its `paramRef` names; `policies` is the resource of its policy.
pub(super) async fn check_binding(
    ctx: &Context,
    cluster: &dyn Cluster,
    strategy: &dyn Strategy,
    policies: &str,
    obj: &Value,
    old: Option<&Value>,
) -> ErrorList {
    let Some(param) = obj.at("spec").sub("paramRef") else { return ErrorList::new() };
    let kept = |old: &Value| ["paramRef", "policyName"].iter().all(|f| same(obj, old, &["spec", f]));
    if old.is_some_and(kept) || !concerns(ctx, strategy, obj, old) {
        return ErrorList::new();
    }
    let policy_name = obj.at("spec").s("policyName");
    let policy = cluster.get(GROUP, policies, "", policy_name);
    let kind = policy.as_ref().and_then(|p| p.at("spec").sub("paramKind"));
    let params = kind.map_or_else(Params::unknown, |kind| Params::of(cluster, kind));
    let verb = if param.s("name").is_empty() { "list" } else { "get" };
    if params.readable(ctx, cluster, verb, param.s("namespace"), param.s("name")).await {
        return ErrorList::new();
    }
    let user = shown(&ctx.user);
    let all = format!(
        "to determine minimum required permissions and user {user} does not have \"{verb}\" permission for all groups, versions and resources"
    );
    let kind = kind.map(|k| format!("&{{{} {}}}", k.s("apiVersion"), k.s("kind"))).unwrap_or_default();
    let why = if policy.is_none() {
        format!("unable to get policy {policy_name} {all}")
    } else if !params.parsed {
        format!("unable to parse paramKind {kind} {all}")
    } else if !params.resolved {
        format!("unable to resolve paramKind {kind} {all}")
    } else if policies == "mutatingadmissionpolicies" {
        // Upstream mixes the two up for this kind.
        format!("user {verb} does not have \"{user}\" permission on the object referenced by paramRef")
    } else {
        format!("user {user} does not have \"{verb}\" permission on the object referenced by paramRef")
    };
    refusal("paramRef", why)
}
