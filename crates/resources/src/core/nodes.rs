//! `nodes` (rule: `pkg/registry/core/node`).

use super::{columns, resource_names};
use crate::checks::{self, Raw};
use crate::cluster_scoped;
use crate::common::{age_cell, carry_over, object_subresource};
use crate::fields::Fields;
use crate::ip;
use crate::shared::print;
use crate::shared::rules::known_finalizers;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, SubBehaviour, Subresource};

static INFO: ResourceInfo =
    ResourceInfo { short_names: &["no"], prefix: "minions", ..cluster_scoped("", "v1", "nodes", "node", "Node") };

fn defaults(obj: &mut Value) {
    for list in ["capacity", "allocatable"] {
        if let Some(list) = obj.pointer_mut("/status").and_then(|s| s.get_mut(list)).and_then(Value::as_object_mut) {
            crate::shared::defaults::resource_list(list);
        }
    }
    if let Some(capacity) = object::get(obj, &["status", "capacity"]).cloned() {
        crate::common::default_value(obj, &["status", "allocatable"], capacity);
    }
    // The older singular field and the first of the newer list are one (rule: `Convert_v1_NodeSpec_To_core_NodeSpec`).
    let one = obj.at("spec").s("podCIDR").to_owned();
    let first = obj.at("spec").strings("podCIDRs").first().map(|s| (*s).to_owned());
    match first {
        Some(first) if one.is_empty() => object::set(obj, &["spec", "podCIDR"], first),
        first if !one.is_empty() && first.as_ref() != Some(&one) => {
            object::set(obj, &["spec", "podCIDRs"], json!([one]))
        }
        _ => {}
    }
}

fn check_taints(e: &mut ErrorList, spec: &Value) {
    const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let mut seen = BTreeSet::new();
    for (i, taint) in spec.items("taints").iter().enumerate() {
        let path = Path::new("metadata").child("taints").index(i);
        let (key, value, effect) = (taint.s("key"), taint.s("value"), taint.s("effect"));
        checks::qualified_name(e, &path.child("key"), key);
        let messages = validation::label_value(value);
        if !messages.is_empty() {
            e.invalid(&path.child("value"), value, messages.join(";"));
        }
        if effect.is_empty() {
            e.required(&path.child("effect"), "");
        } else if !EFFECTS.contains(&effect) {
            checks::not_supported_in_order(e, &path.child("effect"), effect, EFFECTS);
        }
        if !seen.insert((effect, key)) {
            let shown = format!(
                "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":{}}}",
                json!(key),
                json!(value),
                json!(effect),
                taint.at("timeAdded")
            );
            checks::duplicate_because(e, &path, Raw(shown), "taints must be unique by key and effect pair");
        }
    }
}

fn check_resources(e: &mut ErrorList, obj: &Value) {
    for list in ["capacity", "allocatable"] {
        for (name, value) in obj.at("status").entries(list) {
            resource_names::check_amount(e, &Path::new("status").child(list).child(name), name, value);
        }
    }
}

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    known_finalizers(&mut e, obj);
    let spec = obj.at("spec");
    check_taints(&mut e, spec);
    check_resources(&mut e, obj);
    let path = Path::new("spec").child("podCIDRs");
    let cidrs = spec.strings("podCIDRs");
    for (i, cidr) in cidrs.iter().enumerate() {
        ip::check_cidr_legacy(&mut e, &path.index(i), cidr, &[]);
    }
    if cidrs.len() > 1 {
        let families: BTreeSet<bool> =
            cidrs.iter().filter_map(|c| ip::parse_cidr_sloppy(c)).map(|(ip, _)| ip.is_ipv4()).collect();
        if families.len() < 2 || cidrs.len() > 2 {
            e.invalid(&path, spec.at("podCIDRs"), "may specify no more than one CIDR for each IP family");
        }
        let mut seen = BTreeSet::new();
        for (i, cidr) in cidrs.iter().enumerate() {
            if !seen.insert(cidr) {
                e.duplicate(&path.index(i), *cidr);
            }
        }
    }
    e
}

