//! Strategic merge patches, as upstream answers them.

use serde_json::{Value, json};
use steersman_patch::strategic;

fn apply(kind: &str, doc: Value, patch: Value) -> Result<Value, (u16, String)> {
    let group = if kind == "Deployment" { "apps" } else { "" };
    let ty = steersman_schema::lookup(group, "v1", kind).expect("a built-in kind");
    strategic::apply(doc, patch, &ty).map_err(|s| (s.code, s.message))
}

fn pod(containers: Value) -> Value {
    json!({"spec": {"containers": containers}})
}

fn check_pod(live: Value, patch: Value, want: Value) {
    let got = apply("Pod", pod(live), pod(patch.clone()));
    assert_eq!(got, Ok(pod(want)), "{patch}");
}

#[test]
fn keyed_lists() {
    let live = || json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]);
    check_pod(
        live(),
        json!([{"name": "b", "image": "2"}]),
        json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]),
    );
    check_pod(
        live(),
        json!([{"name": "n"}]),
        json!([{"name": "n"}, {"name": "a", "image": "1"}, {"name": "b", "image": "1"}]),
    );
    check_pod(live(), json!([{"$patch": "replace"}, {"name": "o"}]), json!([{"name": "o"}]));
    check_pod(live(), json!([{"$patch": "delete", "name": "a"}]), json!([{"name": "b", "image": "1"}]));
    check_pod(
        live(),
        json!([{"name": "b", "image": "2"}, {"name": "b", "image": "3"}]),
        json!([{"name": "a", "image": "1"}, {"name": "b", "image": "3"}]),
    );
    let ports = |p: Value| json!([{"name": "a", "ports": p}]);
    check_pod(
        ports(json!([{"containerPort": 80}, {"containerPort": 443}])),
        ports(json!([{"containerPort": 443, "name": "tls"}, {"containerPort": 9090}])),
        ports(json!([{"containerPort": 80}, {"containerPort": 443, "name": "tls"}, {"containerPort": 9090}])),
    );
}

#[test]
fn directives() {
    let labels = |l: Value| json!({"metadata": {"labels": l}});
    let check = |live: Value, patch: Value, want: Value| {
        assert_eq!(apply("ConfigMap", live, patch.clone()), Ok(want), "{patch}")
    };
    check(labels(json!({"a": "1"})), labels(json!({"$patch": "replace", "z": "3"})), labels(json!({"z": "3"})));
    check(labels(json!({"a": "1"})), labels(json!({"$patch": "delete"})), labels(json!({})));
    check(labels(json!({"a": "1"})), labels(json!({"a": null, "b": null, "c": "x"})), labels(json!({"c": "x"})));
    let fin = |f: Value| json!({"metadata": {"finalizers": f}});
    check(fin(json!(["x/a"])), fin(json!(["x/b", "x/b"])), fin(json!(["x/b", "x/a"])));
    check(
        fin(json!(["x/a", "x/b"])),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}}),
        fin(json!(["x/b"])),
    );
    check(
        json!({}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}}),
    );
    let strategy = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {}}}});
    let retain = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(apply("Deployment", strategy, retain), Ok(json!({"spec": {"strategy": {"type": "Recreate"}}})));
    let order = json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "2"}]}});
    let live = pod(json!([{"name": "a"}, {"name": "b"}, {"name": "c"}]));
    assert_eq!(apply("Pod", live, order), Ok(pod(json!([{"name": "b"}, {"name": "a", "image": "2"}, {"name": "c"}]))));
}

#[test]
fn errors() {
    let live = || pod(json!([{"name": "a", "image": "1"}]));
    let check = |patch: Value, code: u16, want: &str| {
        assert_eq!(apply("Pod", live(), patch.clone()), Err((code, want.to_owned())), "{patch}");
    };
    check(pod(json!([{"$patch": "merge", "name": "a"}])), 500, "merging lists cannot yet be specified in the patch");
    check(pod(json!(["x"])), 500, "list element types are not identical: [[map[image:1 name:a]] [x]]");
    check(pod(json!([{"image": "2"}])), 500, "map: map[image:2] does not contain declared merge key: name");
    check(json!({"spec": {"$retainKeys": "type"}}), 400, "invalid patch format of retainKeys");
    check(json!({"spec": {"$setElementOrder/containers": 5}}), 500, "expected a []interface {}, but received a int64");
    check(
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"image": "n:1", "name": "new"}]}}),
        500,
        "The order in patch list:\n[map[image:n:1 name:new]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n",
    );
    check(json!({"spec": {"$patch": "frob"}}), 500, "unknown patch type: frob in map: map[$patch:frob]");
}
