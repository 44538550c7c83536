//! The RBAC objects that every cluster starts with (rule: upstream's `bootstrappolicy`).
//!
//! Roles are tables of short lines: verbs, groups and resources are words of one string; the core group is `core`.

mod cluster_roles;
mod controllers;
mod namespaced;

use serde_json::{Map, Value, json};

/// Read verbs, and write verbs.
const READ: &str = "get list watch";
const READ_WRITE: &str = "create delete deletecollection get list patch update watch";
const WRITE: &str = "create delete deletecollection patch update";

/// One line of a role.
struct Rule {
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static [&'static str],
    urls: &'static [&'static str],
}

const fn rule(verbs: &'static str, groups: &'static str, resources: &'static str) -> Rule {
    Rule { verbs, groups, resources, names: &[], urls: &[] }
}
const fn named(
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static [&'static str],
) -> Rule {
    Rule { verbs, groups, resources, names, urls: &[] }
}
const fn urls(verbs: &'static str, urls: &'static [&'static str]) -> Rule {
    Rule { verbs, groups: "", resources: "", names: &[], urls }
}
/// What every component that records events needs.
const EVENTS: Rule = rule("create patch update", "core events.k8s.io", "events");

/// A role, with the label that aggregates it into another (`admin`, `edit`, `view`), if any.
struct Role {
    name: &'static str,
    rules: &'static [Rule],
    aggregates_to: &'static str,
}

const fn role(name: &'static str, rules: &'static [Rule]) -> Role {
    Role { name, rules, aggregates_to: "" }
}

/// A binding of the role of the same name to users (`user:x`), groups (`group:x`) and accounts (`sa:<namespace>/<name>`).
struct Binding {
    name: &'static str,
    role: &'static str,
    subjects: &'static [&'static str],
}

/// One object to be there after start: its resource, and what it should hold.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// `clusterroles`, `clusterrolebindings`, `roles` or `rolebindings`.
    pub resource: &'static str,
    /// Empty for cluster-scoped ones.
    pub namespace: &'static str,
    /// The object.
    pub object: Value,
}

/// Every object of the policy.
pub fn objects() -> Vec<Wanted> {
    let mut out = Vec::with_capacity(140);
    for r in cluster_roles::ROLES {
        out.push(Wanted { resource: "clusterroles", namespace: "", object: role_object("ClusterRole", "", r) });
    }
    out.extend(cluster_roles::aggregated().into_iter().map(|object| Wanted {
        resource: "clusterroles",
        namespace: "",
        object,
    }));
    for b in cluster_roles::BINDINGS {
        out.push(Wanted {
            resource: "clusterrolebindings",
            namespace: "",
            object: binding_object("ClusterRoleBinding", "", "ClusterRole", b),
        });
    }
    for (name, rules) in controllers::ROLES {
        let full = format!("system:controller:{name}");
        let mut object = role_object("ClusterRole", "", &Role { name: "", rules, aggregates_to: "" });
        object["metadata"]["name"] = full.as_str().into();
        out.push(Wanted { resource: "clusterroles", namespace: "", object });
        let mut object = metadata_object("ClusterRoleBinding", "", &full);
        object["roleRef"] = json!({ "apiGroup": GROUP, "kind": "ClusterRole", "name": full });
        object["subjects"] = json!([{ "kind": "ServiceAccount", "name": name, "namespace": "kube-system" }]);
        out.push(Wanted { resource: "clusterrolebindings", namespace: "", object });
    }
    for (namespace, r) in namespaced::ROLES {
        out.push(Wanted { resource: "roles", namespace, object: role_object("Role", namespace, r) });
    }
    for (namespace, b) in namespaced::BINDINGS {
        out.push(Wanted {
            resource: "rolebindings",
            namespace,
            object: binding_object("RoleBinding", namespace, "Role", b),
        });
    }
    out
}

const GROUP: &str = "rbac.authorization.k8s.io";

