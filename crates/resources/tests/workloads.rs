//! What workloads are given, what they may not be, and what may change in them.

use serde_json::{Value, json};
use steersman_apimachinery::ErrorList;
use steersman_registry::{Context, Strategy, SubBehaviour};
use steersman_resources::apps::{daemonsets::DaemonSets, deployments::Deployments, statefulsets::StatefulSets};
use steersman_resources::batch::{cronjobs::CronJobs, jobs::Jobs};

fn template(policy: &str) -> Value {
    json!({ "metadata": { "labels": { "app": "x" } }, "spec": { "restartPolicy": policy, "containers": [{ "name": "c", "image": "i" }] } })
}

fn workload(more: Value) -> Value {
    let mut spec = json!({ "selector": { "matchLabels": { "app": "x" } }, "template": template("Always") });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    json!({ "metadata": { "name": "w", "namespace": "n", "uid": "u" }, "spec": spec })
}

fn job(more: Value) -> Value {
    let mut spec = json!({ "template": template("Never") });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    json!({ "metadata": { "name": "w", "namespace": "n", "uid": "u" }, "spec": spec })
}

fn created(strategy: &dyn Strategy, mut obj: Value) -> Value {
    strategy.default(&mut obj);
    strategy.prepare_for_create(&Context::loopback(), &mut obj);
    obj
}

fn texts(errors: &ErrorList) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

fn check(strategy: &dyn Strategy, obj: Value, expect: &[&str]) {
    let obj = created(strategy, obj);
    assert_eq!(texts(&strategy.validate(&Context::loopback(), &obj)), expect, "{obj}");
}

fn check_update(strategy: &dyn Strategy, obj: Value, change: impl FnOnce(&mut Value), expect: &[&str]) -> Value {
    let ctx = Context::loopback();
    let old = created(strategy, obj);
    let mut new = old.clone();
    change(&mut new);
    strategy.default(&mut new);
    strategy.prepare_for_update(&ctx, &mut new, &old);
    assert_eq!(texts(&strategy.validate_update(&ctx, &new, &old)), expect, "{new}");
    new
}

#[test]
fn deployments() {
    let d = created(&Deployments, workload(json!({})));
    assert_eq!(
        (&d["spec"]["replicas"], &d["spec"]["strategy"]["rollingUpdate"]["maxSurge"]),
        (&json!(1), &json!("25%"))
    );
    check(&Deployments, workload(json!({})), &[]);
    check(
        &Deployments,
        workload(json!({ "selector": null, "strategy": { "type": "Recreate", "rollingUpdate": {} } })),
        &[
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`",
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ],
    );
    check(
        &Deployments,
        workload(json!({ "strategy": { "rollingUpdate": { "maxSurge": 0, "maxUnavailable": "0%" } } })),
        &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"],
    );
    let new = check_update(&Deployments, workload(json!({})), |d| d["spec"]["replicas"] = json!(3), &[]);
    assert_eq!(new["metadata"]["generation"], 2);
    let new = check_update(&Deployments, workload(json!({})), |d| d["status"] = json!({ "replicas": 3 }), &[]);
    assert_eq!((&new["metadata"]["generation"], &new["status"]), (&json!(1), &json!({})));
}

#[test]
fn stateful_and_daemon_sets() {
    check_update(
        &StatefulSets,
        workload(json!({})),
        |s| s["spec"]["serviceName"] = json!("other"),
        &[
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ],
    );
    check_update(&StatefulSets, workload(json!({})), |s| s["spec"]["replicas"] = json!(0), &[]);
    check(
        &DaemonSets,
        workload(json!({ "updateStrategy": { "type": "Magic" } })),
        &[
            "spec.updateStrategy: Unsupported value: {\"Type\":\"Magic\",\"RollingUpdate\":null}: supported values: \"RollingUpdate\", \"OnDelete\"",
        ],
    );
    check_update(
        &DaemonSets,
        workload(json!({})),
        |d| {
            d["spec"]["selector"] = json!({ "matchLabels": { "app": "y" } });
            d["spec"]["template"]["metadata"]["labels"] = json!({ "app": "y" });
        },
        &["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"y\"}}: field is immutable"],
    );
}

#[test]
fn jobs() {
    let j = created(&Jobs, job(json!({})));
    assert_eq!(j["spec"]["selector"], json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": "u" } }));
    assert_eq!(j["spec"]["template"]["metadata"]["labels"]["job-name"], "w");
    check(&Jobs, job(json!({})), &[]);
    check(
        &Jobs,
        job(json!({ "completionMode": "Indexed", "parallelism": 2 })),
        &["spec.completions: Required value: when completion mode is Indexed"],
    );
    check(
        &Jobs,
        job(json!({ "template": template("Always") })),
        &["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
    );
    check_update(&Jobs, job(json!({})), |j| j["spec"]["parallelism"] = json!(5), &[]);
    check_update(
        &Jobs,
        job(json!({})),
        |j| j["spec"]["completions"] = json!(5),
        &["spec.completions: Invalid value: 5: field is immutable"],
    );
    check_update(
        &Jobs,
        job(json!({ "suspend": true })),
        |j| j["spec"]["template"]["spec"]["nodeSelector"] = json!({ "a": "b" }),
        &[],
    );
}

/// `JobStatusValidationOptions.RejectStartTimeUpdateForUnsuspendedJob` of upstream's job strategy.
#[test]
fn the_start_of_a_running_job_stays() {
    let Some(SubBehaviour::Object(status)) =
        Jobs.subresources().iter().find(|s| s.name == "status").map(|s| &s.behaviour)
    else {
        panic!("no status that writes the job")
    };
    let mut old = created(&Jobs, job(json!({})));
    old["metadata"]["resourceVersion"] = json!("1");
    old["status"] = json!({ "startTime": "2026-01-01T00:00:00Z", "active": 1 });
    for (start, shown) in [(json!("2026-01-01T00:00:01Z"), "2026-01-01T00:00:01Z"), (Value::Null, "null")] {
        let mut new = old.clone();
        new["status"]["startTime"] = start;
        let told = texts(&status.validate_update(&Context::loopback(), &new, &old));
        let expect =
            format!("status.startTime: Invalid value: \"{shown}\": field is immutable for unsuspended job once set");
        assert_eq!(told, [expect]);
    }
}

#[test]
fn cron_jobs() {
    let cron = |schedule: &str, zone: Value| json!({ "metadata": { "name": "w", "namespace": "n" }, "spec": { "schedule": schedule, "timeZone": zone, "jobTemplate": { "spec": { "template": template("Never") } } } });
    check(&CronJobs, cron("*/5 * * * *", json!("Europe/Paris")), &[]);
    check(
        &CronJobs,
        cron("61 * * * *", json!("Mars/Olympus")),
        &[
            "spec.schedule: Invalid value: \"61 * * * *\": end of range (61) above maximum (59): 61",
            "spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus",
        ],
    );
}
