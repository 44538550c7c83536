//! What pods are given, what they may not be, and what may change in them.

use serde_json::{Value, json};
use steersman_apimachinery::options::DeleteOptions;
use steersman_apimachinery::{ErrorList, object};
use steersman_registry::{Context, Strategy, SubBehaviour};
use steersman_resources::core::pods::Pods;

fn pod(spec: Value) -> Value {
    let mut all = json!({ "containers": [{ "name": "c", "image": "registry.example.com/app:1" }] });
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), spec) {
        all.extend(more);
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": "n", "resourceVersion": "1" }, "spec": all })
}

fn created(mut pod: Value) -> Value {
    Pods.default(&mut pod);
    Pods.prepare_for_create(&Context::loopback(), &mut pod);
    pod
}

fn texts(errors: &ErrorList) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

fn check_create(spec: Value, expect: &[&str]) {
    let pod = created(pod(spec));
    assert_eq!(texts(&Pods.validate(&Context::loopback(), &pod)), expect, "{pod}");
}

fn subresource(name: &str) -> &'static dyn Strategy {
    match Pods.subresources().iter().find(|s| s.name == name).map(|s| &s.behaviour) {
        Some(SubBehaviour::Object(s)) => *s,
        _ => panic!("no subresource {name} that writes the pod"),
    }
}

fn check_update(strategy: &dyn Strategy, old: &Value, change: impl FnOnce(&mut Value), expect: &[&str]) -> Value {
    let ctx = Context::loopback();
    let mut new = old.clone();
    change(&mut new);
    strategy.default(&mut new);
    strategy.prepare_for_update(&ctx, &mut new, old);
    assert_eq!(texts(&strategy.validate_update(&ctx, &new, old)), expect, "{new}");
    new
}

#[test]
fn a_minimal_pod_gets_its_defaults() {
    let pod = created(pod(json!({})));
    assert_eq!(pod["metadata"]["generation"], 1);
    assert_eq!(pod["status"], json!({ "phase": "Pending", "qosClass": "BestEffort" }));
    let spec = &pod["spec"];
    assert_eq!((&spec["restartPolicy"], &spec["dnsPolicy"]), (&json!("Always"), &json!("ClusterFirst")));
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(spec["terminationGracePeriodSeconds"], 30);
    let again = created(pod.clone());
    assert_eq!(again, pod, "defaulting twice changes nothing");
}

#[test]
fn bad_pods_are_refused_in_upstreams_words() {
    check_create(json!({}), &[]);
    check_create(json!({ "containers": [] }), &["spec.containers: Required value"]);
    check_create(
        json!({ "containers": [{ "name": "c", "image": " x" }, { "name": "c", "image": "y" }] }),
        &[
            "spec.containers[1].name: Duplicate value: \"c\"",
            "spec.containers[0].image: Invalid value: \" x\": must not have leading or trailing whitespace",
        ],
    );
    check_create(
        json!({ "restartPolicy": "Maybe" }),
        &["spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\""],
    );
    check_create(
        json!({ "ephemeralContainers": [{ "name": "e", "image": "x" }] }),
        &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
    );
    check_create(
        json!({ "nodeName": "n", "schedulingGates": [{ "name": "a.io/x" }] }),
        &["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
    );
    check_create(
        json!({ "tolerations": [{ "key": "a", "operator": "Exists", "value": "b" }] }),
        &["spec.tolerations[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'"],
    );
}

#[test]
fn nonsense_never_panics() {
    let odd = [json!(null), json!(true), json!(7), json!("x"), json!([]), json!([1]), json!({ "a": 1 })];
    for key in [
        "containers",
        "initContainers",
        "volumes",
        "affinity",
        "tolerations",
        "securityContext",
        "dnsConfig",
        "hostAliases",
        "topologySpreadConstraints",
        "resources",
        "overhead",
        "os",
        "schedulingGates",
        "resourceClaims",
        "nodeSelector",
        "imagePullSecrets",
        "readinessGates",
        "terminationGracePeriodSeconds",
    ] {
        for v in &odd {
            let pod = created(pod(json!({ key: v })));
            let _ = Pods.validate(&Context::loopback(), &pod);
            Pods.warn_on_create(&Context::loopback(), &pod);
            let _ = Pods.cells(&pod, jiff::Timestamp::UNIX_EPOCH);
        }
    }
}

#[test]
fn gated_pods_say_so() {
    let pod = created(pod(json!({ "schedulingGates": [{ "name": "a.io/x" }] })));
    let condition = &pod["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["reason"]), (&json!("PodScheduled"), &json!("SchedulingGated")));
}

#[test]
fn label_keys_become_part_of_selectors() {
    let mut p = pod(json!({
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {}, "matchLabelKeys": ["app", "absent"],
        }],
    }));
    object::set(&mut p, &["metadata", "labels", "app"], "x");
    let p = created(p);
    assert_eq!(
        p["spec"]["topologySpreadConstraints"][0]["labelSelector"],
        json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": ["x"] }] })
    );
}

