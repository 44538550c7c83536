//! `--runtime-config`: which groups, versions and resources are served
//! (rule: apiserver `pkg/server/resourceconfig/helpers.go`, `pkg/server/options/api_enablement.go`).

use steersman_apimachinery::text::parse_bool;
use steersman_registry::{Resource, ResourceInfo};

/// Whole kinds of versions, in the order in which they are applied.
const STAGES: [&str; 4] = ["api/all", "api/ga", "api/beta", "api/alpha"];

fn info(resource: &Resource) -> &'static ResourceInfo {
    match resource {
        Resource::Stored(s) => s.info(),
        Resource::Virtual(v) => v.info(),
    }
}

/// `api/ga` for `v1`, `api/beta` for `v1beta1`, `api/alpha` for `v1alpha1`.
fn stage(version: &str) -> &'static str {
    match version {
        v if v.contains("alpha") => "api/alpha",
        v if v.contains("beta") => "api/beta",
        _ => "api/ga",
    }
}

/// The group, version and resource that a key names; the core group is called `api` or nothing.
fn named(key: &str) -> Option<(&str, &str, Option<&str>)> {
    let parts: Vec<&str> = key.split('/').collect();
    match parts[..] {
        ["v1"] | ["api", "v1"] => Some(("", "v1", None)),
        ["v1", resource] | ["api", "v1", resource] => Some(("", "v1", Some(resource))),
        [group, version] => Some((group, version, None)),
        [group, version, resource] => Some((group, version, Some(resource))),
        _ => None,
    }
}

/// The resources that are served. The error is upstream's.
pub fn served(all: Vec<Resource>, config: &[(String, String)]) -> Result<Vec<Resource>, String> {
    let mut wanted: Vec<(&str, bool)> = Vec::new();
    for (key, value) in config {
        // A key alone asks for what it names.
        let on = if value.is_empty() { Some(true) } else { parse_bool(value) };
        let Some(on) = on else {
            return Err(format!(
                "invalid value of {key}: {value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax"
            ));
        };
        wanted.push((key, on));
    }
    if matches!(wanted[..], [("api/all", false)]) {
        return Err("invalid key with only api/all=false".into());
    }
    let mut unknown: Vec<&str> = Vec::new();
    for (key, _) in wanted.iter().filter(|(k, _)| !STAGES.contains(k)) {
        let Some((group, version, _)) = named(key) else { return Err(format!("runtime-config invalid key {key}")) };
        if !all.iter().any(|r| info(r).group == group) {
            unknown.push(group);
        } else if !all.iter().any(|r| info(r).group == group && info(r).version == version) {
            tracing::warn!(key, "--runtime-config names a version that this server does not have");
        }
    }
    if !unknown.is_empty() {
        unknown.sort_unstable();
        unknown.dedup();
        return Err(format!("unknown api groups {}", unknown.join(",")));
    }
    let is_served = |r: &Resource| {
        let i = info(r);
        let general = STAGES.iter().filter(|s| **s == "api/all" || **s == stage(i.version));
        let general = general.filter_map(|s| wanted.iter().find(|(k, _)| k == s));
        let specific = |resource: bool| {
            wanted.iter().filter(move |(k, _)| {
                !STAGES.contains(k)
                    && named(k).is_some_and(|(g, v, res)| {
                        g == i.group && v == i.version && if resource { res == Some(i.resource) } else { res.is_none() }
                    })
            })
        };
        // What is more specific comes later, and the last word counts.
        general.chain(specific(false)).chain(specific(true)).last().is_none_or(|(_, on)| *on)
    };
    Ok(all.into_iter().filter(is_served).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Resource> {
        steersman_resources::table()
            .map(|r| match r {
                Resource::Stored(s) => Resource::Stored(*s),
                Resource::Virtual(v) => Resource::Virtual(*v),
            })
            .collect()
    }

    fn check(config: &[(&str, &str)], on: &[&str], off: &[&str]) {
        let config: Vec<_> = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let served = served(all(), &config).expect("is right");
        let names: Vec<String> =
            served.iter().map(|r| format!("{}/{}/{}", info(r).group, info(r).version, info(r).resource)).collect();
        for name in on {
            assert!(names.iter().any(|n| n == name), "{name} with {config:?}");
        }
        for name in off {
            assert!(!names.iter().any(|n| n == name), "{name} with {config:?}");
        }
    }

    #[test]
    fn versions_and_resources_are_switched() {
        let (jobs, cron, pods) = ("batch/v1/jobs", "batch/v1/cronjobs", "/v1/pods");
        check(&[], &[jobs, cron, pods], &[]);
        check(&[("batch/v1", "false")], &[pods], &[jobs, cron]);
        check(&[("batch/v1/cronjobs", "false")], &[jobs, pods], &[cron]);
        check(&[("batch/v1", "0"), ("batch/v1/jobs", "true")], &[jobs, pods], &[cron]);
        check(&[("api/all", "false"), ("v1", "true")], &[pods], &[jobs]);
        check(&[("api/ga", "true"), ("api/beta", "")], &[pods, jobs], &[]);
    }

    #[test]
    fn mistakes_are_told() {
        let error = |key: &str, value: &str| served(all(), &[(key.into(), value.into())]).err().unwrap_or_default();
        assert_eq!(error("api/all", "false"), "invalid key with only api/all=false");
        assert_eq!(error("nope.example.com/v1", "true"), "unknown api groups nope.example.com");
        assert_eq!(error("x", "true"), "runtime-config invalid key x");
        assert_eq!(
            error("v1", "maybe"),
            "invalid value of v1: maybe, err: strconv.ParseBool: parsing \"maybe\": invalid syntax"
        );
    }
}
