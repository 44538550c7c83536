//! `networkpolicies` (rule: `pkg/registry/networking/networkpolicy`, `pkg/apis/networking/validation`).

use super::{GROUP, columns};
use crate::common::{age_cell, first_generation, next_generation, same};
use crate::fields::Fields;
use crate::shared::print;
use crate::{checks, ip, namespaced};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["netpol"],
    ..namespaced(GROUP, "v1", "networkpolicies", "networkpolicy", "NetworkPolicy")
};

fn defaults(obj: &mut Value) {
    for rules in ["ingress", "egress"] {
        let rules = obj.pointer_mut("/spec").and_then(|s| s.get_mut(rules)).and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten() {
            for port in rule.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                crate::common::default_str(port, &["protocol"], "TCP");
            }
        }
    }
    if !obj.at("spec").has("policyTypes") {
        let types = if obj.at("spec").has("egress") { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        object::set(obj, &["spec", "policyTypes"], types);
    }
}

fn port(e: &mut ErrorList, path: &Path, port: &Value) {
    const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];
    if let Some(p) = port.opt_s("protocol")
        && !PROTOCOLS.contains(&p)
    {
        checks::not_supported_in_order(e, &path.child("protocol"), p, PROTOCOLS);
    }
    let (end, at) = (port.int("endPort"), path.child("endPort"));
    match (port.sub("port"), end) {
        (None, Some(end)) => e.invalid(&at, end, "may not be specified when `port` is not specified"),
        (None, None) => {}
        (Some(Value::String(name)), end) => {
            if let Some(end) = end {
                e.invalid(&at, end, "may not be specified when `port` is non-numeric");
            }
            checks::invalid_each(e, &path.child("port"), name, validation::port_name(name));
        }
        (Some(number), end) => {
            let number = number.as_i64().unwrap_or(0);
            checks::port_number(e, &path.child("port"), number);
            if let Some(end) = end {
                if end < number {
                    e.invalid(&at, number, "must be greater than or equal to `port`");
                }
                checks::port_number(e, &at, end);
            }
        }
    }
}

fn peer(e: &mut ErrorList, path: &Path, peer: &Value, old: &[&str]) {
    let mut count = 0;
    for selector in ["podSelector", "namespaceSelector"] {
        if let Some(s) = peer.sub(selector) {
            count += 1;
            checks::label_selector(e, &path.child(selector), Some(s));
        }
    }
    let block = peer.sub("ipBlock");
    if let Some(b) = block {
        count += 1;
        ip_block(e, &path.child("ipBlock"), b, old);
    }
    if count == 0 {
        e.required(path, "must specify a peer");
    } else if count > 1 && block.is_some() {
        e.forbidden(path, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(e: &mut ErrorList, path: &Path, block: &Value, old: &[&str]) {
    let cidr = block.s("cidr");
    if cidr.is_empty() {
        e.required(&path.child("cidr"), "");
        return;
    }
    ip::check_cidr_legacy(e, &path.child("cidr"), cidr, old);
    let Some((net, len)) = ip::parse_cidr_sloppy(cidr) else { return };
    for (i, except) in block.strings("except").into_iter().enumerate() {
        let at = path.child("except").index(i);
        ip::check_cidr_legacy(e, &at, except, old);
        // What cannot be read was told of just now.
        let Some((n, l)) = ip::parse_cidr_sloppy(except) else { continue };
        if !ip::contains((net, len), ip::masked(n, l)) || l <= len {
            e.invalid(&at, except, "must be a strict subset of `cidr`");
        }
    }
}

const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

fn cidrs(obj: &Value) -> Vec<&str> {
    let mut out = Vec::new();
    for (rules, peers) in DIRECTIONS {
        for block in obj.at("spec").items(rules).iter().flat_map(|r| r.items(peers)).filter_map(|p| p.sub("ipBlock")) {
            out.push(block.s("cidr"));
            out.extend(block.strings("except"));
        }
    }
    out
}

fn check(obj: &Value, old: &[&str]) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path) = (obj.at("spec"), Path::new("spec"));
    checks::label_selector(&mut e, &path.child("podSelector"), spec.sub("podSelector"));
    for (rules, peers) in DIRECTIONS {
        for (i, rule) in spec.items(rules).iter().enumerate() {
            let p = path.child(rules).index(i);
            for (j, item) in rule.items("ports").iter().enumerate() {
                port(&mut e, &p.child("ports").index(j), item);
            }
            for (j, item) in rule.items(peers).iter().enumerate() {
                peer(&mut e, &p.child(peers).index(j), item, old);
            }
        }
    }
    let types = spec.strings("policyTypes");
    if types.len() > 2 {
        e.invalid(&path.child("policyTypes"), spec.at("policyTypes"), "may not specify more than two policyTypes");
        return e;
    }
    for (i, kind) in types.into_iter().enumerate() {
        const KNOWN: &[&str] = &["Ingress", "Egress"];
        if !KNOWN.contains(&kind) {
            checks::not_supported_in_order(&mut e, &path.child("policyTypes").index(i), kind, KNOWN);
        }
    }
    e
}

fn warn(ctx: &Context, obj: &Value) {
    for (rules, peers) in DIRECTIONS {
        for (i, rule) in obj.at("spec").items(rules).iter().enumerate() {
            for (j, peer) in rule.items(peers).iter().enumerate() {
                let path = Path::new("spec").child(rules).index(i).child(peers).index(j).child("ipBlock");
                let block = peer.at("ipBlock");
                let excepts = block.strings("except").into_iter().enumerate();
                let all = std::iter::once((path.child("cidr"), block.s("cidr")))
                    .chain(excepts.map(|(k, c)| (path.child("except").index(k), c)));
                all.flat_map(|(p, c)| validation::cidr_warnings(&p, c)).for_each(|w| ctx.warn(w));
            }
        }
    }
}

/// The strategy of `networkpolicies`.
pub struct NetworkPolicies;

impl Strategy for NetworkPolicies {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        first_generation(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj, &[])
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        check(new, &cidrs(old))
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        warn(ctx, obj);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, _old: &Value) {
        warn(ctx, new);
    }
    fn columns(&self) -> &'static [Column] {
        columns::NETWORKPOLICIES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), print::selector(obj.at("spec").sub("podSelector")), age_cell(obj, now)]
    }
}
