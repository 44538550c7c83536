//! Defaults of a pod spec, wherever one stands: in a pod, in a template, in a job template
//! (rule: core v1 `SetDefaults_PodSpec` and the defaults of what it holds).

use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// Sets `key` where it is absent, null, empty or zero, as Go's defaulting of non-pointer fields does.
pub fn fill(o: &mut Object, key: &str, value: impl Into<Value>) {
    let unset = match o.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.is_empty(),
        Some(Value::Number(n)) => n.as_i64() == Some(0),
        _ => false,
    };
    if unset {
        o.insert(key.to_owned(), value.into());
    }
}

/// Sets `key` where it is absent or null, as Go's defaulting of pointer fields does.
pub fn fill_absent(o: &mut Object, key: &str, value: impl Into<Value>) {
    if o.get(key).is_none_or(Value::is_null) {
        o.insert(key.to_owned(), value.into());
    }
}

/// The object under `key`, if there is one.
pub fn member<'a>(o: &'a mut Object, key: &str) -> Option<&'a mut Object> {
    o.get_mut(key)?.as_object_mut()
}

/// The objects of the list under `key`.
pub fn members<'a>(o: &'a mut Object, key: &str) -> impl Iterator<Item = &'a mut Object> {
    o.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Defaults of the pod template under `key` (`spec.template`), if it is there.
pub fn pod_template(holder: &mut Object, key: &str) {
    if let Some(template) = member(holder, key) {
        if template.get("spec").is_none_or(Value::is_null) {
            template.insert("spec".into(), json!({}));
        }
        if let Some(spec) = member(template, "spec") {
            pod_spec(spec);
        }
    }
}

/// Defaults of a pod spec.
pub fn pod_spec(spec: &mut Object) {
    members(spec, "volumes").for_each(volume);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        members(spec, list).for_each(container);
    }
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "restartPolicy", "Always");
    fill_absent(spec, "securityContext", json!({}));
    fill_absent(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "schedulerName", "default-scheduler");
    if let Some(overhead) = member(spec, "overhead") {
        resource_list(overhead);
    }
    if let Some(resources) = member(spec, "resources") {
        resource_requirements(resources);
    }
    service_account_name(spec);
}

/// Makes the deprecated `serviceAccount` say what `serviceAccountName` says; the former counts only where the latter is
/// empty (rule: core v1 `Convert_v1_PodSpec_To_core_PodSpec` and back).
pub fn service_account_name(spec: &mut Object) {
    let text = |k: &str| spec.get(k).and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned);
    match text("serviceAccountName").or_else(|| text("serviceAccount")) {
        Some(name) => {
            spec.insert("serviceAccountName".into(), name.clone().into());
            spec.insert("serviceAccount".into(), name.into());
        }
        None => {
            spec.remove("serviceAccount");
        }
    }
}

fn container(c: &mut Object) {
    members(c, "ports").for_each(|p| fill(p, "protocol", "TCP"));
    for env in members(c, "env") {
        if let Some(field) = member(env, "valueFrom").and_then(|v| member(v, "fieldRef")) {
            fill(field, "apiVersion", "v1");
        }
    }
    if let Some(resources) = member(c, "resources") {
        resource_requirements(resources);
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(p) = member(c, name) {
            probe(p);
        }
    }
    if let Some(lifecycle) = member(c, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(get) = member(lifecycle, hook).and_then(|h| member(h, "httpGet")) {
                http_get(get);
            }
        }
    }
    let image = c.get("image").and_then(Value::as_str).unwrap_or("");
    let policy = pull_policy(image);
    fill(c, "imagePullPolicy", policy);
    fill(c, "terminationMessagePath", "/dev/termination-log");
    fill(c, "terminationMessagePolicy", "File");
}

fn probe(p: &mut Object) {
    fill(p, "timeoutSeconds", 1);
    fill(p, "periodSeconds", 10);
    fill(p, "successThreshold", 1);
    fill(p, "failureThreshold", 3);
    if let Some(get) = member(p, "httpGet") {
        http_get(get);
    }
    if let Some(grpc) = member(p, "grpc") {
        fill_absent(grpc, "service", "");
    }
}

fn http_get(get: &mut Object) {
    fill(get, "path", "/");
    fill(get, "scheme", "HTTP");
}

/// `Always` for images without tag or with the tag `latest`, unless named by digest
/// (rule: core v1 `SetDefaults_Container`, `ParseImageName`).
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, ""), |(n, d)| (n, d));
    if image.is_empty() || !is_reference(name) {
        return "IfNotPresent";
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        Some((_, "latest")) => "Always",
        None if digest.is_empty() => "Always",
        _ => "IfNotPresent",
    }
}

