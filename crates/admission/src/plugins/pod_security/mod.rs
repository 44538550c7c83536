//! Pods are held to the Pod Security Standards that the labels of their namespace name
//! (rule: pod-security-admission `admission/admission.go`).

mod baseline;
mod checks;
mod policy;
mod restricted;

use super::{forbidden, is};
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use checks::Subject;
use policy::{Level, Policy};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use steersman_apimachinery::gvk::GroupKind;
use steersman_apimachinery::{GroupVersionResource, Status, object};

/// Of a namespace whose standard becomes stricter, at most this many pods are looked at, for at most this long.
const MOST_PODS: usize = 3000;
const LONGEST: Duration = Duration::from_secs(1);

/// Where the template of pods stands in what makes pods.
const TEMPLATES: &[(&str, &str, &str)] = &[
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
    ("batch", "jobs", "/spec/template"),
];

fn template(resource: &GroupVersionResource) -> Option<&'static str> {
    TEMPLATES.iter().find(|(group, plural, _)| is(resource, group, plural)).map(|(_, _, path)| *path)
}

/// The plug-in.
#[derive(Debug, Default)]
pub(super) struct PodSecurity {
    defaults: Policy,
    exempt: Exempt,
}

/// Who and what is not held to anything.
#[derive(Debug, Default)]
struct Exempt {
    usernames: Vec<String>,
    runtime_classes: Vec<String>,
    namespaces: Vec<String>,
}

impl PodSecurity {
    /// From a `PodSecurityConfiguration`; without one, everything is allowed where no label says otherwise.
    pub(super) fn new(configuration: Option<&Value>) -> Result<Self, String> {
        let Some(c) = configuration else { return Ok(Self::default()) };
        let kind = object::str(c, &["kind"]);
        let version = object::str(c, &["apiVersion"]);
        let known = ["v1", "v1beta1", "v1alpha1"]
            .iter()
            .any(|v| version == format!("pod-security.admission.config.k8s.io/{v}"));
        if kind != "PodSecurityConfiguration" || !known {
            return Err(format!("no kind \"{kind}\" is registered for version \"{version}\""));
        }
        let names = |field: &str| -> Vec<String> {
            object::list(c, &["exemptions", field]).iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Ok(Self {
            defaults: Policy::of_defaults(c.get("defaults").unwrap_or(&Value::Null))?,
            exempt: Exempt {
                usernames: names("usernames"),
                runtime_classes: names("runtimeClasses"),
                namespaces: names("namespaces"),
            },
        })
    }

    fn policy(&self, namespace: &Value) -> (Policy, steersman_apimachinery::ErrorList) {
        self.defaults.of_labels(object::get(namespace, &["metadata", "labels"]).unwrap_or(&Value::Null))
    }

    fn is_exempt_namespace(&self, name: &str) -> bool {
        self.exempt.namespaces.iter().any(|n| n == name)
    }

    /// Labels have to be right, and whoever makes them stricter hears of the pods that are there already.
    fn namespace(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let Some(new) = a.object.as_deref() else { return Ok(()) };
        let (policy, errors) = self.policy(new);
        let before = a.old.map(|old| self.policy(old));
        if !errors.is_empty() && before.as_ref().is_none_or(|(_, old)| *old != errors) {
            let kind = GroupKind::new(a.kind.group.clone(), a.kind.kind.clone());
            return Err(Status::invalid(&kind, a.name, &errors));
        }
        let (enforce, exempt) = (policy.enforce, self.is_exempt_namespace(a.name));
        if let Some((before, _)) = before {
            let same_or_looser = enforce.version == before.enforce.version && enforce.level <= before.enforce.level;
            if enforce == before.enforce || enforce.level == Level::Privileged || same_or_looser {
                return Ok(());
            }
            if !exempt {
                self.existing(a, cluster, policy);
                return Ok(());
            }
        }
        let compact = policy.compact();
        if exempt && !compact.is_empty() && policy != self.defaults {
            a.ctx.warn(format!(
                "namespace \"{}\" is exempt from Pod Security, and the policy ({compact}) will be ignored",
                a.name
            ));
        }
        Ok(())
    }

    /// Warns of pods in a namespace that would not be allowed any more.
    fn existing(&self, a: &Attributes<'_>, cluster: &dyn Cluster, policy: Policy) {
        let pods = cluster.list("", "pods", a.name);
        let (end, mut looked_at) = (Instant::now() + LONGEST, 0);
        // By what is wrong with them: the first pod's name, and how many there are.
        let mut wrong: BTreeMap<String, (&str, usize)> = BTreeMap::new();
        for pod in pods.iter().take(MOST_PODS) {
            looked_at += 1;
            if let Some(spec) = pod.get("spec").filter(|spec| !self.has_exempt_class(spec)) {
                let annotations = object::get(pod, &["metadata", "annotations"]).unwrap_or(&Value::Null);
                let found = checks::evaluate(policy.enforce, Subject { annotations, spec });
                if !found.is_empty() {
                    let name = object::name(pod);
                    let (first, count) = wrong.entry(checks::in_short(&found)).or_insert((name, 0));
                    *first = name.min(first);
                    *count += 1;
                }
            }
            if Instant::now() > end {
                break;
            }
        }
        if looked_at < pods.len() {
            a.ctx.warn(format!(
                "new PodSecurity enforce level only checked against the first {looked_at} of {} existing pods",
                pods.len()
            ));
        }
        if !wrong.is_empty() {
            a.ctx.warn(format!(
                "existing pods in namespace \"{}\" violate the new PodSecurity enforce level \"{}\"",
                a.name, policy.enforce
            ));
        }
        let told = wrong.into_iter().map(|(what, (first, count))| match count {
            1 => format!("{first}: {what}"),
            2 => format!("{first} (and 1 other pod): {what}"),
            n => format!("{first} (and {} other pods): {what}", n - 1),
        });
        let mut told: Vec<String> = told.collect();
        told.sort();
        told.into_iter().for_each(|t| a.ctx.warn(t));
    }

    fn has_exempt_class(&self, spec: &Value) -> bool {
        let class = object::str(spec, &["runtimeClassName"]);
        !class.is_empty() && self.exempt.runtime_classes.iter().any(|c| c == class)
    }

    async fn policy_of(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<Policy, Status> {
        let namespace = match cluster.get("", "namespaces", "", a.namespace) {
            Some(there) => there,
            None => cluster
                .get_live("", "namespaces", "", a.namespace)
                .await
                .map_err(|_| Status::internal(format!("failed to lookup namespace {}", a.namespace)))?
                .into(),
        };
        Ok(self.policy(&namespace).0)
    }

    /// Refuses where `enforce` is set, and warns.
    fn evaluate(&self, a: &Attributes<'_>, policy: Policy, pod: Subject<'_>, enforce: bool) -> Result<(), Status> {
        if self.has_exempt_class(pod.spec) {
            return Ok(());
        }
        if enforce {
            let found = checks::evaluate(policy.enforce, pod);
            if !found.is_empty() {
                let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, checks::in_detail(&found));
                return Err(forbidden(a, why));
            }
        }
        let found = checks::evaluate(policy.warn, pod);
        if !found.is_empty() {
            a.ctx.warn(format!("would violate PodSecurity \"{}\": {}", policy.warn, checks::in_detail(&found)));
        }
        Ok(())
    }
}

/// Whether an update of a pod changes anything that the standards look at: only images, further containers and the old
/// seccomp annotations can change.
fn is_significant(new: &Value, old: &Value) -> bool {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let note = |pod: &'_ Value, key: &str| object::str(pod, &["metadata", "annotations", key]).to_owned();
    let changed = |new_c: &Value, old_c: &Value| {
        let key = format!("{CONTAINER}{}", new_c["name"].as_str().unwrap_or(""));
        new_c.get("image") != old_c.get("image") || note(new, &key) != note(old, &key)
    };
    let differ = |name: &str| {
        let (new, old) = (object::list(new, &["spec", name]), object::list(old, &["spec", name]));
        new.len() != old.len() || new.iter().zip(old).any(|(n, o)| changed(n, o))
    };
    let ephemeral = |pod| object::list(pod, &["spec", "ephemeralContainers"]);
    note(new, POD) != note(old, POD)
        || differ("containers")
        || differ("initContainers")
        || ephemeral(new)
            .iter()
            .any(|c| ephemeral(old).iter().find(|o| o["name"] == c["name"]).is_none_or(|o| changed(c, o)))
}

#[async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }
    fn handles(&self, operation: Operation, resource: &GroupVersionResource, subresource: &str) -> bool {
        if !matches!(operation, Operation::Create | Operation::Update) {
            return false;
        }
        if is(resource, "", "pods") {
            // Other subresources do not carry a pod.
            return matches!(subresource, "" | "ephemeralcontainers" | "resize");
        }
        subresource.is_empty() && (is(resource, "", "namespaces") || template(resource).is_some())
    }

