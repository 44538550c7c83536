//! Role-based access control (rule: upstream `plugin/pkg/auth/authorizer/rbac`).
//!
//! Roles and bindings are compiled into maps by subject when one of them has changed; a request then looks at the rules
//! of its own user and groups only.

use crate::{Attributes, Authorizer, Decision, Lookup, Rules, UserInfo};
use ahash::AHashMap;
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

const GROUP: &str = "rbac.authorization.k8s.io";
const RESOURCES: [&str; 4] = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"];

/// The authoriser.
pub struct Rbac {
    lookup: Arc<dyn Lookup>,
    compiled: ArcSwapOption<Compiled>,
}

/// One line of a role.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PolicyRule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
}

impl PolicyRule {
    /// Rule: upstream `RuleAllows`.
    fn allows(&self, a: &Attributes<'_>) -> bool {
        let any = |list: &[String], word: &str| list.iter().any(|x| x == "*" || x == word);
        if !any(&self.verbs, a.verb) {
            return false;
        }
        if !a.resource_request {
            return self.non_resource_urls.iter().any(|u| {
                u == "*" || u == a.path || u.strip_suffix('*').is_some_and(|prefix| a.path.starts_with(prefix))
            });
        }
        any(&self.api_groups, a.group)
            && self.resources.iter().any(|r| resource_matches(r, a.resource, a.subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|n| n == a.name))
    }
}

/// `pods`, `pods/log`, `*`, `*/scale`; a plain `*` covers subresources, `pods` does not.
fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => subresource.is_empty() && rule == resource,
        Some(("*", sub)) => !subresource.is_empty() && sub == subresource,
        Some((r, sub)) => r == resource && sub == subresource,
    }
}

/// One binding of a subject.
struct Grant {
    rules: Arc<Vec<PolicyRule>>,
    /// Empty: everywhere.
    namespace: String,
    /// How a reason names it: binding, role and subject.
    why: String,
    missing: Option<String>,
}

#[derive(Default)]
struct Compiled {
    revisions: [u64; 4],
    users: AHashMap<String, Vec<Arc<Grant>>>,
    groups: AHashMap<String, Vec<Arc<Grant>>>,
}

impl Rbac {
    /// Over the watch cache.
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup, compiled: ArcSwapOption::empty() }
    }

    fn compiled(&self) -> Arc<Compiled> {
        let revisions = RESOURCES.map(|r| self.lookup.revision(GROUP, r));
        if let Some(c) = self.compiled.load_full().filter(|c| c.revisions == revisions) {
            return c;
        }
        let fresh = Arc::new(compile(self.lookup.as_ref(), revisions));
        self.compiled.store(Some(fresh.clone()));
        fresh
    }

    fn grants<'a>(compiled: &'a Compiled, user: &'a UserInfo, namespace: &'a str) -> impl Iterator<Item = &'a Grant> {
        let of_groups = user.groups.iter().filter_map(|g| compiled.groups.get(g)).flatten();
        let of_user = compiled.users.get(&user.name).into_iter().flatten();
        of_user
            .chain(of_groups)
            .map(Arc::as_ref)
            .filter(move |g| g.namespace.is_empty() || (!namespace.is_empty() && g.namespace == namespace))
    }
}

fn compile(lookup: &dyn Lookup, revisions: [u64; 4]) -> Compiled {
    let mut out = Compiled { revisions, ..Compiled::default() };
    let rules_of = |role: &Value| {
        let rules = role.get("rules").cloned().unwrap_or(Value::Null);
        Arc::new(serde_json::from_value::<Option<Vec<PolicyRule>>>(rules).ok().flatten().unwrap_or_default())
    };
    let mut roles: AHashMap<(String, String), Arc<Vec<PolicyRule>>> = AHashMap::new();
    for role in lookup.list(GROUP, "clusterroles", "").iter().chain(&lookup.list(GROUP, "roles", "")) {
        roles.insert((text(role, "/metadata/namespace"), text(role, "/metadata/name")), rules_of(role));
    }
    let bindings = [("ClusterRoleBinding", "clusterrolebindings"), ("RoleBinding", "rolebindings")];
    for (kind, resource) in bindings {
        for binding in lookup.list(GROUP, resource, "") {
            let namespace = text(&binding, "/metadata/namespace");
            let (role_kind, role_name) = (text(&binding, "/roleRef/kind"), text(&binding, "/roleRef/name"));
            let home = if role_kind == "Role" { namespace.clone() } else { String::new() };
            let found = roles.get(&(home, role_name.clone())).cloned();
            let missing = found.is_none().then(|| {
                let plural = if role_kind == "Role" { "role" } else { "clusterrole" };
                format!("{plural}.{GROUP} \"{role_name}\" not found")
            });
            let full = if namespace.is_empty() {
                text(&binding, "/metadata/name")
            } else {
                format!("{}/{namespace}", text(&binding, "/metadata/name"))
            };
            for subject in binding["subjects"].as_array().into_iter().flatten() {
                let (subject_kind, name) = (text(subject, "/kind"), text(subject, "/name"));
                let (map, key, shown) = match subject_kind.as_str() {
                    "User" => (&mut out.users, name.clone(), format!("User \"{name}\"")),
                    "Group" => (&mut out.groups, name.clone(), format!("Group \"{name}\"")),
                    "ServiceAccount" => {
                        let ns = match text(subject, "/namespace") {
                            ns if ns.is_empty() => namespace.clone(),
                            ns => ns,
                        };
                        let shown = format!("ServiceAccount \"{name}/{ns}\"");
                        (&mut out.users, format!("system:serviceaccount:{ns}:{name}"), shown)
                    }
                    _ => continue,
                };
                map.entry(key).or_default().push(Arc::new(Grant {
                    rules: found.clone().unwrap_or_default(),
                    namespace: namespace.clone(),
                    why: format!("RBAC: allowed by {kind} \"{full}\" of {role_kind} \"{role_name}\" to {shown}"),
                    missing: missing.clone(),
                }));
            }
        }
    }
    out
}

