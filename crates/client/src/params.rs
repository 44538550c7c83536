//! Options of requests, and patches.

use serde::Serialize;
use serde_json::Value;

use crate::object::escape;

/// A query string that is built pair by pair.
#[derive(Default)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            if !self.0.is_empty() {
                self.0.push('&');
            }
            self.0.push_str(name);
            self.0.push('=');
            self.0.push_str(&escape(value));
        }
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// Options of a single read.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// `0` allows an answer from the server's cache, however old; empty asks for the newest state.
    pub resource_version: String,
}

/// Options of lists, watches and collection deletes; empty strings stand for "not set".
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Such as `app=web,tier!=cache`.
    pub label_selector: String,
    /// Such as `spec.nodeName=node-1`.
    pub field_selector: String,
    /// At most so many objects in one answer; 0 means all.
    pub limit: u32,
    /// The token of the next page.
    pub continue_token: String,
    /// The version to list at or to watch from; see the Kubernetes API concepts page.
    pub resource_version: String,
    /// `Exact` or `NotOlderThan`.
    pub resource_version_match: String,
    /// The server ends the request after so many seconds; 0 leaves it to the server.
    pub timeout_seconds: u32,
    /// For watches: first send what is there as ADDED events, ended by a bookmark.
    pub send_initial_events: bool,
}

impl ListOptions {
    /// Options with a label selector.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { label_selector: selector.into(), ..Self::default() }
    }

    /// Options with a field selector.
    pub fn fields(selector: impl Into<String>) -> Self {
        Self { field_selector: selector.into(), ..Self::default() }
    }

    pub(crate) fn query(&self, watch: bool) -> String {
        let mut query = Query::default();
        if watch {
            query.add("watch", "true");
            query.add("allowWatchBookmarks", "true");
            if self.send_initial_events {
                query.add("sendInitialEvents", "true");
            }
        }
        query.add("labelSelector", &self.label_selector);
        query.add("fieldSelector", &self.field_selector);
        query.add("continue", &self.continue_token);
        query.add("resourceVersion", &self.resource_version);
        query.add("resourceVersionMatch", &self.resource_version_match);
        if self.limit > 0 {
            query.add("limit", &self.limit.to_string());
        }
        if self.timeout_seconds > 0 {
            query.add("timeoutSeconds", &self.timeout_seconds.to_string());
        }
        query.into_string()
    }
}

/// Options of creates and updates.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Run everything but the write itself.
    pub dry_run: bool,
    /// The name under which the changed fields are recorded; empty lets the server derive it from the user agent.
    pub field_manager: String,
}

impl WriteOptions {
    pub(crate) fn query(&self) -> String {
        let mut query = Query::default();
        if self.dry_run {
            query.add("dryRun", "All");
        }
        query.add("fieldManager", &self.field_manager);
        query.into_string()
    }
}

/// Options of patches.
#[derive(Clone, Debug, Default)]
pub struct PatchOptions {
    /// Run everything but the write itself.
    pub dry_run: bool,
    /// The name under which the changed fields are recorded; required for apply.
    pub field_manager: String,
    /// For apply: take fields that others own.
    pub force: bool,
}

impl PatchOptions {
    pub(crate) fn query(&self) -> String {
        let mut query = Query::default();
        if self.dry_run {
            query.add("dryRun", "All");
        }
        query.add("fieldManager", &self.field_manager);
        if self.force {
            query.add("force", "true");
        }
        query.into_string()
    }
}

/// A patch and its type.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 6902 operations.
    Json(Value),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' strategic merge patch: lists of built-in types merge by their keys.
    Strategic(Value),
    /// Server-side apply of the given partial object.
    Apply(Value),
}

impl Patch {
    pub(crate) fn content_type(&self) -> &'static str {
        match self {
            Patch::Json(_) => "application/json-patch+json",
            Patch::Merge(_) => "application/merge-patch+json",
            Patch::Strategic(_) => "application/strategic-merge-patch+json",
            Patch::Apply(_) => "application/apply-patch+yaml",
        }
    }

    pub(crate) fn value(&self) -> &Value {
        match self {
            Patch::Json(value) | Patch::Merge(value) | Patch::Strategic(value) | Patch::Apply(value) => value,
        }
    }
}

/// What happens to the dependants of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PropagationPolicy {
    /// They stay and lose their owner.
    Orphan,
    /// The garbage collector deletes them afterwards.
    Background,
    /// The object stays until they are gone.
    Foreground,
}

/// Options of a delete.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteOptions {
    /// Overrides the object's grace period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<i64>,
    /// What happens to the dependants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation_policy: Option<PropagationPolicy>,
    /// What must hold for the delete to happen.
    #[serde(skip_serializing_if = "Option::is_none")]
    preconditions: Option<Preconditions>,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Preconditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// Deletes only the object with this uid, not a later one of the same name.
    pub fn uid(mut self, uid: &str) -> Self {
        self.preconditions.get_or_insert_default().uid = Some(uid.to_owned());
        self
    }

    /// Deletes only if the object is still at this resource version.
    pub fn resource_version(mut self, version: &str) -> Self {
        self.preconditions.get_or_insert_default().resource_version = Some(version.to_owned());
        self
    }

    /// Sets the grace period in seconds.
    pub fn grace(mut self, seconds: i64) -> Self {
        self.grace_period_seconds = Some(seconds);
        self
    }

    /// Sets what happens to the dependants.
    pub fn propagation(mut self, policy: PropagationPolicy) -> Self {
        self.propagation_policy = Some(policy);
        self
    }

    pub(crate) fn body(&self) -> Value {
        let mut value = serde_json::to_value(self).expect("plain data always encodes");
        value["kind"] = "DeleteOptions".into();
        value["apiVersion"] = "v1".into();
        value
    }
}
