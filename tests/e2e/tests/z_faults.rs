//! What happens when parts fail. These tests disturb the whole cluster, so they take turns.

use std::sync::{Mutex, MutexGuard, PoisonError};
use steersman_e2e::*;

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A service with two pods that never restart during the test; returns its URL and the pods' uids and restarts.
fn steady(ns: &Namespace) -> (String, String) {
    ns.web(2);
    ns.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=8080"]);
    let url = format!("http://{}/cgi-bin/hostname", ns.field("service/web", "{.spec.clusterIP}"));
    different_answers(2, || fetch(&url));
    (url, identity(ns))
}

fn identity(ns: &Namespace) -> String {
    ns.field("pods", "{range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount} {end}")
}

/// Kills a component while clients ask all the time: no request is lost, and the pods are left alone.
fn survives(component: &str) {
    let _turn = turn();
    let ns = Namespace::new("fault");
    let (url, before) = steady(&ns);
    let pid = signal(component, "KILL");
    for _ in 0..40 {
        fetch(&url).unwrap_or_else(|e| panic!("a request was lost after {component} was killed: {e}"));
    }
    restarted(component, &pid);
    // What the cluster is for still works.
    eventually("a new pod runs", seconds(60), || {
        let o = ns.try_kubectl(&["scale", "deployment/web", "--replicas=3"]);
        must(o.ok, o.err)?;
        let ready = ns.field("deployment/web", "{.status.readyReplicas}");
        must(ready == "3", format!("{ready} ready"))
    });
    different_answers(3, || fetch(&url));
    let after = identity(&ns);
    for pod in before.split_whitespace() {
        assert!(after.contains(pod), "pods were touched when {component} was killed: {before} -> {after}");
    }
}

#[test]
fn apiserver_is_killed() {
    survives("kube-apiserver");
}
#[test]
fn controller_manager_is_killed() {
    survives("kube-controller-manager");
}
#[test]
fn scheduler_is_killed() {
    survives("kube-scheduler");
}
#[test]
fn kubelet_is_killed() {
    survives("kubelet-1");
}
#[test]
fn proxy_is_killed() {
    survives("kube-proxy-1");
}
#[test]
fn etcd_is_killed() {
    survives("etcd");
}
#[test]
fn containerd_is_killed() {
    survives("containerd-1");
}

#[test]
fn a_static_pod_appears_and_a_broken_manifest_does_not_stop_it() {
    let _turn = turn();
    let folder = home().join("nodes/1/manifests");
    let (good, broken) = (folder.join("static-good.yaml"), folder.join("static-broken.yaml"));
    std::fs::write(&broken, "kind: Pod\nspec: [").expect("writes");
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: static-web, namespace: default}}\nspec:\n  containers: [{{name: web, image: {WEB}, imagePullPolicy: IfNotPresent}}]\n"
    );
    std::fs::write(&good, manifest).expect("writes");
    eventually("the mirror pod", seconds(60), || {
        let o = try_kubectl(&["get", "pod", "static-web-node-1", "-n", "default", "-o", "jsonpath={.status.phase}"]);
        must(o.out == "Running", format!("{o:?}"))
    });
    for f in [&good, &broken] {
        std::fs::remove_file(f).expect("removes");
    }
    eventually("the mirror pod goes", seconds(60), || {
        let o = try_kubectl(&["get", "pod", "static-web-node-1", "-n", "default"]);
        must(!o.ok, o.out)
    });
}

#[test]
fn drain_moves_pods_and_uncordon_takes_the_node_back() {
    let _turn = turn();
    let ns = Namespace::new("drain");
    ns.web(4);
    kubectl(&["taint", "node", "node-2", "color=blue:PreferNoSchedule"]);
    kubectl(&["taint", "node", "node-2", "color-"]);
    kubectl(&["cordon", "node-2"]);
    assert!(kubectl(&["get", "node", "node-2"]).contains("SchedulingDisabled"));
    kubectl(&[
        "drain",
        "node-2",
        "--ignore-daemonsets",
        "--force",
        "--delete-emptydir-data",
        "--timeout=90s",
        "--pod-selector=app=web",
    ]);
    eventually("all on the other node", seconds(60), || {
        let nodes = ns.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"]);
        let ready = ns.field("deployment/web", "{.status.readyReplicas}");
        must(!nodes.contains("node-2") && ready == "4", format!("{nodes}, {ready} ready"))
    });
    kubectl(&["uncordon", "node-2"]);
    eventually("schedulable", seconds(20), || {
        must(!kubectl(&["get", "node", "node-2"]).contains("SchedulingDisabled"), "still cordoned")
    });
}

#[test]
fn a_lost_node_s_pods_move_to_the_other() {
    let _turn = turn();
    let ns = Namespace::new("lost");
    ns.apply(&format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      topologySpreadConstraints:
      - {{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {{matchLabels: {{app: web}}}}}}
      tolerations:
      - {{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 2}}
      - {{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 2}}
      containers: [{{name: web, image: {WEB}, imagePullPolicy: IfNotPresent}}]
"
    ));
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    // Both the supervisor and the kubelet stand still: the node does not report any more.
    let run = |signal: &str| {
        for file in ["kubelet-2.supervisor", "kubelet-2.pid"] {
            let pid = std::fs::read_to_string(home().join("run").join(file)).expect("reads");
            steersman_e2e::run("kill", &[signal, pid.trim()], "");
        }
    };
    run("-STOP");
    eventually("NotReady", seconds(90), || {
        must(kubectl(&["get", "node", "node-2"]).contains("NotReady"), "still ready")
    });
    eventually("both run on the other node", seconds(60), || {
        let query = "jsonpath={range .items[?(@.spec.nodeName==\"node-1\")]}{.status.phase} {end}";
        let phases = ns.kubectl(&["get", "pods", "-o", query]);
        must(phases.trim() == "Running Running", phases)
    });
    run("-CONT");
    eventually("Ready again", seconds(60), || {
        must(!kubectl(&["get", "node", "node-2"]).contains("NotReady"), "not ready")
    });
}
