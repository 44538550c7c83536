//! Nobody may grant what they may not do themselves (rule: `pkg/registry/rbac/validation`, `pkg/registry/rbac/*/policybased`).

use super::GROUP;
use crate::fields::Fields;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use steersman_apimachinery::field::go_quote;
use steersman_apimachinery::{GroupResource, Status, object};
use steersman_auth::{Attributes, UserInfo};
use steersman_registry::{Cluster, Context};

/// A rule with one of each.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Atom {
    group: String,
    resource: String,
    name: Option<String>,
    url: Option<String>,
    verb: String,
}

fn break_down(rule: &Value) -> Vec<Atom> {
    let mut out = Vec::new();
    for verb in rule.strings("verbs") {
        for group in rule.strings("apiGroups") {
            for resource in rule.strings("resources") {
                let names = rule.strings("resourceNames");
                let names: Vec<Option<String>> =
                    if names.is_empty() { vec![None] } else { names.iter().map(|n| Some((*n).to_owned())).collect() };
                for name in names {
                    out.push(Atom {
                        group: group.into(),
                        resource: resource.into(),
                        name,
                        url: None,
                        verb: verb.into(),
                    });
                }
            }
        }
        for url in rule.strings("nonResourceURLs") {
            let url = Some(url.to_owned());
            out.push(Atom { group: String::new(), resource: String::new(), name: None, url, verb: verb.into() });
        }
    }
    out
}

fn covers(rule: &Value, atom: &Atom) -> bool {
    let any_or = |list: &str, want: &str| rule.strings(list).iter().any(|x| *x == "*" || *x == want);
    if !any_or("verbs", &atom.verb) {
        return false;
    }
    if let Some(url) = &atom.url {
        return rule
            .strings("nonResourceURLs")
            .iter()
            .any(|own| *own == url || own.strip_suffix('*').is_some_and(|prefix| url.starts_with(prefix)));
    }
    let resource = any_or("resources", &atom.resource)
        || atom
            .resource
            .split_once('/')
            .is_some_and(|(_, sub)| rule.strings("resources").contains(&&*format!("*/{sub}")));
    let names = rule.strings("resourceNames");
    let name = names.is_empty() || atom.name.as_deref().is_some_and(|n| names.contains(&n));
    any_or("apiGroups", &atom.group) && resource && name
}

fn quoted(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|s| go_quote(s)).collect::<Vec<_>>().join(" "))
}

/// Atoms that differ in their verb only become one line each.
fn describe(missing: Vec<Atom>) -> Vec<String> {
    let mut simple: BTreeMap<(String, String, Option<String>), Vec<String>> = BTreeMap::new();
    let mut lines = BTreeSet::new();
    for a in missing {
        match a.url {
            Some(url) => {
                lines.insert(format!("{{NonResourceURLs:{}, Verbs:{}}}", quoted(&[url]), quoted(&[a.verb])));
            }
            None => {
                let verbs = simple.entry((a.group, a.resource, a.name)).or_default();
                if !verbs.contains(&a.verb) {
                    verbs.push(a.verb);
                }
            }
        }
    }
    for ((group, resource, name), verbs) in simple {
        let name = name.map(|n| format!(", ResourceNames:{}", quoted(&[n]))).unwrap_or_default();
        let (group, resource, verbs) = (quoted(&[group]), quoted(&[resource]), quoted(&verbs));
        lines.insert(format!("{{APIGroups:{group}, Resources:{resource}{name}, Verbs:{verbs}}}"));
    }
    lines.into_iter().collect()
}

/// What `rules` hold that `own` do not, in upstream's words.
fn not_covered(own: &[Value], rules: &[Value]) -> Vec<String> {
    let missing = rules.iter().flat_map(break_down).filter(|a| !own.iter().any(|r| covers(r, a))).collect();
    describe(missing)
}

async fn may(cluster: &dyn Cluster, user: &UserInfo, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
    let a = Attributes {
        user,
        verb,
        namespace,
        group: GROUP,
        version: "v1",
        resource,
        subresource: "",
        name,
        resource_request: true,
        path: "",
    };
    cluster.authorizer().allows(&a).await
}

async fn confirm(ctx: &Context, cluster: &dyn Cluster, namespace: &str, rules: &[Value]) -> Result<(), String> {
    let held = cluster.authorizer().rules_for(&ctx.user, namespace).await;
    let own: Vec<Value> = held.resource.into_iter().chain(held.non_resource).collect();
    let missing = not_covered(&own, rules);
    if missing.is_empty() {
        return Ok(());
    }
    let mut message = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        go_quote(&ctx.user.name),
        quoted(&ctx.user.groups),
        missing.join("\n")
    );
    if !held.error.is_empty() {
        message.push_str(&format!("; resolution errors: [{}]", held.error));
    }
    Err(message)
}

