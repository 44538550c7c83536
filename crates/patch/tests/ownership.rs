//! Who owns what after a sequence of writes.

use serde_json::{Value, json};
use steersman_apimachinery::Status;
use steersman_patch::fieldset::FieldFilter;
use steersman_patch::managed::{self, ManagerContext, OneVersion};
use steersman_schema::TypeRef;

/// One object and those who write it; every write is a second after the one before.
struct Story {
    ty: Option<TypeRef>,
    api_version: &'static str,
    object: Option<Value>,
    filter: FieldFilter,
    subresource: &'static str,
    clock: i64,
}

impl Story {
    fn new(group: &str, version: &str, kind: &str) -> Self {
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        Self {
            ty: steersman_schema::lookup(group, version, kind),
            api_version: api_version.leak(),
            object: None,
            filter: FieldFilter::default(),
            subresource: "",
            clock: 1_700_000_000,
        }
    }
    fn write<R>(&mut self, manager: &str, f: impl FnOnce(&Self, &ManagerContext<'_>) -> R) -> R {
        self.clock += 1;
        let ctx = ManagerContext {
            manager,
            api_version: self.api_version,
            subresource: self.subresource,
            filter: &self.filter,
            now: jiff::Timestamp::from_second(self.clock).expect("an object of the test"),
            versions: &OneVersion,
        };
        f(self, &ctx)
    }
    fn apply(&mut self, manager: &str, config: Value, force: bool) -> Result<(), Status> {
        let mut out =
            self.write(manager, |s, ctx| managed::apply(s.object.as_ref(), &config, s.ty.as_deref(), ctx, force))?;
        steersman_apimachinery::object::set(&mut out, &["metadata", "uid"], "u");
        if let Some(old) = &self.object {
            managed::revert_timestamps(old, &mut out);
        }
        self.object = Some(out);
        Ok(())
    }
    fn update(&mut self, manager: &str, mut new: Value) {
        let out = self.write(manager, |s, ctx| {
            managed::update(s.object.as_ref(), &mut new, s.ty.as_deref(), ctx);
            new
        });
        let mut out = out;
        steersman_apimachinery::object::set(&mut out, &["metadata", "uid"], "u");
        self.object = Some(out);
    }
    /// `manager operation[/subresource] fields` of every entry, times left out.
    fn owners(&self) -> Vec<(String, Value)> {
        let object = self.object.clone().unwrap_or_default();
        let list = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        list.iter()
            .map(|e| {
                let sub = e.get("subresource").and_then(Value::as_str).map(|s| format!("/{s}")).unwrap_or_default();
                let text = |k: &str| e[k].as_str().unwrap_or_default().to_owned();
                (format!("{} {}{sub}", text("manager"), text("operation")), e["fieldsV1"].clone())
            })
            .collect()
    }
    #[track_caller]
    fn check_owners(&self, want: &[(&str, Value)]) {
        let want: Vec<(String, Value)> = want.iter().map(|(m, f)| ((*m).to_owned(), f.clone())).collect();
        assert_eq!(self.owners(), want);
    }
    #[track_caller]
    fn check_data(&self, want: Value) {
        assert_eq!(self.object.as_ref().expect("an object of the test").get("data").cloned().unwrap_or_default(), want);
    }
}

fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
}

#[test]
fn appliers_share_drop_and_take() {
    let mut s = Story::new("", "v1", "ConfigMap");
    s.apply("alpha", config_map(json!({"a": "1", "b": "2"})), false).unwrap();
    s.apply("beta", config_map(json!({"b": "2"})), false).unwrap();
    s.check_owners(&[
        ("beta Apply", json!({"f:data": {"f:b": {}}})),
        ("alpha Apply", json!({"f:data": {"f:a": {}, "f:b": {}}})),
    ]);
    s.apply("alpha", config_map(json!({"a": "1"})), false).unwrap();
    s.check_data(json!({"a": "1", "b": "2"}));
    let err = s.apply("beta", config_map(json!({"a": "x", "b": "2"})), false).unwrap_err();
    assert_eq!(
        (err.code, err.message.as_str()),
        (409, "Apply failed with 1 conflict: conflict with \"alpha\": .data.a")
    );
    s.apply("beta", config_map(json!({"a": "x"})), true).unwrap();
    s.check_data(json!({"a": "x"}));
    s.check_owners(&[("beta Apply", json!({"f:data": {"f:a": {}}}))]);
    s.apply("beta", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}), false).unwrap();
    s.check_data(Value::Null);
    s.check_owners(&[]);
}