/// Checks where a kubelet's configuration is to come from, or came from: the feature is gone, its rules are kept
/// (rule: core `validateNodeConfigSourceSpec`, `validateNodeConfigSourceStatus`).
fn check_config_source(e: &mut ErrorList, path: &Path, source: &Value, in_spec: bool) {
    let Some(map) = source.sub("configMap") else {
        e.invalid(path, Raw("{\"ConfigMap\":null}".to_owned()), "exactly one reference subfield must be non-nil");
        return;
    };
    let path = path.child("configMap");
    for field in ["uid", "resourceVersion"] {
        if in_spec && !map.s(field).is_empty() {
            e.forbidden(&path.child(field), format!("{field} must not be set in spec"));
        }
        if !in_spec && map.s(field).is_empty() {
            e.required(&path.child(field), format!("{field} must be set in status"));
        }
    }
    type Rule = fn(&str) -> Vec<String>;
    const FIELDS: [(&str, Rule); 3] = [
        ("namespace", |s| validation::dns_label(s, false)),
        ("name", |s| validation::dns_subdomain(s, false)),
        ("kubeletConfigKey", validation::config_map_key),
    ];
    for (field, rule) in FIELDS {
        match map.s(field) {
            "" => e.required(&path.child(field), format!("{field} must be set")),
            value => checks::invalid_each(e, &path.child(field), value, rule(value)),
        }
    }
}

fn check_update(new: &Value, old: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    known_finalizers(&mut e, new);
    check_resources(&mut e, new);
    let mut seen = BTreeSet::new();
    for (i, a) in new.at("status").items("addresses").iter().enumerate() {
        if !seen.insert((a.s("type"), a.s("address"))) {
            let shown = format!("{{\"Type\":{},\"Address\":{}}}", json!(a.s("type")), json!(a.s("address")));
            e.duplicate(&Path::new("status").child("addresses").index(i), Raw(shown));
        }
    }
    let (spec, was) = (new.at("spec"), old.at("spec"));
    let (cidrs, before) = (spec.strings("podCIDRs"), was.strings("podCIDRs"));
    let changes = match cidrs.len() == before.len() {
        true => cidrs.iter().zip(&before).filter(|(a, b)| a != b).count(),
        false => usize::from(!before.is_empty()),
    };
    for _ in 0..changes {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        e.forbidden(&Path::new("spec").child("podCIDRs"), why);
    }
    if !was.s("providerID").is_empty() && spec.s("providerID") != was.s("providerID") {
        let why = "node updates may not change providerID except from \"\" to valid";
        e.forbidden(&Path::new("spec").child("providerID"), why);
    }
    if let Some(source) = spec.sub("configSource") {
        check_config_source(&mut e, &Path::new("spec").child("configSource"), source, true);
    }
    for field in ["assigned", "active", "lastKnownGood"] {
        if let Some(source) = new.at("status").at("config").sub(field) {
            check_config_source(&mut e, &Path::new("status").child("config").child(field), source, false);
        }
    }
    check_taints(&mut e, spec);
    if spec.s("externalID") != was.s("externalID") {
        e.forbidden(&Path::new("spec").child("externalID"), "may not be updated");
    }
    e
}

fn warn(ctx: &Context, obj: &Value) {
    let spec = obj.at("spec");
    if spec.sub("configSource").is_some() {
        ctx.warn("spec.configSource: the feature is removed");
    }
    if !spec.s("externalID").is_empty() {
        ctx.warn("spec.externalID: this field is deprecated, and is unused by Kubernetes");
    }
    for (i, cidr) in spec.strings("podCIDRs").iter().enumerate() {
        let path = Path::new("spec").child("podCIDRs").index(i);
        validation::cidr_warnings(&path, cidr).into_iter().for_each(|w| ctx.warn(w));
    }
}

fn roles(obj: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in obj.at("metadata").entries("labels") {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/") {
            if !role.is_empty() {
                roles.insert(role);
            }
        } else if key == "kubernetes.io/role" {
            roles.extend(value.as_str().filter(|v| !v.is_empty()));
        }
    }
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn status(obj: &Value) -> String {
    let ready = obj.at("status").items("conditions").iter().rfind(|c| c.s("type") == "Ready");
    let mut words = vec![match ready {
        Some(c) if c.s("status") == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }];
    if obj.at("spec").flag("unschedulable") == Some(true) {
        words.push("SchedulingDisabled");
    }
    words.join(",")
}

