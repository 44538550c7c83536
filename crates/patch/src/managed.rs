//! Who owns which fields of an object: `metadata.managedFields`, and server-side apply
//! (rule: apimachinery `pkg/util/managedfields`, structured-merge-diff `merge/update.go`).
//!
//! The objects here are whole, in the version of the request, decoded and defaulted. [`update`] is called on what a
//! create, update or patch wants to store, after defaulting and before admission; [`apply`] makes what server-side
//! apply wants to store. Both leave the new list of managers in the object.

mod apply;
mod conflict;
mod entries;
mod last_applied;
mod scale;
mod update;

pub use apply::apply;
pub use entries::revert_timestamps;
pub use scale::{to_parent as scale_to_parent, to_subresource as scale_from_parent};
pub use update::update;

use crate::fieldset::FieldFilter;
use jiff::Timestamp;
use serde_json::Value;
use steersman_schema::TypeRef;

/// An object in another version.
pub struct Converted {
    /// The object.
    pub object: Value,
    /// Its type there, if it is known.
    pub ty: Option<TypeRef>,
}

/// The versions in which objects of a kind can be had.
pub trait Versions {
    /// The object in another version; `None` where there is no such version (any more).
    fn convert(&self, object: &Value, api_version: &str) -> Option<Converted>;
}

/// For kinds that have no other version.
pub struct OneVersion;
impl Versions for OneVersion {
    fn convert(&self, _: &Value, _: &str) -> Option<Converted> {
        None
    }
}

/// Who writes, and how.
#[derive(Clone, Copy)]
pub struct ManagerContext<'a> {
    /// The field manager; upstream takes the beginning of the user agent where the request names none.
    pub manager: &'a str,
    /// The version of the request, e.g. `apps/v1`.
    pub api_version: &'a str,
    /// Empty for the resource itself.
    pub subresource: &'a str,
    /// What a writer through this resource or subresource never owns.
    pub filter: &'a FieldFilter,
    /// The time of the request.
    pub now: Timestamp,
    /// The other versions of the kind.
    pub versions: &'a dyn Versions,
}
