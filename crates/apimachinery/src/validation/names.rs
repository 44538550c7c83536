//! Names, keys and the like (rule: apimachinery `pkg/util/validation/validation.go`,
//! `pkg/api/validate/content`, `pkg/api/validation/generic.go`, `path`).

use crate::field::{ErrorList, Path};

const LABEL_1123: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_UNDERSCORE: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_WORDS: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// The longest DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;
/// The longest DNS label, label key without prefix, and label value.
pub const LABEL_MAX: usize = 63;

/// `must be no more than <max> characters`.
pub fn max_len_error(max: usize) -> String {
    format!("must be no more than {max} characters")
}
/// The same where the words say what is counted: the newer rules of label keys and values.
fn max_bytes_error(max: usize) -> String {
    format!("must be no more than {max} bytes")
}
/// `<words> (e.g. 'a',  or 'b', regex used for validation is '<pattern>')`.
pub fn regex_error(words: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{words} (regex used for validation is '{pattern}')");
    }
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{words} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}
/// `must be between <low> and <high>, inclusive`.
pub fn range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// Ends in an alphanumeric, starts with one, and holds only what `inner` allows.
fn bounded(s: &str, edge: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    let b = s.as_bytes();
    match (b.first(), b.last()) {
        (Some(&first), Some(&last)) => edge(first) && edge(last) && b.iter().all(|&c| edge(c) || inner(c)),
        _ => false,
    }
}
fn lower_alnum(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}
fn is_label_1123(s: &str) -> bool {
    bounded(s, lower_alnum, |c| c == b'-')
}
fn is_subdomain(s: &str) -> bool {
    s.split('.').all(is_label_1123)
}
fn is_qualified(s: &str) -> bool {
    bounded(s, |c| c.is_ascii_alphanumeric(), |c| b"-_.".contains(&c))
}

/// The name with a trailing dash and the character before it replaced by a letter, for prefixes of generated names
/// (rule: `maskTrailingDash`).
fn mask_trailing_dash(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(head) if !head.is_empty() => {
            let mut head = head.to_owned();
            head.pop();
            head + "a"
        }
        _ => name.to_owned(),
    }
}
fn masked(name: &str, prefix: bool, rule: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    if prefix { rule(&mask_trailing_dash(name)) } else { rule(name) }
}

