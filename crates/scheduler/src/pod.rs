//! A pod as decisions need it: parsed once, shared by the queue, the cache and every snapshot.

use crate::node::ImageId;
use crate::resources::{Resources, pod_requests};
use jiff::Timestamp;
use std::collections::BTreeMap;
use steersman_api::k8s_openapi::api::core::v1::{
    Affinity, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodAffinityTerm, PodSpec, PodStatus, Toleration,
    TopologySpreadConstraint, Volume,
};
use steersman_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector as ApiSelector, ObjectMeta};
use steersman_apimachinery::Path;
use steersman_apimachinery::selector::{LabelSelector, Operator, Requirement};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// One pod.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct PodInfo {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub resource_version: String,
    pub labels: Labels,
    pub priority: i32,
    pub terminating: bool,
    pub requests: Resources,
    /// Requests with defaults for containers that have none, for scoring.
    pub non_zero: Resources,
    pub ports: Vec<HostPort>,
    pub required_affinity: Vec<AffinityTerm>,
    pub required_anti_affinity: Vec<AffinityTerm>,
    pub preferred_affinity: Vec<(i64, AffinityTerm)>,
    pub preferred_anti_affinity: Vec<(i64, AffinityTerm)>,
    pub node_affinity: NodeAffinity,
    pub spread: Vec<SpreadConstraint>,
    /// Images of all containers, with their tags.
    pub images: Vec<ImageId>,
    /// Equal for pods of one namespace with the same labels.
    pub group: u64,
    pub tolerations: Vec<Toleration>,
    /// The node it is bound to; empty for none.
    pub node_name: String,
    /// The owner that manages it.
    pub owner: Option<Owner>,
    pub claims: Vec<Claim>,
    pub scheduler_name: String,
    /// Names of the gates that keep it from being looked at.
    pub gates: Vec<String>,
    pub never_preempts: bool,
    /// The node that preemption has made room on.
    pub nominated: String,
    /// Whether it has run to its end.
    pub finished: bool,
    /// Whether it is being evicted for another pod.
    pub preempted: bool,
    pub started: Option<Timestamp>,
    pub generation: Option<i64>,
    /// The condition `PodScheduled`.
    pub scheduled: Option<Box<Scheduled>>,
}

/// The managing owner of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Owner {
    pub kind: String,
    pub name: String,
    pub uid: String,
}

/// A claim of storage that a pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its name, in the pod's namespace.
    pub name: String,
    /// Whether it is made from the pod's own template.
    pub ephemeral: bool,
}

/// The condition `PodScheduled`, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Scheduled {
    pub status: String,
    pub reason: String,
    pub message: String,
    pub since: Option<Timestamp>,
}

/// A port of the host that a container wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct HostPort {
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    /// Whether two cannot be on one host: the unspecified address is every address.
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |p: &Self| p.ip == "0.0.0.0";
        self.port == other.port && self.protocol == other.protocol && (self.ip == other.ip || any(self) || any(other))
    }
}

/// A term of pod affinity.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct AffinityTerm {
    pub namespaces: Vec<String>,
    pub namespace_selector: LabelSelector,
    pub selector: LabelSelector,
    pub topology_key: String,
}

impl AffinityTerm {
    /// Whether a pod is one that the term speaks of. `namespace_labels` are those of the pod's namespace.
    pub fn matches(&self, pod: &PodInfo, namespace_labels: &Labels) -> bool {
        let namespace = self.namespaces.contains(&pod.namespace)
            || self.namespace_selector.matches(|k| namespace_labels.get(k).map(String::as_str));
        namespace && self.selector.matches(|k| pod.labels.get(k).map(String::as_str))
    }
}

/// What a pod asks of nodes.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct NodeAffinity {
    pub selector: LabelSelector,
    /// `None`: no requirement; an empty list matches nothing.
    pub required: Option<Vec<NodeTerm>>,
    pub preferred: Vec<(i64, NodeTerm)>,
    /// The names of the only nodes that the requirement can mean; `None`: any.
    pub names: Option<Vec<String>>,
}

impl NodeAffinity {
    /// Whether the pod may be on a node.
    pub fn allows(&self, name: &str, labels: &Labels) -> bool {
        self.selector.matches(|k| labels.get(k).map(String::as_str))
            && self.required.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(name, labels)))
    }
}

/// One term of node affinity: all its requirements must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeTerm {
    labels: LabelSelector,
    fields: Vec<(Operator, Vec<String>)>,
    /// A term that is empty or does not parse matches nothing.
    void: bool,
}

