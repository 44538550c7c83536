//! Fills aggregated ClusterRoles from those that their selectors choose
//! (rule: `pkg/controller/clusterroleaggregation`).

use std::sync::Arc;

use steersman_api::k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use steersman_client::{Action, Client, Object, ObjectKey, Result, Store, WorkQueue, labels};

use crate::context::{Context, Run};

/// Index of the roles that aggregate others, all under one value.
const AGGREGATING: &str = "aggregating";

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let roles = context.informers.get::<ClusterRole>();
    roles.add_index(AGGREGATING, |role| if role.aggregation_rule.is_some() { vec![String::new()] } else { Vec::new() });
    let queue = WorkQueue::<ObjectKey>::new();
    roles.add_handler({
        let (queue, roles) = (queue.clone(), roles.store().clone());
        move |_| {
            for role in roles.by_index(AGGREGATING, "") {
                queue.add(role.key());
            }
        }
    });
    let controller = Arc::new((context.client.clone(), roles.store().clone()));
    Ok(Some(context.work("clusterrole-aggregation", queue, 5, controller, |shared, key| async move {
        sync(&shared.0, &shared.1, &key).await
    })))
}

async fn sync(client: &Client, roles: &Store<ClusterRole>, key: &ObjectKey) -> Result<Action> {
    let Some(role) = roles.get(key) else { return Ok(Action::Done) };
    let Some(rules) = aggregate(&role, roles.list()) else { return Ok(Action::Done) };
    if role.rules.clone().unwrap_or_default() == rules {
        return Ok(Action::Done);
    }
    let body = serde_json::json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": role.name()},
        "rules": rules,
    });
    client.apply::<ClusterRole>("", role.name(), body, "clusterrole-aggregation-controller", true).await?;
    Ok(Action::Done)
}

/// The rules of all selected roles, in the order of their names, each once; `None` if the role aggregates nothing.
fn aggregate(role: &ClusterRole, mut all: Vec<Arc<ClusterRole>>) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or_default();
    all.sort_by(|a, b| a.name().cmp(b.name()));
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        let chosen = all.iter().filter(|one| one.name() != role.name() && labels::matches(selector, one.labels()));
        for rule in chosen.flat_map(|one| one.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_each_rule_once() {
        let role = |name: &str, label: &str, verb: &str| -> Arc<ClusterRole> {
            let value = json!({"metadata": {"name": name, "labels": {"to": label}}, "rules": [{"verbs": [verb]}]});
            Arc::new(serde_json::from_value(value).unwrap())
        };
        let target: ClusterRole = serde_json::from_value(json!({
            "metadata": {"name": "t"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "t"}}]},
        }))
        .unwrap();
        let all = vec![role("c", "t", "get"), role("a", "t", "list"), role("b", "t", "get"), role("d", "u", "watch")];
        let verbs: Vec<_> = aggregate(&target, all.clone()).unwrap().into_iter().flat_map(|rule| rule.verbs).collect();
        assert_eq!(verbs, ["list", "get"]);
        assert!(aggregate(&all[0], all.clone()).is_none());
    }
}