/// What is wrong with a DNS-1123 subdomain; with `prefix` the name may end in a dash (generateName).
pub fn dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    masked(name, prefix, |n| subdomain(n, max_len_error(SUBDOMAIN_MAX)))
}
fn subdomain(name: &str, too_long: String) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > SUBDOMAIN_MAX {
        errors.push(too_long);
    }
    if !is_subdomain(name) {
        errors.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN,
            &["example.com"],
        ));
    }
    errors
}
/// What is wrong with a subdomain whose labels may hold underscores (DNS search paths).
pub fn dns_subdomain_with_underscore(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > SUBDOMAIN_MAX {
        errors.push(max_len_error(SUBDOMAIN_MAX));
    }
    let label = |l: &str| {
        let l = l.strip_prefix('_').unwrap_or(l);
        bounded(l, lower_alnum, |c| c == b'-' || c == b'_')
    };
    if !name.split('.').all(label) {
        errors.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN_UNDERSCORE,
            &["example.com"],
        ));
    }
    errors
}
/// What is wrong with `*.` before a subdomain.
pub fn wildcard_dns_subdomain(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > SUBDOMAIN_MAX {
        errors.push(max_len_error(SUBDOMAIN_MAX));
    }
    if !name.strip_prefix("*.").is_some_and(is_subdomain) {
        errors.push(regex_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!(r"\*\.{SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    errors
}
/// What is wrong with a DNS-1123 label; with `prefix` the name may end in a dash.
pub fn dns_label(name: &str, prefix: bool) -> Vec<String> {
    masked(name, prefix, |name| {
        let mut errors = Vec::new();
        if name.len() > LABEL_MAX {
            errors.push(max_len_error(LABEL_MAX));
        }
        if !is_label_1123(name) {
            errors.push(if is_subdomain(name) {
                "must not contain dots".to_owned()
            } else {
                regex_error(
                    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                    LABEL_1123,
                    &["my-name", "123-abc"],
                )
            });
        }
        errors
    })
}
/// What is wrong with a DNS-1035 label (names of services); with `prefix` the name may end in a dash.
pub fn dns_label_1035(name: &str, prefix: bool) -> Vec<String> {
    masked(name, prefix, |name| {
        let mut errors = Vec::new();
        if name.len() > LABEL_MAX {
            errors.push(max_len_error(LABEL_MAX));
        }
        if !(is_label_1123(name) && name.starts_with(|c: char| c.is_ascii_lowercase())) {
            errors.push(regex_error(
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
                "[a-z]([-a-z0-9]*[a-z0-9])?",
                &["my-name", "abc-123"],
            ));
        }
        errors
    })
}
/// What is wrong with a qualified name or label key: `[prefix/]name`.
pub fn label_key(key: &str) -> Vec<String> {
    let words = || regex_error(QUALIFIED_WORDS, QUALIFIED, &["MyName", "my.name", "123-abc"]);
    let mut errors = Vec::new();
    let name = match key.split_once('/') {
        None => key,
        Some((_, name)) if name.contains('/') => {
            let tail = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {} {tail}", words())];
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                let wrong = subdomain(prefix, max_bytes_error(SUBDOMAIN_MAX));
                errors.extend(wrong.iter().map(|m| format!("prefix part {m}")));
            }
            name
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", max_bytes_error(LABEL_MAX)));
    }
    if !is_qualified(name) {
        errors.push(format!("name part {}", words()));
    }
    errors
}
/// What is wrong with a qualified name: the same as a label key.
pub fn qualified_name(name: &str) -> Vec<String> {
    label_key(name)
}
/// What is wrong with a label's value.
pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_MAX {
        errors.push(max_bytes_error(LABEL_MAX));
    }
    if !value.is_empty() && !is_qualified(value) {
        errors.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            &format!("({QUALIFIED})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}
/// What is wrong with a name that only has to be a segment of a path (RBAC); `prefix`: a name will be made from it.
pub fn path_segment_name(name: &str, prefix: bool) -> Vec<String> {
    if !prefix {
        for whole in [".", ".."] {
            if name == whole {
                return vec![format!("may not be '{whole}'")];
            }
        }
    }
    ["/", "%"].iter().filter(|c| name.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}
/// What is wrong with an identifier of C.
pub fn c_identifier(name: &str) -> Vec<String> {
    let ok = |b: &[u8]| {
        b.first().is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_')
            && b.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_')
    };
    if ok(name.as_bytes()) {
        return Vec::new();
    }
    vec![regex_error(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}
/// What is wrong with a port's number.
pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65535)
}
/// What is wrong with a number that must be between two others.
pub fn in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) { Vec::new() } else { vec![range_error(low, high)] }
}
/// What is wrong with a Unix user or group id.
pub fn user_or_group_id(id: i64) -> Vec<String> {
    in_range(id, 0, i64::from(i32::MAX))
}
/// What is wrong with a port's name (rule: RFC 6335, lower case only).
pub fn port_name(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let mut say = |wrong: bool, words: String| {
        if wrong {
            errors.push(words);
        }
    };
    let b = name.as_bytes();
    say(b.len() > 15, max_len_error(15));
    say(
        b.is_empty() || !b.iter().all(|&c| lower_alnum(c) || c == b'-'),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into(),
    );
    say(!b.iter().any(u8::is_ascii_lowercase), "must contain at least one letter (a-z)".into());
    say(name.contains("--"), "must not contain consecutive hyphens".into());
    say(name.starts_with('-') || name.ends_with('-'), "must not begin or end with a hyphen".into());
    errors
}
/// What is wrong with a percentage such as `25%`.
pub fn percent(text: &str) -> Vec<String> {
    let ok = text.strip_suffix('%').is_some_and(|d| !d.is_empty() && d.bytes().all(|c| c.is_ascii_digit()));
    if ok {
        return Vec::new();
    }
    let words = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![regex_error(words, "[0-9]+%", &["1%", "93%"])]
}
/// What is wrong with the name of an HTTP header.
pub fn http_header_name(name: &str) -> Vec<String> {
    if !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
        return Vec::new();
    }
    let words = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_error(words, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}
/// What is wrong with an environment variable's name, by the strict rule.
pub fn env_var_name(name: &str) -> Vec<String> {
    let b = name.as_bytes();
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
    let mut errors = Vec::new();
    if b.is_empty() || b[0].is_ascii_digit() || !b.iter().all(|&c| allowed(c)) {
        errors.push(regex_error(
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit",
            "[-._a-zA-Z][-._a-zA-Z0-9]*",
            &["my.env-name", "MY_ENV.NAME", "MyEnvName1"],
        ));
    }
    errors.extend(leaves_directory(name));
    errors
}
/// What is wrong with an environment variable's name, by the relaxed rule that pods follow now.
pub fn relaxed_env_var_name(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.is_empty() {
        errors.push("environment variable name must be non-empty".to_owned());
    }
    if !name.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'=') {
        let words = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        errors.push(words.to_owned());
    }
    errors
}
/// What is wrong with a key of a ConfigMap or Secret.
pub fn config_map_key(key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if key.len() > SUBDOMAIN_MAX {
        errors.push(max_len_error(SUBDOMAIN_MAX));
    }
    if key.is_empty() || !key.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c)) {
        errors.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    errors.extend(leaves_directory(key));
    errors
}
fn leaves_directory(name: &str) -> Option<String> {
    match name {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        n if n.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}
/// A subdomain of at least three segments (CSI drivers, custom resource definitions).
pub fn fully_qualified_name(errors: &mut ErrorList, path: &Path, name: &str) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let wrong = dns_subdomain(name, false);
    if !wrong.is_empty() {
        return errors.invalid(path, name, wrong.join(","));
    }
    if name.split('.').count() < 3 {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}
/// A domain name of at least two segments; a dot at the end is allowed.
pub fn fully_qualified_domain_name(errors: &mut ErrorList, path: &Path, name: &str) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let wrong = dns_subdomain(name, false);
    if !wrong.is_empty() {
        return errors.invalid(path, name, wrong.join(","));
    }
    if name.split('.').count() < 2 {
        return errors.invalid(path, name, "should be a domain with at least two segments separated by dots");
    }
    for label in name.split('.') {
        let wrong = dns_label(label, false);
        if !wrong.is_empty() {
            return errors.invalid(path, label, wrong.join(","));
        }
    }
}
/// A path that begins with a domain: `acme.io/foo`.
pub fn domain_prefixed_path(errors: &mut ErrorList, path: &Path, value: &str) {
    if value.is_empty() {
        return errors.required(path, "");
    }
    let (host, rest) = value.split_once('/').unwrap_or((value, ""));
    if host.is_empty() || rest.is_empty() {
        return errors.invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    }
    for m in dns_subdomain(host, false) {
        errors.invalid(path, host, m);
    }
    if !rest.bytes().all(|c| c.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&c)) {
        errors.invalid(path, rest, regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]));
    }
}
/// A label key with a prefix: `acme.io/foo`.
pub fn domain_prefixed_key(errors: &mut ErrorList, path: &Path, key: &str) {
    if key.is_empty() {
        return errors.required(path, "");
    }
    let wrong = label_key(key);
    for m in &wrong {
        errors.invalid(path, key, m);
    }
    if wrong.is_empty() && !key.contains('/') {
        errors.invalid(path, key, "must be a domain-prefixed key (such as \"acme.io/foo\")");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |errors: Vec<String>, count: usize| assert_eq!(errors.len(), count, "{errors:?}");
        check(dns_subdomain("a.b-c.d", false), 0);
        check(dns_subdomain("a-", true), 0);
        for bad in ["Upper", "under_score", "-dash", "dash-", "dot.", "a..b", "", "é"] {
            check(dns_subdomain(bad, false), 1);
        }
        check(dns_subdomain(&"P".repeat(254), false), 2);
        assert_eq!(dns_label("a.b", false), ["must not contain dots"]);
        check(dns_label_1035("1a", false), 1);
        assert_eq!(path_segment_name("a/b%", false), ["may not contain '/'", "may not contain '%'"]);
        assert_eq!(path_segment_name("..", false), ["may not be '..'"]);
        check(label_key("a/b/c"), 1);
        check(label_key("example.com/Name_1"), 0);
        assert_eq!(label_key(&"k".repeat(64)), ["name part must be no more than 63 bytes"]);
        check(label_key(""), 2);
        check(label_value("-b"), 1);
        check(label_value(""), 0);
        check(port_name("a--B-"), 3);
        check(env_var_name("..x"), 1);
        check(relaxed_env_var_name("a=b"), 1);
        check(config_map_key("..a b"), 2);
        check(percent("5"), 1);
    }
}
