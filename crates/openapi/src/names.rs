//! The names of operations and tags (rule: apiserver `pkg/endpoints/openapi/openapi.go`).

/// `apps/v1` as operation ids have it: `AppsV1`; the core group is `Core`.
pub fn prefix(group: &str, version: &str) -> String {
    format!("{}{}", group_name(group), capital(version))
}

/// `rbac.authorization.k8s.io` → `RbacAuthorization`.
pub fn group_name(group: &str) -> String {
    match group {
        "" => "Core".into(),
        group => group.strip_suffix(".k8s.io").unwrap_or(group).split(['.', '-']).map(capital).collect(),
    }
}

/// `rbacAuthorization_v1`; without a version `rbacAuthorization`.
pub fn tag(group: &str, version: &str) -> String {
    let name = group_name(group);
    let mut chars = name.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    let name: String = first.into_iter().chain(chars).collect();
    if version.is_empty() { name } else { format!("{name}_{version}") }
}

/// The word with a capital.
pub fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(prefix("", "v1"), "CoreV1");
        assert_eq!(prefix("flowcontrol.apiserver.k8s.io", "v1"), "FlowcontrolApiserverV1");
        assert_eq!(prefix("stable.example.com", "v1beta1"), "StableExampleComV1beta1");
        assert_eq!(tag("rbac.authorization.k8s.io", "v1"), "rbacAuthorization_v1");
        assert_eq!(tag("policy", ""), "policy");
    }
}