/// Whether an image name can be parsed at all: lower-case path components, a sane tag
/// (rule: distribution `reference` grammar).
fn is_reference(name: &str) -> bool {
    let mut parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost") {
        parts.remove(0);
    }
    let Some(last) = parts.pop() else { return false };
    let (repository, tag) = last.split_once(':').map_or((last, None), |(r, t)| (r, Some(t)));
    parts.push(repository);
    let component = |c: &str| {
        let b = c.as_bytes();
        !b.is_empty()
            && b[0].is_ascii_alphanumeric()
            && b[b.len() - 1].is_ascii_alphanumeric()
            && b.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(c))
    };
    let tag_ok = tag.is_none_or(|t| {
        !t.is_empty()
            && t.len() <= 128
            && !t.starts_with(['.', '-'])
            && t.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
    });
    parts.iter().all(|c| component(c)) && tag_ok
}

fn resource_requirements(r: &mut Object) {
    for list in ["limits", "requests"] {
        if let Some(l) = member(r, list) {
            resource_list(l);
        }
    }
}

/// Rounds amounts below a thousandth up to a thousandth (rule: core v1 `SetDefaults_ResourceList`).
pub fn resource_list(list: &mut Object) {
    for v in list.values_mut() {
        if let Some(rounded) = v.as_str().and_then(super::quantity::rounded_up_to_milli) {
            *v = rounded.into();
        }
    }
}

fn volume(v: &mut Object) {
    if v.iter().all(|(k, v)| k == "name" || v.is_null()) {
        v.insert("emptyDir".into(), json!({}));
        return;
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(s) = member(v, source) {
            fill_absent(s, "defaultMode", 420);
        }
    }
    if let Some(d) = member(v, "downwardAPI") {
        downward_api_items(d);
    }
    if let Some(p) = member(v, "projected") {
        for source in members(p, "sources") {
            if let Some(t) = member(source, "serviceAccountToken") {
                fill_absent(t, "expirationSeconds", 3600);
            }
            if let Some(d) = member(source, "downwardAPI") {
                downward_api_items(d);
            }
        }
    }
    volume_plugin(v);
    if let Some(image) = member(v, "image") {
        let policy = pull_policy(image.get("reference").and_then(Value::as_str).unwrap_or(""));
        fill(image, "pullPolicy", policy);
    }
    if let Some(claim) = member(v, "ephemeral").and_then(|e| member(e, "volumeClaimTemplate"))
        && let Some(spec) = member(claim, "spec")
    {
        claim_spec(spec);
    }
}

fn downward_api_items(d: &mut Object) {
    for item in members(d, "items") {
        if let Some(field) = member(item, "fieldRef") {
            fill(field, "apiVersion", "v1");
        }
    }
}

/// Defaults of the volume types that pods and persistent volumes share.
pub fn volume_plugin(v: &mut Object) {
    if let Some(h) = member(v, "hostPath") {
        fill_absent(h, "type", "");
    }
    if let Some(i) = member(v, "iscsi") {
        fill(i, "iscsiInterface", "default");
    }
    if let Some(r) = member(v, "rbd") {
        fill(r, "pool", "rbd");
        fill(r, "user", "admin");
        fill(r, "keyring", "/etc/ceph/keyring");
    }
    if let Some(a) = member(v, "azureDisk") {
        fill_absent(a, "cachingMode", "ReadWrite");
        fill_absent(a, "kind", "Shared");
        fill_absent(a, "fsType", "ext4");
        fill_absent(a, "readOnly", false);
    }
    if let Some(s) = member(v, "scaleIO") {
        fill(s, "storageMode", "ThinProvisioned");
        fill(s, "fsType", "xfs");
    }
}

/// Defaults of a claim's spec (rule: core v1 `SetDefaults_PersistentVolumeClaimSpec`).
pub fn claim_spec(spec: &mut Object) {
    fill_absent(spec, "volumeMode", "Filesystem");
    if let Some(r) = member(spec, "resources") {
        resource_requirements(r);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policies_follow_the_tag() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1", "IfNotPresent"),
            ("host:5000/nginx", "Always"),
            ("host:5000/nginx:2", "IfNotPresent"),
            ("nginx@sha256:0123", "IfNotPresent"),
            ("nginx:latest@sha256:0123", "Always"),
            ("Upper/Case", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
