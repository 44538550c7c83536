//! `services` (rule: `pkg/registry/core/service`).

use super::cluster_ips::IpRepair;
use super::node_ports::PortRepair;
use super::{columns, service_allocation, service_rules, service_validation};
use crate::common::{age_cell, carry_over, object_subresource};
use crate::fields::Fields;
use crate::shared::print;
use crate::{ALL, namespaced};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use steersman_apimachinery::options::DeleteOptions;
use steersman_apimachinery::{ErrorList, Path, Reason, Status, object, validation};
use steersman_registry::{Cluster, Column, Context, Finish, ResourceInfo, Strategy, SubBehaviour, Subresource};

static INFO: ResourceInfo = ResourceInfo {
    short_names: &["svc"],
    categories: ALL,
    prefix: "services/specs",
    ..namespaced("", "v1", "services", "service", "Service")
};

/// Makes stored Services, IPAddress objects and node ports agree (rule: `ipallocator/controller`,
/// `portallocator/controller`).
#[derive(Default)]
pub struct Repair {
    addresses: IpRepair,
    ports: PortRepair,
}

impl Repair {
    /// One round; the apiserver calls it when it starts and now and then.
    pub async fn run(&mut self, cluster: &dyn Cluster) {
        self.addresses.run(cluster).await;
        self.ports.run(cluster).await;
    }
}

/// The strategy of `services`.
pub struct Services;

#[async_trait]
impl Strategy for Services {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        service_rules::defaults(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({"loadBalancer": {}}));
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        service_rules::drop_by_type(new, old);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        service_validation::service(obj)
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        service_validation::update(new, old)
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        service_validation::warnings(obj).into_iter().for_each(|w| ctx.warn(w));
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, _old: &Value) {
        service_validation::warnings(new).into_iter().for_each(|w| ctx.warn(w));
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        validation::dns_label(name, prefix)
    }
    fn allow_create_on_update(&self) -> bool {
        true
    }
    fn returns_deleted_object(&self) -> bool {
        true
    }
    async fn begin_create(
        &self,
        _ctx: &Context,
        cluster: &dyn Cluster,
        obj: &mut Value,
        dry_run: bool,
    ) -> Result<Option<Box<dyn Finish>>, Status> {
        service_rules::align_cluster_ips(obj, None);
        Ok(Some(Box::new(service_allocation::allocate(cluster, obj, None, dry_run).await?)))
    }
    async fn begin_update(
        &self,
        _ctx: &Context,
        cluster: &dyn Cluster,
        new: &mut Value,
        old: &Value,
        dry_run: bool,
    ) -> Result<Option<Box<dyn Finish>>, Status> {
        service_rules::patch_allocated(new, old);
        service_rules::align_cluster_ips(new, Some(old));
        service_rules::adopt_families(new, old);
        Ok(Some(Box::new(service_allocation::allocate(cluster, new, Some(old), dry_run).await?)))
    }
    async fn after_delete(&self, _ctx: &Context, cluster: &dyn Cluster, obj: &Value) {
        // A Service that takes the name next must not be reachable at the old one's Endpoints.
        let (ns, name) = (object::namespace(obj), object::name(obj));
        let gone = cluster.delete(&Context::loopback(), "", "endpoints", ns, name, DeleteOptions::default()).await;
        if let Err(s) = gone
            && s.reason != Reason::NotFound
        {
            tracing::warn!(ns, name, error = %s, "could not delete the Endpoints of a deleted Service");
        }
        service_allocation::release(cluster, obj).await;
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }
    fn selectable_field(&self, obj: &Value, field: &str) -> String {
        obj.at("spec").s(field.strip_prefix("spec.").unwrap_or_default()).to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        columns::SERVICES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = obj.at("spec");
        vec![
            object::name(obj).into(),
            spec.s("type").into(),
            print::or_none(spec.strings("clusterIPs").first().copied().unwrap_or_default()),
            external_ip(obj).into(),
            print::or_none(&ports(spec)),
            age_cell(obj, now),
            print::labels(spec.sub("selector")),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[
            Subresource {
                name: "proxy",
                kind: ("", "", "ServiceProxyOptions"),
                verbs: &["create", "delete", "get", "patch", "update"],
                behaviour: SubBehaviour::Connect,
            },
            object_subresource("status", &ServiceStatus),
        ];
        SUBRESOURCES
    }
}

fn ports(spec: &Value) -> String {
    let one = |p: &Value| {
        let (port, protocol) = (p.int("port").unwrap_or(0), p.s("protocol"));
        match p.int("nodePort").filter(|n| *n > 0) {
            Some(node) => format!("{port}:{node}/{protocol}"),
            None => format!("{port}/{protocol}"),
        }
    };
    spec.items("ports").iter().map(one).collect::<Vec<_>>().join(",")
}

fn external_ip(svc: &Value) -> String {
    let spec = svc.at("spec");
    let external = spec.strings("externalIPs");
    match spec.s("type") {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".into(),
        "ClusterIP" | "NodePort" => external.join(","),
        "LoadBalancer" => {
            let mut all = load_balancer_addresses(svc);
            all.extend(external.into_iter().map(str::to_owned));
            if all.is_empty() { "<pending>".into() } else { all.join(",") }
        }
        "ExternalName" => spec.s("externalName").into(),
        _ => "<unknown>".into(),
    }
}

/// The addresses or names of a load balancer's ingress points, sorted.
pub(crate) fn load_balancer_addresses(obj: &Value) -> Vec<String> {
    let ingress = obj.at("status").at("loadBalancer").items("ingress");
    let all: BTreeSet<String> = ingress
        .iter()
        .map(|i| if i.s("ip").is_empty() { i.s("hostname") } else { i.s("ip") })
        .filter(|a| !a.is_empty())
        .map(str::to_owned)
        .collect();
    all.into_iter().collect()
}

/// The strategy of `services/status`.
pub struct ServiceStatus;

impl Strategy for ServiceStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        service_rules::defaults(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
        // The type is settled only now: what its defaults say about the status follows.
        service_rules::defaults(new);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        service_validation::load_balancer_status(&mut e, &Path::new("status").child("loadBalancer"), new, old);
        e
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, _old: &Value) {
        crate::ip::warn_of_load_balancer(ctx, new);
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }
}
