//! What decoding makes of odd but legal bodies, and how it words what is wrong: Go's behaviour, one line a case.

use serde_json::{Value, json};
use steersman_apimachinery::options::FieldValidation;
use steersman_apimachinery::{GroupVersionKind, Status};
use steersman_codec::{Decoded, MediaType, decode_object, decode_options, decode_unstructured};

fn run(kind: (&'static str, &'static str, &'static str), body: &[u8]) -> Result<Decoded, Status> {
    let gvk = GroupVersionKind::from_static(kind.0, kind.1, kind.2);
    decode_object(body, MediaType::Json, &gvk, &[], FieldValidation::Warn)
}

const POD: (&str, &str, &str) = ("", "v1", "Pod");
const CONFIG_MAP: (&str, &str, &str) = ("", "v1", "ConfigMap");
const SECRET: (&str, &str, &str) = ("", "v1", "Secret");
const DEPLOYMENT: (&str, &str, &str) = ("apps", "v1", "Deployment");

/// The object without kind, version and empty metadata.
fn check(kind: (&'static str, &'static str, &'static str), body: &str, want: Value) {
    let mut got = run(kind, body.as_bytes()).unwrap_or_else(|e| panic!("{body}: {e}")).value;
    let object = got.as_object_mut().expect("an object");
    assert_eq!(object.remove("kind"), Some(json!(kind.2)));
    assert!(object.remove("apiVersion").is_some());
    object.retain(|key, value| key != "metadata" || *value != json!({}));
    assert_eq!(got, want, "{body}");
}

#[test]
fn presence_is_go_s() {
    check(CONFIG_MAP, "{}", json!({}));
    check(CONFIG_MAP, "null", json!({}));
    check(CONFIG_MAP, r#"{"data":{},"binaryData":null,"immutable":false}"#, json!({"immutable": false}));
    check(CONFIG_MAP, r#"{"data":{"a":null,"b":""}}"#, json!({"data": {"a": "", "b": ""}}));
    check(
        CONFIG_MAP,
        r#"{"metadata":{"creationTimestamp":null,"labels":{},"finalizers":[],"generation":0,"name":""}}"#,
        json!({}),
    );
    check(POD, "{}", json!({"spec": {"containers": null}, "status": {}}));
    check(
        POD,
        r#"{"spec":{"containers":[null,{"resources":null,"stdin":false,"command":[]}],"securityContext":{},"affinity":null,
            "terminationGracePeriodSeconds":0,"hostNetwork":false,"tolerations":[{"tolerationSeconds":0,"key":""}]}}"#,
        json!({"spec": {"containers": [{"name": "", "resources": {}}, {"name": "", "resources": {}}],
            "securityContext": {}, "terminationGracePeriodSeconds": 0, "tolerations": [{"tolerationSeconds": 0}]},
            "status": {}}),
    );
    check(
        DEPLOYMENT,
        "{}",
        json!({"spec": {"selector": null, "strategy": {}, "template": {"metadata": {}, "spec": {"containers": null}}},
            "status": {}}),
    );
    check(("rbac.authorization.k8s.io", "v1", "Role"), r#"{"rules":[]}"#, json!({"rules": null}));
}

#[test]
fn scalars_are_canonical() {
    check(
        POD,
        r#"{"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":0.5,"memory":"1024Mi","x/y":"0"}},
            "livenessProbe":{"httpGet":{"port":"http"}},"readinessProbe":{"tcpSocket":{"port":8080}}}]}}"#,
        json!({"spec": {"containers": [{"name": "c",
            "resources": {"limits": {"cpu": "500m", "memory": "1Gi", "x/y": "0"}},
            "livenessProbe": {"httpGet": {"port": "http"}}, "readinessProbe": {"tcpSocket": {"port": 8080}}}]},
            "status": {}}),
    );
    check(
        SECRET,
        r#"{"data":{"a":"aGVs\nbG8=\n","b":null,"c":[104,105]}}"#,
        json!({"data": {"a": "aGVsbG8=", "b": "", "c": "aGk="}}),
    );
    check(
        ("coordination.k8s.io", "v1", "Lease"),
        r#"{"spec":{"renewTime":"2024-01-01T01:30:00.500001+01:30","acquireTime":null}}"#,
        json!({"spec": {"renewTime": "2024-01-01T00:00:00.500001Z"}}),
    );
    check(
        CONFIG_MAP,
        r#"{"data":{"s":"\ud83d\ude00 \ud800x \ude00\ud83d \u00e9\/\t"}}"#,
        json!({"data": {"s": "😀 \u{fffd}x \u{fffd}\u{fffd} é/\t"}}),
    );
    let body = b"{\"data\":{\"s\":\"a\xff\xc3b\"}}";
    let got = run(CONFIG_MAP, body).expect("bytes that are no UTF-8 are replaced one by one").value;
    assert_eq!(got["data"]["s"], "a\u{fffd}\u{fffd}b");
}

