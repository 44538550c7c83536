//! Facts about a pod as text, for environment variables and downward volumes (rule: `fieldpath` and `resource` helpers).

use std::collections::BTreeMap;

use steersman_api::k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use steersman_apimachinery::Quantity;

/// What the node gives to pods, by resource name; the limit of containers that set none.
#[derive(Debug, Clone, Default)]
pub struct NodeResources(pub BTreeMap<String, String>);

/// The text of a field of a pod, such as `metadata.labels['app']` or `status.podIP`.
pub fn pod_field(pod: &Pod, path: &str) -> Result<String, String> {
    let meta = &pod.metadata;
    let none = BTreeMap::new();
    if let Some((field, key)) = subscript(path) {
        let map = match field {
            "metadata.annotations" => meta.annotations.as_ref(),
            "metadata.labels" => meta.labels.as_ref(),
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    Ok(match path {
        "metadata.annotations" => lines(meta.annotations.as_ref().unwrap_or(&none)),
        "metadata.labels" => lines(meta.labels.as_ref().unwrap_or(&none)),
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" => status.and_then(|s| s.host_ip.clone()).unwrap_or_default(),
        "status.podIP" => status.and_then(|s| s.pod_ip.clone()).unwrap_or_default(),
        "status.hostIPs" => {
            let ips: Vec<&str> =
                status.iter().flat_map(|s| s.host_ips.iter().flatten()).map(|i| i.ip.as_str()).collect();
            ips.join(",")
        }
        "status.podIPs" => {
            let ips: Vec<&str> =
                status.iter().flat_map(|s| s.pod_ips.iter().flatten()).map(|i| i.ip.as_str()).collect();
            ips.join(",")
        }
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

fn subscript(path: &str) -> Option<(&str, &str)> {
    let (field, rest) = path.split_once("['")?;
    Some((field, rest.strip_suffix("']")?))
}

/// One `key="value"` line for each pair, sorted, with the value quoted as Go quotes.
fn lines(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> =
        map.iter().map(|(k, v)| format!("{k}={}", steersman_apimachinery::field::go_quote(v))).collect();
    lines.join("\n")
}

/// The text of a request or limit of the container `name`, divided by the divisor and rounded up.
pub fn container_resource(
    pod: &Pod,
    name: &str,
    field: &ResourceFieldSelector,
    node: &NodeResources,
) -> Result<String, String> {
    let spec = pod.spec.iter();
    let mut all = spec.flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let container = all.find(|c| c.name == name).ok_or_else(|| format!("container {name} not found"))?;
    resource(container, &field.resource, field.divisor.as_ref().map(|d| d.0.as_str()), node)
}

/// The text of `resource` (such as `limits.cpu`) of a container; a missing limit is what the node has.
pub fn resource(
    container: &Container,
    resource: &str,
    divisor: Option<&str>,
    node: &NodeResources,
) -> Result<String, String> {
    let (kind, name) =
        resource.split_once('.').ok_or_else(|| format!("unsupported container resource : {resource}"))?;
    let resources = container.resources.as_ref();
    let of = |map: Option<&BTreeMap<String, _>>| -> Option<String> {
        map.and_then(|m: &BTreeMap<String, steersman_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
            m.get(name).map(|q| q.0.clone())
        })
    };
    let limit = of(resources.and_then(|r| r.limits.as_ref()));
    let value = match kind {
        "limits" => limit.or_else(|| node.0.get(name).cloned()),
        // A missing request is zero, not the limit: the API server has filled that in already.
        "requests" => of(resources.and_then(|r| r.requests.as_ref())),
        _ => return Err(format!("unsupported container resource : {resource}")),
    };
    let parse = |text: &str| text.parse::<Quantity>().map_err(|e| e.to_string());
    let value = parse(value.as_deref().unwrap_or("0"))?;
    let divisor = divisor.filter(|d| !d.is_empty() && *d != "0").unwrap_or("1");
    let divisor = parse(divisor)?;
    let (value, divisor) =
        if name == "cpu" { (value.milli_value(), divisor.milli_value()) } else { (value.value(), divisor.value()) };
    if divisor <= 0 {
        return Err("invalid divisor".into());
    }
    Ok((value.max(0) as u64).div_ceil(divisor as u64).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"b": "x\"y", "a": "1"}},
            "spec": {"containers": [{"name": "c", "resources": {
                "limits": {"cpu": "250m", "memory": "64Mi"}, "requests": {"cpu": "100m"}}}]},
            "status": {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}
        }))
        .unwrap()
    }

    #[test]
    fn fields_are_shown_as_upstream_shows_them() {
        let check = |path: &str, expect: Result<&str, ()>| {
            assert_eq!(pod_field(&pod(), path).map_err(drop), expect.map(str::to_owned), "{path}");
        };
        check("metadata.labels", Ok("a=\"1\"\nb=\"x\\\"y\""));
        check("metadata.labels['a']", Ok("1"));
        check("metadata.labels['z']", Ok(""));
        check("status.podIPs", Ok("10.0.0.1,fd00::1"));
        check("spec.nonsense", Err(()));
        check("spec['a']", Err(()));
    }

    #[test]
    fn resources_are_rounded_up_to_the_divisor() {
        let node = NodeResources([("ephemeral-storage".to_owned(), "10Gi".to_owned())].into());
        let check = |name: &str, divisor: &str, expect: &str| {
            let field = ResourceFieldSelector {
                resource: name.into(),
                divisor: (!divisor.is_empty()).then(|| serde_json::from_value(json!(divisor)).unwrap()),
                ..Default::default()
            };
            assert_eq!(container_resource(&pod(), "c", &field, &node).unwrap(), expect, "{name} / {divisor}");
        };
        check("limits.cpu", "", "1");
        check("limits.cpu", "1m", "250");
        check("requests.cpu", "1m", "100");
        check("limits.memory", "1Mi", "64");
        check("limits.memory", "", "67108864");
        check("requests.memory", "", "0");
        check("limits.ephemeral-storage", "1Gi", "10");
    }
}
