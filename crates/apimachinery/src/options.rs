//! The options that come with requests (rule: apimachinery `pkg/apis/meta/v1/types.go`). Decoding them from a query or
//! a body, and checking them, is done by the apiserver's request decoding.

/// `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum VersionMatch {
    #[default]
    Unset,
    NotOlderThan,
    Exact,
}

/// `fieldValidation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// Options of get.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// Empty: the newest, read consistently; `0`: anything cached; else not older than this.
    pub resource_version: String,
}

/// Options of list, watch and delete-collection. Selectors are parsed by then.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct ListOptions {
    pub label_selector: crate::selector::LabelSelector,
    pub field_selector: crate::selector::FieldSelector,
    pub resource_version: String,
    pub resource_version_match: VersionMatch,
    /// 0: no limit.
    pub limit: i64,
    pub continue_token: String,
    pub timeout_seconds: Option<i64>,
    pub allow_watch_bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

/// Options of create.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct CreateOptions {
    pub dry_run: bool,
    pub field_manager: String,
    pub field_validation: FieldValidation,
}

/// Options of update and patch.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct UpdateOptions {
    pub dry_run: bool,
    pub field_manager: String,
    pub field_validation: FieldValidation,
    /// Server-side apply only.
    pub force: Option<bool>,
}

/// `propagationPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

/// Options of delete and delete-collection.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct DeleteOptions {
    pub dry_run: bool,
    pub grace_period_seconds: Option<i64>,
    pub precondition_uid: Option<String>,
    pub precondition_resource_version: Option<String>,
    /// The older spelling of [`Propagation::Orphan`].
    pub orphan_dependents: Option<bool>,
    pub propagation: Option<Propagation>,
}