    async fn validate(&self, a: &Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if is(a.resource, "", "namespaces") {
            return self.namespace(a, cluster);
        }
        if self.is_exempt_namespace(a.namespace) || self.exempt.usernames.contains(&a.ctx.user.name) {
            return Ok(());
        }
        let policy = self.policy_of(a, cluster).await?;
        let Some(new) = a.object.as_deref() else { return Ok(()) };
        let enforce = is(a.resource, "", "pods");
        let strict = policy.warn.level != Level::Privileged || (enforce && policy.enforce.level != Level::Privileged);
        if !strict || (enforce && a.old.is_some_and(|old| !is_significant(new, old))) {
            return Ok(());
        }
        let pod = match template(a.resource) {
            Some(path) => new.pointer(path),
            None => Some(new),
        };
        let Some(pod) = pod.filter(|p| p.get("spec").is_some()) else { return Ok(()) };
        let annotations = object::get(pod, &["metadata", "annotations"]).unwrap_or(&Value::Null);
        self.evaluate(a, policy, Subject { annotations, spec: &pod["spec"] }, enforce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn configuration_is_read_and_checked() {
        let c = json!({
            "apiVersion": "pod-security.admission.config.k8s.io/v1",
            "kind": "PodSecurityConfiguration",
            "defaults": {"enforce": "baseline", "enforce-version": "v1.30"},
            "exemptions": {"namespaces": ["kube-system"], "runtimeClasses": ["kata"]},
        });
        let plugin = PodSecurity::new(Some(&c)).expect("is right");
        assert_eq!(plugin.defaults.compact(), "enforce=baseline:v1.30");
        assert!(plugin.is_exempt_namespace("kube-system") && !plugin.is_exempt_namespace("default"));
        assert!(plugin.has_exempt_class(&json!({"runtimeClassName": "kata"})));
        assert!(PodSecurity::new(Some(&json!({"kind": "X"}))).is_err());
    }

    #[test]
    fn only_what_can_matter_is_looked_at_again() {
        let pod = |image: &str, more: Value| json!({"metadata": {"labels": more}, "spec": {"containers": [{"name": "a", "image": image}]}});
        assert!(!is_significant(&pod("i", json!({"x": "y"})), &pod("i", json!({}))));
        assert!(is_significant(&pod("j", json!({})), &pod("i", json!({}))));
        let mut debugged = pod("i", json!({}));
        debugged["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "i"}]);
        assert!(is_significant(&debugged, &pod("i", json!({}))));
        assert!(!is_significant(&debugged, &debugged.clone()));
    }
}