#[test]
fn updaters_take_what_they_change() {
    let mut s = Story::new("", "v1", "ConfigMap");
    s.update("creator", config_map(json!({"a": "1", "b": "2"})));
    s.check_owners(&[("creator Update", json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}}))]);
    let mut new = s.object.clone().unwrap();
    new["data"]["a"] = json!("changed");
    s.update("editor", new.clone());
    s.check_owners(&[
        ("creator Update", json!({"f:data": {".": {}, "f:b": {}}})),
        ("editor Update", json!({"f:data": {"f:a": {}}})),
    ]);
    let before = s.object.clone();
    s.update("idle", before.clone().unwrap());
    assert_eq!(s.object, before);
    let err = s.apply("alpha", config_map(json!({"a": "x", "b": "y"})), false).unwrap_err();
    assert_eq!(
        err.message,
        "Apply failed with 2 conflicts: conflicts with \"creator\" using v1:\n- .data.b\nconflicts with \"editor\" using v1:\n- .data.a"
    );
    // Clearing, and what the first apply then finds.
    let mut cleared = s.object.clone().unwrap();
    cleared["metadata"]["managedFields"] = json!([{}]);
    s.update("editor", cleared);
    s.check_owners(&[]);
    s.apply("beta", config_map(json!({"c": "3"})), false).unwrap();
    s.check_owners(&[
        ("beta Apply", json!({"f:data": {"f:c": {}}})),
        ("before-first-apply Update", json!({"f:data": {".": {}, "f:a": {}, "f:b": {}}})),
    ]);
}

#[test]
fn a_list_that_a_client_garbles_is_not_taken() {
    let mut s = Story::new("", "v1", "ConfigMap");
    s.apply("alpha", config_map(json!({"a": "1"})), false).unwrap();
    let owners = s.owners();
    for bad in [
        json!([{"manager": "x", "operation": "Frob", "apiVersion": "v1", "fieldsType": "FieldsV1"}]),
        json!([1]),
        json!("x"),
        json!([{"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"k:nonsense": {}}}]),
    ] {
        let mut new = s.object.clone().unwrap();
        new["metadata"]["managedFields"] = bad;
        s.update("editor", new);
        assert_eq!(s.owners(), owners);
    }
    let mut new = s.object.clone().unwrap();
    new["metadata"]["managedFields"][0]["manager"] = json!("renamed");
    s.update("editor", new);
    assert_eq!(s.owners()[0].0, "renamed Apply");
}

fn deployment(containers: Value) -> Value {
    let template = json!({"metadata": {"labels": {"app": "d"}}, "spec": {"containers": containers}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
           "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": template}})
}

#[test]
fn keyed_lists() {
    let mut s = Story::new("apps", "v1", "Deployment");
    s.apply("alpha", deployment(json!([{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}])), false).unwrap();
    let containers = |s: &Story| s.object.as_ref().unwrap()["spec"]["template"]["spec"]["containers"].clone();
    let names =
        |v: Value| v.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let order = json!([{"name": "b", "image": "b:1"}, {"name": "c", "image": "c:1"}, {"name": "a", "image": "a:1"}]);
    s.apply("alpha", deployment(order), false).unwrap();
    assert_eq!(names(containers(&s)), ["b", "c", "a"]);
    let beta = json!([{"name": "c", "args": ["x"]}]);
    s.apply("beta", json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": beta}}}}), false).unwrap();
    s.apply("alpha", deployment(json!([{"name": "a", "image": "a:1"}])), false).unwrap();
    assert_eq!(containers(&s), json!([{"name": "c", "args": ["x"]}, {"name": "a", "image": "a:1"}]));
    let args = json!([{"name": "c", "args": ["y"]}]);
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": args}}}});
    let err = s.apply("gamma", config, false).unwrap_err();
    assert_eq!(
        err.message,
        "Apply failed with 1 conflict: conflict with \"beta\": .spec.template.spec.containers[name=\"c\"].args"
    );
    let ports = json!([{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]}]);
    let mut p = Story::new("apps", "v1", "Deployment");
    p.apply("alpha", deployment(ports), false).unwrap();
    let fields = &p.owners()[0].1["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"a\"}"]["f:ports"];
    assert_eq!(
        fields,
        &json!({"k:{\"containerPort\":53,\"protocol\":\"UDP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}},
                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}})
    );
}

#[test]
fn a_created_pod_is_compared_with_an_empty_one() {
    let mut s = Story::new("", "v1", "Pod");
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "generateName": "g"},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {}}], "securityContext": {}}, "status": {}});
    s.update("creator", pod);
    s.check_owners(&[(
        "creator Update",
        json!({"f:metadata": {"f:generateName": {}}, "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:resources": {}}}, "f:securityContext": {}}}),
    )]);
    s.subresource = "status";
    s.filter = FieldFilter::parse(&["spec", "metadata.labels"]);
    let mut new = s.object.clone().unwrap();
    new["status"] =
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}]});
    new["spec"]["nodeName"] = json!("ignored");
    s.update("kubelet", new);
    let owners = s.owners();
    assert_eq!(owners[1].0, "kubelet Update/status");
    assert_eq!(
        owners[1].1,
        json!({"f:status": {"f:conditions": {".": {}, "k:{\"type\":\"Ready\"}": {".": {}, "f:lastProbeTime": {}, "f:status": {}, "f:type": {}}}, "f:phase": {}}})
    );
}

