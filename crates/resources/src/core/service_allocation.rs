//! What a Service takes before it is stored: IP families, cluster IPs, node ports
//! (rule: `pkg/registry/core/service/storage/alloc.go`).

use super::cluster_ips::{self, IpError};
use super::node_ports::{self, PortOperation, needed_ports_of, ports_of};
use super::service_rules::{allocates_node_ports, is_headless, needs_health_check, needs_node_port, spec_type};
use super::service_validation::cluster_ip_fields;
use crate::fields::Fields;
use crate::ip;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use steersman_apimachinery::gvk::GroupKind;
use steersman_apimachinery::{ErrorList, Path, Reason, Status, object};
use steersman_registry::{Cluster, Finish};

/// What was taken for a change, and what it gives back once it is stored.
#[derive(Default)]
pub(super) struct Allocation {
    ips_taken: Vec<String>,
    ips_to_release: Vec<String>,
    ports_taken: BTreeSet<u16>,
    ports_to_release: BTreeSet<u16>,
}

#[async_trait]
impl Finish for Allocation {
    async fn finish(self: Box<Self>, cluster: &dyn Cluster, committed: bool) {
        node_ports::release(cluster, if committed { &self.ports_to_release } else { &self.ports_taken }).await;
        for ip in if committed { &self.ips_to_release } else { &self.ips_taken } {
            cluster_ips::release(cluster, ip).await;
        }
    }
}

fn invalid(svc: &Value, errors: &ErrorList) -> Status {
    Status::invalid(&GroupKind::from_static("", "Service"), object::name(svc), errors)
}

/// Takes all that a new or changed Service needs.
pub(super) async fn allocate(
    cluster: &dyn Cluster,
    svc: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<Allocation, Status> {
    families(cluster, svc, old)?;
    let mut done = Allocation::default();
    let result = match addresses(cluster, svc, old, dry_run, &mut done).await {
        Ok(()) => ports(cluster, svc, old, dry_run).await,
        Err(e) => Err(e),
    };
    match result {
        Ok(ports) => (done.ports_taken, done.ports_to_release) = ports,
        Err(e) => {
            Box::new(done).finish(cluster, false).await;
            return Err(e);
        }
    }
    if dry_run {
        done = Allocation::default();
    }
    Ok(done)
}

/// Gives back what a deleted Service held.
pub(super) async fn release(cluster: &dyn Cluster, svc: &Value) {
    node_ports::release(cluster, &ports_of(svc)).await;
    for ip in held_ips(svc) {
        cluster_ips::release(cluster, &ip).await;
    }
}

fn held_ips(svc: &Value) -> Vec<String> {
    if spec_type(svc) == "ExternalName" || is_headless(svc) {
        return Vec::new();
    }
    svc.at("spec").strings("clusterIPs").into_iter().map(str::to_owned).collect()
}

fn unchanged_prefer_dual(svc: &Value, old: &Value) -> bool {
    let (new, was) = (svc.at("spec"), old.at("spec"));
    let policy = |s: &Value| s.s("ipFamilyPolicy") == "PreferDualStack";
    policy(new)
        && policy(was)
        && spec_type(old) != "ExternalName"
        && new.at("clusterIPs") == was.at("clusterIPs")
        && new.at("ipFamilies") == was.at("ipFamilies")
}

/// Settles policy and families from what the client and the cluster say (rule: `initIPFamilyFields`).
fn families(cluster: &dyn Cluster, svc: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    if spec_type(svc) == "ExternalName" || old.is_some_and(|o| unchanged_prefer_dual(svc, o)) {
        return Ok(());
    }
    let headless_alone = is_headless(svc) && !svc.at("spec").has("selector");
    if svc.at("spec").opt_s("ipFamilyPolicy").is_none() {
        let before = old.and_then(|o| o.at("spec").opt_s("ipFamilyPolicy"));
        let policy = before.unwrap_or(if headless_alone { "RequireDualStack" } else { "SingleStack" }).to_owned();
        object::set(svc, &["spec", "ipFamilyPolicy"], policy);
    }
    let mut e = ErrorList::new();
    cluster_ip_fields(&mut e, svc, old);
    if !e.is_empty() {
        return Err(invalid(svc, &e));
    }
    let configured = cluster_ips::families(cluster);
    let policy = svc.at("spec").s("ipFamilyPolicy").to_owned();
    let policy_path = Path::new("spec").child("ipFamilyPolicy");
    let count = |s: &Value, f: &str| s.at("spec").items(f).len();
    if let Some(old) = old {
        for (field, what) in [("clusterIPs", "secondary cluster IP"), ("ipFamilies", "secondary IP family")] {
            if policy != "SingleStack" && count(old, field) == 2 && count(svc, field) == 1 {
                e.invalid(&policy_path, &policy, format!("must be 'SingleStack' to release the {what}"));
            }
        }
    }
    if policy == "SingleStack" {
        for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
            if count(svc, field) == 2 {
                let why = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
                e.invalid(&policy_path, &policy, why);
            }
        }
    }
    let mut families: Vec<String> = svc.at("spec").strings("ipFamilies").into_iter().map(str::to_owned).collect();
    for (i, value) in svc.at("spec").strings("clusterIPs").into_iter().enumerate() {
        let Some(ip) = ip::parse_sloppy(value) else { break };
        let family = cluster_ips::family(ip);
        if i >= families.len() {
            if configured.contains(&family) {
                families.push(family.to_owned());
            } else {
                let why = format!("{family} is not configured on this cluster");
                e.invalid(&Path::new("spec").child("clusterIPs").index(i), svc.at("spec").at("clusterIPs"), why);
            }
        }
    }
    if !e.is_empty() {
        return Err(invalid(svc, &e));
    }
    let primary = configured.first().copied().unwrap_or("IPv4");
    if !headless_alone {
        if policy == "RequireDualStack" && configured.len() < 2 {
            e.invalid(&policy_path, &policy, "this cluster is not configured for dual-stack services");
        }
        for (i, f) in families.iter().enumerate() {
            if !configured.contains(&f.as_str()) {
                e.invalid(&Path::new("spec").child("ipFamilies").index(i), f, "not configured on this cluster");
            }
        }
        if !e.is_empty() {
            return Err(invalid(svc, &e));
        }
    }
    if families.is_empty() {
        families.push(primary.to_owned());
    }
    if policy != "SingleStack" && families.len() == 1 && (headless_alone || configured.len() == 2) {
        families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }.to_owned());
    }
    object::set(svc, &["spec", "ipFamilies"], json!(families));
    Ok(())
}