/// The strategy of `nodes`.
pub struct Nodes;

impl Strategy for Nodes {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        // What belongs to a feature that is gone stays only where it is already.
        object::remove(obj, &["spec", "configSource"]);
        object::remove(obj, &["status", "config"]);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        if old.at("spec").sub("configSource").is_none() {
            object::remove(new, &["spec", "configSource"]);
        }
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = check(new);
        e.extend(check_update(new, old));
        e
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        warn(ctx, obj);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, _old: &Value) {
        warn(ctx, new);
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }
    fn selectable_field(&self, obj: &Value, _field: &str) -> String {
        obj.at("spec").flag("unschedulable").unwrap_or(false).to_string()
    }
    fn columns(&self) -> &'static [Column] {
        columns::NODES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let info = obj.at("status").at("nodeInfo");
        let address = |kind: &str| {
            let found = obj.at("status").items("addresses").iter().find(|a| a.s("type") == kind);
            print::or_none(found.map(|a| a.s("address")).unwrap_or_default())
        };
        let known = |key: &str| Value::from(if info.s(key).is_empty() { "<unknown>" } else { info.s(key) });
        let kernel = match (info.s("kernelVersion"), info.s("architecture")) {
            ("", _) | (_, "") => known("kernelVersion"),
            (kernel, architecture) => format!("{kernel} ({architecture})").into(),
        };
        vec![
            print::name(obj),
            status(obj).into(),
            print::or_none(&roles(obj)),
            age_cell(obj, now),
            info.s("kubeletVersion").into(),
            address("InternalIP"),
            address("ExternalIP"),
            known("osImage"),
            kernel,
            known("containerRuntimeVersion"),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[
            Subresource {
                name: "proxy",
                kind: ("", "", "NodeProxyOptions"),
                verbs: &["create", "delete", "get", "patch", "update"],
                behaviour: SubBehaviour::Connect,
            },
            object_subresource("status", &NodeStatus),
        ];
        SUBRESOURCES
    }
}

/// The strategy of `nodes/status`.
pub struct NodeStatus;

impl Strategy for NodeStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
        if old.at("status").sub("config").is_none() {
            object::remove(new, &["status", "config"]);
        }
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        check_update(new, old)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(e: &ErrorList) -> Vec<String> {
        e.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn blocks_of_addresses() {
        let check_blocks = |cidrs: Value, want: &[&str]| {
            assert_eq!(text(&check(&json!({"spec": {"podCIDRs": cidrs}}))), want);
        };
        check_blocks(json!(["10.1.0.0/24", "fd00::/64"]), &[]);
        check_blocks(
            json!(["10.1.0.0/24", "fd00::/64", "10.1.0.0/24"]),
            &[
                "spec.podCIDRs: Invalid value: [\"10.1.0.0/24\",\"fd00::/64\",\"10.1.0.0/24\"]: may specify no more than one CIDR for each IP family",
                "spec.podCIDRs[2]: Duplicate value: \"10.1.0.0/24\"",
            ],
        );
    }

    #[test]
    fn changes() {
        let check_change = |old: Value, new: Value, want: &[&str]| {
            assert_eq!(text(&check_update(&new, &old)), want);
        };
        const CHANGED: &str = "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid";
        let blocks = |a: &str, b: &str| json!({"spec": {"podCIDRs": [a, b]}});
        check_change(blocks("a", "b"), blocks("c", "d"), &[CHANGED, CHANGED]);
        check_change(blocks("a", "b"), json!({}), &[CHANGED]);
        check_change(json!({}), blocks("a", "b"), &[]);
        let source = |map: Value| json!({"spec": {"configSource": map}});
        check_change(
            json!({}),
            source(json!({})),
            &["spec.configSource: Invalid value: {\"ConfigMap\":null}: exactly one reference subfield must be non-nil"],
        );
        check_change(
            json!({}),
            source(json!({"configMap": {"uid": "u", "namespace": "n", "name": "m"}})),
            &[
                "spec.configSource.configMap.uid: Forbidden: uid must not be set in spec",
                "spec.configSource.configMap.kubeletConfigKey: Required value: kubeletConfigKey must be set",
            ],
        );
    }
}
