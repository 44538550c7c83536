//! The plug-ins, in the order they run (rule: upstream `pkg/kubeapiserver/options/plugins.go`).

mod always_pull_images;
mod certificates;
mod default_classes;
mod default_toleration_seconds;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod owner_references;
mod pod_resize;
mod pod_security;
mod pod_topology_labels;
mod priority;
mod quota;
mod runtime_class;
mod service_account;
mod service_external_ips;
mod storage_protection;
mod taint_nodes;

use crate::{Attributes, Chain, Plugin};
use serde_json::Value;
use steersman_apimachinery::{GroupResource, Status};

/// One line of the table.
struct Entry {
    name: &'static str,
    on_by_default: bool,
    make: Make,
}

/// Makes a plug-in, some of their configuration.
enum Make {
    Plain(fn() -> Box<dyn Plugin>),
    Configured(fn(Option<&Value>) -> Result<Box<dyn Plugin>, String>),
}

const fn on(name: &'static str, make: fn() -> Box<dyn Plugin>) -> Entry {
    Entry { name, on_by_default: true, make: Make::Plain(make) }
}
const fn off(name: &'static str, make: fn() -> Box<dyn Plugin>) -> Entry {
    Entry { name, on_by_default: false, make: Make::Plain(make) }
}
const fn configured(name: &'static str, make: fn(Option<&Value>) -> Result<Box<dyn Plugin>, String>) -> Entry {
    Entry { name, on_by_default: true, make: Make::Configured(make) }
}

/// The configuration of plug-ins by their names, as `--admission-control-config-file` gives it.
pub type Configurations = std::collections::BTreeMap<String, Value>;

const TABLE: &[Entry] = &[
    on("NamespaceLifecycle", || Box::<namespace_lifecycle::NamespaceLifecycle>::default()),
    on("LimitRanger", || Box::new(limit_ranger::LimitRanger)),
    on("ServiceAccount", || Box::new(service_account::ServiceAccount)),
    off("NodeRestriction", || Box::new(node_restriction::NodeRestriction)),
    on("TaintNodesByCondition", || Box::new(taint_nodes::TaintNodesByCondition)),
    off("AlwaysPullImages", || Box::new(always_pull_images::AlwaysPullImages)),
    configured("PodSecurity", |c| Ok(Box::new(pod_security::PodSecurity::new(c)?))),
    on("Priority", || Box::new(priority::Priority)),
    on("DefaultTolerationSeconds", || Box::new(default_toleration_seconds::DefaultTolerationSeconds)),
    on("DefaultStorageClass", || Box::new(default_classes::DefaultStorageClass)),
    on("StorageObjectInUseProtection", || Box::new(storage_protection::StorageObjectInUseProtection)),
    off("OwnerReferencesPermissionEnforcement", || Box::new(owner_references::OwnerReferencesPermissionEnforcement)),
    on("PersistentVolumeClaimResize", || Box::new(storage_protection::PersistentVolumeClaimResize)),
    on("RuntimeClass", || Box::new(runtime_class::RuntimeClass)),
    on("CertificateApproval", || Box::new(certificates::Permission::APPROVE)),
    on("CertificateSigning", || Box::new(certificates::Permission::SIGN)),
    on("CertificateSubjectRestriction", || Box::new(certificates::SubjectRestriction)),
    on("DefaultIngressClass", || Box::new(default_classes::DefaultIngressClass)),
    off("DenyServiceExternalIPs", || Box::new(service_external_ips::DenyServiceExternalIps)),
    on("PodTopologyLabels", || Box::new(pod_topology_labels::PodTopologyLabels)),
    on("PodResizeValidator", || Box::new(pod_resize::PodResizeValidator)),
    on("ResourceQuota", || Box::new(quota::ResourceQuota)),
];

/// Names of upstream's plug-ins that are accepted in flags and do nothing here yet, or nothing by default.
const ACCEPTED: &[&str] = &[
    "AlwaysAdmit",
    "AlwaysDeny",
    "ClusterTrustBundleAttest",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "ImagePolicyWebhook",
    "JobValidation",
    "LimitPodHardAntiAffinityTopology",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "NodeDeclaredFeatureValidator",
    "PodGroupProtection",
    "PodGroupWorkloadExists",
    "PodNodeSelector",
    "PodTolerationRestriction",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
];

/// The chain of what is on by default, `enable` and not `disable`. An unknown name, or a configuration that cannot be
/// used, is an error in upstream's words.
pub fn chain(enable: &[String], disable: &[String], configurations: &Configurations) -> Result<Chain, String> {
    let known = |n: &String| TABLE.iter().any(|e| e.name == n) || ACCEPTED.contains(&n.as_str());
    for (list, flag) in [(enable, "enable-admission-plugins"), (disable, "disable-admission-plugins")] {
        if let Some(unknown) = list.iter().find(|n| !known(n)) {
            return Err(format!("{flag} plugin {unknown:?} is unknown"));
        }
    }
    let is_on =
        |e: &&Entry| (e.on_by_default || enable.iter().any(|n| n == e.name)) && !disable.iter().any(|n| n == e.name);
    let make = |e: &Entry| match e.make {
        Make::Plain(make) => Ok(make()),
        Make::Configured(make) => make(configurations.get(e.name))
            .map_err(|why| format!("couldn't init admission plugin {:?}: {why}", e.name)),
    };
    Ok(Chain::new(TABLE.iter().filter(is_on).map(make).collect::<Result<_, _>>()?))
}

/// 403 about the object of the request: `pods "p" is forbidden: <why>`.
pub(crate) fn forbidden(a: &Attributes<'_>, why: impl std::fmt::Display) -> Status {
    let gr = GroupResource { group: a.resource.group.clone(), resource: a.resource.resource.clone() };
    let name = if a.name.is_empty() {
        a.object.as_deref().map(steersman_apimachinery::object::generate_name).unwrap_or_default()
    } else {
        a.name
    };
    Status::forbidden(&gr, if name.is_empty() { "Unknown" } else { name }, why)
}

/// Whether the request is about pods themselves (no subresource).
pub(crate) fn is_pods(resource: &steersman_apimachinery::GroupVersionResource, subresource: &str) -> bool {
    is(resource, "", "pods") && subresource.is_empty()
}

/// Whether the resource is this one.
pub(crate) fn is(resource: &steersman_apimachinery::GroupVersionResource, group: &str, plural: &str) -> bool {
    resource.group == group && resource.resource == plural
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_choose_plugins_and_unknown_ones_are_told() {
        let none = Configurations::new();
        assert!(chain(&["NodeRestriction".into()], &["Priority".into()], &none).is_ok());
        let error = chain(&["Nope".into()], &[], &none).err();
        assert_eq!(error.as_deref(), Some("enable-admission-plugins plugin \"Nope\" is unknown"));
        let wrong = Configurations::from([("PodSecurity".to_owned(), Value::Null)]);
        assert!(chain(&[], &[], &wrong).is_err());
    }

    #[test]
    fn every_file_stands_in_the_table() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plugins");
        let text = std::fs::read_to_string(dir.join("mod.rs")).expect("reads");
        for entry in std::fs::read_dir(dir).expect("lists") {
            let name = entry.expect("entry").path().file_stem().expect("stem").to_string_lossy().into_owned();
            assert!(name == "mod" || text.contains(&format!("{name}::")), "{name} is in no line of the table");
        }
    }
}
