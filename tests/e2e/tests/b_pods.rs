//! What the kubelet does for pods: volumes, probes, restarts, images, limits.

use steersman_e2e::*;

#[test]
fn a_changed_config_map_appears_in_the_mounted_file() {
    let ns = Namespace::new("volumes");
    ns.kubectl(&["create", "configmap", "c", "--from-literal=key=one"]);
    ns.kubectl(&["create", "secret", "generic", "s", "--from-literal=password=hush"]);
    ns.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: p, labels: {{tier: front}}}}
spec:
  containers:
  - name: c
    image: {BUSYBOX}
    imagePullPolicy: IfNotPresent
    command: [sleep, '3600']
    env:
    - {{name: FROM_MAP, valueFrom: {{configMapKeyRef: {{name: c, key: key}}}}}}
    - {{name: FROM_SECRET, valueFrom: {{secretKeyRef: {{name: s, key: password}}}}}}
    - {{name: MY_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
    - {{name: MY_IP, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}
    - {{name: BOTH, value: \"$(MY_NAME)-$(FROM_MAP)\"}}
    volumeMounts:
    - {{name: map, mountPath: /map}}
    - {{name: secret, mountPath: /secret}}
    - {{name: down, mountPath: /down}}
    - {{name: empty, mountPath: /empty}}
  volumes:
  - {{name: map, configMap: {{name: c}}}}
  - {{name: secret, secret: {{secretName: s, defaultMode: 0400}}}}
  - {{name: down, downwardAPI: {{items: [{{path: labels, fieldRef: {{fieldPath: metadata.labels}}}}]}}}}
  - {{name: empty, emptyDir: {{}}}}
"
    ));
    ns.ready("p");
    let sh = |command: &str| ns.kubectl(&["exec", "p", "--", "sh", "-c", command]);
    assert_eq!(sh("echo $FROM_MAP $FROM_SECRET $BOTH"), "one hush p-one\n");
    assert_eq!(sh("echo $MY_IP").trim(), ns.field("pod/p", "{.status.podIP}"));
    assert_eq!(sh("cat /map/key /secret/password; cat /down/labels"), "onehushtier=\"front\"");
    assert_eq!(sh("touch /empty/x && stat -L -c %a /secret/password"), "400\n");
    assert!(sh("ls /var/run/secrets/kubernetes.io/serviceaccount").contains("token"));
    ns.kubectl(&["patch", "configmap", "c", "-p", "{\"data\":{\"key\":\"two\"}}"]);
    eventually("the new content", seconds(90), || must(sh("cat /map/key") == "two", "still the old"));
}

#[test]
fn a_killed_container_restarts_with_back_off() {
    let ns = Namespace::new("restarts");
    ns.kubectl(&[
        "run",
        "crash",
        "--image",
        BUSYBOX,
        "--image-pull-policy=IfNotPresent",
        "--",
        "sh",
        "-c",
        "sleep 1; exit 3",
    ]);
    eventually("back-off", seconds(60), || {
        let waiting = ns.field("pod/crash", "{.status.containerStatuses[0].state.waiting.reason}");
        must(waiting == "CrashLoopBackOff", waiting)
    });
    let status = |path: &str| ns.field("pod/crash", &format!("{{.status.containerStatuses[0].{path}}}"));
    assert_eq!(status("lastState.terminated.exitCode"), "3");
    assert!(status("restartCount").parse::<u32>().expect("a number") >= 1);
    eventually("the event", seconds(20), || {
        let events = ns.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
        must(events.contains("BackOff"), events)
    });
    assert!(ns.kubectl(&["get", "pod", "crash"]).contains("CrashLoopBackOff"));
}

#[test]
fn a_failing_readiness_probe_takes_the_pod_out_of_the_service() {
    let ns = Namespace::new("ready");
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
      containers:
      - name: web
        image: {WEB}
        imagePullPolicy: IfNotPresent
        readinessProbe: {{exec: {{command: [test, '!', -e, /tmp/sick]}}, periodSeconds: 1, failureThreshold: 1}}
"
    ));
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    ns.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=8080"]);
    let url = format!("http://{}/cgi-bin/hostname", ns.field("service/web", "{.spec.clusterIP}"));
    different_answers(2, || fetch(&url));
    let sick = ns.field("pods", "{.items[0].metadata.name}");
    ns.kubectl(&["exec", &sick, "--", "touch", "/tmp/sick"]);
    eventually("only the healthy one answers", seconds(30), || {
        (0..8).try_for_each(|_| must(fetch(&url)? != sick, "the sick one answered"))
    });
    ns.kubectl(&["exec", &sick, "--", "rm", "/tmp/sick"]);
    different_answers(2, || fetch(&url));
}

