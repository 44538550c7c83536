//! Objects need a namespace that is there and is not being deleted; reserved namespaces stay.

use super::is;
use crate::{Attributes, Cluster, Operation, Plugin};
use async_trait::async_trait;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use steersman_apimachinery::{GroupResource, GroupVersionResource, Status, object};

/// The plug-in (rule: apiserver `plugin/namespace/lifecycle`).
#[derive(Debug, Default)]
pub(super) struct NamespaceLifecycle {
    deleted: Mutex<VecDeque<(String, Instant)>>,
}

/// For this long after its deletion was asked for, a namespace is not taken from the cache, which may lag.
const DISTRUST: Duration = Duration::from_secs(30);
/// So many deletions are kept in mind.
const MOST_DELETED: usize = 100;

impl NamespaceLifecycle {
    fn note_deletion(&self, name: &str) {
        let mut deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        deleted.retain(|(n, at)| n != name && at.elapsed() < DISTRUST);
        if deleted.len() >= MOST_DELETED {
            deleted.pop_front();
        }
        deleted.push_back((name.to_owned(), Instant::now()));
    }
    fn was_deleted(&self, name: &str) -> bool {
        let deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        deleted.iter().any(|(n, at)| n == name && at.elapsed() < DISTRUST)
    }
}

const RESERVED: &[&str] = &["default", "kube-system", "kube-public"];
const NAMESPACES: GroupResource = GroupResource::from_static("", "namespaces");

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, operation: Operation, _: &GroupVersionResource, _: &str) -> bool {
        operation != Operation::Connect
    }

    async fn admit(&self, a: &mut Attributes<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        if is(a.resource, "", "namespaces") {
            if a.operation == Operation::Delete && RESERVED.contains(&a.name) {
                return Err(Status::forbidden(&NAMESPACES, a.name, "this namespace may not be deleted"));
            }
            if a.operation == Operation::Delete {
                self.note_deletion(a.name);
            }
            return Ok(());
        }
        // Only what makes something new needs the namespace; reviews may be asked of any.
        if a.namespace.is_empty()
            || a.operation == Operation::Delete
            || is(a.resource, "authorization.k8s.io", "localsubjectaccessreviews")
        {
            return Ok(());
        }
        let cached = if self.was_deleted(a.namespace) { None } else { cluster.get("", "namespaces", "", a.namespace) };
        let namespace = match cached {
            Some(found) => found,
            // The cache may lag behind a creation a moment ago.
            None => std::sync::Arc::new(cluster.get_live("", "namespaces", "", a.namespace).await?),
        };
        if a.operation == Operation::Create
            && a.subresource.is_empty()
            && object::str(&namespace, &["status", "phase"]) == "Terminating"
        {
            let gr = GroupResource { group: a.resource.group.clone(), resource: a.resource.resource.clone() };
            let ns = a.namespace;
            let why = format!("unable to create new content in namespace {ns} because it is being terminated");
            return Err(Status::forbidden(&gr, a.name, why).with_cause(
                "NamespaceTerminating",
                format!("namespace {ns} is being terminated"),
                "metadata.namespace",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_are_kept_in_mind_but_not_without_bound() {
        let plugin = NamespaceLifecycle::default();
        assert!(!plugin.was_deleted("n0"));
        for n in 0..=MOST_DELETED {
            plugin.note_deletion(&format!("n{n}"));
        }
        assert!(!plugin.was_deleted("n0") && plugin.was_deleted("n1"));
        plugin.note_deletion("n1");
        plugin.note_deletion("more");
        assert!(plugin.was_deleted("n1") && !plugin.was_deleted("n2"));
    }
}
