//! Rules of names, labels, annotations, ports and the like (rule: apimachinery `pkg/util/validation`, `pkg/api/validation`).

/// What is wrong with a DNS-1123 subdomain; with `prefix` the name may end in a dash (generateName).
pub fn dns_subdomain(_name: &str, _prefix: bool) -> Vec<String> {
    Vec::new()
}
