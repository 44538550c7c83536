//! The metadata that the server keeps: names, namespaces, uid, times, owners (rule: apiserver `pkg/registry/rest`).

use crate::{Context, Strategy};
use rand::Rng;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, Status, object, validation};

/// Letters of generated names: no vowels, and nothing that looks like another.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Generated names are cut to this before the random letters are added.
const LONGEST_BASE: usize = 58;

/// A name made of a prefix and five random letters (rule: apiserver `pkg/storage/names`).
pub(crate) fn generate(base: &str) -> String {
    let mut end = base.len().min(LONGEST_BASE);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut rng = rand::rng();
    let mut name = base[..end].to_owned();
    name.extend((0..5).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])));
    name
}

/// A time as it stands in metadata.
pub(crate) fn time(t: jiff::Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn remove(obj: &mut Value, names: &[&str]) {
    if let Some(meta) = obj.get_mut("metadata").and_then(Value::as_object_mut) {
        for name in names {
            meta.remove(*name);
        }
    }
}

/// Takes away what only the server sets.
pub(crate) fn wipe_system_fields(obj: &mut Value) {
    remove(obj, &["creationTimestamp", "uid", "selfLink"]);
}

/// Sets what every new object gets.
pub(crate) fn fill_system_fields(obj: &mut Value, now: jiff::Timestamp) {
    let meta = object::entry(obj, &["metadata"]);
    meta.insert("creationTimestamp".into(), time(now).into());
    meta.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
}

/// Nothing is created in the state of being deleted.
pub(crate) fn clear_deletion(obj: &mut Value) {
    remove(obj, &["deletionTimestamp", "deletionGracePeriodSeconds"]);
}

/// Puts the namespace of the request into the object; refuses another (rule:
/// `rest.EnsureObjectNamespaceMatchesRequestNamespace`).
pub(crate) fn ensure_namespace(obj: &mut Value, namespace: &str) -> Result<(), Status> {
    let own = object::namespace(obj);
    if own == namespace {
        return Ok(());
    }
    if namespace.is_empty() {
        remove(obj, &["namespace"]);
        return Ok(());
    }
    if own.is_empty() {
        object::set(obj, &["metadata", "namespace"], namespace);
        return Ok(());
    }
    Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request"))
}

/// Refuses an object of another name than the path says (rule: apiserver `pkg/endpoints/handlers` checkName).
pub(crate) fn check_name(obj: &Value, name: &str) -> Result<(), Status> {
    match object::name(obj) {
        own if own == name => Ok(()),
        "" => Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        own => Err(Status::bad_request(format!(
            "the name of the object ({own}) does not match the name on the URL ({name})"
        ))),
    }
}

/// Drops owner references that are there twice, with a warning (rule: `dedupOwnerReferencesAndAddWarning`).
pub(crate) fn dedup_owners(ctx: &Context, obj: &mut Value, after_admission: bool) {
    let Some(owners) = obj.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut) else { return };
    let mut seen: Vec<Value> = Vec::with_capacity(owners.len());
    let mut twice: Vec<String> = Vec::new();
    for owner in std::mem::take(owners) {
        if seen.contains(&owner) {
            let uid = object::str(&owner, &["uid"]).to_owned();
            if !twice.contains(&uid) {
                twice.push(uid);
            }
        } else {
            seen.push(owner);
        }
    }
    *owners = seen;
    if !twice.is_empty() {
        twice.sort_unstable();
        let when = if after_admission { " after mutating admission happens" } else { "" };
        ctx.warn(format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        ));
    }
}

/// Metadata with the kind's own rule for names. What more a kind asks of it, such as known finalizers, its strategy checks.
pub(crate) fn validate(obj: &Value, strategy: &dyn Strategy) -> ErrorList {
    let (path, null) = (Path::new("metadata"), Value::Null);
    let metadata = obj.get("metadata").unwrap_or(&null);
    let rule = |name: &str, prefix| strategy.validate_name(name, prefix);
    validation::validate_object_meta(metadata, strategy.info().namespaced, &rule, &path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn generated_names_fit_a_label() {
        let name = generate(&"g".repeat(70));
        assert_eq!((name.len(), name.starts_with(&"g".repeat(58))), (63, true));
        assert!(
            generate("a-").strip_prefix("a-").is_some_and(|r| r.len() == 5 && r.bytes().all(|b| LETTERS.contains(&b)))
        );
        generate(&"ä".repeat(40));
    }

    #[test]
    fn namespaces_are_filled_in_or_refused() {
        let check = |own: &str, request: &str, want: Option<&str>| {
            let mut o = json!({"metadata": {"namespace": own}});
            let got = ensure_namespace(&mut o, request).ok().map(|()| object::namespace(&o).to_owned());
            assert_eq!(got.as_deref(), want, "{own} {request}");
        };
        check("", "a", Some("a"));
        check("a", "a", Some("a"));
        check("b", "a", None);
        check("b", "", Some(""));
    }

    #[test]
    fn duplicate_owners_go_with_a_warning() {
        let ctx = Context::loopback();
        let mut o = json!({"metadata": {"ownerReferences": [{"uid": "1"}, {"uid": "2"}, {"uid": "1"}]}});
        dedup_owners(&ctx, &mut o, false);
        assert_eq!(o["metadata"]["ownerReferences"], json!([{"uid": "1"}, {"uid": "2"}]));
        assert!(ctx.warnings()[0].ends_with("duplicate UID(s) observed: 1"));
    }
}
