//! Objects seen with the eyes of server-side apply: what of them is one value, and what is owned in parts
//! (rule: structured-merge-diff `typed`).

mod compare;
mod empty;
mod fields;
mod items;
mod merge;
mod reconcile;
mod remove;
mod shape;
mod validate;

pub(crate) use compare::{Comparison, compare};
pub(crate) use empty::empty_object;
pub(crate) use fields::{field_set, with_named_fields};
pub(crate) use merge::merge;
pub(crate) use reconcile::reconcile;
pub(crate) use remove::remove_items;
pub(crate) use shape::Node;
pub(crate) use validate::{explain, validate};
