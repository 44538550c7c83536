//! Validation of pod specs and pod templates (rule: core validation `ValidatePodSpec`, `ValidatePodTemplateSpec`).

pub mod annotations;
pub mod claims;
pub mod containers;
pub mod env;
pub mod internal;
pub mod mounts;
pub mod network;
pub mod probes;
pub mod resources;
pub mod scheduling;
pub mod security;
pub mod spec;
pub mod volume_plugins;
pub mod volumes;
pub mod windows;

use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use steersman_apimachinery::{ErrorList, Path, object};

pub use spec::{pod_spec, template};

/// `--allow-privileged`, which holds for the whole process as in upstream's `pkg/capabilities`.
static ALLOW_PRIVILEGED: AtomicBool = AtomicBool::new(false);

/// Sets `--allow-privileged`; called once when the server starts.
pub fn set_allow_privileged(allow: bool) {
    ALLOW_PRIVILEGED.store(allow, Ordering::Relaxed);
}
/// Whether containers may ask to be privileged.
pub fn allow_privileged() -> bool {
    ALLOW_PRIVILEGED.load(Ordering::Relaxed)
}

/// What old objects may keep although new ones may not have it, and whose spec it is
/// (rule: `GetValidationOptionsFromPodSpecAndMeta`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// The spec is a pod's own, not a template's.
    pub is_pod: bool,
    /// The name of the pod, where it is known.
    pub pod_name: &'a str,
    /// A deletion cost that is no number.
    pub allow_bad_deletion_cost: bool,
    /// Label values in selectors of affinity that are no label values.
    pub allow_bad_selector_values: bool,
    /// Label values in required node affinity that are no label values.
    pub allow_bad_node_affinity_values: bool,
    /// Amounts of huge pages that are no multiple of the page.
    pub allow_indivisible_huge_pages: bool,
    /// Broken selectors in topology spread constraints.
    pub allow_bad_spread_selector: bool,
    /// Token paths that leave the volume.
    pub allow_non_local_token_path: bool,
    /// Sysctls of namespaces that the pod shares with the host.
    pub allow_host_sysctls: bool,
}

impl<'a> Rules<'a> {
    /// The rules for a template that replaces `old` (both `{metadata, spec}`).
    pub fn for_template(old: Option<&Value>) -> Self {
        let Some(old) = old else { return Self::default() };
        let spec = old.get("spec").unwrap_or(&Value::Null);
        Self {
            allow_bad_deletion_cost: annotations::deletion_cost_error(old),
            allow_bad_selector_values: scheduling::has_bad_selector_values(spec),
            allow_bad_node_affinity_values: scheduling::has_bad_node_affinity_values(spec),
            allow_indivisible_huge_pages: resources::has_indivisible_huge_pages(spec),
            allow_bad_spread_selector: scheduling::has_bad_spread_selector(spec),
            allow_non_local_token_path: volumes::has_non_local_token_path(spec),
            allow_host_sysctls: security::has_host_sysctls(spec),
            ..Self::default()
        }
    }
    /// The rules for a pod that replaces `old`.
    pub fn for_pod(pod: &'a Value, old: Option<&Value>) -> Self {
        Self { is_pod: true, pod_name: object::name(pod), ..Self::for_template(old) }
    }
}

/// Adds one `Invalid value` for each message; the path is only made where there is one.
pub fn say(e: &mut ErrorList, path: impl FnOnce() -> Path, value: &str, messages: Vec<String>) {
    if messages.is_empty() {
        return;
    }
    let path = path();
    for m in messages {
        e.invalid(&path, value, m);
    }
}

/// Every container of a spec with its path: init containers, containers, ephemeral containers.
pub fn every_container<'a>(spec: &'a Value, at: &Path) -> Vec<(Path, &'a Value)> {
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|list| {
            let at = at.child(list);
            object::list(spec, &[list]).iter().enumerate().map(move |(i, c)| (at.index(i), c))
        })
        .collect()
}

/// A sidecar: an init container that is restarted as long as the pod runs.
pub fn is_sidecar(container: &Value) -> bool {
    object::str(container, &["restartPolicy"]) == "Always"
}
