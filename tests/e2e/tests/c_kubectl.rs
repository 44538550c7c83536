//! The commands of kubectl that ask and change, beyond running pods.

use steersman_e2e::*;

#[test]
fn reading_commands() {
    let ns = Namespace::new("read");
    ns.web(1);
    assert!(kubectl(&["get", "nodes", "-o", "wide"]).contains("containerd://"));
    assert!(ns.kubectl(&["get", "all"]).contains("deployment.apps/web"));
    assert!(ns.kubectl(&["describe", "deployment", "web"]).contains("NewReplicaSet"));
    assert!(ns.kubectl(&["describe", "pods"]).contains("Successfully assigned"));
    assert!(kubectl(&["describe", "node", "node-1"]).contains("Allocatable"));
    assert!(kubectl(&["explain", "pod.spec.containers.resources"]).contains("limits"));
    assert!(kubectl(&["explain", "deployment", "--recursive"]).contains("maxUnavailable"));
    assert!(kubectl(&["api-resources"]).contains("deployments"));
    assert!(kubectl(&["api-versions"]).contains("apps/v1"));
    assert!(kubectl(&["cluster-info"]).contains("is running at"));
    assert!(kubectl(&["version"]).contains("v1.36"));
    assert_eq!(kubectl(&["auth", "can-i", "delete", "pods"]).trim(), "yes");
    let no = try_kubectl(&["auth", "can-i", "delete", "pods", "--as=nobody"]);
    assert_eq!(no.out.trim(), "no");
    assert!(kubectl(&["auth", "can-i", "--list"]).contains("*.*"));
    assert!(ns.kubectl(&["get", "events"]).contains("ScalingReplicaSet"));
    assert!(kubectl(&["get", "--raw", "/readyz?verbose"]).contains("[+]etcd ok"));
}

#[test]
fn writing_commands() {
    let ns = Namespace::new("write");
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1'}\n";
    ns.apply(manifest);
    ns.apply(&manifest.replace("'1'", "'2'"));
    assert_eq!(ns.field("configmap/c", "{.data.a}"), "2");
    let diff = run("kubectl", &["-n", ns.name(), "diff", "-f", "-"], manifest);
    assert!(!diff.ok && diff.out.contains("-  a: \"2\"") && diff.out.contains("+  a: \"1\""), "{diff:?}");
    let applied =
        run("kubectl", &["-n", ns.name(), "apply", "--server-side", "--force-conflicts", "-f", "-"], manifest);
    assert!(applied.out.contains("serverside-applied"), "{applied:?}");
    ns.kubectl(&["label", "configmap", "c", "tier=front"]);
    ns.kubectl(&["annotate", "configmap", "c", "note=x"]);
    ns.kubectl(&[
        "patch",
        "configmap",
        "c",
        "--type=json",
        "-p",
        "[{\"op\":\"add\",\"path\":\"/data/b\",\"value\":\"3\"}]",
    ]);
    assert_eq!(ns.field("configmap/c", "{.metadata.labels.tier} {.metadata.annotations.note} {.data.b}"), "front x 3");
    let edited =
        run("env", &["KUBE_EDITOR=sed -i s/front/back/", "kubectl", "-n", ns.name(), "edit", "configmap", "c"], "");
    assert!(edited.ok, "{edited:?}");
    assert_eq!(ns.field("configmap/c", "{.metadata.labels.tier}"), "back");
    ns.kubectl(&["create", "deployment", "dry", "--image=x", "--dry-run=server"]);
    assert_eq!(ns.kubectl(&["get", "deployments", "-o", "name"]), "");
    ns.web(1);
    ns.kubectl(&["delete", "deployment", "web", "--cascade=orphan"]);
    assert!(ns.kubectl(&["get", "replicasets", "-o", "name"]).contains("replicaset.apps/web-"));
    ns.kubectl(&["delete", "replicasets", "--all", "--cascade=foreground", "--timeout=60s"]);
    eventually("no pods", seconds(60), || {
        let left = ns.kubectl(&["get", "pods", "-o", "name"]);
        must(left.is_empty(), left)
    });
}

#[test]
fn the_proxy_serves_the_api() {
    let ns = Namespace::new("proxy");
    ns.kubectl(&["run", "web", "--image", WEB, "--image-pull-policy=IfNotPresent"]);
    ns.ready("web");
    let port = 31_000 + std::process::id() % 1_000;
    let _proxy = ns.background(&["proxy", &format!("--port={port}")]);
    let url = format!("http://127.0.0.1:{port}/api/v1/namespaces/{}/pods/web:8080/proxy/cgi-bin/hostname", ns.name());
    assert_eq!(eventually("the answer through two proxies", seconds(15), || fetch(&url)), "web");
}

#[test]
fn jobs_and_cron_jobs_run_to_their_end() {
    let ns = Namespace::new("jobs");
    ns.kubectl(&["create", "job", "j", "--image", BUSYBOX, "--", "echo", "done"]);
    eventually("the job", seconds(60), || {
        let s = ns.field("job/j", "{.status.succeeded}");
        must(s == "1", s)
    });
    assert_eq!(ns.kubectl(&["logs", "job/j"]), "done\n");
    ns.kubectl(&["create", "cronjob", "cj", "--image", BUSYBOX, "--schedule=* * * * *", "--", "true"]);
    ns.kubectl(&["create", "job", "by-hand", "--from=cronjob/cj"]);
    eventually("the job made by hand", seconds(60), || {
        let s = ns.field("job/by-hand", "{.status.succeeded}");
        must(s == "1", s)
    });
}

#[test]
fn stateful_and_daemon_sets() {
    let ns = Namespace::new("sets");
    let spec = |kind: &str, more: &str| {
        format!(
            "apiVersion: apps/v1
kind: {kind}
metadata: {{name: s}}
spec:
  selector: {{matchLabels: {{app: {kind}}}}}
  {more}
  template:
    metadata: {{labels: {{app: {kind}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: web, image: {WEB}, imagePullPolicy: IfNotPresent}}]
"
        )
    };
    ns.apply(&spec("StatefulSet", "serviceName: s\n  replicas: 2"));
    ns.apply(&spec("DaemonSet", ""));
    ns.kubectl(&["rollout", "status", "statefulset/s", "--timeout=60s"]);
    ns.kubectl(&["rollout", "status", "daemonset/s", "--timeout=60s"]);
    let names = ns.kubectl(&["get", "pods", "-l", "app=StatefulSet", "-o", "jsonpath={.items[*].metadata.name}"]);
    assert_eq!(names, "s-0 s-1");
    let nodes = ns.kubectl(&["get", "pods", "-l", "app=DaemonSet", "-o", "jsonpath={.items[*].spec.nodeName}"]);
    assert!(nodes.contains("node-1") && nodes.contains("node-2"), "{nodes}");
}

#[test]
fn errors_are_told_as_upstream_tells_them() {
    let ns = Namespace::new("errors");
    let check = |args: &[&str], want: &str| {
        let o = ns.try_kubectl(args);
        assert!(!o.ok && o.err.contains(want), "kubectl {}: {o:?}", args.join(" "));
    };
    check(&["get", "pod", "none"], "Error from server (NotFound): pods \"none\" not found");
    check(&["get", "nonsense"], "the server doesn't have a resource type \"nonsense\"");
    check(&["run", "Bad_Name", "--image=x"], "Invalid value");
    check(&["create", "deployment", "d", "--image=x", "--replicas=-1"], "must be greater than or equal to 0");
    check(
        &["get", "pods", "--as=nobody"],
        "pods is forbidden: User \"nobody\" cannot list resource \"pods\" in API group \"\" in the namespace",
    );
}
