//! What a pod's status says of its containers' users, claims and devices (rule: core validation
//! `validatePodExtendedResourceClaimStatus`, `validateContainerStatusUsers`,
//! `validateContainerStatusAllocatedResourcesStatus`).

use crate::shared::pod::say;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// Lists of statuses, and the lists of the spec that they belong to.
const LISTS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

/// The claim made for extended resources: each mapping names a container and a resource that it requests.
pub(super) fn extended_claim(e: &mut ErrorList, status: &Value, spec: &Value, at: &Path) {
    let Some(claim) = status.get("extendedResourceClaimStatus") else { return };
    let mappings = object::list(claim, &["requestMappings"]);
    let path = at.child("requestMappings");
    if mappings.is_empty() {
        e.required(&path, "at least one request mapping is required");
    }
    let mut seen = BTreeSet::new();
    for (i, mapping) in mappings.iter().enumerate() {
        let path = path.index(i);
        let of = |key: &str| object::str(mapping, &[key]);
        let (container, resource, request) = (of("containerName"), of("resourceName"), of("requestName"));
        let mut all = ["containers", "initContainers"].iter().flat_map(|list| object::list(spec, &[list]));
        match all.find(|c| object::str(c, &["name"]) == container) {
            None => e.invalid(
                &path.child("containerName"),
                container,
                "must match the name of an entry in spec.initContainers.name or spec.containers.name",
            ),
            Some(c) if object::get(c, &["resources", "requests", resource]).is_none() => e.invalid(
                &path.child("resourceName"),
                resource,
                "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests",
            ),
            Some(_) => {}
        }
        say(e, || at.child("requestName"), request, validation::dns_label(request, false));
        if !seen.insert((container, resource, request)) {
            for (key, value) in [("containerName", container), ("resourceName", resource), ("requestName", request)] {
                e.duplicate(&path.child(key), value);
            }
        }
    }
    let (path, name) = (at.child("resourceClaimName"), object::str(claim, &["resourceClaimName"]));
    if name.is_empty() {
        e.required(&path, "");
    } else {
        say(e, || path, name, validation::dns_subdomain(name, false));
    }
}

/// Who the containers run as.
pub(super) fn users(e: &mut ErrorList, status: &Value, spec: &Value, at: &Path) {
    let windows = match object::str(spec, &["os", "name"]) {
        "" | "linux" => false,
        "windows" => true,
        _ => return,
    };
    for (list, _) in LISTS {
        for (i, one) in object::list(status, &[list]).iter().enumerate() {
            let Some(user) = object::get(one, &["user", "linux"]) else { continue };
            let at = at.child(list).index(i).child("user").child("linux");
            if windows {
                e.forbidden(&at, "cannot be set for a windows pod");
                continue;
            }
            for key in ["uid", "gid"] {
                id(e, object::int(user, &[key]).unwrap_or(0), &at.child(key));
            }
            for (j, group) in object::list(user, &["supplementalGroups"]).iter().enumerate() {
                id(e, group.as_i64().unwrap_or(0), &at.child("supplementalGroups").index(j));
            }
        }
    }
}

fn id(e: &mut ErrorList, id: i64, at: &Path) {
    if !(0..=i64::from(i32::MAX)).contains(&id) {
        e.invalid(at, id, validation::range_error(0, i64::from(i32::MAX)));
    }
}

/// The health of devices: of resources that the container asks for, each device once.
pub(super) fn devices(e: &mut ErrorList, status: &Value, spec: &Value, at: &Path) {
    for (list, containers) in LISTS {
        for (i, one) in object::list(status, &[list]).iter().enumerate() {
            let at = at.child(list).index(i).child("allocatedResourcesStatus");
            let resources = object::list(one, &["allocatedResourcesStatus"]);
            if containers == "ephemeralContainers" {
                if !resources.is_empty() {
                    e.forbidden(&at, "must not be specified in container status");
                }
                continue;
            }
            let name = object::str(one, &["name"]);
            let container = object::list(spec, &[containers]).iter().find(|c| object::str(c, &["name"]) == name);
            for (j, resource) in resources.iter().enumerate() {
                let at = at.index(j);
                if let Some(container) = container {
                    asked_for(e, container, object::str(resource, &["name"]), &at.child("name"));
                }
                health(e, object::list(resource, &["resources"]), &at.child("resources"));
            }
        }
    }
}

