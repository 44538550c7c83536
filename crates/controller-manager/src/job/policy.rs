//! What a failed pod means for its Job (rule: `job/pod_failure_policy.go`), and when a Job has succeeded early
//! (rule: `job/success_policy.go`).

use std::collections::BTreeSet;

use steersman_api::k8s_openapi::api::{
    batch::v1::{JobSpec, PodFailurePolicyOnExitCodesRequirement},
    core::v1::Pod,
};
use steersman_client::Object;

use super::indexes;
use crate::pods;

/// The verdict on a failed pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts towards the back-off limit.
    Count,
    /// It does not count.
    Ignore,
    /// Its index has failed for good.
    FailIndex,
    /// The whole Job has failed, for this reason.
    FailJob(String),
}

/// Judges a failed pod by the Job's failure policy.
pub fn judge(spec: &JobSpec, pod: &Pod) -> Verdict {
    for (n, rule) in spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules).enumerate() {
        let by_code = rule.on_exit_codes.as_ref().and_then(|wanted| matching_container(wanted, pod));
        let by_condition = rule.on_pod_conditions.iter().flatten().find(|pattern| {
            let status = pattern.status.as_deref().unwrap_or("True");
            pods::condition(pod, &pattern.type_).is_some_and(|condition| condition.status == status)
        });
        let why = match (by_code, by_condition) {
            (Some((container, code)), _) => format!(
                "Container {container} for pod {} failed with exit code {code} matching {} rule at index {n}",
                pod.key(),
                rule.action
            ),
            (None, Some(pattern)) => {
                format!("Pod {} has condition {} matching {} rule at index {n}", pod.key(), pattern.type_, rule.action)
            }
            (None, None) => continue,
        };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" if spec.backoff_limit_per_index.is_some() => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(why),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

fn matching_container(wanted: &PodFailurePolicyOnExitCodesRequirement, pod: &Pod) -> Option<(String, i32)> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    all.filter(|container| wanted.container_name.as_ref().is_none_or(|name| *name == container.name)).find_map(
        |container| {
            let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
            let listed = wanted.values.contains(&code);
            let matches = code != 0 && if wanted.operator == "NotIn" { !listed } else { listed };
            matches.then(|| (container.name.clone(), code))
        },
    )
}

/// The place of the success rule that the succeeded indexes fulfil.
pub fn succeeded_early(spec: &JobSpec, succeeded: &BTreeSet<i32>) -> Option<usize> {
    let completions = spec.completions.unwrap_or(0);
    spec.success_policy.as_ref()?.rules.iter().position(|rule| {
        let relevant = match &rule.succeeded_indexes {
            Some(text) => indexes::parse(text, completions),
            None => (0..completions).collect(),
        };
        let count = relevant.intersection(succeeded).count();
        match rule.succeeded_count {
            Some(wanted) => count as i64 >= i64::from(wanted),
            None => count == relevant.len(),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_first_matching_rule_decides() {
        let spec: JobSpec = serde_json::from_value(json!({"template": {}, "podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}},
            {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [1]}},
        ]}}))
        .unwrap();
        let check = |status: Value, expect: Verdict| {
            let pod: Pod =
                serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "status": status})).unwrap();
            assert_eq!(judge(&spec, &pod), expect);
        };
        let exited = |name: &str, code: i32| json!({"containerStatuses": [{"name": name, "state": {"terminated": {"exitCode": code}}}]});
        let message = "Container main for pod n/p failed with exit code 42 matching FailJob rule at index 1";
        check(exited("main", 42), Verdict::FailJob(message.to_owned()));
        check(exited("side", 42), Verdict::Count);
        check(json!({"conditions": [{"type": "DisruptionTarget", "status": "True"}]}), Verdict::Ignore);
        check(json!({"conditions": [{"type": "DisruptionTarget", "status": "False"}]}), Verdict::Count);
    }

    #[test]
    fn early_success() {
        let check = |rule: Value, succeeded: &[i32], expect| {
            let spec: JobSpec =
                serde_json::from_value(json!({"template": {}, "completions": 5, "successPolicy": {"rules": [rule]}}))
                    .unwrap();
            assert_eq!(succeeded_early(&spec, &succeeded.iter().copied().collect()), expect);
        };
        check(json!({"succeededCount": 2}), &[1, 3], Some(0));
        check(json!({"succeededCount": 2}), &[1], None);
        check(json!({"succeededIndexes": "0-1"}), &[0, 1, 4], Some(0));
        check(json!({"succeededIndexes": "0-3", "succeededCount": 2}), &[0, 4], None);
    }
}
