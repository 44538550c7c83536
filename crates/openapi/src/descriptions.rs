//! What types and fields are for, in upstream's words: `build.rs` takes them out of `k8s-openapi` and deflates them.

use flate2::read::DeflateDecoder;
use std::collections::HashMap;
use std::io::Read as _;
use std::ops::Range;

static TABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.deflate"));

/// All descriptions; more than a MiB, so keep it only while documents are made.
pub struct Descriptions {
    text: String,
    /// The record of each definition together with those of its fields.
    definitions: HashMap<Box<str>, Range<usize>>,
}

impl Descriptions {
    /// Inflates the table.
    pub fn load() -> Self {
        let mut text = String::new();
        // The table was written by our own build.
        let _ = DeflateDecoder::new(TABLE).read_to_string(&mut text);
        let (mut definitions, mut at, mut current) = (HashMap::new(), 0, None::<(Box<str>, usize)>);
        for record in text.split_inclusive('\u{1e}') {
            if let Some((name, _)) = record.split_once('\u{1f}').filter(|(name, _)| !name.is_empty())
                && let Some((before, start)) = current.replace((name.into(), at))
            {
                definitions.insert(before, start..at);
            }
            at += record.len();
        }
        definitions.extend(current.map(|(name, start)| (name, start..at)));
        Self { text, definitions }
    }

    /// What a definition is for; the empty name of a field asks for the definition itself.
    pub fn of(&self, definition: &str, field: &str) -> Option<&str> {
        let mut records = self.text[self.definitions.get(definition)?.clone()].split_terminator('\u{1e}');
        let own = records.next()?.split_once('\u{1f}')?.1;
        let found = match field {
            "" => own,
            field => records.find_map(|r| r.strip_prefix('\u{1f}')?.strip_prefix(field)?.strip_prefix('\u{1f}'))?,
        };
        (!found.is_empty()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_types_and_fields() {
        let all = Descriptions::load();
        let check = |definition: &str, field: &str, begins: Option<&str>| {
            let found = all.of(definition, field);
            match begins {
                None => assert_eq!(found, None, "{definition} {field}"),
                Some(begins) => {
                    assert!(found.is_some_and(|f| f.starts_with(begins)), "{definition} {field}: {found:?}")
                }
            }
        };
        check("io.k8s.api.core.v1.Pod", "", Some("Pod is a collection of containers"));
        check("io.k8s.api.core.v1.PodSpec", "containers", Some("List of containers"));
        check("io.k8s.api.core.v1.PodSpec", "container", None);
        check("io.k8s.apimachinery.pkg.version.Info", "gitVersion", None);
        check("io.k8s.api.core.v1.Absent", "", None);
        check("io.k8s.apimachinery.pkg.apis.meta.v1.Status", "code", Some("Suggested HTTP"));
    }

    #[test]
    fn every_kind_is_described() {
        let all = Descriptions::load();
        for name in ["io.k8s.api.apps.v1.Deployment", "io.k8s.api.resource.v1.ResourceClaim"] {
            assert!(all.of(name, "").is_some() && all.of(name, "spec").is_some(), "{name}");
        }
    }
}
