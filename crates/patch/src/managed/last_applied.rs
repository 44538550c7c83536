//! Handing objects over from kubectl's client-side apply, which keeps its last configuration in an annotation
//! (rule: managedfields `lastappliedmanager.go`, `lastappliedupdater.go`).

use super::ManagerContext;
use crate::fieldset::FieldSet;
use crate::typed::{Node, compare, field_set, validate};
use serde_json::Value;
use steersman_apimachinery::{object, validation::TOTAL_ANNOTATION_SIZE_LIMIT};
use steersman_schema::Type;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The fields that client-side apply set and that still are as it set them; `None` where it never did.
pub(super) fn owned(live: &Value, ty: Option<&Type>, ctx: &ManagerContext<'_>) -> Option<FieldSet> {
    let text = object::annotation(live, ANNOTATION).filter(|t| !t.is_empty())?;
    let last: Value = serde_json::from_str(text).ok()?;
    let node = Node::root(ty);
    if object::str(&last, &["apiVersion"]) != ctx.api_version || !validate(node, &last, false).is_empty() {
        return None;
    }
    let mut set = field_set(node, &last);
    let change = compare(node, &last, live);
    for changed in [&change.modified, &change.added, &change.removed] {
        set.subtract(changed);
    }
    Some(set)
}

/// Keeps the annotation, where there is one, in step with what was applied.
pub(super) fn refresh(object: &mut Value, applied: &Value) {
    if object::annotation(object, ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut config = applied.clone();
    object::remove(&mut config, &["metadata", "annotations", ANNOTATION]);
    let annotations = object::entry(object, &["metadata", "annotations"]);
    annotations.insert(ANNOTATION.to_owned(), format!("{}\n", escape_html(&config.to_string())).into());
    let size: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > TOTAL_ANNOTATION_SIZE_LIMIT {
        annotations.remove(ANNOTATION);
    }
}

/// As Go's JSON encoder writes strings by default; these characters stand nowhere else in JSON.
fn escape_html(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}
