//! On which nodes a daemon belongs (rule: `daemon_controller.go`, `NodeShouldRunDaemonPod`; `daemon/util`).

use std::collections::BTreeMap;

use steersman_api::k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{
        Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, PodTemplateSpec, Toleration,
    },
};
use steersman_client::Object;

use crate::{pods, taint_eviction::tolerates};

/// The label of pods and revisions that names the revision.
pub const HASH: &str = "controller-revision-hash";
const GENERATION_LABEL: &str = "pod-template-generation";
const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";

/// Whether a daemon should be started on a node, and whether a running one may stay there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub run: bool,
    pub stay: bool,
}

/// Taints that a daemon bears.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const TOLERATED_ON_HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

fn add_tolerations(spec: &mut PodSpec) {
    let on_host = spec.host_network.unwrap_or(false).then_some(TOLERATED_ON_HOST_NETWORK);
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.iter().copied().chain(on_host) {
        let wanted = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        match tolerations.iter_mut().find(|known| known.key == wanted.key && known.effect == wanted.effect) {
            Some(known) => *known = wanted,
            None => tolerations.push(wanted),
        }
    }
}

/// The pod that the set runs on a node, bound to it by affinity: the scheduler does the rest.
pub fn pod_for(set: &DaemonSet, node: &str, hash: &str) -> Option<Pod> {
    let spec = set.spec.as_ref()?;
    let mut template = PodTemplateSpec { spec: spec.template.spec.clone(), metadata: spec.template.metadata.clone() };
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    if let Some(generation) = set.annotations().get(GENERATION_ANNOTATION) {
        labels.insert(GENERATION_LABEL.to_owned(), generation.clone());
    }
    labels.insert(HASH.to_owned(), hash.to_owned());
    let pod_spec = template.spec.get_or_insert_default();
    add_tolerations(pod_spec);
    let affinity = pod_spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    let requirement = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let required = &mut affinity.required_during_scheduling_ignored_during_execution;
    match required.as_mut().filter(|required| !required.node_selector_terms.is_empty()) {
        Some(required) => {
            for term in &mut required.node_selector_terms {
                term.match_fields = Some(vec![requirement.clone()]);
            }
        }
        None => {
            let term = NodeSelectorTerm { match_fields: Some(vec![requirement]), match_expressions: None };
            *required = Some(NodeSelector { node_selector_terms: vec![term] });
        }
    }
    Some(pods::from_template(&template, set.name(), set.controller_reference()))
}

/// The node that a daemon is on or was made for.
pub fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
        return Some(node);
    }
    let required =
        spec.affinity.as_ref()?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let by_name = |field: &&NodeSelectorRequirement| field.key == "metadata.name" && field.operator == "In";
    fields.into_iter().find(by_name)?.values.as_ref()?.first().map(String::as_str)
}

/// Whether the set's template fits a node.
pub fn of(set: &DaemonSet, node: &Node) -> Placement {
    const NOWHERE: Placement = Placement { run: false, stay: false };
    let Some(mut spec) = set.spec.as_ref().and_then(|spec| spec.template.spec.clone()) else { return NOWHERE };
    if spec.node_name.as_deref().is_some_and(|wanted| !wanted.is_empty() && wanted != node.name()) {
        return NOWHERE;
    }
    if !matches_node(&spec, node) {
        return NOWHERE;
    }
    add_tolerations(&mut spec);
    let tolerations = spec.tolerations.unwrap_or_default();
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut placement = Placement { run: true, stay: true };
    for taint in taints.filter(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint))) {
        match taint.effect.as_str() {
            "NoExecute" => return NOWHERE,
            "NoSchedule" => placement.run = false,
            _ => {}
        }
    }
    placement
}

/// Whether node selector and required node affinity accept a node.
fn matches_node(spec: &PodSpec, node: &Node) -> bool {
    if spec.node_selector.as_ref().is_some_and(|wanted| wanted.iter().any(|(k, v)| node.labels().get(k) != Some(v))) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| matches_term(term, node)))
}

fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let name: BTreeMap<String, String> = [("metadata.name".to_owned(), node.name().to_owned())].into();
    expressions.iter().all(|one| matches_requirement(one, node.labels()))
        && fields.iter().all(|one| matches_requirement(one, &name))
}

fn matches_requirement(requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, limit)| value > limit),
        "Lt" => numbers().is_some_and(|(value, limit)| value < limit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(template: Value) -> DaemonSet {
        serde_json::from_value(
            json!({"metadata": {"name": "ds"}, "spec": {"selector": {}, "template": {"spec": template}}}),
        )
        .unwrap()
    }

    #[test]
    fn nodes_are_chosen_by_labels_and_taints() {
        let check = |template: Value, taints: Value, run, stay| {
            let node: Node = serde_json::from_value(
                json!({"metadata": {"name": "n1", "labels": {"disk": "ssd", "size": "7"}}, "spec": {"taints": taints}}),
            )
            .unwrap();
            assert_eq!(of(&set(template.clone()), &node), Placement { run, stay }, "{template}");
        };
        let required = |term: Value| {
            json!({"containers": [], "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}})
        };
        check(json!({"containers": []}), json!([]), true, true);
        check(json!({"containers": [], "nodeName": "n2"}), json!([]), false, false);
        check(json!({"containers": [], "nodeSelector": {"disk": "hdd"}}), json!([]), false, false);
        check(json!({"containers": []}), json!([{"key": "x", "effect": "NoSchedule"}]), false, true);
        check(json!({"containers": []}), json!([{"key": "x", "effect": "NoExecute"}]), false, false);
        check(
            json!({"containers": []}),
            json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]),
            true,
            true,
        );
        check(
            required(json!({"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["6"]}]})),
            json!([]),
            true,
            true,
        );
        check(
            required(json!({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n1"]}]})),
            json!([]),
            false,
            false,
        );
        check(required(json!({})), json!([]), false, false);
    }

    #[test]
    fn pods_are_made_for_one_node() {
        let pod = pod_for(&set(json!({"containers": [], "hostNetwork": true})), "n7", "abc").unwrap();
        assert_eq!(node_of(&pod), Some("n7"));
        assert_eq!(pod.labels()[HASH], "abc");
        assert_eq!(pod.spec.unwrap().tolerations.unwrap().len(), 7);
    }
}
