//! Discovery documents: which groups, versions and resources there are (rule: apiserver `pkg/endpoints/discovery`).
//!
//! Built once from the table of resources; every document is kept as finished JSON with its ETag.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use steersman_registry::{Resource, ResourceInfo, Subresource};

/// Priorities of group and version (rule: `pkg/controlplane/apiserver/aggregator.go`): groups are listed from the
/// highest on, versions of a group likewise.
pub const PRIORITIES: &[(&str, &str, i64, i64)] = &[
    ("", "v1", 18000, 1),
    ("apps", "v1", 17800, 15),
    ("events.k8s.io", "v1", 17750, 15),
    ("authentication.k8s.io", "v1", 17700, 15),
    ("authorization.k8s.io", "v1", 17600, 15),
    ("autoscaling", "v1", 17500, 15),
    ("autoscaling", "v2", 17500, 30),
    ("batch", "v1", 17400, 15),
    ("certificates.k8s.io", "v1", 17300, 15),
    ("networking.k8s.io", "v1", 17200, 15),
    ("policy", "v1", 17100, 15),
    ("rbac.authorization.k8s.io", "v1", 17000, 15),
    ("storage.k8s.io", "v1", 16800, 15),
    ("apiextensions.k8s.io", "v1", 16700, 15),
    ("admissionregistration.k8s.io", "v1", 16700, 15),
    ("scheduling.k8s.io", "v1", 16600, 15),
    ("coordination.k8s.io", "v1", 16500, 15),
    ("node.k8s.io", "v1", 16300, 15),
    ("discovery.k8s.io", "v1", 16200, 15),
    ("resource.k8s.io", "v1", 16200, 20),
    ("flowcontrol.apiserver.k8s.io", "v1", 16100, 21),
];

/// The group that lists first whatever its priority: the aggregator's own.
const FIRST: &str = "apiregistration.k8s.io";

/// Facts of one resource with its subresources.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The resource's.
    pub info: &'static ResourceInfo,
    /// Sorted by name.
    pub subresources: &'static [Subresource],
    /// Whether it is kept in etcd.
    pub stored: bool,
}

/// One document.
#[derive(Clone, Debug)]
pub struct Document {
    /// The object as JSON, ended by a newline.
    pub json: Bytes,
    /// In quotes, as the header carries it.
    pub etag: String,
}

impl Document {
    fn new(value: &Value) -> Self {
        let mut json = serde_json::to_vec(value).unwrap_or_default();
        json.push(b'\n');
        let etag = format!("\"{}\"", hex(&Sha256::digest(&json)));
        Self { json: json.into(), etag }
    }
}

/// Upper-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

/// All documents.
pub struct Discovery {
    /// `/apis`, without the versions of single groups.
    pub groups: Document,
    /// `/apis/<group>`.
    pub group: HashMap<String, Document>,
    /// `/api/v1` and `/apis/<group>/<version>`, by group and version.
    pub resources: HashMap<(String, String), Document>,
    /// Aggregated `/api`.
    pub aggregated_core: Document,
    /// Aggregated `/apis`.
    pub aggregated: Document,
    /// Group and versions, best first; the core group first of all.
    pub order: Vec<(String, Vec<String>)>,
}

impl Discovery {
    /// From the resources that are served.
    pub fn new(table: impl Iterator<Item = &'static Resource>) -> Self {
        let entries: Vec<Entry> = table.map(entry).collect();
        let order = order(&entries);
        let mut resources = HashMap::new();
        let mut group = HashMap::new();
        let (mut groups, mut core, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (g, versions) in &order {
            let mut aggregated = Vec::new();
            for v in versions {
                let mut mine: Vec<&Entry> =
                    entries.iter().filter(|e| e.info.group == g && e.info.version == v).collect();
                mine.sort_by_key(|e| e.info.resource);
                resources.insert((g.clone(), v.clone()), Document::new(&resource_list(g, v, &mine)));
                let list: Vec<Value> = mine.iter().map(|e| aggregated_resource(e)).collect();
                aggregated.push(json!({"version": v, "resources": list, "freshness": "Current"}));
            }
            let metadata = if g.is_empty() { json!({}) } else { json!({"name": g}) };
            let item = json!({"metadata": metadata, "versions": aggregated});
            if g.is_empty() {
                core.push(item);
                continue;
            }
            others.push(item);
            let whole = api_group(g, versions);
            let mut alone = json!({"kind": "APIGroup", "apiVersion": "v1"});
            if let (Some(alone), Some(whole)) = (alone.as_object_mut(), whole.as_object()) {
                alone.extend(whole.clone());
            }
            group.insert(g.clone(), Document::new(&alone));
            groups.push(whole);
        }
        let aggregated = |items: Vec<Value>| {
            Document::new(
                &json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}),
            )
        };
        Self {
            groups: Document::new(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})),
            group,
            resources,
            aggregated_core: aggregated(core),
            aggregated: aggregated(others),
            order,
        }
    }

    /// The paths of groups and versions, as the path index lists them.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = vec!["/api".to_owned(), "/apis".to_owned(), "/apis/".to_owned()];
        for (g, versions) in &self.order {
            if g.is_empty() {
                paths.extend(versions.iter().map(|v| format!("/api/{v}")));
            } else {
                paths.push(format!("/apis/{g}"));
                paths.extend(versions.iter().map(|v| format!("/apis/{g}/{v}")));
            }
        }
        paths
    }
}

