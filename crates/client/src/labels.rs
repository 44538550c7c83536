//! Matching typed label selectors (rule: apimachinery `metav1.LabelSelectorAsSelector`).

use std::collections::BTreeMap;

use steersman_api::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether `labels` satisfy `selector`. An empty selector matches everything; an unknown operator matches nothing.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    selector.match_labels.as_ref().is_none_or(|wanted| matches_map(wanted, labels))
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let value = labels.get(&requirement.key);
            let values = requirement.values.as_deref().unwrap_or_default();
            match requirement.operator.as_str() {
                "In" => value.is_some_and(|value| values.contains(value)),
                "NotIn" => value.is_none_or(|value| !values.contains(value)),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// Whether `labels` satisfy an optional selector; none matches nothing.
pub fn matches_opt(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    selector.is_some_and(|selector| matches(selector, labels))
}

/// Whether `labels` hold all pairs of `wanted`.
pub fn matches_map(wanted: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether a selector has no requirements, so that it matches everything.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// The text form of a selector, as in `labelSelector=` and in `scale.status.selector`
/// (rule: `metav1.FormatLabelSelector`, sorted by key).
pub fn format(selector: &LabelSelector) -> String {
    let mut parts: Vec<(&str, String)> = Vec::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        parts.push((key, format!("{key}={value}")));
    }
    for requirement in selector.match_expressions.iter().flatten() {
        let key = &requirement.key;
        let mut values = requirement.values.clone().unwrap_or_default();
        values.sort();
        let values = values.join(",");
        let text = match requirement.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.clone(),
            _ => format!("!{key}"),
        };
        parts.push((key, text));
    }
    parts.sort_by(|a, b| a.0.cmp(b.0));
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matching() {
        let check = |selector: &str, labels: &str, expect: bool| {
            let selector: LabelSelector = serde_json::from_str(selector).unwrap();
            let labels: BTreeMap<String, String> = serde_json::from_str(labels).unwrap();
            assert_eq!(matches(&selector, &labels), expect, "{selector:?} on {labels:?}");
        };
        check("{}", "{}", true);
        check(r#"{"matchLabels":{"a":"1"}}"#, r#"{"a":"1","b":"2"}"#, true);
        check(r#"{"matchLabels":{"a":"1"}}"#, r#"{"a":"2"}"#, false);
        check(r#"{"matchExpressions":[{"key":"a","operator":"NotIn","values":["1"]}]}"#, "{}", true);
        check(r#"{"matchExpressions":[{"key":"a","operator":"In","values":["1"]}]}"#, "{}", false);
        check(r#"{"matchExpressions":[{"key":"a","operator":"DoesNotExist"}]}"#, r#"{"a":""}"#, false);
    }

    #[test]
    fn formatting() {
        let selector: LabelSelector = serde_json::from_str(
            r#"{"matchLabels":{"b":"1"},"matchExpressions":[{"key":"a","operator":"In","values":["y","x"]}]}"#,
        )
        .unwrap();
        assert_eq!(format(&selector), "a in (x,y),b=1");
    }
}