async fn take_ip(
    cluster: &dyn Cluster,
    svc: &Value,
    family: &str,
    wanted: &str,
    dry_run: bool,
) -> Result<String, Status> {
    if wanted.is_empty() {
        return match cluster_ips::allocate_next(cluster, family, svc, dry_run).await {
            Ok(ip) => Ok(ip.to_string()),
            Err(e) => Err(Status::internal(format!("failed to allocate a serviceIP: {e}"))),
        };
    }
    let result = match ip::parse_sloppy(wanted) {
        Some(ip) => cluster_ips::allocate(cluster, ip, svc, dry_run).await,
        None => Err(IpError::Mismatch),
    };
    result.map(|()| wanted.to_owned()).map_err(|why| {
        let mut e = ErrorList::new();
        let ips = svc.at("spec").at("clusterIPs");
        e.invalid(&Path::new("spec").child("clusterIPs"), ips, format!("failed to allocate IP {wanted}: {why}"));
        invalid(svc, &e)
    })
}

async fn addresses(
    cluster: &dyn Cluster,
    svc: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
    done: &mut Allocation,
) -> Result<(), Status> {
    let external = spec_type(svc) == "ExternalName";
    let had: Vec<String> = old.map(held_ips).unwrap_or_default();
    if external {
        done.ips_to_release = had;
        return Ok(());
    }
    if is_headless(svc) || old.is_some_and(|o| spec_type(o) != "ExternalName" && is_headless(o)) {
        return Ok(());
    }
    if old.is_some_and(|o| unchanged_prefer_dual(svc, o)) {
        return Ok(());
    }
    let families: Vec<String> = svc.at("spec").strings("ipFamilies").into_iter().map(str::to_owned).collect();
    let mut ips: Vec<String> = svc.at("spec").strings("clusterIPs").into_iter().map(str::to_owned).collect();
    for (i, family) in families.iter().enumerate() {
        let wanted = ips.get(i).cloned().unwrap_or_default();
        if !wanted.is_empty() && had.contains(&wanted) {
            continue;
        }
        let ip = take_ip(cluster, svc, family, &wanted, dry_run).await?;
        done.ips_taken.push(ip.clone());
        if i < ips.len() {
            ips[i] = ip;
        } else {
            ips.push(ip);
        }
    }
    done.ips_to_release = had.into_iter().filter(|ip| !ips.contains(ip)).collect();
    object::set(svc, &["spec", "clusterIP"], ips.first().cloned().unwrap_or_default());
    object::set(svc, &["spec", "clusterIPs"], json!(ips));
    Ok(())
}

