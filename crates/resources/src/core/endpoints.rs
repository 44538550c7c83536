//! Endpoints, what endpoint slices were before them (rule: `pkg/registry/core/endpoint`).

use crate::common::{AGE, NAME, age_cell, column};
use crate::namespaced;
use crate::shared::defaults::{fill, members};
use crate::shared::pod::say;
use crate::shared::print;
use crate::shared::rules::known_finalizers;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["ep"],
    prefix: "services/endpoints",
    ..namespaced("", "v1", "endpoints", "endpoints", "Endpoints")
};

static COLUMNS: &[Column] = &[
    NAME,
    column(
        "Endpoints",
        "string",
        "The set of all endpoints is the union of all subsets. Addresses are placed into subsets according to the IPs they share. A single address with multiple ports, some of which are ready and some of which are not (because they come from different containers) will result in the address being displayed in different subsets for the different ports. No address will appear in both Addresses and NotReadyAddresses in the same subset. Sets of addresses and ports that comprise a service.",
    ),
    AGE,
];

const LISTS: [&str; 2] = ["addresses", "notReadyAddresses"];
/// How many addresses a table shows.
const SHOWN: usize = 3;

/// The resource.
pub struct Endpoints;

fn validate(obj: &Value, old: Option<&Value>) -> ErrorList {
    let mut e = ErrorList::new();
    known_finalizers(&mut e, obj);
    let known: Vec<&str> = old
        .map_or(&[][..], |o| object::list(o, &["subsets"]))
        .iter()
        .flat_map(|s| LISTS.iter().flat_map(|l| object::list(s, &[l])))
        .map(|a| object::str(a, &["ip"]))
        .collect();
    for (i, subset) in object::list(obj, &["subsets"]).iter().enumerate() {
        let at = Path::new("subsets").index(i);
        if LISTS.iter().all(|l| object::list(subset, &[l]).is_empty()) {
            e.required(&at, "must specify `addresses` or `notReadyAddresses`");
        }
        for list in LISTS {
            for (j, a) in object::list(subset, &[list]).iter().enumerate() {
                address(&mut e, a, &known, &at.child(list).index(j));
            }
        }
        let ports = object::list(subset, &["ports"]);
        for (j, p) in ports.iter().enumerate() {
            port(&mut e, p, ports.len() > 1, &at.child("ports").index(j));
        }
    }
    e
}

fn address(e: &mut ErrorList, a: &Value, known: &[&str], at: &Path) {
    let (ip, host) = (object::str(a, &["ip"]), object::str(a, &["hostname"]));
    validation::legacy_ip(e, &at.child("ip"), ip, true, known);
    if !host.is_empty() {
        say(e, || at.child("hostname"), host, validation::dns_label(host, false));
    }
    if let Some(node) = a.get("nodeName").and_then(Value::as_str) {
        say(e, || at.child("nodeName"), node, validation::dns_subdomain(node, false));
    }
    crate::ip::check_not_special(e, &at.child("ip"), ip);
}

fn port(e: &mut ErrorList, p: &Value, needs_name: bool, at: &Path) {
    let name = object::str(p, &["name"]);
    if !name.is_empty() {
        say(e, || at.child("name"), name, validation::dns_label(name, false));
    } else if needs_name {
        e.required(&at.child("name"), "");
    }
    let number = object::int(p, &["port"]).unwrap_or(0);
    for m in validation::port_number(number) {
        e.invalid(&at.child("port"), number, m);
    }
    match object::str(p, &["protocol"]) {
        "TCP" | "UDP" | "SCTP" => {}
        "" => e.required(&at.child("protocol"), ""),
        other => e.not_supported(&at.child("protocol"), other, &["SCTP", "TCP", "UDP"]),
    }
    if let Some(protocol) = p.get("appProtocol").and_then(Value::as_str) {
        say(e, || at.child("appProtocol"), protocol, validation::qualified_name(protocol));
    }
}

fn warn(ctx: &Context, obj: &Value) {
    // The controller's own objects are well formed: upstream saves the time.
    if object::label(obj, "endpoints.kubernetes.io/managed-by") == Some("endpoint-controller") {
        return;
    }
    for (i, subset) in object::list(obj, &["subsets"]).iter().enumerate() {
        for list in LISTS {
            for (j, a) in object::list(subset, &[list]).iter().enumerate() {
                let at = Path::new("subsets").index(i).child(list).index(j).child("ip");
                for warning in validation::ip_warnings(&at, object::str(a, &["ip"])) {
                    ctx.warn(warning);
                }
            }
        }
    }
}

/// The first addresses with their ports (rule: printers `formatEndpoints`).
fn shown(obj: &Value) -> String {
    if object::list(obj, &["subsets"]).is_empty() {
        return "<none>".to_owned();
    }
    let mut all: Vec<String> = Vec::new();
    for subset in object::list(obj, &["subsets"]) {
        let ips = || object::list(subset, &["addresses"]).iter().map(|a| object::str(a, &["ip"]));
        let ports = object::list(subset, &["ports"]);
        if ports.is_empty() {
            all.extend(ips().map(str::to_owned));
        }
        for p in ports {
            let port = object::int(p, &["port"]).unwrap_or(0);
            all.extend(
                ips().map(|ip| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }),
            );
        }
    }
    match all.len() {
        n if n > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), n - SHOWN),
        _ => all.join(","),
    }
}

impl Strategy for Endpoints {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        for subset in members(object::entry(obj, &[]), "subsets") {
            members(subset, "ports").for_each(|p| fill(p, "protocol", "TCP"));
        }
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        validate(obj, None)
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        known_finalizers(&mut e, new);
        e.extend(validate(new, Some(old)));
        e
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        warn(ctx, obj);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, _old: &Value) {
        warn(ctx, new);
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), shown(obj).into(), age_cell(obj, now)]
    }
}
