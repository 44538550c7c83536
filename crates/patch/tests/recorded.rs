//! Holds ownership against recorded answers of upstream's server, where they are at hand: the cases of `apply.json` in
//! the folder that `STEERSMAN_GOLDEN_CASES` names, else in `../shared/golden/cases` beside the repository. What only a
//! whole server can do (defaults, requests that are refused early) is left out here.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use steersman_apimachinery::object;
use steersman_apimachinery::options::FieldValidation;
use steersman_patch::fieldset::FieldFilter;
use steersman_patch::managed::{self, ManagerContext, OneVersion};
use steersman_patch::merge;
use steersman_schema::TypeRef;

/// Resources, their kinds, and whether they have no defaults, so that whole objects can be compared.
const KINDS: &[(&str, &str, &str, bool)] = &[
    ("configmaps", "", "ConfigMap", true),
    ("serviceaccounts", "", "ServiceAccount", true),
    ("roles", "rbac.authorization.k8s.io", "Role", true),
    ("services", "", "Service", false),
    ("pods", "", "Pod", false),
    ("deployments", "apps", "Deployment", false),
];

fn cases() -> Option<Vec<Value>> {
    let folder = std::env::var_os("STEERSMAN_GOLDEN_CASES")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/cases"), PathBuf::from);
    let text = std::fs::read(folder.join("apply.json")).ok()?;
    let file: Value = serde_json::from_slice(&text).expect("the file is JSON");
    Some(file["cases"].as_array().expect("it lists cases").clone())
}

/// The managers without their times, but whether they have one.
fn managers(object: &Value) -> Vec<Value> {
    let mut list = object::list(object, &["metadata", "managedFields"]).to_vec();
    for entry in &mut list {
        if entry.get("time").is_some() {
            entry["time"] = json!("<time>");
        }
    }
    list
}

struct Server {
    objects: HashMap<String, Value>,
    clock: i64,
}

enum Answer {
    Object(Value),
    Failure(String),
    /// Not for this test.
    Left,
}

impl Server {
    fn serve(&mut self, step: &Value) -> (Answer, bool) {
        let (method, url) = step["do"].as_str().and_then(|s| s.split_once(' ')).expect("a method and a path");
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let Some(at) = parts.iter().position(|p| KINDS.iter().any(|(r, ..)| r == p)) else {
            return (Answer::Left, false);
        };
        let (_, group, kind, plain) = KINDS.iter().find(|(r, ..)| *r == parts[at]).copied().expect("found above");
        let ty = steersman_schema::lookup(group, "v1", kind).expect("a built-in kind");
        let body = &step["body"];
        let name = parts.get(at + 1).map_or_else(|| object::name(body).to_owned(), |s| (*s).to_owned());
        let subresource = parts.get(at + 2).copied().unwrap_or("");
        if subresource == "scale" {
            return (Answer::Left, false);
        }
        let manager = query.split('&').find_map(|q| q.strip_prefix("fieldManager=")).unwrap_or("");
        let reset: &[&str] = match (kind, subresource) {
            ("ConfigMap" | "ServiceAccount" | "Role", _) => &[],
            (_, "status") => &["spec", "metadata.labels"],
            _ => &["status"],
        };
        let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        self.clock += step["sleep"].as_f64().map_or(0, |s| s.ceil() as i64);
        let ctx = ManagerContext {
            manager,
            api_version: &api_version,
            subresource,
            filter: &FieldFilter::parse(reset),
            now: jiff::Timestamp::from_second(self.clock).expect("a lawful time"),
            versions: &OneVersion,
        };
        let key = format!("{kind}/{name}");
        let live = self.objects.get(&key).cloned();
        let patch_type = step["headers"]["Content-Type"].as_str().unwrap_or("");
        let new = match (method, patch_type) {
            ("GET", _) => return (live.map_or(Answer::Left, Answer::Object), plain),
            ("PATCH", "application/apply-patch+yaml") if body.is_object() && !manager.is_empty() => {
                let force = query.contains("force=true");
                match managed::apply(live.as_ref(), body, Some(&ty), &ctx, force) {
                    Ok(new) => new,
                    Err(e) => return (Answer::Failure(e.message), plain),
                }
            }
            ("PATCH", "application/merge-patch+json") if plain => {
                let Some(live) = &live else { return (Answer::Left, false) };
                let mut new = live.clone();
                merge::apply(&mut new, body.clone());
                let reset = new["metadata"]["managedFields"] == json!([]);
                new = normalise(new, &ty);
                if reset {
                    new["metadata"]["managedFields"] = json!([]);
                }
                managed::update(Some(live), &mut new, Some(&ty), &ctx);
                new
            }
            ("POST" | "PUT", _) if plain && body.is_object() => {
                let mut new = normalise(body.clone(), &ty);
                managed::update(live.as_ref(), &mut new, Some(&ty), &ctx);
                new
            }
            _ => return (Answer::Left, false),
        };
        let mut new = normalise(new, &ty);
        for (field, value) in [("uid", "u"), ("creationTimestamp", "2024-01-01T00:00:00Z")] {
            object::set(&mut new, &["metadata", field], value);
        }
        if let Some(live) = &live {
            managed::revert_timestamps(live, &mut new);
        }
        if !query.contains("dryRun") {
            self.objects.insert(key, new.clone());
        }
        (Answer::Object(new), plain)
    }
}

fn normalise(object: Value, ty: &TypeRef) -> Value {
    steersman_codec::normalise(object, ty, FieldValidation::Ignore).expect("it fits its type").0
}

#[test]
fn ownership_is_upstreams() {
    let Some(cases) = cases() else {
        eprintln!("skipped: no recorded cases; set STEERSMAN_GOLDEN_CASES to the folder of apply.json");
        return;
    };
    let (mut compared, mut wrong) = (0, Vec::new());
    for case in cases {
        let mut server = Server { objects: HashMap::new(), clock: 1_700_000_000 };
        for (i, step) in case["steps"].as_array().into_iter().flatten().enumerate() {
            let expect = &step["expect"];
            let (status, want) = (expect["status"].as_i64().unwrap_or(0), &expect["body"]);
            let ours = status < 300
                || object::list(want, &["details", "causes"]).iter().any(|c| c["reason"] == "FieldManagerConflict")
                || status == 500;
            if !ours {
                continue;
            }
            let at = format!("{} step {}", case["name"], i + 1);
            let mut check = |what: &str, got: Value, want: Value| {
                compared += 1;
                if got != want {
                    wrong.push(format!("{at}: {what}\n   got {got}\n  want {want}"));
                }
            };
            match server.serve(step) {
                (Answer::Left, _) => break,
                (Answer::Failure(message), _) => check("message", json!(message), want["message"].clone()),
                (Answer::Object(got), plain) => {
                    check("managers", managers(&got).into(), managers(want).into());
                    if plain {
                        check("data", got["data"].clone(), want["data"].clone());
                        check("labels", got["metadata"]["labels"].clone(), want["metadata"]["labels"].clone());
                        check(
                            "owners",
                            got["metadata"]["ownerReferences"].clone(),
                            want["metadata"]["ownerReferences"].clone(),
                        );
                    }
                }
            }
        }
    }
    println!("{compared} comparisons");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}
