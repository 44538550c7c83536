//! What every API object has, whatever its kind: names, metadata, selectors, quantities, statuses and field errors.
//!
//! Entry points: [`Status`] (what a user sees when something fails), [`field::ErrorList`] (all that is wrong with an
//! object, in upstream's words), [`gvk`] (groups, versions, kinds, resources), [`object`] (reading a dynamic object),
//! [`selector`] and [`Quantity`].
//!
//! Invariant: this crate never does IO and knows neither HTTP nor etcd nor any one kind.

pub mod field;
pub mod gvk;
pub mod object;
pub mod options;
pub mod quantity;
pub mod selector;
pub mod status;
pub mod text;
pub mod validation;

pub use field::{ErrorList, FieldError, Path};
pub use gvk::{GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource};
pub use quantity::Quantity;
pub use serde_json::{Map, Value, json};
pub use status::{Cause, Reason, Status};
