//! `networking.k8s.io`.

mod columns;
pub mod ingressclasses;
pub mod ingresses;
pub mod ipaddresses;
pub mod networkpolicies;
pub mod servicecidrs;

use crate::checks;
use crate::fields::Fields;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path};

/// The group's name.
pub(crate) const GROUP: &str = "networking.k8s.io";

/// A reference by group, kind and name (rule: `validateIngressTypedLocalObjectReference`).
fn typed_reference(e: &mut ErrorList, path: &Path, reference: &Value) {
    if let Some(group) = reference.opt_s("apiGroup") {
        checks::subdomain(e, &path.child("apiGroup"), group);
    }
    for key in ["kind", "name"] {
        match reference.s(key) {
            "" => e.required(&path.child(key), ""),
            value => checks::path_segment(e, &path.child(key), value),
        }
    }
}