impl NodeTerm {
    /// Parses a term of the API.
    pub fn parse(term: &NodeSelectorTerm) -> Self {
        let (expressions, fields) = (term.match_expressions.iter().flatten(), term.match_fields.iter().flatten());
        let parsed: Option<Vec<Requirement>> = expressions.clone().map(requirement).collect();
        let of_fields: Option<Vec<_>> =
            fields.clone().map(|f| Some((operator(&f.operator)?, f.values.clone().unwrap_or_default()))).collect();
        let void = (expressions.count() == 0 && fields.count() == 0) || parsed.is_none() || of_fields.is_none();
        Self {
            labels: LabelSelector::from_requirements(parsed.unwrap_or_default()),
            fields: of_fields.unwrap_or_default(),
            void,
        }
    }
    /// Whether a node fits. `metadata.name` is the only field there is.
    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        let field = |(op, values): &(Operator, Vec<String>)| match op {
            Operator::In => values.iter().any(|v| v == name),
            Operator::NotIn => !values.iter().any(|v| v == name),
            _ => false,
        };
        !self.void && self.labels.matches(|k| labels.get(k).map(String::as_str)) && self.fields.iter().all(field)
    }
}

/// The nodes that terms name, if each names some (rule: `NodeAffinity.PreFilter`).
fn names(terms: &[NodeTerm]) -> Option<Vec<String>> {
    let mut out: Option<Vec<String>> = None;
    for term in terms {
        let mut named = term.fields.iter().filter(|(op, _)| *op == Operator::In).map(|(_, values)| values);
        let mut of_term = named.next()?.clone();
        named.for_each(|values| of_term.retain(|v| values.contains(v)));
        let all = out.get_or_insert_default();
        of_term.retain(|v| !all.contains(v));
        all.extend(of_term);
    }
    out
}

fn operator(s: &str) -> Option<Operator> {
    Some(match s {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    })
}

fn requirement(r: &NodeSelectorRequirement) -> Option<Requirement> {
    Requirement::new(&r.key, operator(&r.operator)?, r.values.clone().unwrap_or_default(), &Path::root()).ok()
}

/// How a pod's like are to be spread.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct SpreadConstraint {
    pub max_skew: i64,
    pub topology_key: String,
    /// `DoNotSchedule`; otherwise `ScheduleAnyway`.
    pub hard: bool,
    pub selector: LabelSelector,
    pub min_domains: i64,
    /// Whether nodes that the pod may not be on are left out of the counts.
    pub honor_affinity: bool,
    /// Whether nodes whose taints the pod does not tolerate are left out of the counts.
    pub honor_taints: bool,
}

impl SpreadConstraint {
    /// Whether a pod's labels match.
    pub fn matches(&self, pod: &PodInfo) -> bool {
        self.selector.matches(|k| pod.labels.get(k).map(String::as_str))
    }
}

impl PodInfo {
    /// Parses a pod.
    pub fn new(pod: &Pod) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let nothing = PodStatus::default();
        let status = pod.status.as_ref().unwrap_or(&nothing);
        let condition = |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind);
        let meta = &pod.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        let labels = meta.labels.clone().unwrap_or_default();
        let affinity = spec.affinity.clone().unwrap_or_default();
        let terms = |list: Option<&Vec<PodAffinityTerm>>| {
            list.into_iter().flatten().map(|t| affinity_term(t, &namespace)).collect()
        };
        let (pod_affinity, pod_anti) = (affinity.pod_affinity.as_ref(), affinity.pod_anti_affinity.as_ref());
        let weighted = |t: &steersman_api::k8s_openapi::api::core::v1::WeightedPodAffinityTerm| {
            (i64::from(t.weight), affinity_term(&t.pod_affinity_term, &namespace))
        };
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            priority: spec.priority.unwrap_or(0),
            terminating: meta.deletion_timestamp.is_some(),
            requests: pod_requests(spec, false),
            non_zero: pod_requests(spec, true),
            ports: host_ports(spec),
            required_affinity: terms(
                pod_affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            required_anti_affinity: terms(
                pod_anti.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref()),
            ),
            preferred_affinity: pod_affinity
                .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
                .into_iter()
                .flatten()
                .map(weighted)
                .collect(),
            preferred_anti_affinity: pod_anti
                .and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())
                .into_iter()
                .flatten()
                .map(weighted)
                .collect(),
            node_affinity: node_affinity(spec, &affinity),
            spread: spec.topology_spread_constraints.iter().flatten().map(|c| spread_constraint(c, &labels)).collect(),
            images: images(spec),
            group: hash(&(&namespace, &labels)),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            node_name: spec.node_name.clone().unwrap_or_default(),
            owner: owner(meta),
            claims: claims(spec, meta.name.as_deref().unwrap_or("")),
            scheduler_name: spec.scheduler_name.clone().unwrap_or_else(|| "default-scheduler".into()),
            gates: spec.scheduling_gates.iter().flatten().map(|g| g.name.clone()).collect(),
            never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
            nominated: status.nominated_node_name.clone().unwrap_or_default(),
            finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            preempted: condition("DisruptionTarget")
                .is_some_and(|c| c.status == "True" && c.reason.as_deref() == Some("PreemptionByScheduler")),
            started: status.start_time.as_ref().map(|t| t.0),
            generation: meta.generation,
            scheduled: condition("PodScheduled").map(|c| {
                Box::new(Scheduled {
                    status: c.status.clone(),
                    reason: c.reason.clone().unwrap_or_default(),
                    message: c.message.clone().unwrap_or_default(),
                    since: c.last_transition_time.as_ref().map(|t| t.0),
                })
            }),
            labels,
            namespace,
        }
    }

    /// Whether it says anything about other pods' places.
    pub fn has_affinity(&self) -> bool {
        !(self.required_affinity.is_empty()
            && self.required_anti_affinity.is_empty()
            && self.preferred_affinity.is_empty()
            && self.preferred_anti_affinity.is_empty())
    }
    /// `<namespace>/<name>`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