#[test]
fn few_things_change_in_a_pod() {
    let old = created(pod(json!({ "activeDeadlineSeconds": 100 })));
    let new = check_update(&Pods, &old, |p| p["spec"]["containers"][0]["image"] = json!("other"), &[]);
    assert_eq!(new["metadata"]["generation"], 2);
    check_update(
        &Pods,
        &old,
        |p| p["spec"]["activeDeadlineSeconds"] = json!(200),
        &["spec.activeDeadlineSeconds: Invalid value: 200: must be less than or equal to previous value"],
    );
    check_update(
        &Pods,
        &old,
        |p| p["spec"]["containers"] = json!([]),
        &[
            "spec.containers: Required value",
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ],
    );
    check_update(
        &Pods,
        &old,
        |p| p["spec"]["hostname"] = json!("h"),
        &[
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n@@ -64,7 +64,7 @@\n   \"SELinuxChangePolicy\": null\n  },\n  \"ImagePullSecrets\": null,\n- \"Hostname\": \"\",\n+ \"Hostname\": \"h\",\n  \"Subdomain\": \"\",\n  \"SetHostnameAsFQDN\": null,\n  \"Affinity\": null,\n",
        ],
    );
}

#[test]
fn a_resize_changes_cpu_and_memory_only() {
    let resources = json!({ "requests": { "cpu": "1", "memory": "1Gi" } });
    let old = created(pod(json!({ "containers": [{ "name": "c", "image": "x", "resources": resources }] })));
    let resize = subresource("resize");
    let new = check_update(
        resize,
        &old,
        |p| {
            p["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2");
            p["spec"]["containers"][0]["image"] = json!("dropped");
            p["metadata"]["labels"] = json!({ "dropped": "too" });
        },
        &[],
    );
    assert_eq!(new["spec"]["containers"][0]["image"], "x");
    assert_eq!((&new["metadata"]["generation"], new["metadata"].get("labels")), (&json!(2), None));
    check_update(
        resize,
        &old,
        |p| p["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "1" } }),
        &["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"],
    );
}

#[test]
fn ended_containers_stay_ended() {
    let mut old = created(pod(json!({ "restartPolicy": "Never" })));
    old["status"]["containerStatuses"] = json!([{ "name": "c", "state": { "terminated": { "exitCode": 0 } } }]);
    check_update(
        subresource("status"),
        &old,
        |p| p["status"]["containerStatuses"][0]["state"] = json!({ "running": {} }),
        &["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"],
    );
}

#[test]
fn grace_depends_on_whether_the_pod_runs() {
    let check = |spec: Value, phase: &str, asked: Option<i64>, expect: i64| {
        let mut p = created(pod(spec));
        p["status"]["phase"] = json!(phase);
        let mut options = DeleteOptions { grace_period_seconds: asked, ..DeleteOptions::default() };
        assert!(Pods.check_graceful_delete(&Context::loopback(), &p, &mut options));
        assert_eq!(options.grace_period_seconds, Some(expect), "{phase} {asked:?}");
    };
    check(json!({ "nodeName": "n" }), "Running", None, 30);
    check(json!({ "nodeName": "n" }), "Running", Some(5), 5);
    check(json!({ "nodeName": "n" }), "Running", Some(-1), 1);
    check(json!({ "nodeName": "n" }), "Succeeded", Some(5), 0);
    check(json!({}), "Pending", Some(5), 0);
}