#[test]
fn what_comes_twice_unites() {
    let body = r#"{"data":{"a":"x","b":"1"},"data":{"a":"y"},"metadata":{"name":"m","labels":{"k":"v"}},"metadata":{"name":"n"},"zz":1,"zz":2}"#;
    let decoded = run(CONFIG_MAP, body.as_bytes()).expect("lenient");
    assert_eq!(decoded.value["data"], json!({"a": "y", "b": "1"}));
    assert_eq!(decoded.value["metadata"], json!({"name": "n", "labels": {"k": "v"}}));
    assert_eq!(decoded.warnings, ["duplicate field \"data\"", "duplicate field \"metadata\"", "unknown field \"zz\""]);
}

#[test]
fn errors_are_go_s() {
    let check = |kind: (&'static str, &'static str, &'static str), body: &str, want: &str| {
        let got = run(kind, body.as_bytes()).expect_err(body);
        let prefix = format!("{} in version \"{}\" cannot be handled as a {}: ", kind.2, kind.1, kind.2);
        assert_eq!(got.message.strip_prefix(&prefix).unwrap_or(&got.message), want, "{body}");
        assert_eq!(got.code, 400);
    };
    check(
        POD,
        r#"{"spec":{"containers":[{"imagePullPolicy":5}]}}"#,
        "json: cannot unmarshal number into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy",
    );
    check(
        POD,
        r#"{"spec":{"containers":[{"resources":{"limits":"all"}}]}}"#,
        "json: cannot unmarshal string into Go struct field ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList",
    );
    check(
        POD,
        r#"{"spec":{"volumes":[{"emptyDir":[]}]}}"#,
        "json: cannot unmarshal array into Go struct field Volume.spec.volumes.emptyDir of type v1.EmptyDirVolumeSource",
    );
    check(
        POD,
        r#"{"metadata":{"deletionGracePeriodSeconds":1.0,"name":7}}"#,
        "json: cannot unmarshal number 1.0 into Go struct field ObjectMeta.metadata.deletionGracePeriodSeconds of type int64",
    );
    check(SECRET, r#"{"data":{"a":"x y="}}"#, "illegal base64 data at input byte 1");
    check(SECRET, r#"{"data":{"a":"abc"}}"#, "illegal base64 data at input byte 0");
    let byte = "into Go struct field Secret.data of type uint8";
    check(SECRET, r#"{"data":{"a":["x"]}}"#, &format!("json: cannot unmarshal string {byte}"));
    check(SECRET, r#"{"data":{"a":[0,256]}}"#, &format!("json: cannot unmarshal number 256 {byte}"));
    check(
        CONFIG_MAP,
        r#"{"kind":7}"#,
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: \
         json: cannot unmarshal number into Go struct field .kind of type string ({\"kind\":7})",
    );
    check(
        CONFIG_MAP,
        r#"{"apiVersion":"a/b/c"}"#,
        "the object provided is unrecognized (must be of type ConfigMap): unexpected GroupVersion string: a/b/c \
         ({\"apiVersion\":\"a/b/c\"})",
    );
}

#[test]
fn options_and_custom_objects() {
    let options = GroupVersionKind::from_static("", "v1", "DeleteOptions");
    let body = br#"{"apiVersion":"v9","kind":"DeleteOptions","gracePeriodSeconds":0,"zz":1}"#;
    let got = decode_options(body, MediaType::Json, &options).expect("any version is taken");
    assert_eq!(got["gracePeriodSeconds"], 0);
    let wrong = decode_options(br#"{"kind":"Pod","apiVersion":"v1"}"#, MediaType::Json, &options).expect_err("a pod");
    assert!(wrong.message.starts_with("no kind \"Pod\" is registered for version \"v1\" in scheme"));
    let thing = GroupVersionKind::from_static("example.com", "v1", "Thing");
    let decode = |body: &str, validation| decode_unstructured(body.as_bytes(), MediaType::Json, &thing, validation);
    let body = r#"{"apiVersion":"example.com/v1","kind":"Thing","spec":{"a":1,"a":2.5}}"#;
    let got = decode(body, FieldValidation::Warn).expect("lenient");
    assert_eq!(got.value["spec"], json!({"a": 2.5}));
    assert_eq!(got.warnings, ["duplicate field \"spec.a\""]);
    assert_eq!(
        decode(body, FieldValidation::Strict).expect_err("strict").message,
        "Thing in version \"v1\" cannot be handled as a Thing: strict decoding error: duplicate field \"spec.a\""
    );
    assert_eq!(
        decode("{\"a\":1}", FieldValidation::Warn).expect_err("no kind").message,
        "the object provided is unrecognized (must be of type Thing): Object 'Kind' is missing in '{\"a\":1}' ({\"a\":1})"
    );
}
