//! What the labels of a namespace ask for (rule: pod-security-admission `api/helpers.go`).

use serde_json::Value;
use std::fmt;
use steersman_apimachinery::{ErrorList, Path};

/// How strict, from the loosest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        [Self::Privileged, Self::Baseline, Self::Restricted].into_iter().find(|l| l.as_str() == text)
    }
    fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// Whose rules: those of Kubernetes v1.`minor`, or the newest (`None`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version(pub(super) Option<u32>);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self(None));
        }
        let minor = text.strip_prefix("v1.")?;
        let plain = minor.bytes().all(|b| b.is_ascii_digit()) && (minor.len() == 1 || !minor.starts_with('0'));
        minor.parse().ok().filter(|_| plain).map(|minor| Self(Some(minor)))
    }
}

/// A level of a version, e.g. `restricted:latest`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version.0 {
            Some(minor) => write!(f, "{}:v1.{minor}", self.level.as_str()),
            None => write!(f, "{}:latest", self.level.as_str()),
        }
    }
}

/// What is refused, noted for the audit log, and warned of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Standard,
    pub(super) audit: Standard,
    pub(super) warn: Standard,
}

const LEVELS: &str = "must be one of privileged, baseline, restricted";
const VERSIONS: &str = "must be \"latest\" or \"v1.x\"";

impl Policy {
    /// From labels, where they say something. What cannot be read is an error; it counts as `restricted` and `latest`
    /// where pods are refused, and as `privileged` elsewhere.
    pub(super) fn of_labels(self, labels: &Value) -> (Self, ErrorList) {
        let label = |mode: &str| format!("pod-security.kubernetes.io/{mode}");
        let path = |key: &str| Path::new("metadata").child("labels").key(key);
        self.read(labels, Level::Privileged, label, path)
    }

    /// From the `defaults` of the plug-in's configuration.
    pub(super) fn of_defaults(defaults: &Value) -> Result<Self, String> {
        let path = |key: &str| Path::new("defaults").child(key);
        let (policy, errors) = Self::default().read(defaults, Level::Restricted, str::to_owned, path);
        if errors.is_empty() { Ok(policy) } else { Err(errors.joined()) }
    }

    fn read(
        mut self,
        from: &Value,
        unreadable: Level,
        name: impl Fn(&str) -> String,
        path: impl Fn(&str) -> Path,
    ) -> (Self, ErrorList) {
        let mut errors = ErrorList::new();
        for (mode, standard, otherwise) in [
            ("enforce", &mut self.enforce, Level::Restricted),
            ("audit", &mut self.audit, unreadable),
            ("warn", &mut self.warn, unreadable),
        ] {
            let key = name(mode);
            if let Some(text) = from.get(&key).and_then(Value::as_str) {
                standard.level = Level::parse(text).unwrap_or_else(|| {
                    errors.invalid(&path(&key), text, LEVELS);
                    otherwise
                });
            }
            let key = name(&format!("{mode}-version"));
            if let Some(text) = from.get(&key).and_then(Value::as_str) {
                standard.version = Version::parse(text).unwrap_or_else(|| {
                    errors.invalid(&path(&key), text, VERSIONS);
                    Version::default()
                });
            }
        }
        (self, errors)
    }

    /// What differs from `privileged`, e.g. `enforce=baseline:latest, warn=restricted:v1.30`.
    pub(super) fn compact(&self) -> String {
        let modes = [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)];
        let strict = modes.iter().filter(|(_, s)| s.level != Level::Privileged);
        strict.map(|(mode, s)| format!("{mode}={s}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_make_policies() {
        let check = |labels: Value, want: &str, errors: &[&str]| {
            let (policy, found) = Policy::default().of_labels(&labels);
            let shown = format!("{} {} {}", policy.enforce, policy.audit, policy.warn);
            assert_eq!(shown, want, "{labels}");
            let found: Vec<String> = found.0.iter().map(ToString::to_string).collect();
            assert_eq!(found, errors, "{labels}");
        };
        check(json!(null), "privileged:latest privileged:latest privileged:latest", &[]);
        check(
            json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn-version": "v1.7"}),
            "baseline:latest privileged:latest privileged:v1.7",
            &[],
        );
        check(
            json!({
                "pod-security.kubernetes.io/enforce": "x",
                "pod-security.kubernetes.io/audit": "",
                "pod-security.kubernetes.io/warn-version": "v1.07",
            }),
            "restricted:latest privileged:latest privileged:latest",
            &[
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v1.07\": must be \"latest\" or \"v1.x\"",
            ],
        );
        assert_eq!(
            Policy::of_defaults(&json!({"enforce": "x"})).err().as_deref(),
            Some("defaults.enforce: Invalid value: \"x\": must be one of privileged, baseline, restricted")
        );
    }
}