fn metadata_object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({
        "kind": kind,
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {
            "name": name,
            "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
            "annotations": { "rbac.authorization.kubernetes.io/autoupdate": "true" },
        },
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    object
}

fn role_object(kind: &str, namespace: &str, role: &Role) -> Value {
    let mut object = metadata_object(kind, namespace, role.name);
    if !role.aggregates_to.is_empty() {
        object["metadata"]["labels"][format!("rbac.authorization.k8s.io/aggregate-to-{}", role.aggregates_to)] =
            "true".into();
    }
    object["rules"] = role.rules.iter().map(rule_object).collect();
    object
}

fn rule_object(rule: &Rule) -> Value {
    let words = |s: &str| -> Value { s.split_whitespace().map(|w| if w == "core" { "" } else { w }).collect() };
    let mut out = Map::new();
    if !rule.groups.is_empty() {
        out.insert("apiGroups".into(), words(rule.groups));
    }
    if !rule.resources.is_empty() {
        out.insert("resources".into(), words(rule.resources));
    }
    if !rule.names.is_empty() {
        out.insert("resourceNames".into(), rule.names.iter().copied().collect());
    }
    if !rule.urls.is_empty() {
        out.insert("nonResourceURLs".into(), rule.urls.iter().copied().collect());
    }
    out.insert("verbs".into(), words(rule.verbs));
    Value::Object(out)
}

fn binding_object(kind: &str, namespace: &str, role_kind: &str, b: &Binding) -> Value {
    let mut object = metadata_object(kind, namespace, b.name);
    object["roleRef"] = json!({ "apiGroup": GROUP, "kind": role_kind, "name": b.role });
    object["subjects"] = b.subjects.iter().map(|s| subject_object(s)).collect();
    object
}

fn subject_object(s: &str) -> Value {
    match s.split_once(':') {
        Some(("user", name)) => json!({ "apiGroup": GROUP, "kind": "User", "name": name }),
        Some(("group", name)) => json!({ "apiGroup": GROUP, "kind": "Group", "name": name }),
        _ => {
            let (namespace, name) = s.trim_start_matches("sa:").split_once('/').unwrap_or_default();
            json!({ "kind": "ServiceAccount", "name": name, "namespace": namespace })
        }
    }
}

/// What has to change in the stored object so that it grants what `wanted` grants; `None`: nothing. As upstream,
/// reconciling only adds (rules, subjects, labels, annotations), and leaves objects alone whose annotation
/// `rbac.authorization.kubernetes.io/autoupdate` is not `true`. A changed roleRef cannot be mended by an update.
pub fn reconcile(stored: &Value, wanted: &Value) -> Option<Value> {
    if stored.pointer("/metadata/annotations/rbac.authorization.kubernetes.io~1autoupdate").and_then(Value::as_str)
        != Some("true")
    {
        return None;
    }
    let mut new = stored.clone();
    for map in ["labels", "annotations"] {
        for (k, v) in wanted["metadata"][map].as_object().into_iter().flatten() {
            if new["metadata"][map].get(k).is_none() {
                new["metadata"][map][k] = v.clone();
            }
        }
    }
    // An aggregated role's rules are the controller's.
    for list in ["rules", "subjects"] {
        if wanted.get("aggregationRule").is_some() {
            break;
        }
        for item in wanted[list].as_array().into_iter().flatten() {
            if !new[list].as_array().is_some_and(|have| have.iter().any(|h| contains(h, item))) {
                match &mut new[list] {
                    Value::Array(have) => have.push(item.clone()),
                    other => *other = Value::Array(vec![item.clone()]),
                }
            }
        }
    }
    (new != *stored).then_some(new)
}

/// Whether `have` (a rule or subject) holds everything that `item` holds, whatever the order of its lists.
fn contains(have: &Value, item: &Value) -> bool {
    let Some(fields) = item.as_object() else { return have == item };
    fields.iter().all(|(k, v)| match (have.get(k), v) {
        (Some(Value::Array(h)), Value::Array(w)) => w.iter().all(|x| h.contains(x)),
        (Some(h), w) => h == w,
        (None, _) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_upstreams() {
        let all = objects();
        let count = |r: &str, c: bool| {
            let is_controller = |w: &&Wanted| {
                w.object["metadata"]["name"].as_str().is_some_and(|n| n.starts_with("system:controller:"))
            };
            all.iter().filter(|w| w.resource == r).filter(|w| is_controller(w) == c).count()
        };
        assert_eq!(count("clusterroles", false), 31);
        assert_eq!(count("clusterrolebindings", false), 12);
        assert_eq!(count("clusterroles", true), 38);
        assert_eq!(count("clusterrolebindings", true), 38);
        assert_eq!(all.iter().filter(|w| w.resource == "roles").count(), 7);
        assert_eq!(all.iter().filter(|w| w.resource == "rolebindings").count(), 7);
    }

    #[test]
    fn reconciling_adds_what_is_missing_and_keeps_the_rest() {
        let wanted = objects()
            .into_iter()
            .find(|w| w.object["metadata"]["name"] == "system:node-proxier")
            .expect("there")
            .object;
        assert_eq!(reconcile(&wanted, &wanted), None);
        let mut stored = wanted.clone();
        stored["rules"].as_array_mut().expect("list").remove(0);
        stored["rules"].as_array_mut().expect("list").push(json!({ "verbs": ["x"] }));
        let new = reconcile(&stored, &wanted).expect("changes");
        assert!(contains(&new["rules"].as_array().expect("list").iter().cloned().collect::<Value>()[1], &json!({})));
        assert_eq!(new["rules"].as_array().map(Vec::len), stored["rules"].as_array().map(|l| l.len() + 1));
        stored["metadata"]["annotations"] = json!({});
        assert_eq!(reconcile(&stored, &wanted), None);
    }
}
