//! `Warning` headers (rule: apiserver `pkg/endpoints/filters/warning.go`).

use http::HeaderMap;
use http::header::{HeaderValue, WARNING};
use steersman_registry::{Context, ResourceInfo};

/// Characters of all warnings together before each is cut.
const TOTAL: usize = 4096;
/// Characters of one warning once they are cut.
const ITEM: usize = 256;

/// Resources that are on their way out, and what their every use is answered with.
const DEPRECATED: &[(&str, &str, &str, &str)] = &[
    ("", "v1", "componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"),
    ("", "v1", "endpoints", "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
];

/// Warns of a deprecated resource; whether it is one.
pub fn of_deprecated(context: &Context, info: &ResourceInfo) -> bool {
    let found = DEPRECATED.iter().find(|d| (d.0, d.1, d.2) == (info.group, info.version, info.resource));
    if let Some(d) = found {
        context.warn(d.3);
    }
    found.is_some()
}

/// Adds a header for each warning; texts with control characters cannot be sent and are left out.
pub fn add(headers: &mut HeaderMap, warnings: &[String]) {
    let sendable = || warnings.iter().filter(|w| !w.is_empty() && !w.chars().any(char::is_control));
    let cut = sendable().map(|w| w.chars().count()).sum::<usize>() > TOTAL;
    let mut written = 0;
    for w in sendable() {
        if cut && written >= TOTAL {
            break;
        }
        let text: String = if cut { w.chars().take(ITEM).collect() } else { w.clone() };
        written += text.chars().count();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            headers.append(WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_cut() {
        let mut h = HeaderMap::new();
        add(&mut h, &["unknown field \"a\"".into(), "two\nlines".into()]);
        let got: Vec<_> = h.get_all(WARNING).iter().map(|v| v.to_str().expect("text").to_owned()).collect();
        assert_eq!(got, ["299 - \"unknown field \\\"a\\\"\""]);
        let mut h = HeaderMap::new();
        add(&mut h, &vec!["x".repeat(1000); 30]);
        let lengths: Vec<_> = h.get_all(WARNING).iter().map(HeaderValue::len).collect();
        assert_eq!(lengths, vec![ITEM + 8; TOTAL / ITEM]);
    }
}
