//! The managers of an object as its Scale shows them, and back (rule: managedfields `scalehandler.go`).

use super::entries::{self, Entry};
use crate::fieldset::FieldSet;
use serde_json::Value;

const SCALE_VERSION: &str = "autoscaling/v1";
const SCALE_PATH: &[&str] = &["f:spec", "f:replicas"];

fn steps(path: &[&str]) -> Vec<String> {
    path.iter().map(|p| format!("f:{p}")).collect()
}

/// The managers that own the replicas, as owners of the Scale's replicas. `managed` is the list of the parent;
/// `mappings` names, for each version of it, where its replicas are.
pub fn to_subresource(managed: &[Value], mappings: &[(&str, &[&str])]) -> Vec<Value> {
    let mut out = Vec::new();
    for mut entry in entries::decode_stored(managed.to_vec()).unwrap_or_default() {
        let path = mappings.iter().find(|(v, _)| *v == entry.api_version).map(|(_, p)| steps(p));
        if path.is_some_and(|p| entry.fields.contains(&p)) {
            entry.fields = FieldSet::default();
            entry.fields.insert(SCALE_PATH);
            // An entry keeps its manager's identity, which says the parent's version.
            out.push(entry);
        }
    }
    entries::encode(out)
        .into_iter()
        .map(|mut e| {
            if let Some(m) = e.as_object_mut() {
                m.insert("apiVersion".into(), SCALE_VERSION.into());
            }
            e
        })
        .collect()
}

/// The parent's managers after a write of its Scale: whoever owns the Scale's replicas owns the parent's.
/// `parent_version` is the version the parent is written in.
pub fn to_parent(managed: &[Value], scale: &[Value], parent_version: &str, mappings: &[(&str, &[&str])]) -> Vec<Value> {
    let mut scalers = entries::decode_stored(scale.to_vec()).unwrap_or_default();
    let same =
        |a: &Entry, b: &Entry| a.manager == b.manager && a.applied == b.applied && a.subresource == b.subresource;
    let mut out = Vec::new();
    for mut entry in entries::decode_stored(managed.to_vec()).unwrap_or_default() {
        let Some((_, path)) = mappings.iter().find(|(v, _)| *v == entry.api_version) else { continue };
        let path = steps(path);
        if entry.fields.contains(&path) {
            match scalers.iter().position(|s| same(s, &entry)) {
                Some(at) => drop(scalers.remove(at)),
                None => {
                    let mut stolen = FieldSet::default();
                    stolen.insert(&path);
                    entry.fields.subtract(&stolen);
                }
            }
        }
        if !entry.fields.is_empty() {
            out.push(entry);
        }
    }
    let path = mappings.iter().find(|(v, _)| *v == parent_version).map(|(_, p)| steps(p)).unwrap_or_default();
    for mut scaler in scalers.into_iter().filter(|s| s.fields.contains(SCALE_PATH)) {
        scaler.api_version = parent_version.to_owned();
        scaler.time = String::new();
        match out.iter_mut().find(|e: &&mut Entry| e.is_same_manager(&scaler)) {
            Some(entry) => entry.fields.insert(&path),
            None => {
                scaler.fields = FieldSet::default();
                scaler.fields.insert(&path);
                out.push(scaler);
            }
        }
    }
    entries::encode(out)
}
