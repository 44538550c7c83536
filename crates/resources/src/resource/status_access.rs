//! Who writes the status of a claim needs a permission for each part of it: schedulers to bind it, drivers to tell of their
//! devices (rule: `pkg/registry/resource`, `AuthorizedForBinding` and `AuthorizedForDeviceStatus`).

use super::GROUP;
use crate::common::same;
use crate::fields::Fields;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_auth::{Attributes, Decision, UserInfo};
use steersman_registry::{Cluster, Context};

const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// What the writer of `new` may not change.
pub(super) async fn check(ctx: &Context, cluster: &dyn Cluster, new: &Value, old: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let asked = Asked { ctx, cluster };
    if ["allocation", "reservedFor"].iter().any(|part| !same(new, old, &["status", part]))
        && let Err(why) = asked.may(&ctx.verb, "binding", "", "").await
    {
        let verb = &ctx.verb;
        let why = format!(
            "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{verb}\" permission: {why}"
        );
        e.forbidden(&Path::new("status"), why);
    }
    let (new_status, old_status) = (new.at("status"), old.at("status"));
    let verbs = verbs(&ctx.user, &ctx.verb, new_status.at("allocation"));
    for driver in changed_drivers(new_status.items("devices"), old_status.items("devices")) {
        let mut first = None;
        for verb in &verbs {
            match asked.may(verb, "driver", object::namespace(new), driver).await {
                Ok(()) => {
                    first = None;
                    break;
                }
                Err(why) => first = first.or(Some(why)),
            }
        }
        if let Some(why) = first {
            let verbs = verbs.join(" ");
            let why = format!(
                "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{verbs}]\" permission: {why}"
            );
            e.forbidden(&Path::new("status").child("devices"), why);
        }
    }
    e
}

struct Asked<'a> {
    ctx: &'a Context,
    cluster: &'a dyn Cluster,
}

impl Asked<'_> {
    /// Whether the writer may do `verb` to the part; if not, upstream's words for it.
    async fn may(&self, verb: &str, part: &str, namespace: &str, name: &str) -> Result<(), String> {
        let a = Attributes {
            user: &self.ctx.user,
            verb,
            namespace,
            group: GROUP,
            version: "v1",
            resource: "resourceclaims",
            subresource: part,
            name,
            resource_request: true,
            path: "",
        };
        let (decision, reason) = self.cluster.authorizer().authorize(&a).await;
        if decision == Decision::Allow { Ok(()) } else { Err(steersman_auth::forbidden(&a, &reason).message) }
    }
}

/// The verbs of which one is enough: a driver on the claim's own node may have less than one for all nodes.
fn verbs(user: &UserInfo, verb: &str, allocation: &Value) -> Vec<String> {
    let arbitrary = format!("arbitrary-node:{verb}");
    if own_node(user).is_some_and(|node| only_node(allocation) == Some(node)) {
        vec![format!("associated-node:{verb}"), arbitrary]
    } else {
        vec![arbitrary]
    }
}

/// The node of the pod whose service account asks.
fn own_node(user: &UserInfo) -> Option<&str> {
    let (namespace, name) = user.name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let is_account =
        validation::dns_label(namespace, false).is_empty() && validation::dns_subdomain(name, false).is_empty();
    match user.extra.get(NODE_NAME).map(Vec::as_slice) {
        Some([node]) if is_account && validation::dns_subdomain(node, false).is_empty() => Some(node),
        _ => None,
    }
}

/// The node that an allocation names and no other.
fn only_node(allocation: &Value) -> Option<&str> {
    let [term] = allocation.at("nodeSelector").items("nodeSelectorTerms") else { return None };
    let [field] = term.items("matchFields") else { return None };
    let [node] = field.strings("values")[..] else { return None };
    let named = field.s("key") == "metadata.name" && field.s("operator") == "In";
    (named && term.items("matchExpressions").is_empty()).then_some(node)
}

/// The drivers that have a device told of, no longer told of, or told of otherwise; sorted.
fn changed_drivers<'a>(new: &'a [Value], old: &'a [Value]) -> BTreeSet<&'a str> {
    let key = |d: &'a Value| (d.s("driver"), d.s("pool"), d.s("device"), d.s("shareID"));
    let mut before: BTreeMap<_, _> = old.iter().map(|d| (key(d), d)).collect();
    let mut out: BTreeSet<&str> =
        new.iter().filter(|d| before.remove(&key(d)) != Some(*d)).map(|d| d.s("driver")).collect();
    out.extend(before.values().map(|d| d.s("driver")));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn on(nodes: &[&str]) -> Value {
        json!({"nodeSelector": {"nodeSelectorTerms": [
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": nodes}]}]}})
    }

    #[test]
    fn drivers_whose_devices_change() {
        let device = |driver: &str, device: &str, ip: &str| json!({"driver": driver, "device": device, "ip": ip});
        let (same, before) =
            (device("a", "1", ""), [device("a", "1", ""), device("b", "1", "x"), device("c", "1", "")]);
        let after = [same, device("b", "1", "y"), device("d", "1", "")];
        assert_eq!(changed_drivers(&after, &before).into_iter().collect::<Vec<_>>(), ["b", "c", "d"]);
        assert!(changed_drivers(&before, &before).is_empty());
    }

    #[test]
    fn only_drivers_on_the_node_of_the_claim_are_associated() {
        let user = |name: &str, nodes: &[&str]| UserInfo {
            name: name.into(),
            extra: [(NODE_NAME.to_owned(), nodes.iter().map(|n| (*n).to_owned()).collect())].into(),
            ..UserInfo::default()
        };
        let check = |user: UserInfo, allocation: Value, want: bool| {
            assert_eq!(verbs(&user, "update", &allocation).len() == 2, want, "{user:?} {allocation}");
        };
        let account = "system:serviceaccount:kube-system:driver";
        check(user(account, &["n1"]), on(&["n1"]), true);
        check(user(account, &["n1"]), on(&["n2"]), false);
        check(user(account, &["n1"]), on(&["n1", "n2"]), false);
        check(user(account, &["n1"]), Value::Null, false);
        check(user(account, &["n1", "n2"]), on(&["n1"]), false);
        check(user(account, &["n_1!"]), on(&["n_1!"]), false);
        check(user("system:node:n1", &["n1"]), on(&["n1"]), false);
        assert_eq!(verbs(&user("jo", &[]), "patch", &Value::Null), ["arbitrary-node:patch"]);
    }
}