/// The facts of a line of the table.
pub fn entry(resource: &'static Resource) -> Entry {
    match resource {
        Resource::Stored(s) => Entry { info: s.info(), subresources: s.subresources(), stored: true },
        Resource::Virtual(v) => Entry { info: v.info(), subresources: &[], stored: false },
    }
}

/// The priorities of a group's version; unknown ones come last, as those of custom resources.
fn priority(group: &str, version: &str) -> (i64, i64) {
    PRIORITIES.iter().find(|p| p.0 == group && p.1 == version).map_or((1000, 100), |p| (p.2, p.3))
}

fn order(entries: &[Entry]) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for e in entries {
        let (g, v) = (e.info.group, e.info.version);
        match groups.iter_mut().find(|x| x.0 == g) {
            Some((_, versions)) if versions.iter().any(|x| x == v) => {}
            Some((_, versions)) => versions.push(v.to_owned()),
            None => groups.push((g.to_owned(), vec![v.to_owned()])),
        }
    }
    for (g, versions) in &mut groups {
        versions.sort_by_key(|v| std::cmp::Reverse(priority(g, v).1));
    }
    groups.sort_by_key(|(g, versions)| {
        let best = versions.iter().map(|v| priority(g, v).0).max().unwrap_or(0);
        (std::cmp::Reverse(if g == FIRST { 17999 } else { best }), g.clone())
    });
    groups
}

fn api_group(group: &str, versions: &[String]) -> Value {
    let list: Vec<Value> =
        versions.iter().map(|v| json!({"groupVersion": format!("{group}/{v}"), "version": v})).collect();
    json!({"name": group, "versions": list, "preferredVersion": list.first()})
}

fn resource_list(group: &str, version: &str, entries: &[&Entry]) -> Value {
    let mut list = Vec::new();
    for e in entries {
        let i = e.info;
        let mut r = json!({
            "name": i.resource, "singularName": i.singular, "namespaced": i.namespaced, "kind": i.kind, "verbs": i.verbs,
        });
        set_names(&mut r, i);
        if e.stored {
            r["storageVersionHash"] = storage_version_hash(i).into();
        }
        list.push(r);
        for s in e.subresources {
            let mut r = json!({
                "name": format!("{}/{}", i.resource, s.name), "singularName": "", "namespaced": i.namespaced,
                "kind": sub_kind(i, s), "verbs": s.verbs,
            });
            if !s.kind.1.is_empty() && (s.kind.0, s.kind.1) != (i.group, i.version) {
                r["group"] = s.kind.0.into();
                r["version"] = s.kind.1.into();
            }
            list.push(r);
        }
    }
    if group.is_empty() {
        json!({"kind": "APIResourceList", "groupVersion": version, "resources": list})
    } else {
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/{version}"), "resources": list})
    }
}

fn set_names(r: &mut Value, i: &ResourceInfo) {
    if !i.short_names.is_empty() {
        r["shortNames"] = json!(i.short_names);
    }
    if !i.categories.is_empty() {
        r["categories"] = json!(i.categories);
    }
}

fn sub_kind<'a>(i: &'a ResourceInfo, s: &'a Subresource) -> &'a str {
    if s.kind.2.is_empty() { i.kind } else { s.kind.2 }
}

fn aggregated_resource(e: &Entry) -> Value {
    let i = e.info;
    let kind = |g: &str, v: &str, k: &str| json!({"group": g, "version": v, "kind": k});
    let mut r = json!({
        "resource": i.resource, "responseKind": kind("", "", i.kind),
        "scope": if i.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": i.singular, "verbs": i.verbs,
    });
    set_names(&mut r, i);
    let subs: Vec<Value> = e
        .subresources
        .iter()
        .map(|s| {
            let own = (s.kind.0, s.kind.1) == (i.group, i.version);
            let (g, v) = if own { ("", "") } else { (s.kind.0, s.kind.1) };
            json!({"subresource": s.name, "responseKind": kind(g, v, sub_kind(i, s)), "verbs": s.verbs})
        })
        .collect();
    if !subs.is_empty() {
        r["subresources"] = subs.into();
    }
    r
}

/// Kinds that upstream still stores in another version than the newest; the hash tells that version. Definitions of
/// custom resources stay in the more compact one (rule: `pkg/controlplane/apiserver/apiextensions.go`).
const PINNED: &[(&str, &str, &str)] = &[
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", "v1beta1"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding", "v1beta1"),
    ("apiextensions.k8s.io", "CustomResourceDefinition", "v1beta1"),
];

/// `storageVersionHash`: the first eight bytes of the SHA-256 of `<group>/<version>/<kind>` as stored.
pub fn storage_version_hash(i: &ResourceInfo) -> String {
    hash(i.stored_as)
}

fn hash((group, newest, kind): (&str, &str, &str)) -> String {
    let version = PINNED.iter().find(|p| (p.0, p.1) == (group, kind)).map_or(newest, |p| p.2);
    BASE64_STANDARD.encode(&Sha256::digest(format!("{group}/{version}/{kind}"))[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_tell_the_stored_version() {
        let check = |stored, want: &str| assert_eq!(hash(stored), want, "{stored:?}");
        check(("", "v1", "Event"), "r2yiGXH7wu8=");
        check(("autoscaling", "v2", "HorizontalPodAutoscaler"), "qwQve8ut294=");
        check(("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), "jfWCUB31mvA=");
    }
}
