//! Selectors over the watch cache: what a list or watch covers, and which objects it chooses.

use crate::Strategy;
use std::sync::Arc;
use steersman_apimachinery::Status;
use steersman_apimachinery::selector::{FieldSelector, LabelSelector};
use steersman_storage::{Attributes, Scope, Select};

/// Fields by whose values the watch cache is indexed, where a resource has them: thousands of node agents each ask for
/// the objects of their node.
pub(crate) const INDEXED: &[&str] = &["spec.nodeName"];

struct Filter {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Select for Filter {
    fn selects(&self, key: &str, a: &Attributes) -> bool {
        let (namespace, name) = key.rsplit_once('/').unwrap_or(("", key));
        (self.fields.is_empty()
            || self.fields.matches(|field| match field {
                "metadata.name" => name,
                "metadata.namespace" => namespace,
                f => a.fields.get(f).unwrap_or(""),
            }))
            && (self.labels.is_empty() || self.labels.matches(|label| a.labels.get(label)))
    }
}

/// What a list or watch covers.
pub(crate) struct Selection {
    pub(crate) scope: Scope,
    pub(crate) filter: Option<Arc<dyn Select>>,
    /// The value of the index, where the selector asks for one.
    pub(crate) indexed: Option<String>,
    /// Whether no selector was given, so that everything in the scope can be counted.
    pub(crate) everything: bool,
}

/// Refuses selectors on fields that the kind does not offer.
pub(crate) fn check(strategy: &dyn Strategy, fields: &FieldSelector) -> Result<(), Status> {
    let own = strategy.selectable_fields();
    for r in fields.requirements() {
        let known = match r.field.as_str() {
            "metadata.name" => true,
            // Kinds without fields of their own offer it whether they have namespaces or not, as upstream does.
            "metadata.namespace" => own.is_empty() || strategy.info().namespaced,
            field => own.contains(&field),
        };
        if !known {
            return Err(Status::bad_request(strategy.unsupported_field(&r.field)));
        }
    }
    Ok(())
}

/// The narrowest way to what the selectors choose.
pub(crate) fn selection(
    strategy: &dyn Strategy,
    index: Option<&str>,
    namespace: &str,
    labels: &LabelSelector,
    fields: &FieldSelector,
) -> Selection {
    let everything = labels.is_empty() && fields.is_empty();
    let namespaced = strategy.info().namespaced;
    let namespace = if namespace.is_empty() && namespaced {
        fields.requires_exact("metadata.namespace").unwrap_or("")
    } else {
        namespace
    };
    let scope = match fields.requires_exact("metadata.name").filter(|n| !n.is_empty()) {
        Some(name) if !namespaced => Scope::Key(name.to_owned()),
        Some(name) if !namespace.is_empty() => Scope::Key(format!("{namespace}/{name}")),
        _ if !namespace.is_empty() => Scope::Namespace(namespace.to_owned()),
        _ => Scope::All,
    };
    let indexed = index.and_then(|i| fields.requires_exact(i)).filter(|v| !v.is_empty()).map(str::to_owned);
    let filter =
        (!everything).then(|| Arc::new(Filter { labels: labels.clone(), fields: fields.clone() }) as Arc<dyn Select>);
    Selection { scope, filter, indexed, everything }
}
