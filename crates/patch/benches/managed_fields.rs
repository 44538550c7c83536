//! What managed fields cost: a status update of a pod of 2.5 KB, whose goal is 80 µs, and an apply to the same pod.

use serde_json::{Value, json};
use std::time::Instant;
use steersman_patch::fieldset::FieldFilter;
use steersman_patch::managed::{self, ManagerContext, OneVersion};

fn container(name: &str) -> Value {
    let amounts = json!({"cpu": "1", "memory": "1Gi"});
    json!({
        "name": name, "image": "registry.example.com/app:1.2.3", "imagePullPolicy": "IfNotPresent",
        "resources": {"limits": amounts, "requests": amounts},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a": "b", "c": "d"}, "annotations": {"x": "y"}},
        "spec": {
            "containers": [container("a"), container("b")], "volumes": [{"name": "v", "emptyDir": {}}],
            "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
            "priority": 0, "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
            "serviceAccount": "default", "serviceAccountName": "default", "terminationGracePeriodSeconds": 30,
            "nodeName": "n1",
            "tolerations": [{"effect": "NoExecute", "key": "k", "operator": "Exists", "tolerationSeconds": 300}],
        },
        "status": {},
    })
}

fn status() -> Value {
    let condition = |i: i32| json!({"type": format!("T{i}"), "status": "False", "lastProbeTime": null, "lastTransitionTime": "2024-01-01T00:00:00Z"});
    let conditions: Vec<Value> = (0..5).map(condition).collect();
    json!({"phase": "Pending", "qosClass": "Guaranteed", "conditions": conditions, "hostIP": "192.0.2.1",
           "podIP": "192.0.2.2", "podIPs": [{"ip": "192.0.2.2"}]})
}

fn main() {
    const RUNS: u32 = 5_000;
    let ty = steersman_schema::lookup("", "v1", "Pod");
    let everything = FieldFilter::default();
    let creator = ManagerContext {
        manager: "creator",
        api_version: "v1",
        subresource: "",
        filter: &everything,
        now: jiff::Timestamp::now(),
        versions: &OneVersion,
    };
    let only_status = FieldFilter::parse(&["spec", "metadata.deletionTimestamp", "metadata.ownerReferences"]);
    let kubelet = ManagerContext { manager: "kubelet", subresource: "status", filter: &only_status, ..creator };

    let mut live = pod();
    managed::update(None, &mut live, ty.as_deref(), &creator);
    let created = live.clone();
    live["status"] = status();
    managed::update(Some(&created), &mut live, ty.as_deref(), &kubelet);
    let mut new = live.clone();
    new["status"]["phase"] = json!("Running");
    new["status"]["conditions"][0]["status"] = json!("True");

    let copies: Vec<Value> = (0..RUNS).map(|_| new.clone()).collect();
    let begin = Instant::now();
    let written: Vec<Value> = copies
        .into_iter()
        .map(|mut copy| {
            managed::update(Some(&live), &mut copy, ty.as_deref(), &kubelet);
            copy
        })
        .collect();
    println!("status update: {:?} each, {} objects", begin.elapsed() / RUNS, written.len());

    let config = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"},
                        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    let begin = Instant::now();
    let fine =
        (0..RUNS).filter(|_| managed::apply(Some(&live), &config, ty.as_deref(), &kubelet, true).is_ok()).count();
    println!("apply: {:?} each, {fine} went through", begin.elapsed() / RUNS);
}