#[test]
fn a_failing_liveness_probe_restarts_the_container() {
    let ns = Namespace::new("live");
    ns.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: p}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: {WEB}
    imagePullPolicy: IfNotPresent
    livenessProbe: {{httpGet: {{path: /nothing-here, port: 8080}}, periodSeconds: 1, failureThreshold: 2}}
    startupProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
"
    ));
    eventually("a restart", seconds(60), || {
        let count = ns.field("pod/p", "{.status.containerStatuses[0].restartCount}");
        must(count.parse::<u32>().is_ok_and(|n| n >= 1), count)
    });
    eventually("the event", seconds(10), || {
        let events = ns.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
        must(events.contains("Unhealthy") && events.contains("Killing"), events)
    });
}

#[test]
fn init_containers_run_first_and_in_order() {
    let ns = Namespace::new("init");
    ns.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: p}}
spec:
  restartPolicy: Never
  initContainers:
  - {{name: one, image: {BUSYBOX}, imagePullPolicy: IfNotPresent, command: [sh, -c, 'echo 1 >> /out/log'], volumeMounts: [{{name: work, mountPath: /out}}]}}
  - {{name: two, image: {BUSYBOX}, imagePullPolicy: IfNotPresent, command: [sh, -c, 'echo 2 >> /out/log'], volumeMounts: [{{name: work, mountPath: /out}}]}}
  containers:
  - {{name: main, image: {BUSYBOX}, imagePullPolicy: IfNotPresent, command: [cat, /out/log], volumeMounts: [{{name: work, mountPath: /out}}]}}
  volumes: [{{name: work, emptyDir: {{}}}}]
"
    ));
    eventually("the end", seconds(60), || {
        let phase = ns.field("pod/p", "{.status.phase}");
        must(phase == "Succeeded", phase)
    });
    assert_eq!(ns.kubectl(&["logs", "p"]), "1\n2\n");
}

#[test]
fn an_unknown_image_is_told_in_status_and_events() {
    let ns = Namespace::new("image");
    ns.kubectl(&["run", "p", "--image=127.0.0.1:1/none:latest"]);
    eventually("the reason", seconds(60), || {
        let reason = ns.field("pod/p", "{.status.containerStatuses[0].state.waiting.reason}");
        must(reason == "ImagePullBackOff", reason)
    });
    let events = ns.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason} {.items[*].message}"]);
    assert!(events.contains("Failed") && events.contains("127.0.0.1:1/none:latest"), "{events}");
}

#[test]
fn limits_reach_the_cgroup() {
    let ns = Namespace::new("limits");
    ns.kubectl(&["run", "p", "--image", BUSYBOX, "--image-pull-policy=IfNotPresent", "--overrides",
        &format!("{{\"spec\":{{\"containers\":[{{\"name\":\"p\",\"image\":\"{BUSYBOX}\",\"imagePullPolicy\":\"IfNotPresent\",\"command\":[\"sleep\",\"3600\"],\"resources\":{{\"limits\":{{\"memory\":\"64Mi\",\"cpu\":\"500m\"}}}}}}]}}}}")]);
    ns.ready("p");
    assert_eq!(ns.field("pod/p", "{.status.qosClass}"), "Guaranteed");
    let read = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    assert_eq!(ns.kubectl(&["exec", "p", "--", "sh", "-c", read]).trim(), "67108864");
}

#[test]
fn pods_that_fit_nowhere_say_why() {
    let ns = Namespace::new("pending");
    ns.apply(&format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: p}}
spec:
  nodeSelector: {{no: where}}
  containers: [{{name: c, image: {BUSYBOX}}}]
"
    ));
    eventually("the event", seconds(20), || {
        let events = ns.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"]);
        must(events.contains("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector"), events)
    });
    assert_eq!(ns.field("pod/p", "{.status.conditions[?(@.type==\"PodScheduled\")].reason}"), "Unschedulable");
}
