//! What several plug-ins read of a pod: its containers, and the resources it asks for in all.

use serde_json::Value;
use std::collections::BTreeMap;
use steersman_apimachinery::Quantity;

/// Amounts by resource name, in the order of names.
pub(crate) type Resources = BTreeMap<String, Quantity>;

/// The resource list (a map of name to quantity) at `v`; what does not parse is left out, since validation refuses it.
pub(crate) fn resources(v: Option<&Value>) -> Resources {
    let parse = |(k, q): (&String, &Value)| Some((k.clone(), q.as_str()?.parse().ok()?));
    v.and_then(Value::as_object).into_iter().flatten().filter_map(parse).collect()
}

/// The containers of one of the lists of a pod's spec.
pub(crate) fn containers<'a>(spec: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    spec.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn add(into: &mut Resources, more: &Resources) {
    for (k, q) in more {
        into.entry(k.clone()).and_modify(|have| have.add(q)).or_insert_with(|| q.clone());
    }
}

fn most(into: &mut Resources, other: &Resources) {
    for (k, q) in other {
        into.entry(k.clone())
            .and_modify(|have| {
                if *have < *q {
                    *have = q.clone()
                }
            })
            .or_insert_with(|| q.clone());
    }
}

/// What a pod asks for (`requests`) or is limited to (`limits`): the sum over containers and restartable init
/// containers, or what the greediest init container needs while it runs, whichever is more; pod-level resources override
/// what they name; plus the overhead (rule: component-helpers `resource.PodRequests`).
pub(crate) fn pod_resources(spec: &Value, which: &str) -> Resources {
    let of = |c: &Value| resources(c.get("resources").and_then(|r| r.get(which)));
    let mut total = Resources::new();
    for c in containers(spec, "containers") {
        add(&mut total, &of(c));
    }
    let (mut sidecars, mut init) = (Resources::new(), Resources::new());
    for c in containers(spec, "initContainers") {
        let mut mine = of(c);
        if c["restartPolicy"] == "Always" {
            add(&mut total, &mine);
            add(&mut sidecars, &mine);
            mine = sidecars.clone();
        } else {
            add(&mut mine, &sidecars);
        }
        most(&mut init, &mine);
    }
    most(&mut total, &init);
    for (k, q) in resources(spec.get("resources").and_then(|r| r.get(which))) {
        total.insert(k, q);
    }
    let overhead = resources(spec.get("overhead"));
    if which == "requests" {
        add(&mut total, &overhead);
    } else {
        // Overhead counts towards a limit only where there is one.
        for (k, q) in &overhead {
            if let Some(have) = total.get_mut(k) {
                have.add(q);
            }
        }
    }
    total
}

/// Names such as `cpu, memory`.
pub(crate) fn names(r: &Resources) -> String {
    r.keys().cloned().collect::<Vec<_>>().join(", ")
}

/// What object of the API a pod refers to, in upstream's words (rule: `HasAPIObjectReference` in `pkg/api/pod`).
pub(crate) fn api_reference(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    let has = |v: &Value, key: &str| v.get(key).is_some_and(|v| !v.is_null());
    if spec["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
        return Some("serviceaccounts");
    }
    let all = ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|of| containers(spec, of));
    let (mut secrets, mut config_maps) = (containers(spec, "imagePullSecrets").next().is_some(), false);
    for container in all {
        for source in containers(container, "envFrom") {
            secrets |= has(source, "secretRef");
            config_maps |= has(source, "configMapRef");
        }
        for from in containers(container, "env").filter_map(|e| e.get("valueFrom")) {
            secrets |= has(from, "secretKeyRef");
            config_maps |= has(from, "configMapKeyRef");
        }
    }
    for volume in containers(spec, "volumes") {
        secrets |= has(volume, "secret") || has(volume, "azureFile") || has(&volume["csi"], "nodePublishSecretRef");
        secrets |= ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"]
            .iter()
            .any(|kind| has(&volume[*kind], "secretRef"));
        config_maps |= has(volume, "configMap");
        for source in containers(&volume["projected"], "sources") {
            secrets |= has(source, "secret");
            config_maps |= has(source, "configMap");
        }
    }
    if secrets {
        return Some("secrets");
    }
    if config_maps {
        return Some("configmaps");
    }
    if containers(spec, "resourceClaims").next().is_some() {
        return Some("resourceclaims");
    }
    containers(spec, "volumes").find_map(|volume| {
        const KINDS: &[(&str, &str)] = &[
            ("csi", "csidrivers (via CSI volumes)"),
            ("glusterfs", "endpoints (via glusterFS volumes)"),
            ("persistentVolumeClaim", "persistentvolumeclaims"),
            ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
        ];
        const PROJECTED: &[(&str, &str)] = &[
            ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
            ("clusterTrustBundle", "clustertrustbundles"),
            ("podCertificate", "podcertificates"),
        ];
        let of = |v: &Value, table: &'static [(&str, &'static str)]| {
            table.iter().find(|(kind, _)| has(v, kind)).map(|(_, what)| *what)
        };
        of(volume, KINDS).or_else(|| containers(&volume["projected"], "sources").find_map(|s| of(s, PROJECTED)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_of_the_api_that_a_pod_refers_to() {
        let check = |spec: Value, want: Option<&str>| assert_eq!(api_reference(&json!({ "spec": spec })), want);
        check(json!({"containers": [{"name": "c"}], "volumes": [{"hostPath": {}}, {"downwardAPI": {}}]}), None);
        check(json!({"serviceAccountName": "a"}), Some("serviceaccounts"));
        check(json!({"imagePullSecrets": [{"name": "a"}]}), Some("secrets"));
        check(json!({"initContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {}}}]}]}), Some("configmaps"));
        check(json!({"volumes": [{"projected": {"sources": [{"secret": {}}]}}]}), Some("secrets"));
        check(json!({"resourceClaims": [{"name": "a"}]}), Some("resourceclaims"));
        check(json!({"volumes": [{"csi": {"driver": "d"}}]}), Some("csidrivers (via CSI volumes)"));
        check(
            json!({"volumes": [{"projected": {"sources": [{"downwardAPI": {}}, {"serviceAccountToken": {}}]}}]}),
            Some("serviceaccounts (via projected volumes)"),
        );
    }

    #[test]
    fn init_containers_sidecars_and_overhead_count() {
        let c = |cpu: &str| json!({ "resources": { "requests": { "cpu": cpu } } });
        let mut sidecar = c("100m");
        sidecar["restartPolicy"] = "Always".into();
        let check = |spec: Value, want: &str| {
            let got = pod_resources(&spec, "requests");
            assert_eq!(got.get("cpu").map(ToString::to_string).as_deref(), Some(want), "{spec}");
        };
        check(json!({ "containers": [c("1"), c("500m")] }), "1500m");
        check(json!({ "containers": [c("1")], "initContainers": [c("2")] }), "2");
        check(json!({ "containers": [c("1")], "initContainers": [sidecar, c("2")] }), "2100m");
        check(json!({ "containers": [c("1")], "overhead": { "cpu": "250m" } }), "1250m");
        check(json!({ "containers": [c("1")], "resources": { "requests": { "cpu": "3" } } }), "3");
    }
}