/// Gives a Service its ports, and tells which were taken and which it has no use for any more.
async fn ports(
    cluster: &dyn Cluster,
    svc: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<(BTreeSet<u16>, BTreeSet<u16>), Status> {
    let had = old.map(ports_of).unwrap_or_default();
    let mut taken = BTreeSet::new();
    if needs_node_port(svc) || needs_health_check(svc) {
        let had_health = old.is_some_and(needs_health_check);
        let choose = |op: &mut PortOperation| {
            let mut chosen = svc.clone();
            if needs_node_port(svc) {
                choose_ports(&mut chosen, old.is_none(), &had, op)?;
            }
            if needs_health_check(svc) && !had_health {
                choose_health_port(&mut chosen, op)?;
            }
            Ok(chosen)
        };
        (*svc, taken) = node_ports::take(cluster, dry_run, choose).await?;
    }
    // Fields that the new type has no use for are dropped later only.
    Ok((taken, &had - &needed_ports_of(svc)))
}

/// Settles the ports of a Service that is new, or that had the ports `had`.
fn choose_ports(svc: &mut Value, new: bool, had: &BTreeSet<u16>, op: &mut PortOperation) -> Result<(), Status> {
    let automatic = allocates_node_ports(svc);
    let mut ports = svc.at("spec").items("ports").to_vec();
    // Ports with one number in several protocols share their node port (on create, as upstream has it).
    let mut shared: BTreeMap<i64, i64> = BTreeMap::new();
    let mut given: BTreeSet<(String, i64)> = BTreeSet::new();
    for i in 0..ports.len() {
        let mut wanted = ports[i].int("nodePort").unwrap_or(0);
        if wanted == 0 && !automatic {
            continue;
        }
        let number = ports[i].int("port").unwrap_or(0);
        if wanted == 0 && new {
            let chosen = ports.iter().filter(|p| p.int("port") == Some(number));
            wanted = shared
                .get(&number)
                .copied()
                .unwrap_or_else(|| chosen.filter_map(|p| p.int("nodePort")).find(|p| *p != 0).unwrap_or(0));
        }
        let mine =
            |p: i64, op: &PortOperation| u16::try_from(p).is_ok_and(|p| had.contains(&p) || op.taken().contains(&p));
        if wanted == 0 {
            let next =
                op.allocate_next().map_err(|e| Status::internal(format!("failed to allocate a nodePort: {e}")))?;
            wanted = i64::from(next);
        } else if !mine(wanted, op) || (new && shared.get(&number) != Some(&wanted)) {
            op.allocate(wanted).map_err(|why| {
                let mut e = ErrorList::new();
                e.invalid(&Path::new("spec").child("ports").index(i).child("nodePort"), wanted, why);
                invalid(svc, &e)
            })?;
        }
        let protocol = ports[i].s("protocol").to_owned();
        if !given.insert((protocol.clone(), wanted)) && !new {
            let why = format!("duplicate nodePort: {{{protocol} {wanted}}}");
            return Err(Status::failure(500, Reason::Unknown, why));
        }
        shared.entry(number).or_insert(wanted);
        object::set(&mut ports[i], &["nodePort"], wanted);
    }
    object::set(svc, &["spec", "ports"], Value::Array(ports));
    Ok(())
}

/// Settles the port of health checks of a Service that had none.
fn choose_health_port(svc: &mut Value, op: &mut PortOperation) -> Result<(), Status> {
    let wanted = svc.at("spec").int("healthCheckNodePort").unwrap_or(0);
    if wanted == 0 {
        let next = op
            .allocate_next()
            .map_err(|e| Status::internal(format!("failed to allocate a HealthCheck NodePort {wanted}: {e}")))?;
        object::set(svc, &["spec", "healthCheckNodePort"], i64::from(next));
        return Ok(());
    }
    op.allocate(wanted)
        .map_err(|e| Status::internal(format!("failed to allocate requested HealthCheck NodePort {wanted}: {e}")))
}
