//! What clients are warned of in the volumes of a pod (rule: `pkg/api/pod` warnings).

use super::quantity::amount;
use serde_json::Value;
use steersman_apimachinery::field::go_quote;
use steersman_apimachinery::{Path, object};
use steersman_registry::Context;

/// Volume types that no longer work, as messages name them, and since when.
const GONE: &[(&str, &str, &str)] = &[
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Warns of types that are gone, and of odd amounts in ephemeral claims.
pub fn types(ctx: &Context, volumes: &[Value], at: &Path) {
    for (i, v) in volumes.iter().enumerate() {
        for (kind, name, why) in GONE {
            if v.get(*kind).is_some() {
                ctx.warn(format!("{}: {why}", at.index(i).child(name)));
            }
        }
        if let Some(spec) = object::get(v, &["ephemeral", "volumeClaimTemplate", "spec"]) {
            claim(ctx, spec, &at.index(i).child("ephemeral").child("volumeClaimTemplate").child("spec"));
        }
    }
}

/// Warns of a claim that asks for parts of bytes (rule: `GetWarningsForPersistentVolumeClaimSpec`).
pub fn claim(ctx: &Context, spec: &Value, at: &Path) {
    for (kind, path) in [("requests", "requests"), ("limits", "limits")] {
        let amount = object::get(spec, &["resources", kind, "storage"]).and_then(amount);
        if let Some(q) = amount.filter(|q| q.milli_value() % 1000 != 0) {
            let at = at.child("resources").child(path).key("storage");
            ctx.warn(format!(
                "{at}: fractional byte value {} is invalid, must be an integer",
                go_quote(&q.to_string())
            ));
        }
    }
}

/// A file of a volume and what it comes from.
#[derive(PartialEq)]
struct File {
    path: String,
    source: String,
}

impl File {
    fn shown(&self) -> String {
        let path = go_quote(&self.path);
        if self.source.is_empty() { path } else { format!("{path} ({})", self.source) }
    }
    fn overlaps(&self, other: &File) -> bool {
        let (a, b) = (format!("{}/", self.path), format!("{}/", other.path));
        !self.path.is_empty() && !other.path.is_empty() && (a.starts_with(&b) || b.starts_with(&a))
    }
}

/// Warns of files that would be written over one another (rule: `warningsForOverlappingVirtualPaths`).
pub fn overlapping_files(ctx: &Context, volumes: &[Value]) {
    for v in volumes {
        let name = go_quote(object::str(v, &["name"]));
        for (kind, title, named) in
            [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName"), ("downwardAPI", "DownwardAPI", "")]
        {
            if let Some(source) = v.get(kind) {
                let title = if named.is_empty() {
                    title.to_owned()
                } else {
                    format!("{title} {}", go_quote(object::str(source, &[named])))
                };
                let mut seen = Vec::new();
                warn_of_overlaps(ctx, &name, &title, files(source, ""), &mut seen);
            }
        }
        let mut seen = Vec::new();
        for source in object::list(v, &["projected", "sources"]) {
            if source.as_object().is_none_or(serde_json::Map::is_empty) {
                ctx.warn(format!("volume {name} (Projected) has no sources provided"));
                continue;
            }
            warn_of_overlaps(ctx, &name, "Projected", projected_files(source), &mut seen);
        }
    }
}

fn warn_of_overlaps(ctx: &Context, volume: &str, title: &str, files: Vec<File>, seen: &mut Vec<File>) {
    for file in files {
        for other in seen.iter().filter(|o| o.overlaps(&file)) {
            ctx.warn(format!("volume {volume} ({title}): overlapping paths: {} with {}", file.shown(), other.shown()));
        }
        seen.push(file);
    }
}

fn file(path: &str, source: impl Into<String>) -> File {
    File { path: path.trim_end_matches('/').to_owned(), source: source.into() }
}

fn files(source: &Value, label: &str) -> Vec<File> {
    object::list(source, &["items"]).iter().map(|i| file(object::str(i, &["path"]), label)).collect()
}

fn projected_files(source: &Value) -> Vec<File> {
    for (kind, title) in [("configMap", "ConfigMap"), ("secret", "Secret"), ("downwardAPI", "DownwardAPI")] {
        if let Some(s) = source.get(kind) {
            let label = match object::str(s, &["name"]) {
                "" if kind == "downwardAPI" => title.to_owned(),
                name => format!("{title} {}", go_quote(name)),
            };
            return files(s, &label);
        }
    }
    if let Some(token) = source.get("serviceAccountToken") {
        return vec![file(object::str(token, &["path"]), "ServiceAccountToken")];
    }
    if let Some(bundle) = source.get("clusterTrustBundle") {
        let of = bundle.get("name").or(bundle.get("signerName")).and_then(Value::as_str).unwrap_or_default();
        return vec![file(object::str(bundle, &["path"]), format!("ClusterTrustBundle {}", go_quote(of)))];
    }
    if let Some(certificate) = source.get("podCertificate") {
        return [
            ("certificateChainPath", "PodCertificate chain"),
            ("keyPath", "PodCertificate key"),
            ("credentialBundlePath", "PodCertificate credential bundle"),
        ]
        .into_iter()
        .map(|(key, what)| file(object::str(certificate, &[key]), what))
        .filter(|f| !f.path.is_empty())
        .collect();
    }
    Vec::new()
}

/// Warns of projected files that a token of the same pod replaces.
pub fn files_at_token_paths(ctx: &Context, volumes: &[Value], at: &Path) {
    let sources = |v: &Value| object::list(v, &["projected", "sources"]).to_vec();
    let tokens: Vec<String> = volumes
        .iter()
        .flat_map(sources)
        .filter_map(|s| object::get(&s, &["serviceAccountToken", "path"])?.as_str().map(str::to_owned))
        .collect();
    if tokens.is_empty() {
        return;
    }
    for (i, v) in volumes.iter().enumerate() {
        let at = at.index(i).child("projected").child("sources");
        for source in object::list(v, &["projected", "sources"]) {
            let warn = |at: Path, path: &str| {
                if tokens.iter().any(|t| t == path) {
                    ctx.warn(format!("{at}: has duplicated path with ServiceAccountToken {}", go_quote(path)));
                }
            };
            for (kind, name) in [("configMap", "configMap"), ("secret", "secrets"), ("downwardAPI", "downwardAPI")] {
                for (j, item) in object::list(source, &[kind, "items"]).iter().enumerate() {
                    warn(at.child(name).index(j), object::str(item, &["path"]));
                }
            }
            if let Some(bundle) = source.get("clusterTrustBundle") {
                warn(at.child("ClusterTrustBundle"), object::str(bundle, &["path"]));
            }
        }
    }
}
