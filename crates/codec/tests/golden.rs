//! Holds decoding against the recorded answers of a real server: what it refused to decode and why, what it warned of,
//! and that the objects it answered are already in the form that decoding gives.
//!
//! The recordings are found through `STEERSMAN_GOLDEN` or at `../shared/golden/cases`, seen from the root of the
//! repository; the test passes, and says so, where they are absent.

use serde_json::Value;
use std::collections::HashMap;
use std::path::PathBuf;
use steersman_apimachinery::GroupVersionKind;
use steersman_apimachinery::options::FieldValidation;
use steersman_codec::{MediaType, decode, decode_object, protobuf};

fn cases() -> Vec<Value> {
    let folder = std::env::var_os("STEERSMAN_GOLDEN")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/cases"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("no recordings at {}: nothing is checked", folder.display());
        return Vec::new();
    };
    let mut out = Vec::new();
    for entry in entries.flatten() {
        let text = std::fs::read(entry.path()).expect("readable");
        let file: Value = serde_json::from_slice(&text).expect("JSON");
        out.extend(file["cases"].as_array().into_iter().flatten().cloned());
    }
    out
}

/// Kinds by group, version and resource; the plural is guessed.
fn kinds() -> HashMap<(String, String, String), GroupVersionKind> {
    let mut out = HashMap::new();
    for row in steersman_schema::served() {
        let lower = row.kind.to_lowercase();
        let stem = lower.strip_suffix('y').filter(|s| !s.ends_with(['a', 'e', 'o']));
        let plural = match stem {
            Some(stem) => format!("{stem}ies"),
            None if lower.ends_with("ss") || lower.ends_with('x') => format!("{lower}es"),
            None if lower.ends_with('s') => lower,
            None => format!("{lower}s"),
        };
        out.insert(
            (row.group.to_owned(), row.version.to_owned(), plural),
            GroupVersionKind::from_static(row.group, row.version, row.kind),
        );
    }
    out
}

/// Group, version and resource of the path of a create or an update of a whole object.
fn resource(path: &str) -> Option<(String, String, String)> {
    let path = path.split('?').next()?;
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version) = match parts[..] {
        ["api", version, ..] => ("", version),
        ["apis", group, version, ..] => (group, version),
        _ => return None,
    };
    parts.drain(..if group.is_empty() { 2 } else { 3 });
    if parts.first() == Some(&"namespaces") && parts.len() > 2 {
        parts.drain(..2);
    }
    (parts.len() <= 2).then(|| (group.to_owned(), version.to_owned(), parts[0].to_owned()))
}

#[test]
fn bodies_are_refused_in_the_same_words() {
    let kinds = kinds();
    let (mut checked, mut wrong) = (0, Vec::new());
    for case in cases() {
        for step in case["steps"].as_array().into_iter().flatten() {
            let (method, path) = step["do"].as_str().and_then(|d| d.split_once(' ')).expect("a request");
            let media = MediaType::of_body(step["headers"]["Content-Type"].as_str().unwrap_or(""));
            let (true, Ok(media)) = (matches!(method, "POST" | "PUT"), media) else { continue };
            let Some(gvk) = resource(path).and_then(|key| kinds.get(&key)) else { continue };
            let body = match &step["body"] {
                Value::String(text) => text.clone(),
                Value::Null => continue,
                other => other.to_string(),
            };
            let validation = match path {
                p if p.contains("fieldValidation=Strict") => FieldValidation::Strict,
                p if p.contains("fieldValidation=Ignore") => FieldValidation::Ignore,
                _ => FieldValidation::Warn,
            };
            let expect = &step["expect"];
            let message = expect["body"]["message"].as_str().unwrap_or("");
            let decoding = expect["status"] == 400
                && ["cannot be handled", "is unrecognized", "in the data"].iter().any(|w| message.contains(w));
            let got = decode_object(body.as_bytes(), media, gvk, &[], validation);
            checked += 1;
            let name = format!("{} {}", case["name"], step["do"]);
            match got {
                Err(status) => {
                    // Times are not told in the recordings.
                    let shown = status
                        .message
                        .replace("2006-01-02T15:04:05.000000Z", "<time>")
                        .replace("2006-01-02T15:04:05Z", "<time>")
                        .replace("2024-13-01T00:00:00Z", "<time>");
                    if !decoding || shown != message {
                        wrong.push(format!("{name}\n  got  {shown}\n  want {message}"));
                    }
                }
                Ok(_) if decoding => wrong.push(format!("{name}\n  decoded\n  want {message}")),
                Ok(decoded) => {
                    let of_fields =
                        |w: &&str| ["unknown field", "duplicate field", "already set"].iter().any(|x| w.contains(x));
                    let want: Vec<String> = expect["warnings"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str)
                        .filter(of_fields)
                        .map(|w| {
                            w.trim_start_matches("299 - \"").strip_suffix('"').unwrap_or_default().replace("\\\"", "\"")
                        })
                        .collect();
                    if decoded.warnings != want && expect["status"].as_u64() < Some(400) {
                        wrong.push(format!("{name}\n  got  {:?}\n  want {want:?}", decoded.warnings));
                    }
                }
            }
        }
    }
    eprintln!("{checked} bodies checked");
    assert!(wrong.is_empty(), "{} of {checked}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn answers_are_already_normal() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for case in cases() {
        for step in case["steps"].as_array().into_iter().flatten() {
            let body = &step["expect"]["body"];
            let (api_version, kind) = (body["apiVersion"].as_str().unwrap_or(""), body["kind"].as_str().unwrap_or(""));
            let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
            let Some(ty) = steersman_schema::lookup(group, version, kind) else { continue };
            if step.get("ignore").is_some() || ty.is_list() || kind == "DeleteOptions" {
                continue;
            }
            let text = body.to_string().replace("<time>", "2024-01-02T03:04:05Z").replace("\"<port>\"", "30001");
            let text = if matches!(kind, "Lease" | "Event") || text.contains("<time>") {
                continue;
            } else {
                text
            };
            checked += 1;
            let want: Value = serde_json::from_str(&text).expect("JSON");
            match decode(text.as_bytes(), MediaType::Json, &ty, FieldValidation::Strict) {
                Ok((got, _)) if got == want => {}
                Ok((got, _)) => wrong.push(format!("{} {}\n  got  {got}\n  want {want}", case["name"], step["do"])),
                Err(why) => wrong.push(format!("{} {}: {why}", case["name"], step["do"])),
            }
            let bytes = protobuf::encode(&want, &ty);
            match protobuf::decode(&bytes) {
                Ok((_, got)) if got == want => {}
                Ok((_, got)) => {
                    wrong.push(format!("protobuf {} {}\n  got  {got}\n  want {want}", case["name"], step["do"]))
                }
                Err(why) => wrong.push(format!("protobuf {} {}: {why}", case["name"], step["do"])),
            }
        }
    }
    eprintln!("{checked} answers checked");
    assert!(wrong.is_empty(), "{} of {checked}:\n{}", wrong.len(), wrong.join("\n"));
}
