//! Holds the documents against the recorded ones of a real server, as far as those were recorded.
//!
//! The recordings are found through `STEERSMAN_GOLDEN` or at `../shared/golden/cases`, seen from the root of the
//! repository; the test passes, and says so, where they are absent.

use serde_json::Value;
use std::path::PathBuf;
use steersman_apimachinery::GroupVersionKind;
use steersman_openapi::{Api, OpenApi, Resource, Subresource};

fn recordings() -> Option<Value> {
    let folder = std::env::var_os("STEERSMAN_GOLDEN")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/cases"), PathBuf::from);
    let text = std::fs::read(folder.join("discovery.json"));
    match text {
        Ok(text) => Some(serde_json::from_slice(&text).expect("JSON")),
        Err(_) => {
            eprintln!("no recordings at {}: nothing is checked", folder.display());
            None
        }
    }
}

fn steps(recordings: &Value) -> impl Iterator<Item = &Value> {
    recordings["cases"].as_array().into_iter().flatten().flat_map(|c| c["steps"].as_array().into_iter().flatten())
}

fn text(value: &Value) -> std::borrow::Cow<'static, str> {
    value.as_str().unwrap_or("").to_owned().into()
}

/// The resources of the core group, from aggregated discovery.
fn core(recordings: &Value) -> Option<Api> {
    let body = steps(recordings).find_map(|step| {
        let body = &step["expect"]["body"];
        (step["do"] == "GET /api" && body["items"][0]["versions"].is_array()).then_some(body)
    })?;
    let verbs = |value: &Value| value["verbs"].as_array().into_iter().flatten().map(text).collect();
    let gvk = |value: &Value| GroupVersionKind {
        group: text(&value["responseKind"]["group"]),
        version: text(&value["responseKind"]["version"]),
        kind: text(&value["responseKind"]["kind"]),
    };
    let resources = body["items"][0]["versions"][0]["resources"].as_array()?.iter().map(|resource| Resource {
        name: text(&resource["resource"]),
        kind: gvk(resource).kind,
        namespaced: resource["scope"] == "Namespaced",
        verbs: verbs(resource),
        subresources: resource["subresources"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|sub| Subresource {
                name: text(&sub["subresource"]),
                gvk: gvk(sub),
                verbs: verbs(sub),
                connect: gvk(sub).kind.ends_with("Options"),
            })
            .collect(),
        ..Resource::default()
    });
    Some(Api { version: "v1".into(), resources: resources.collect(), ..Api::default() })
}

/// Everything that differs, but for what only the recording leaves out.
fn differences(want: &Value, got: &Value, path: &str, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            for (key, value) in want {
                match got.get(key) {
                    Some(other) => differences(value, other, &format!("{path}/{key}"), out),
                    None => out.push(format!("{path}/{key} is missing")),
                }
            }
            let kinds = path.contains("/schemas") || path.contains("/paths");
            let known = [
                "properties",
                "items",
                "additionalProperties",
                "parameters",
                "responses",
                "requestBody",
                "description",
            ];
            out.extend(
                got.keys()
                    .filter(|k| kinds && !want.contains_key(*k) && !known.contains(&k.as_str()))
                    .map(|k| format!("{path}/{k} is too much")),
            );
        }
        (want, got) if want == got => {}
        (want, got) => out.push(format!("{path}: {got}, want {want}")),
    }
}

#[test]
fn the_core_group_is_as_recorded() {
    let Some(recordings) = recordings() else { return };
    let api = core(&recordings).expect("aggregated discovery was recorded");
    let openapi = OpenApi::new("v1.36.0", vec![api]);
    let want = steps(&recordings).find(|step| step["do"] == "GET /openapi/v3/api/v1").expect("recorded");
    let document = openapi.v3("api/v1").expect("a document");
    let got: Value = serde_json::from_slice(&document.plain()).expect("JSON");
    let mut wrong = Vec::new();
    differences(&want["expect"]["body"], &got, "", &mut wrong);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn both_forms_of_v2_hold_the_same() {
    let Some(recordings) = recordings() else { return };
    let openapi = OpenApi::new("v1.36.0", vec![core(&recordings).expect("recorded")]);
    let json: Value = serde_json::from_slice(&openapi.v2().plain()).expect("JSON");
    let names = json["definitions"].as_object().expect("definitions").keys();
    let bytes = openapi.v2_protobuf().plain();
    for name in names {
        assert!(bytes.windows(name.len()).any(|w| w == name.as_bytes()), "{name}");
    }
    let container = &json["definitions"]["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(container["x-kubernetes-patch-merge-key"], "containerPort");
    assert_eq!(container["x-kubernetes-list-map-keys"], serde_json::json!(["containerPort", "protocol"]));
    eprintln!(
        "{} bytes of JSON, {} of protobuf, {} compressed",
        json.to_string().len(),
        bytes.len(),
        openapi.v2().gzip.len()
    );
}

#[test]
fn apis_come_and_go() {
    let api = |name: &str| Api {
        group: "example.com".into(),
        version: "v1".into(),
        resources: vec![Resource {
            name: "things".into(),
            kind: "Thing".into(),
            namespaced: true,
            verbs: ["create", "delete", "get", "list"].map(Into::into).to_vec(),
            definition: "com.example.v1.Thing".into(),
            ..Resource::default()
        }],
        definitions: [(
            "com.example.v1.Thing".to_owned(),
            serde_json::json!({"type": "object", "properties": {name: {"type": "string"},
                "metadata": {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}}}),
        )]
        .into(),
    };
    let openapi = OpenApi::new("v1.36.0", vec![api("a")]);
    let before = openapi.v3("apis/example.com/v1").expect("a document");
    let value: Value = serde_json::from_slice(&before.plain()).expect("JSON");
    assert!(value["components"]["schemas"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"].is_object());
    assert!(value["paths"]["/apis/example.com/v1/namespaces/{namespace}/things/{name}"]["delete"].is_object());
    let v2: Value = serde_json::from_slice(&openapi.v2().plain()).expect("JSON");
    let reference = &v2["definitions"]["com.example.v1.Thing"]["properties"]["metadata"]["$ref"];
    assert_eq!(reference, "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    openapi.replace(vec![api("b")]);
    assert_ne!(openapi.v3("apis/example.com/v1").expect("a document").etag, before.etag);
    openapi.replace(Vec::new());
    assert!(openapi.v3("apis/example.com/v1").is_none());
    let index: Value = serde_json::from_slice(&openapi.index()).expect("JSON");
    assert!(index["paths"]["version"]["serverRelativeURL"].as_str().is_some_and(|u| u.contains("?hash=")));
}