fn owner(meta: &ObjectMeta) -> Option<Owner> {
    let o = meta.owner_references.iter().flatten().find(|o| o.controller == Some(true))?;
    Some(Owner { kind: o.kind.clone(), name: o.name.clone(), uid: o.uid.clone() })
}

/// Claims that are named, and those that the ephemeral-volume controller makes of the pod's templates.
fn claims(spec: &PodSpec, pod: &str) -> Vec<Claim> {
    let of = |v: &Volume| match (&v.persistent_volume_claim, &v.ephemeral) {
        (Some(claim), _) => Some(Claim { name: claim.claim_name.clone(), ephemeral: false }),
        (None, Some(_)) => Some(Claim { name: format!("{pod}-{}", v.name), ephemeral: true }),
        (None, None) => None,
    };
    spec.volumes.iter().flatten().filter_map(of).collect()
}

/// The same for equal values, in this process.
pub fn hash(value: &impl std::hash::Hash) -> u64 {
    ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(value)
}

/// A selector of the API: absent selects nothing, empty everything.
pub fn selector(s: Option<&ApiSelector>) -> LabelSelector {
    let value = s.and_then(|s| serde_json::to_value(s).ok());
    // One that does not parse cannot have passed validation; it selects nothing.
    LabelSelector::from_object(value.as_ref()).unwrap_or_else(|_| LabelSelector::nothing())
}

fn affinity_term(t: &PodAffinityTerm, own: &str) -> AffinityTerm {
    let mut namespaces = t.namespaces.clone().unwrap_or_default();
    if namespaces.is_empty() && t.namespace_selector.is_none() {
        namespaces.push(own.to_owned());
    }
    AffinityTerm {
        namespaces,
        namespace_selector: selector(t.namespace_selector.as_ref()),
        selector: selector(t.label_selector.as_ref()),
        topology_key: t.topology_key.clone(),
    }
}

fn node_affinity(spec: &PodSpec, affinity: &Affinity) -> NodeAffinity {
    let of = affinity.node_affinity.as_ref();
    let required = of.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let preferred = of.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    let pairs = spec.node_selector.iter().flatten().map(|(k, v)| (k.as_str(), v.as_str()));
    let required: Option<Vec<NodeTerm>> = required.map(|r| r.node_selector_terms.iter().map(NodeTerm::parse).collect());
    NodeAffinity {
        selector: LabelSelector::from_map(pairs),
        names: required.as_ref().and_then(|terms| names(terms)),
        required,
        preferred: preferred
            .into_iter()
            .flatten()
            .filter(|p| p.weight != 0)
            .map(|p| (i64::from(p.weight), NodeTerm::parse(&p.preference)))
            .collect(),
    }
}

fn spread_constraint(c: &TopologySpreadConstraint, labels: &Labels) -> SpreadConstraint {
    let mut chosen = selector(c.label_selector.as_ref());
    for key in c.match_label_keys.iter().flatten() {
        let same =
            labels.get(key).and_then(|v| Requirement::new(key, Operator::In, vec![v.clone()], &Path::root()).ok());
        if let Some(r) = same.filter(|r| !chosen.requirements().contains(r)) {
            chosen = chosen.and(r);
        }
    }
    SpreadConstraint {
        max_skew: i64::from(c.max_skew),
        topology_key: c.topology_key.clone(),
        hard: c.when_unsatisfiable == "DoNotSchedule",
        selector: chosen,
        min_domains: c.min_domains.map_or(1, i64::from),
        honor_affinity: c.node_affinity_policy.as_deref() != Some("Ignore"),
        honor_taints: c.node_taints_policy.as_deref() == Some("Honor"),
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    ports
        .filter(|p| p.host_port.unwrap_or(0) > 0)
        .map(|p| HostPort {
            ip: p.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into()),
            protocol: p.protocol.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "TCP".into()),
            port: p.host_port.unwrap_or(0),
        })
        .collect()
}

/// With `:latest` where there is no tag, since nodes list their images so.
fn images(spec: &PodSpec) -> Vec<ImageId> {
    let of_volumes = spec.volumes.iter().flatten().filter_map(|v| v.image.as_ref()?.reference.clone());
    let of_containers =
        spec.init_containers.iter().flatten().chain(&spec.containers).map(|c| c.image.clone().unwrap_or_default());
    of_containers
        .chain(of_volumes)
        .map(|name| ImageId::of(&if name.rfind(':') <= name.rfind('/') { format!("{name}:latest") } else { name }))
        .collect()
}
