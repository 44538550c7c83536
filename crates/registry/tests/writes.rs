//! Creating, changing and deleting, against a real etcd.

mod common;

use common::*;
use serde_json::json;
use steersman_apimachinery::options::*;
use steersman_apimachinery::{Reason, object};
use steersman_registry::PatchType;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_fills_in_checks_and_refuses() {
    let s = serve().await;
    let c = s.create("configmaps", cm("a", json!({"k": "v"}))).await.unwrap();
    assert_eq!((object::namespace(&c), object::uid(&c).len(), &c["data"]["k"]), ("ns", 36, &json!("v")));
    assert_eq!(c["metadata"]["managedFields"][0]["manager"], "tester");
    assert_eq!(s.get("configmaps", "a").await.unwrap(), c);
    let e = s.create("configmaps", cm("a", json!({}))).await.unwrap_err();
    assert_eq!((e.code, e.message.as_str()), (409, "configmaps \"a\" already exists"));
    let e = s.create("configmaps", cm("B_", json!({"bad": "yes"}))).await.unwrap_err();
    assert!(
        e.message.starts_with("ConfigMap \"B_\" is invalid: [metadata.name: Invalid value: \"B_\": "),
        "{}",
        e.message
    );
    assert!(e.message.ends_with("data[bad]: Invalid value: \"yes\": may not be bad]"), "{}", e.message);
    let mut foreign = cm("b", json!({}));
    foreign["metadata"]["namespace"] = "elsewhere".into();
    let e = s.create("configmaps", foreign).await.unwrap_err();
    assert_eq!(e.message, "the namespace of the provided object does not match the namespace sent on the request");
    let mut versioned = cm("b", json!({}));
    versioned["metadata"]["resourceVersion"] = "3".into();
    let e = s.create("configmaps", versioned).await.unwrap_err();
    assert_eq!((e.code, e.message.as_str()), (500, "resourceVersion should not be set on objects to be created"));
    let mut generated = cm("", json!({}));
    generated["metadata"] = json!({"generateName": "g-"});
    let g = s.create("configmaps", generated).await.unwrap();
    assert!(object::name(&g).starts_with("g-") && object::name(&g).len() == 7);
    let dry = CreateOptions { dry_run: true, ..CreateOptions::default() };
    let d = tree(s.store("configmaps").create(&s.ctx, "ns", cm("dry", json!({})), &dry).await.unwrap());
    assert_eq!(object::resource_version(&d), "");
    assert_eq!(s.get("configmaps", "dry").await.unwrap_err().message, "configmaps \"dry\" not found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_are_guarded_by_version_uid_and_name() {
    let s = serve().await;
    let first = s.create("configmaps", cm("a", json!({"k": "1"}))).await.unwrap();
    let (second, created) = s.put("configmaps", "a", cm("a", json!({"k": "2"}))).await.unwrap();
    assert!(!created && version(&second) > version(&first) && object::uid(&second) == object::uid(&first));
    let mut stale = cm("a", json!({"k": "3"}));
    stale["metadata"]["resourceVersion"] = first["metadata"]["resourceVersion"].clone();
    let e = s.put("configmaps", "a", stale).await.unwrap_err();
    assert_eq!(
        e.message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let (same, _) = s.put("configmaps", "a", second.clone()).await.unwrap();
    assert_eq!(same, second, "nothing changed, so nothing is written");
    let mut other = cm("a", json!({}));
    other["metadata"]["uid"] = "u".into();
    let e = s.put("configmaps", "a", other).await.unwrap_err();
    let uid = object::uid(&first);
    assert_eq!(
        e.message,
        format!(
            "Operation cannot be fulfilled on configmaps \"a\": StorageError: invalid object, Code: 4, Key: /registry/configmaps/ns/a, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: u, UID in object meta: {uid}"
        )
    );
    let e = s.put("configmaps", "a", cm("b", json!({}))).await.unwrap_err();
    assert_eq!(e.message, "the name of the object (b) does not match the name on the URL (a)");
    let e = s.put("configmaps", "none", cm("none", json!({}))).await.unwrap_err();
    assert_eq!((e.code, e.message.as_str()), (404, "configmaps \"none\" not found"));
    let mut gone = cm("none", json!({}));
    gone["metadata"]["uid"] = "u".into();
    let e = s.put("configmaps", "none", gone).await.unwrap_err();
    assert_eq!((e.code, e.message.ends_with("UID in precondition: u, UID in object meta: ")), (409, true));
    let mut odd = cm("a", json!({}));
    odd["metadata"]["resourceVersion"] = "abc".into();
    let e = s.put("configmaps", "a", odd).await.unwrap_err();
    assert_eq!(
        (e.code, e.reason, e.message.as_str()),
        (500, Reason::Unknown, "strconv.ParseUint: parsing \"abc\": invalid syntax")
    );
    let e = s.merge("configmaps", "a", json!({"data": {"bad": "yes"}})).await.unwrap_err();
    assert_eq!(e.message, "ConfigMap \"a\" is invalid: data[bad]: Invalid value: \"yes\": may not be bad");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_patches_all_take_place() {
    let s = std::sync::Arc::new(serve().await);
    s.create("configmaps", cm("a", json!({}))).await.unwrap();
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let s = s.clone();
            tokio::spawn(async move {
                s.merge("configmaps", "a", json!({"data": {format!("k{n}"): "v"}})).await.map(|_| ())
            })
        })
        .collect();
    for t in tasks {
        t.await.unwrap().unwrap();
    }
    assert_eq!(s.get("configmaps", "a").await.unwrap()["data"].as_object().map(|d| d.len()), Some(40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_of_all_kinds_and_subresources() {
    let s = serve().await;
    let plain = UpdateOptions::default();
    let d = s.create("deployments", work("d", json!({}))).await.unwrap();
    assert_eq!((&d["spec"]["replicas"], &d["metadata"]["generation"]), (&json!(1), &json!(1)));
    let d = s.merge("deployments", "d", json!({"spec": {"replicas": 3}, "status": {"replicas": 9}})).await.unwrap();
    assert_eq!(
        (&d["spec"]["replicas"], &d["metadata"]["generation"], &d["status"]),
        (&json!(3), &json!(2), &json!({}))
    );
    let d =
        s.merge("deployments", "d/status", json!({"spec": {"replicas": 8}, "status": {"replicas": 3}})).await.unwrap();
    assert_eq!(
        (&d["spec"]["replicas"], &d["metadata"]["generation"], &d["status"]["replicas"]),
        (&json!(3), &json!(2), &json!(3))
    );
    let (d, _) = s
        .patch(
            "deployments",
            "d",
            PatchType::Json,
            json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]),
            &plain,
        )
        .await
        .unwrap();
    assert_eq!(d["spec"]["replicas"], 4);
    let strategic = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "i"}]}}}});
    let (d, _) = s.patch("deployments", "d", PatchType::Strategic, strategic, &plain).await.unwrap();
    assert_eq!(d["spec"]["template"]["spec"]["containers"][0]["image"], "i");
    let scale = s.merge("deployments", "d/scale", json!({"spec": {"replicas": 7}})).await.unwrap();
    assert_eq!(
        (&scale["kind"], &scale["spec"]["replicas"], &scale["status"]),
        (&json!("Scale"), &json!(7), &json!({"replicas": 3, "selector": "app=d"}))
    );
    assert_eq!(s.get("deployments", "d").await.unwrap()["spec"]["replicas"], 7);
    let e = s.merge("deployments", "d/scale", json!({"spec": {"replicas": -1}})).await.unwrap_err();
    assert_eq!(
        e.message,
        "Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    );
    let e = s
        .merge("deployments", "d/scale", json!({"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 1}}))
        .await
        .unwrap_err();
    assert_eq!(e.code, 409);
    let e = s.merge("deployments", "d", json!({"spec": {"replicas": "x"}})).await.unwrap_err();
    assert_eq!((e.code, e.details.unwrap().causes[0].field.as_str()), (422, "patch"));
    let e = s.patch("deployments", "d", PatchType::Strategic, json!({"spec": []}), &plain).await.unwrap_err();
    assert_eq!(
        e.message,
        " \"\" is invalid: patch: Invalid value: \"map[spec:[]]\": cannot restore struct from: slice"
    );
    s.merge("deployments", "d", json!({"spec": {"foo": 1}})).await.unwrap();
    assert_eq!(s.ctx.warnings(), ["unknown field \"spec.foo\""]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_creates_merges_and_conflicts() {
    let s = serve().await;
    let config =
        |v: &str| json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": v}});
    let (a, created) = s.apply("configmaps", "a", "alpha", config("1")).await.unwrap();
    assert!(created && a["metadata"]["managedFields"][0]["operation"] == "Apply");
    let (again, created) = s.apply("configmaps", "a", "alpha", config("1")).await.unwrap();
    assert!(!created && again == a, "an apply that changes nothing writes nothing");
    let e = s.apply("configmaps", "a", "beta", config("2")).await.unwrap_err();
    assert_eq!((e.code, e.message.as_str()), (409, "Apply failed with 1 conflict: conflict with \"alpha\": .data.k"));
    let e = s.apply("configmaps", "a", "beta", json!({"kind": "Secret", "apiVersion": "v1"})).await.unwrap_err();
    assert_eq!(e.message, "invalid object type: /v1, Kind=Secret");
    let mut lost = config("1");
    lost["metadata"] = json!({"name": "none", "uid": "u"});
    let e = s.apply("configmaps", "none", "alpha", lost).await.unwrap_err();
    assert!(
        e.message.ends_with("uid mismatch: the provided object specified uid u, and no existing object was found"),
        "{}",
        e.message
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion_waits_for_finalizers_and_grace() {
    let s = serve().await;
    let plain = DeleteOptions::default;
    let a = s.create("configmaps", cm("a", json!({}))).await.unwrap();
    let wrong = DeleteOptions { precondition_uid: Some("u".into()), ..plain() };
    let e = s.delete("configmaps", "a", wrong).await.unwrap_err();
    assert!(
        e.message.starts_with(
            "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (u) does not match"
        ),
        "{}",
        e.message
    );
    let (_, dry) = s.delete("configmaps", "a", DeleteOptions { dry_run: true, ..plain() }).await.unwrap();
    assert_eq!(dry["status"], "Success");
    let (code, status) = s.delete("configmaps", "a", plain()).await.unwrap();
    assert_eq!((code, &status["details"]), (200, &json!({"kind": "configmaps", "name": "a", "uid": object::uid(&a)})));
    assert_eq!(s.delete("configmaps", "a", plain()).await.unwrap_err().code, 404);

    let mut held = cm("f", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/f"]);
    s.create("configmaps", held).await.unwrap();
    let (_, f) = s.delete("configmaps", "f", plain()).await.unwrap();
    assert!(object::is_deleting(&f) && f["metadata"]["deletionGracePeriodSeconds"] == 0);
    let e = s.create("configmaps", cm("f", json!({}))).await.unwrap_err();
    assert_eq!(e.message, "object is being deleted: configmaps \"f\" already exists");
    let e = s
        .merge("configmaps", "f", json!({"metadata": {"finalizers": ["example.com/f", "example.com/g"]}}))
        .await
        .unwrap_err();
    assert_eq!(e.details.unwrap().causes.len(), 2);
    s.merge("configmaps", "f", json!({"metadata": {"finalizers": null}})).await.unwrap();
    assert_eq!(s.get("configmaps", "f").await.unwrap_err().code, 404);

    let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..plain() };
    s.create("configmaps", cm("g", json!({}))).await.unwrap();
    let (code, g) = s.delete("configmaps", "g", foreground).await.unwrap();
    assert_eq!((code, &g["metadata"]["finalizers"]), (200, &json!(["foregroundDeletion"])));
    let background = DeleteOptions { propagation: Some(Propagation::Background), ..plain() };
    assert_eq!(s.delete("configmaps", "g", background).await.unwrap().1["status"], "Success");

    let mut slow = work("w", json!({}));
    slow["spec"]["paused"] = true.into();
    s.create("deployments", slow).await.unwrap();
    let grace = |seconds| DeleteOptions { grace_period_seconds: Some(seconds), ..DeleteOptions::default() };
    let (_, w) = s.delete("deployments", "w", plain()).await.unwrap();
    assert_eq!((&w["metadata"]["deletionGracePeriodSeconds"], &w["metadata"]["generation"]), (&json!(30), &json!(2)));
    assert_eq!(s.delete("deployments", "w", grace(5)).await.unwrap().1["metadata"]["deletionGracePeriodSeconds"], 5);
    assert_eq!(s.delete("deployments", "w", grace(60)).await.unwrap().1["metadata"]["deletionGracePeriodSeconds"], 5);
    assert_eq!(s.delete("deployments", "w", grace(0)).await.unwrap().1["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(s.get("deployments", "w").await.unwrap_err().code, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_kind_in_two_versions() {
    let s = serve().await;
    let c = s.create("configmaps", cm("a", json!({"k": "1"}))).await.unwrap();
    let o = s.get("others", "a").await.unwrap();
    assert_eq!((&o["apiVersion"], &o["values"], o.get("data")), (&json!("v1beta9"), &json!({"k": "1"}), None));
    assert_eq!(version(&o), version(&c));
    let mut new = o.clone();
    new["values"] = json!({"k": "2"});
    let (written, _) = s.put("others", "a", new).await.unwrap();
    assert_eq!(written["values"], json!({"k": "2"}));
    assert_eq!(s.get("configmaps", "a").await.unwrap()["data"], json!({"k": "2"}));
    let blank = json!({"kind": "ConfigMap", "apiVersion": "v1beta9", "metadata": {"name": "a"}, "values": {}});
    let e = s.put("others", "a", blank).await.unwrap_err();
    assert_eq!(
        e.message,
        "configmaps \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
    let fresh = json!({"kind": "ConfigMap", "apiVersion": "v1beta9", "metadata": {"name": "n", "resourceVersion": "5"}, "values": {}});
    assert!(s.put("others", "n", fresh).await.unwrap().1, "may create, whatever version it names");
}
