//! What every user does first: deployments, services, logs, exec, scaling, updates.

use steersman_e2e::*;

#[test]
fn a_deployment_is_exposed_and_traffic_is_spread() {
    let ns = Namespace::new("web");
    ns.web(3);
    ns.shell("client");
    ns.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=8080"]);
    ns.kubectl(&[
        "expose",
        "deployment",
        "web",
        "--name=web-node",
        "--type=NodePort",
        "--port=80",
        "--target-port=8080",
    ]);
    let url = format!("http://web.{}.svc.cluster.local/cgi-bin/hostname", ns.name());
    different_answers(3, || ns.fetch("client", &url));
    different_answers(3, || ns.fetch("client", "http://web/cgi-bin/hostname"));
    let ip = ns.field("service/web", "{.spec.clusterIP}");
    different_answers(3, || fetch(&format!("http://{ip}/cgi-bin/hostname")));
    let port = ns.field("service/web-node", "{.spec.ports[0].nodePort}");
    for node in NODE_IPS {
        different_answers(3, || fetch(&format!("http://{node}:{port}/cgi-bin/hostname")));
    }
}

#[test]
fn headless_services_name_their_pods() {
    let ns = Namespace::new("headless");
    ns.web(2);
    ns.shell("client");
    ns.kubectl(&["expose", "deployment", "web", "--cluster-ip=None", "--port=8080"]);
    eventually("both addresses", seconds(20), || {
        let o = ns.try_kubectl(&[
            "exec",
            "client",
            "--",
            "nslookup",
            "-type=a",
            &format!("web.{}.svc.cluster.local", ns.name()),
        ]);
        let found = o.out.lines().filter(|l| l.starts_with("Address") && l.contains("10.244.")).count();
        must(found == 2, o.out)
    });
}

#[test]
fn session_affinity_keeps_a_client_at_one_pod() {
    let ns = Namespace::new("affinity");
    ns.web(3);
    ns.shell("client");
    ns.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=8080", "--session-affinity=ClientIP"]);
    let first = eventually("an answer", seconds(20), || ns.fetch("client", "http://web/cgi-bin/hostname"));
    for _ in 0..10 {
        assert_eq!(ns.fetch("client", "http://web/cgi-bin/hostname").as_deref(), Ok(first.as_str()));
    }
}

