//! Rules of names, labels, annotations, ports, addresses and metadata, in upstream's words
//! (rule: apimachinery `pkg/util/validation`, `pkg/api/validation`, `pkg/apis/meta/v1/validation`).
//!
//! The functions that look at one text return what is wrong with it, one message each; an empty list is approval.
//! The functions that look at an object return field errors.

mod condition;
mod meta;
mod names;
mod net;

pub use condition::{conditions, dry_run};
pub use meta::{
    FIELD_IMMUTABLE, NameRule, TOTAL_ANNOTATION_SIZE_LIMIT, annotations, field_manager, finalizers, immutable,
    known_finalizers, label_selector, labels, managed_fields, no_new_finalizers, nonnegative, owner_references,
    validate_names, validate_object_meta, validate_object_meta_update,
};
pub use names::*;
pub use net::*;
