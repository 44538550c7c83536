//! Access to devices that others use already is for namespaces with a label only
//! (rule: `pkg/registry/resource`, `AuthorizedForAdmin`).

use crate::fields::Fields;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_registry::Cluster;

const LABEL: &str = "resource.kubernetes.io/admin-access";

/// Which of `list` wants it first, as upstream's path, which leaves `exactly` out.
fn wanted(list: &[Value], path: &Path, of: fn(&Value) -> &Value) -> Option<Path> {
    let first = list.iter().position(|r| of(r).flag("adminAccess") == Some(true))?;
    Some(path.index(first).child("adminAccess"))
}

/// Where the spec of a claim wants it.
fn of_spec(spec: &Value) -> Option<Path> {
    let path = Path::new("spec").child("devices").child("requests");
    wanted(spec.at("devices").items("requests"), &path, |r| r.at("exactly"))
}

/// Where a new allocation has it.
pub(super) fn of_status(new: &Value, old: &Value) -> Option<Path> {
    fn results(o: &Value) -> &[Value] {
        o.at("status").at("allocation").at("devices").items("results")
    }
    let path = Path::new("status").child("allocation").child("devices").child("results");
    let (is, was) = (results(new), results(old));
    wanted(is, &path, |r| r).filter(|_| is != was)
}

/// What is wrong with a new object whose claim's spec wants it; an old one may keep it.
pub(super) fn check_new(cluster: &dyn Cluster, new: &Value, old: Option<&Value>, spec: &Value) -> ErrorList {
    check(cluster, new, of_spec(spec).filter(|_| old.is_none()))
}

/// What is wrong with an object that wants it at `path`, if its namespace has no label.
pub(super) fn check(cluster: &dyn Cluster, obj: &Value, path: Option<Path>) -> ErrorList {
    let mut e = ErrorList::new();
    let Some(path) = path else { return e };
    let namespace = cluster.get("", "namespaces", "", object::namespace(obj));
    if namespace.is_some_and(|n| n.at("metadata").at("labels").s(LABEL) == "true") {
        return e;
    }
    let why = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
    e.forbidden(&path, why);
    e
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn where_it_is_wanted() {
        let check = |spec: Value, want: Option<&str>| {
            assert_eq!(of_spec(&spec).map(|p| p.to_string()).as_deref(), want);
        };
        check(json!({"devices": {"requests": [{"exactly": {"adminAccess": false}}]}}), None);
        check(
            json!({"devices": {"requests": [{}, {"exactly": {"adminAccess": true}}]}}),
            Some("spec.devices.requests[1].adminAccess"),
        );
        let with = json!({"status": {"allocation": {"devices": {"results": [{"adminAccess": true}]}}}});
        assert!(of_status(&with, &json!({})).is_some());
        assert!(of_status(&with, &with).is_none());
    }
}