#[test]
fn logs_exec_cp_attach_and_port_forward() {
    let ns = Namespace::new("streams");
    ns.kubectl(&[
        "run",
        "talk",
        "--image",
        BUSYBOX,
        "--restart=Never",
        "--image-pull-policy=IfNotPresent",
        "--",
        "sh",
        "-c",
        "echo hello; i=0; while true; do i=$((i+1)); echo tick $i; sleep 1; done",
    ]);
    ns.ready("talk");
    eventually("the log", seconds(10), || {
        let log = ns.kubectl(&["logs", "talk"]);
        must(log.starts_with("hello\ntick 1"), log)
    });
    assert_eq!(ns.kubectl(&["logs", "talk", "--tail=1"]).lines().count(), 1);
    assert!(ns.kubectl(&["logs", "talk", "--timestamps", "--limit-bytes=20"]).starts_with("20"));
    assert_eq!(ns.kubectl(&["exec", "talk", "--", "echo", "a b"]), "a b\n");
    let failing = ns.try_kubectl(&["exec", "talk", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert!(
        !failing.ok && failing.out == "out\n" && failing.err.contains("err\n") && failing.err.contains("exit code 7"),
        "{failing:?}"
    );
    let echoed = run("kubectl", &["-n", ns.name(), "exec", "-i", "talk", "--", "cat"], "through standard input");
    assert_eq!(echoed.out, "through standard input");
    // A terminal, made by `script`.
    let terminal = run("script", &["-qec", &format!("kubectl -n {} exec -it talk -- tty", ns.name()), "/dev/null"], "");
    assert!(terminal.out.contains("/dev/pts/"), "{terminal:?}");

    let file = std::env::temp_dir().join(format!("steersman-cp-{}", std::process::id()));
    std::fs::write(&file, vec![b'x'; 100_000]).expect("writes");
    let (local, back) = (file.to_string_lossy().into_owned(), format!("{}.back", file.display()));
    ns.kubectl(&["cp", &local, "talk:/tmp/there"]);
    ns.kubectl(&["cp", "talk:/tmp/there", &back]);
    assert_eq!(std::fs::read(&back).expect("reads"), std::fs::read(&file).expect("reads"));
    for f in [&local, &back] {
        std::fs::remove_file(f).expect("cleans up");
    }
    let attached = run("timeout", &["4", "kubectl", "-n", ns.name(), "attach", "talk"], "");
    assert!(attached.out.contains("tick"), "{attached:?}");

    ns.kubectl(&["run", "web", "--image", WEB, "--image-pull-policy=IfNotPresent"]);
    ns.ready("web");
    let port = 20_000 + std::process::id() % 10_000;
    let _forward = ns.background(&["port-forward", "pod/web", &format!("{port}:8080")]);
    let url = format!("http://127.0.0.1:{port}/cgi-bin/hostname");
    assert_eq!(eventually("the forwarded port", seconds(15), || fetch(&url)), "web");
    for _ in 0..5 {
        assert_eq!(fetch(&url).as_deref(), Ok("web"));
    }
}

#[test]
fn scaling_up_and_down() {
    let ns = Namespace::new("scale");
    ns.web(2);
    for (to, within) in [(20, 90), (2, 60)] {
        ns.kubectl(&["scale", "deployment/web", &format!("--replicas={to}")]);
        eventually(&format!("{to} pods"), seconds(within), || {
            let ready = ns.field("deployment/web", "{.status.readyReplicas}/{.status.replicas}");
            let pods = ns.kubectl(&["get", "pods", "-o", "name"]).lines().count();
            must(ready == format!("{to}/{to}") && pods == to, format!("{ready} ready, {pods} pods"))
        });
    }
}

#[test]
fn a_rolling_update_loses_no_request_and_can_be_undone() {
    let ns = Namespace::new("rolling");
    ns.apply(&format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - name: web
        image: {WEB}
        imagePullPolicy: IfNotPresent
        readinessProbe: {{httpGet: {{path: /cgi-bin/version, port: 8080}}, periodSeconds: 1}}
        lifecycle: {{preStop: {{exec: {{command: [sleep, '4']}}}}}}
"
    ));
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    ns.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=8080"]);
    let url = format!("http://{}/cgi-bin/version", ns.field("service/web", "{.spec.clusterIP}"));
    eventually("the service", seconds(10), || fetch(&url));
    let (stop, asking) = ask_all_the_time(&url);
    ns.kubectl(&["set", "image", "deployment/web", &format!("web={WEB_NEXT}")]);
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    eventually("only the new version", seconds(20), || {
        (0..10).try_for_each(|_| must(fetch(&url)? == "v2", "still v1"))
    });
    ns.kubectl(&["rollout", "undo", "deployment/web"]);
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
    eventually("only the old version", seconds(20), || {
        (0..10).try_for_each(|_| must(fetch(&url)? == "v1", "still v2"))
    });
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (asked, failed) = asking.join().expect("the client ends");
    assert!(asked > 20 && failed.is_empty(), "{asked} requests, failed: {failed:?}");
    assert!(ns.kubectl(&["rollout", "history", "deployment/web"]).contains('3'));
}

/// A client that asks all the time; it answers how often, and what failed.
#[allow(clippy::disallowed_methods, reason = "the client's pace is part of the test")]
fn ask_all_the_time(
    url: &str,
) -> (std::sync::Arc<std::sync::atomic::AtomicBool>, std::thread::JoinHandle<(usize, Vec<String>)>) {
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (flag, url) = (stop.clone(), url.to_owned());
    let asking = std::thread::spawn(move || {
        let (mut asked, mut failed) = (0, Vec::new());
        while !flag.load(std::sync::atomic::Ordering::Relaxed) {
            asked += 1;
            if let Err(e) = fetch(&url) {
                failed.push(e);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        (asked, failed)
    });
    (stop, asking)
}

#[test]
fn a_deleted_namespace_leaves_nothing() {
    let ns = Namespace::new("gone");
    ns.web(2);
    ns.kubectl(&["create", "configmap", "c", "--from-literal=a=b"]);
    ns.kubectl(&["create", "secret", "generic", "s", "--from-literal=a=b"]);
    ns.kubectl(&["expose", "deployment", "web", "--port=80"]);
    let name = ns.name().to_owned();
    kubectl(&["delete", "namespace", &name, "--timeout=90s"]);
    let left = try_kubectl(&[
        "get",
        "pods,services,deployments,replicasets,configmaps,secrets,endpointslices",
        "-n",
        &name,
        "-o",
        "name",
    ]);
    assert_eq!(left.out, "", "{left:?}");
}
