//! The mandatory and suggested flow schemas and priority levels
//! (rule: `pkg/apis/flowcontrol/bootstrap/default.go`).

use super::Placed;
use serde_json::{Value, json};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// A limited priority level: shares, lendable percent, queues (0: requests beyond the limit are refused), hand size.
const LEVELS: &[(&str, u32, u32, u32, u32)] = &[
    ("catch-all", 5, 0, 0, 0),
    ("system", 30, 33, 64, 6),
    ("node-high", 40, 25, 64, 6),
    ("leader-election", 10, 0, 16, 4),
    ("workload-high", 40, 50, 128, 6),
    ("workload-low", 100, 90, 128, 6),
    ("global-default", 20, 50, 128, 6),
];

/// Whom a flow schema is for.
enum Who {
    Groups(&'static [&'static str]),
    Users(&'static [&'static str]),
    /// Users, and the service accounts of kube-system.
    SystemAccounts(&'static [&'static str]),
}

/// Which requests.
enum What {
    All,
    Probes,
    Leases,
    Nodes,
}

const EVERYBODY: Who = Who::Groups(&["system:unauthenticated", "system:authenticated"]);

/// Name, priority level, precedence, distinguisher, whom for, which requests.
const SCHEMAS: &[(&str, &str, u32, &str, Who, What)] = &[
    ("exempt", "exempt", 1, "", Who::Groups(&["system:masters"]), What::All),
    ("probes", "exempt", 2, "", EVERYBODY, What::Probes),
    (
        "system-leader-election",
        "leader-election",
        100,
        "ByUser",
        Who::SystemAccounts(&["system:kube-controller-manager", "system:kube-scheduler"]),
        What::Leases,
    ),
    ("system-node-high", "node-high", 400, "ByUser", Who::Groups(&["system:nodes"]), What::Nodes),
    ("system-nodes", "system", 500, "ByUser", Who::Groups(&["system:nodes"]), What::All),
    (
        "kube-controller-manager",
        "workload-high",
        800,
        "ByNamespace",
        Who::Users(&["system:kube-controller-manager"]),
        What::All,
    ),
    ("kube-scheduler", "workload-high", 800, "ByNamespace", Who::Users(&["system:kube-scheduler"]), What::All),
    ("kube-system-service-accounts", "workload-high", 900, "ByNamespace", Who::SystemAccounts(&[]), What::All),
    ("service-accounts", "workload-low", 9000, "ByUser", Who::Groups(&["system:serviceaccounts"]), What::All),
    ("global-default", "global-default", 9900, "ByUser", EVERYBODY, What::All),
    ("catch-all", "catch-all", 10000, "ByUser", EVERYBODY, What::All),
];

/// All of them.
pub fn objects() -> Vec<Placed> {
    let exempt =
        level("exempt", json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}));
    let limited = LEVELS.iter().map(|(name, shares, lendable, queues, hand)| {
        let response = if *queues == 0 {
            json!({"type": "Reject"})
        } else {
            json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}})
        };
        let limited =
            json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
        level(name, json!({"type": "Limited", "limited": limited}))
    });
    std::iter::once(exempt).chain(limited).chain(SCHEMAS.iter().map(schema)).collect()
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}})
}

fn level(name: &str, spec: Value) -> Placed {
    let object = json!({
        "kind": "PriorityLevelConfiguration", "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": metadata(name), "spec": spec,
    });
    (GROUP, "prioritylevelconfigurations", object)
}

fn schema((name, level, precedence, by, who, what): &(&str, &str, u32, &str, Who, What)) -> Placed {
    let mut rule = requests(what);
    rule["subjects"] = subjects(who).into();
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule],
    });
    if !by.is_empty() {
        spec["distinguisherMethod"] = json!({"type": by});
    }
    let object = json!({
        "kind": "FlowSchema", "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "metadata": metadata(name), "spec": spec,
    });
    (GROUP, "flowschemas", object)
}

fn subjects(who: &Who) -> Vec<Value> {
    let user = |n: &&str| json!({"kind": "User", "user": {"name": n}});
    match who {
        Who::Groups(names) => names.iter().map(|n| json!({"kind": "Group", "group": {"name": n}})).collect(),
        Who::Users(names) => names.iter().map(user).collect(),
        Who::SystemAccounts(users) => {
            let accounts =
                json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}});
            users.iter().map(user).chain([accounts]).collect()
        }
    }
}

fn requests(what: &What) -> Value {
    let resource = |verbs: &[&str], groups: &[&str], resources: &[&str], cluster: bool| {
        let mut r = json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "namespaces": ["*"]});
        if cluster {
            r["clusterScope"] = true.into();
        }
        r
    };
    match what {
        What::All => json!({
            "resourceRules": [resource(&["*"], &["*"], &["*"], true)],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }),
        What::Probes => {
            json!({"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]})
        }
        What::Leases => {
            json!({"resourceRules": [resource(&["get", "create", "update"], &["coordination.k8s.io"], &["leases"], false)]})
        }
        What::Nodes => json!({"resourceRules": [
            resource(&["*"], &[""], &["nodes", "nodes/status"], true),
            resource(&["*"], &["coordination.k8s.io"], &["leases"], false),
        ]}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eleven_schemas_lead_to_eight_levels() {
        let all = objects();
        let names = |r: &str| {
            all.iter().filter(|o| o.1 == r).map(|o| o.2["metadata"]["name"].as_str().unwrap_or("")).collect::<Vec<_>>()
        };
        let (levels, schemas) = (names("prioritylevelconfigurations"), names("flowschemas"));
        assert_eq!((levels.len(), schemas.len()), (8, 11));
        for (_, _, o) in all.iter().filter(|o| o.1 == "flowschemas") {
            let level = o["spec"]["priorityLevelConfiguration"]["name"].as_str().expect("a name");
            assert!(levels.contains(&level), "{level}");
        }
    }
}