fn asked_for(e: &mut ErrorList, container: &Value, name: &str, at: &Path) {
    if !name.starts_with("claim:") {
        if object::get(container, &["resources", "requests", name]).is_none() {
            e.invalid(at, name, "must match one of the container's resource requests");
        }
        return;
    }
    let is_named = |claim: &Value| {
        let (own, request) = (object::str(claim, &["name"]), object::str(claim, &["request"]));
        let rest = name.strip_prefix("claim:").and_then(|n| n.strip_prefix(own));
        rest.is_some_and(
            |rest| if request.is_empty() { rest.is_empty() } else { rest.strip_prefix('/') == Some(request) },
        )
    };
    if !object::list(container, &["resources", "claims"]).iter().any(is_named) {
        e.invalid(
            at,
            name,
            "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
        );
    }
}

fn health(e: &mut ErrorList, devices: &[Value], at: &Path) {
    const STATES: &[&str] = &["Healthy", "Unhealthy", "Unknown"];
    let mut seen = BTreeSet::new();
    for (i, device) in devices.iter().enumerate() {
        let (id, state) = (object::str(device, &["resourceID"]), object::str(device, &["health"]));
        if !STATES.contains(&state) {
            e.not_supported(&at.index(i).child("health"), state, STATES);
        }
        if !seen.insert(id) {
            e.duplicate(&at.index(i).child("resourceID"), id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_with_a_status() {
        let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"x.io/gpu": "1"}, "claims": [{"name": "k", "request": "r"}]}}]});
        let check = |status: Value, want: &[&str]| {
            let (mut e, at) = (ErrorList::new(), Path::new("status"));
            extended_claim(&mut e, &status, &spec, &at.child("extendedResourceClaimStatus"));
            users(&mut e, &status, &spec, &at);
            devices(&mut e, &status, &spec, &at);
            assert_eq!(e.0.iter().map(ToString::to_string).collect::<Vec<_>>(), want, "{status}");
        };
        let mapping = |container: &str, resource: &str| json!({"containerName": container, "resourceName": resource, "requestName": "r"});
        check(json!({}), &[]);
        check(
            json!({"extendedResourceClaimStatus": {"resourceClaimName": "a", "requestMappings": [mapping("c", "x.io/gpu")]}}),
            &[],
        );
        check(
            json!({"extendedResourceClaimStatus": {"requestMappings": []}}),
            &[
                "status.extendedResourceClaimStatus.requestMappings: Required value: at least one request mapping is required",
                "status.extendedResourceClaimStatus.resourceClaimName: Required value",
            ],
        );
        check(
            json!({"containerStatuses": [{"name": "c", "user": {"linux": {"uid": -1, "gid": 0, "supplementalGroups": [5_000_000_000_i64]}}}]}),
            &[
                "status.containerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                "status.containerStatuses[0].user.linux.supplementalGroups[0]: Invalid value: 5000000000: must be between 0 and 2147483647, inclusive",
            ],
        );
        let devices = |name: &str, health: &str| json!({"containerStatuses": [{"name": "c", "allocatedResourcesStatus": [{"name": name, "resources": [{"resourceID": "d", "health": health}]}]}]});
        check(devices("claim:k/r", "Healthy"), &[]);
        check(devices("x.io/gpu", "Unknown"), &[]);
        check(
            devices("claim:k", "Sick"),
            &[
                "status.containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"claim:k\": must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
                "status.containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: \"Sick\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\"",
            ],
        );
    }
}