/// Refuses a role that holds more than its writer; `old` on update.
pub(super) async fn check_role(
    ctx: &Context,
    cluster: &dyn Cluster,
    resource: &'static str,
    obj: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if ctx.user.is_privileged() || old.is_some_and(|o| is_tidying(obj, o)) {
        return Ok(());
    }
    let namespace = object::namespace(obj);
    let name = if old.is_some() { object::name(obj) } else { "" };
    if may(cluster, &ctx.user, "escalate", resource, namespace, name).await {
        return Ok(());
    }
    let forbidden =
        |why: String| Status::forbidden(&GroupResource::from_static(GROUP, resource), object::name(obj), why);
    confirm(ctx, cluster, namespace, obj.items("rules")).await.map_err(forbidden)?;
    if obj.has("aggregationRule") || old.is_some_and(|o| o.has("aggregationRule")) {
        let everything = [
            json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}),
            json!({"nonResourceURLs": ["*"], "verbs": ["*"]}),
        ];
        if confirm(ctx, cluster, "", &everything).await.is_err() {
            return Err(forbidden("must have cluster-admin privileges to use the aggregationRule".into()));
        }
    }
    Ok(())
}

/// Refuses a binding to a role that holds more than the binding's writer; `old` on update.
pub(super) async fn check_binding(
    ctx: &Context,
    cluster: &dyn Cluster,
    resource: &'static str,
    obj: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    if ctx.user.is_privileged() || old.is_some_and(|o| is_tidying(obj, o)) {
        return Ok(());
    }
    let (namespace, role) = (object::namespace(obj), obj.at("roleRef"));
    let (roles, role_namespace) = if role.s("kind") == "Role" { ("roles", namespace) } else { ("clusterroles", "") };
    if may(cluster, &ctx.user, "bind", roles, namespace, role.s("name")).await {
        return Ok(());
    }
    let found = match cluster.get(GROUP, roles, role_namespace, role.s("name")) {
        Some(found) => found,
        None => return Err(Status::not_found(&GroupResource::from_static(GROUP, roles), role.s("name"))),
    };
    confirm(ctx, cluster, namespace, found.items("rules"))
        .await
        .map_err(|why| Status::forbidden(&GroupResource::from_static(GROUP, resource), object::name(obj), why))
}

/// Whether nothing changes but what the garbage collector writes to let an object go. Labels do count: those of a cluster
/// role decide what it is aggregated into.
fn is_tidying(new: &Value, old: &Value) -> bool {
    const OF_THE_COLLECTOR: &[&str] = &["ownerReferences", "finalizers", "managedFields", "resourceVersion"];
    let rest = |obj: &Value| {
        let mut rest = obj.clone();
        for field in OF_THE_COLLECTOR {
            object::remove(&mut rest, &["metadata", field]);
        }
        rest
    };
    rest(new) == rest(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_garbage_collector_writes_needs_no_permission() {
        let old = json!({"metadata": {"name": "a", "finalizers": ["x/y"], "resourceVersion": "1"}, "rules": []});
        let check = |change: fn(&mut Value), want: bool| {
            let mut new = old.clone();
            change(&mut new);
            assert_eq!(is_tidying(&new, &old), want, "{new}");
        };
        check(|_| {}, true);
        check(|o| object::set(o, &["metadata", "ownerReferences"], json!([{"name": "b"}])), true);
        check(|o| drop(object::remove(o, &["metadata", "finalizers"])), true);
        check(|o| object::set(o, &["metadata", "labels"], json!({"a": "b"})), false);
        check(|o| o["rules"] = json!([{"verbs": ["get"]}]), false);
    }

    #[test]
    fn what_is_missing_is_named() {
        let own = [json!({"apiGroups": [""], "resources": ["pods", "*/scale"], "verbs": ["get", "list"]})];
        let check = |rule: Value, want: &[&str]| assert_eq!(not_covered(&own, &[rule]), want);
        check(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}), &[]);
        check(json!({"apiGroups": [""], "resources": ["x/scale"], "resourceNames": ["a"], "verbs": ["get"]}), &[]);
        check(
            json!({"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "watch", "create"]}),
            &[
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["watch" "create"]}"#,
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "watch" "create"]}"#,
            ],
        );
        check(json!({"nonResourceURLs": ["/x"], "verbs": ["get"]}), &[r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#]);
    }
}
