//! Looking types up in the generated tables.

use crate::{Field, Kind, ListType, MapType, PatchStrategy, Presence, Ref, Type, TypeRef, signature};
use std::borrow::Cow;
use steersman_apimachinery::GroupVersionKind;

/// One row of the table of kinds.
#[derive(Debug)]
pub struct Served {
    /// The group, empty for the core group.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Its type.
    pub ty: &'static Type,
}

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

/// The type of a kind, if it is a built-in one.
pub fn lookup(group: &str, version: &str, kind: &str) -> Option<TypeRef> {
    SERVED
        .binary_search_by(|row| (row.group, row.version, row.kind).cmp(&(group, version, kind)))
        .ok()
        .map(|at| Ref::Static(SERVED[at].ty))
}

/// The type of an OpenAPI definition name, e.g. `io.k8s.api.core.v1.PodSpec`.
pub fn definition(name: &str) -> Option<TypeRef> {
    DEFINITIONS.binary_search_by(|ty| (*ty.name).cmp(name)).ok().map(|at| Ref::Static(DEFINITIONS[at]))
}

/// Every type, sorted by definition name.
pub fn definitions() -> &'static [&'static Type] {
    &DEFINITIONS
}

/// Every kind with a group and version, sorted by group, version and kind.
pub fn served() -> &'static [Served] {
    &SERVED
}

/// Whether upstream's scheme knows the kind: the served ones and those of versions that are no longer served.
pub fn is_registered(group: &str, version: &str, kind: &str) -> bool {
    lookup(group, version, kind).is_some() || RETIRED.binary_search(&(group, version, kind)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_agree() {
        assert!(DEFINITIONS.windows(2).all(|w| w[0].name < w[1].name));
        assert!(
            SERVED.windows(2).all(|w| (w[0].group, w[0].version, w[0].kind) < (w[1].group, w[1].version, w[1].kind))
        );
        assert!(RETIRED.windows(2).all(|w| w[0] < w[1]));
        for ty in definitions() {
            assert!(definition(&ty.name).is_some_and(|t| t.name == ty.name));
            assert!(ty.fields.windows(2).all(|w| w[0].name < w[1].name), "{}", ty.name);
            for (at, field) in ty.fields.iter().enumerate() {
                assert_eq!(ty.position(&field.name), Some(at), "{}.{}", ty.name, field.name);
                assert_eq!(ty.mandatory.contains(&u16::try_from(at).expect("small")), field.presence.is_mandatory());
                if field.number != 0 && field.via.is_empty() {
                    assert_eq!(ty.field_by_number(field.number).map(|f| &f.name), Some(&field.name), "{}", ty.name);
                }
                if field.list == ListType::Map {
                    let item = field.kind.item().and_then(Kind::object).expect("items with keys");
                    assert!(field.list_keys.iter().all(|k| item.field(k).is_some()), "{}.{}", ty.name, field.name);
                }
            }
            assert!(ty.field("no such field").is_none() && ty.field("").is_none());
        }
    }

    #[test]
    fn known_facts() {
        let pod = lookup("", "v1", "Pod").expect("a kind");
        assert_eq!((&*pod.name, pod.short_name()), ("io.k8s.api.core.v1.Pod", "Pod"));
        let spec = pod.field("spec").and_then(|f| f.kind.object()).expect("an object");
        let containers = spec.field("containers").expect("a field");
        assert_eq!((&*containers.merge_key, containers.list, containers.required), ("name", ListType::Map, true));
        let grace = spec.field("terminationGracePeriodSeconds").expect("a field");
        assert_eq!((grace.presence, matches!(grace.kind, Kind::Int64)), (Presence::Pointer, true));
        let volume = spec.field("volumes").and_then(|f| f.kind.item()).and_then(Kind::object).expect("volumes");
        let secret = volume.field("secret").expect("a source");
        assert_eq!((&*secret.via, secret.number), (&[2][..], 6));
        assert!(lookup("", "v1", "PodList").is_some_and(|t| t.is_list()) && !pod.is_list());
        assert!(is_registered("extensions", "v1beta1", "Deployment") && !is_registered("apps", "v1", "Pod"));
        assert!(lookup("extensions", "v1beta1", "Deployment").is_none());
    }
}