#[test]
fn mistakes_in_a_configuration() {
    let check = |config: Value, want: &str| {
        let kind = config["kind"].as_str().unwrap().to_owned();
        let (group, version) = if kind == "Deployment" { ("apps", "v1") } else { ("", "v1") };
        let err = Story::new(group, version, &kind).apply("alpha", config, false).unwrap_err();
        assert_eq!((err.code, err.message), (500, format!("failed to create typed patch object ({want}")));
    };
    check(
        config_map(json!({"a": 5})),
        "/c; /v1, Kind=ConfigMap): .data.a: expected string, got &value.valueUnstructured{Value:5}",
    );
    check(config_map(json!(["a"])), "/c; /v1, Kind=ConfigMap): .data: expected map, got &{[a]}");
    let finalizers =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "finalizers": ["x/a", "x/a"]}});
    check(finalizers, "/c; /v1, Kind=ConfigMap): .metadata.finalizers: duplicate entries for key [=\"x/a\"]");
    let d =
        |spec: Value| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec});
    check(
        d(json!({"replicas": "three"})),
        "/d; apps/v1, Kind=Deployment): .spec.replicas: expected numeric (int or float), got string",
    );
    check(d(json!({"foo": 1})), "/d; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema");
    check(d(json!({"template": "x"})), "/d; apps/v1, Kind=Deployment): .spec.template: expected map, got &{x}");
}

#[test]
fn old_updaters_are_merged() {
    let mut s = Story::new("", "v1", "ConfigMap");
    for i in 0..14 {
        let mut new = s.object.clone().unwrap_or_else(|| config_map(json!({})));
        new["data"][format!("k{i:02}")] = json!("v");
        s.update(&format!("m{i:02}"), new);
    }
    let owners = s.owners();
    assert_eq!(owners.len(), 10);
    assert_eq!(owners[0].0, "ancient-changes Update");
    assert_eq!(owners[0].1["f:data"].as_object().unwrap().keys().filter(|k| k.starts_with("f:")).count(), 5);
}

#[test]
fn kubectl_takes_over_from_client_side_apply() {
    let mut s = Story::new("", "v1", "ConfigMap");
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let mut first = config_map(json!({"a": "1", "b": "2"}));
    let last = first.to_string();
    first["metadata"]["annotations"] = json!({annotation: last});
    s.update("kubectl-client-side-apply", first);
    s.apply("other", config_map(json!({"a": "2"})), false).unwrap_err();
    s.apply("kubectl", config_map(json!({"a": "<2>"})), false).unwrap();
    let text = s.object.as_ref().unwrap()["metadata"]["annotations"][annotation].as_str().unwrap().to_owned();
    assert!(text.contains("\"a\":\"\\u003c2\\u003e\"") && text.ends_with('\n'), "{text}");
    let mut annotated = config_map(json!({"a": "3"}));
    annotated["metadata"]["annotations"] = json!({annotation: "old"});
    s.apply("kubectl", annotated, true).unwrap();
    let text = s.object.as_ref().unwrap()["metadata"]["annotations"][annotation].as_str().unwrap();
    assert!(text.contains("\"annotations\":{}"), "{text}");
}

#[test]
fn unknown_types_are_deduced() {
    let mut s = Story::new("example.com", "v1", "Widget");
    let widget = |spec: Value| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec});
    s.apply("alpha", widget(json!({"a": {"b": 1}, "l": [1, {"x": 2}]})), false).unwrap();
    s.apply("beta", widget(json!({"a": {"c": 2}})), false).unwrap();
    assert_eq!(s.object.as_ref().unwrap()["spec"], json!({"a": {"b": 1, "c": 2}, "l": [1, {"x": 2}]}));
    let err = s.apply("beta", widget(json!({"l": [2]})), false).unwrap_err();
    assert_eq!(err.message, "Apply failed with 1 conflict: conflict with \"alpha\": .spec.l");
    s.apply("alpha", widget(json!({})), false).unwrap();
    assert_eq!(s.object.as_ref().unwrap()["spec"], json!({"a": {"c": 2}}));
}

#[test]
fn scale_shares_the_owners_of_replicas() {
    let mapping: &[(&str, &[&str])] = &[("apps/v1", &["spec", "replicas"])];
    let entry = |manager: &str, operation: &str, fields: Value| {
        json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "time": "2024-01-01T00:00:00Z",
               "fieldsType": "FieldsV1", "fieldsV1": fields})
    };
    let parent = [entry("alpha", "Apply", json!({"f:spec": {"f:replicas": {}, "f:paused": {}}}))];
    let scale = managed::scale_from_parent(&parent, mapping);
    assert_eq!(scale[0]["apiVersion"], "autoscaling/v1");
    assert_eq!(managed::scale_to_parent(&parent, &scale, "apps/v1", mapping), parent);
    let taken = json!({"manager": "scaler", "operation": "Update", "apiVersion": "autoscaling/v1", "subresource": "scale",
                       "time": "2024-01-02T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
    let after = managed::scale_to_parent(&parent, &[taken], "apps/v1", mapping);
    assert_eq!(after[0]["fieldsV1"], json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(
        (&after[1]["manager"], &after[1]["apiVersion"], after[1].get("time")),
        (&json!("scaler"), &json!("apps/v1"), None)
    );
}
