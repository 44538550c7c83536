//! What is to be told of a group and version.

use serde_json::Value;
use std::collections::BTreeMap;
use steersman_apimachinery::GroupVersionKind;
use steersman_apimachinery::gvk::Str;

/// The resources of a group and version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Api {
    /// Empty for the core group.
    pub group: Str,
    /// E.g. `v1`.
    pub version: Str,
    /// In any order.
    pub resources: Vec<Resource>,
    /// Schemas of kinds that are not built in, by definition name: custom resources. References in them are those of
    /// OpenAPI v3 (`#/components/schemas/...`).
    pub definitions: BTreeMap<String, Value>,
}

/// A resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// The plural.
    pub name: Str,
    /// The kind of its objects.
    pub kind: Str,
    /// Whether it lives in namespaces.
    pub namespaced: bool,
    /// As discovery lists them.
    pub verbs: Vec<Str>,
    /// Below single objects.
    pub subresources: Vec<Subresource>,
    /// The definition name of its kind, that of its list being `<name>List`; empty: those of the built-in kind.
    pub definition: Str,
}

/// A subresource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subresource {
    /// E.g. `status`.
    pub name: Str,
    /// The kind of its body.
    pub gvk: GroupVersionKind,
    /// As discovery lists them.
    pub verbs: Vec<Str>,
    /// It takes over the connection or passes requests on: `exec`, `proxy`.
    pub connect: bool,
}

impl Api {
    /// The path below `/openapi/v3/`: `api/v1`, `apis/apps/v1`.
    pub fn path(&self) -> String {
        match &*self.group {
            "" => format!("api/{}", self.version),
            group => format!("apis/{group}/{}", self.version),
        }
    }

    /// `v1`, `apps/v1`.
    pub fn group_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl Resource {
    /// Whether discovery lists the verb.
    pub fn has(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

impl Subresource {
    /// Whether discovery lists the verb.
    pub fn has(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}