fn text(v: &Value, pointer: &str) -> String {
    v.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned()
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, a: &Attributes<'_>) -> (Decision, String) {
        let compiled = self.compiled();
        let mut missing: Vec<&str> = Vec::new();
        // A path that is no resource is granted cluster-wide only.
        let namespace = if a.resource_request { a.namespace } else { "" };
        for grant in Self::grants(&compiled, a.user, namespace) {
            if grant.rules.iter().any(|r| r.allows(a)) {
                return (Decision::Allow, grant.why.clone());
            }
            missing.extend(grant.missing.as_deref().filter(|m| !missing.contains(m)));
        }
        let reason = match missing.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        };
        (Decision::NoOpinion, reason)
    }

    async fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        let compiled = self.compiled();
        let mut out = Rules::default();
        for grant in Self::grants(&compiled, user, namespace) {
            for rule in grant.rules.iter() {
                let mut object = serde_json::json!({ "verbs": rule.verbs });
                if rule.non_resource_urls.is_empty() {
                    object["apiGroups"] = rule.api_groups.clone().into();
                    object["resources"] = rule.resources.clone().into();
                    if !rule.resource_names.is_empty() {
                        object["resourceNames"] = rule.resource_names.clone().into();
                    }
                    out.resource.push(object);
                } else {
                    object["nonResourceURLs"] = rule.non_resource_urls.clone().into();
                    out.non_resource.push(object);
                }
            }
            if let Some(m) = &grant.missing {
                (out.incomplete, out.error) = (true, m.clone());
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Fixed(Vec<(&'static str, Value)>);
    impl Lookup for Fixed {
        fn get(&self, _: &str, _: &str, _: &str, _: &str) -> Option<Arc<Value>> {
            None
        }
        fn list(&self, _: &str, resource: &str, _: &str) -> Vec<Arc<Value>> {
            self.0.iter().filter(|(r, _)| *r == resource).map(|(_, v)| Arc::new(v.clone())).collect()
        }
        fn revision(&self, _: &str, _: &str) -> u64 {
            1
        }
    }

    fn rbac() -> Rbac {
        let mut objects: Vec<(&'static str, Value)> =
            crate::policy::objects().into_iter().map(|w| (w.resource, w.object)).collect();
        objects.push((
            "roles",
            json!({ "metadata": { "name": "r", "namespace": "a" }, "rules": [
            { "verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/scale"] },
            { "verbs": ["update"], "apiGroups": ["apps"], "resources": ["*"], "resourceNames": ["web"] },
        ] }),
        ));
        objects.push(("rolebindings", json!({ "metadata": { "name": "b", "namespace": "a" },
            "roleRef": { "kind": "Role", "name": "r" }, "subjects": [{ "kind": "ServiceAccount", "name": "sa" }, { "kind": "User", "name": "eve" }] })));
        Rbac::new(Arc::new(Fixed(objects)))
    }

    #[tokio::test]
    async fn decisions() {
        let rbac = rbac();
        let check = async |user: &str, groups: &[&str], verb: &str, what: &str, ns: &str, name: &str, want: bool| {
            let user = UserInfo {
                name: user.into(),
                groups: groups.iter().map(ToString::to_string).collect(),
                ..UserInfo::default()
            };
            let (group, rest) = what.split_once(':').unwrap_or(("", what));
            let (resource, sub) = rest.split_once('/').unwrap_or((rest, ""));
            let path = what.starts_with('/');
            let a = Attributes {
                user: &user,
                verb,
                namespace: ns,
                group,
                version: "v1",
                resource: if path { "" } else { resource },
                subresource: if path { "" } else { sub },
                name,
                resource_request: !path,
                path: if path { what } else { "" },
            };
            let (decision, _) = rbac.authorize(&a).await;
            assert_eq!(decision == Decision::Allow, want, "{} {verb} {what} in {ns}", user.name);
        };
        let sa = "system:serviceaccount:a:sa";
        check(sa, &[], "get", "pods", "a", "p", true).await;
        check(sa, &[], "get", "pods", "b", "p", false).await;
        check(sa, &[], "get", "pods/log", "a", "p", false).await;
        check(sa, &[], "get", "deployments/scale", "a", "p", true).await;
        check(sa, &[], "delete", "pods", "a", "p", false).await;
        check("eve", &[], "update", "apps:deployments", "a", "web", true).await;
        check("eve", &[], "update", "apps:deployments", "a", "other", false).await;
        check("root", &["system:masters"], "delete", "apps:deployments/scale", "x", "y", true).await;
        check("root", &["system:masters"], "get", "/metrics", "", "", true).await;
        check("anyone", &["system:authenticated"], "get", "/apis/apps", "", "", true).await;
        check("anyone", &["system:unauthenticated"], "get", "/apis/apps", "", "", false).await;
        check("anyone", &["system:unauthenticated"], "get", "/version", "", "", true).await;
    }
}
